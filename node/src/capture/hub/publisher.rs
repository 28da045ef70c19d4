//! The recorder's end of a stream.

use super::Hub;
use super::channel::Channel;
use super::event::{Frame, Heading, Mark, Origin};
use super::ring::Item;
use holdfast_storage::chunk::{GapCause, Init, InitId};
use holdfast_storage::ids::StreamId;
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long a stream's ring is still filled after the last subscriber has left: a viewer who
/// comes back begins at once.
pub const GRACE: Duration = Duration::from_secs(60);
/// Items that wait while readers are in the way, and their bytes. Beyond, they are left out.
const PENDING_MAX: usize = 1024;
const PENDING_BYTES_MAX: usize = 8 << 20;

/// Publishes one stream, from one recorder. Dropping it shows subscribers the end.
#[derive(Debug)]
pub struct Publisher {
    hub: (Hub, StreamId),
    channel: Arc<Channel>,
    number: u64,
    pending: Pending,
    /// As it was published last.
    heading: Option<Arc<Heading>>,
    standing: Option<Mark>,
    /// Frames have been published since the ring is filled.
    is_filling: bool,
    /// Since when there has been no subscriber.
    left: Option<Instant>,
}

/// What is to be added to the ring.
#[derive(Debug, Default)]
pub(super) struct Pending {
    items: Vec<Item>,
    bytes: usize,
    /// Frames that had to be left out before them.
    left_out: u64,
    /// A change of why no frames come.
    pub(super) standing: Option<Option<Mark>>,
}

impl Publisher {
    pub(super) fn new(hub: (Hub, StreamId), channel: Arc<Channel>, number: u64) -> Self {
        Self {
            hub,
            channel,
            number,
            pending: Pending::default(),
            heading: None,
            standing: None,
            is_filling: false,
            left: None,
        }
    }

    /// Whether frames are to be published.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.channel.is_kept()
    }

    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        self.channel.has_subscribers()
    }

    /// Whether no frame has been published yet of those that are to be kept: then those that are
    /// not handed to the store yet come first.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.is_filling, true)
    }

    /// Frames that follow have this origin, and the init segments of video and of audio.
    pub fn describe(&mut self, origin: Origin, inits: [Option<(InitId, &Init)>; 2]) {
        let is_same = |heading: &Arc<Heading>| {
            let ids = [0, 1].map(|track: usize| heading.inits[track].as_ref().map(|init| init.0));
            heading.origin == origin && ids == inits.map(|init| init.map(|init| init.0))
        };
        if !self.heading.as_ref().is_some_and(is_same) {
            let inits = inits.map(|init| init.map(|(id, init)| (id, init.clone())));
            self.heading = Some(Arc::new(Heading { origin, inits }));
        }
    }

    /// Publishes a frame of what was described last, with the end of the turn.
    pub fn frame(&mut self, frame: Frame) {
        if let Some(heading) = &self.heading {
            self.pending.bytes += frame.data.len();
            self.pending
                .items
                .push(Item::Frame(frame, Arc::clone(heading)));
            self.pending.bound();
        }
    }

    /// Nothing is recorded since then; may be called again while that is so.
    pub fn gap(&mut self, since: Timestamp, cause: GapCause) {
        let is_known =
            matches!(self.standing, Some(Mark::Gap { cause: known, .. }) if known == cause);
        if !is_known {
            let mark = Mark::Gap { since, cause };
            self.stand(Some(mark));
            self.pending.items.push(Item::Mark(mark));
            self.pending.bound();
        }
    }

    /// Frames come again.
    pub fn resumed(&mut self) {
        if self.standing.is_some() {
            self.stand(None);
        }
    }

    /// Ends a turn: subscribers receive what was published in it.
    pub fn flush(&mut self) {
        if !self.pending.items.is_empty() || self.pending.standing.is_some() {
            self.channel.publish(self.number, &mut self.pending);
        }
    }

    /// Does periodic work.
    pub fn tick(&mut self, now: Instant) {
        self.flush();
        if !self.is_kept() {
            return;
        }
        if self.has_subscribers() {
            self.left = None;
            self.channel.trim();
            return;
        }
        let left = *self.left.get_or_insert(now);
        if now.saturating_duration_since(left) < GRACE {
            self.channel.trim();
        } else if self.channel.give_up() {
            (self.left, self.is_filling) = (None, false);
            self.heading = None;
            self.pending.take();
            self.pending.items.shrink_to_fit();
        }
    }

    #[cfg(test)]
    pub(super) fn heading_for_tests(&self) -> Arc<Heading> {
        Arc::clone(self.heading.as_ref().expect("it was described"))
    }

    fn stand(&mut self, mark: Option<Mark>) {
        self.standing = mark;
        self.pending.standing = Some(mark);
    }
}

impl Pending {
    /// What waits, and how many frames were left out before it.
    pub(super) fn take(&mut self) -> (std::vec::Drain<'_, Item>, u64) {
        self.bytes = 0;
        (self.items.drain(..), std::mem::take(&mut self.left_out))
    }

    fn bound(&mut self) {
        if self.items.len() > PENDING_MAX || self.bytes > PENDING_BYTES_MAX {
            let frames = |item: &Item| u64::from(matches!(item, Item::Frame(..)));
            self.left_out += self.items.iter().map(frames).sum::<u64>();
            self.items.clear();
            self.bytes = 0;
        }
    }
}

impl Drop for Publisher {
    /// It waits for the reader that is in the way, for as long as that reads one frame: the end
    /// must not be lost.
    fn drop(&mut self) {
        self.channel.publish_last(self.number, &mut self.pending);
        let (hub, stream) = &self.hub;
        hub.unpublish(*stream, &self.channel, self.number);
    }
}
