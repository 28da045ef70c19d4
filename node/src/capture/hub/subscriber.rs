//! A reader's end of a stream.

use super::Hub;
use super::channel::Channel;
use super::event::{Frame, Heading, Mark, Origin, Published};
use super::ring::{Cursor, Item, Read};
use holdfast_storage::chunk::InitId;
use holdfast_storage::ids::StreamId;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Where a subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the newest keyframe in the ring, or with the next one to come.
    Keyframe,
    /// The same, but if the ring has no keyframe, with the oldest frame in it. What precedes the
    /// first frame of each track is to be read from the store, up to its decode time: together that
    /// is every frame once. That is exact for video; sound that arrives later than its video may
    /// lie in a chunk that is still open if the ring has a keyframe. Unless the GOP does not fit
    /// into the ring, a chunk ends there that was handed to the store already and is durable within
    /// about a flush interval.
    Anywhere,
}

/// Receives one stream; dropping it ends that.
#[derive(Debug)]
pub struct Subscriber {
    hub: (Hub, StreamId),
    channel: Arc<Channel>,
    cursor: Cursor,
    /// Why there was nothing to begin with.
    standing: Option<Mark>,
    /// A frame whose heading is being received.
    held: Option<(Frame, Arc<Heading>)>,
    /// The heading that was received last, as a whole and in parts.
    heading: Option<Arc<Heading>>,
    origin: Option<Origin>,
    inits: [Option<InitId>; 2],
}

impl Subscriber {
    pub(super) fn new(
        hub: (Hub, StreamId),
        channel: Arc<Channel>,
        cursor: Cursor,
        standing: Option<Mark>,
    ) -> Self {
        Self {
            hub,
            channel,
            cursor,
            standing,
            held: None,
            heading: None,
            origin: None,
            inits: [None; 2],
        }
    }

    /// What comes next, even if that takes long: a camera may be away, and this node may begin to
    /// record it at any time. Cancel safe.
    pub async fn next(&mut self) -> Published {
        loop {
            let channel = Arc::clone(&self.channel);
            let turned = channel.turned();
            if let Some(published) = self.try_next() {
                return published;
            }
            turned.await;
        }
    }

    /// What comes next, if it is there.
    pub fn try_next(&mut self) -> Option<Published> {
        if let Some(mark) = self.standing.take() {
            return Some(mark.into());
        }
        if self.held.is_none() {
            match self.channel.read(&mut self.cursor)? {
                Read::Item(Item::Frame(frame, heading)) => self.held = Some((frame, heading)),
                Read::Item(Item::Mark(mark)) => return Some(mark.into()),
                Read::Skipped(frames) => {
                    self.hub.0.0.skipped_frames.fetch_add(frames, Relaxed);
                    return Some(Published::Skipped { frames });
                }
            }
        }
        let heading = Arc::clone(&self.held.as_ref()?.1);
        self.head(heading)
            .or_else(|| self.held.take().map(|(frame, _)| Published::Frame(frame)))
    }

    /// A part of the heading that is new; `None` if all of it was received.
    fn head(&mut self, heading: Arc<Heading>) -> Option<Published> {
        let is_known = |known: &Arc<Heading>| Arc::ptr_eq(known, &heading);
        if self.heading.as_ref().is_some_and(is_known) {
            return None;
        }
        if self.origin.replace(heading.origin) != Some(heading.origin) {
            return Some(Published::Origin(heading.origin));
        }
        for (known, init) in self.inits.iter_mut().zip(&heading.inits) {
            let Some((id, init)) = init else { continue };
            if known.replace(*id) != Some(*id) {
                return Some(Published::Init(init.clone()));
            }
        }
        self.heading = Some(heading);
        None
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let (hub, stream) = &self.hub;
        hub.unsubscribe(*stream, &self.channel);
    }
}
