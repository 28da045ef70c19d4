//! Hands the frames that this node records to subscribers, such as live views.
//!
//! The recorder comes first, and by a plain call: it stamps a frame, stores it, and then publishes
//! what it stored. No queue lies between a camera's session and the store, so recording depends on
//! nothing here, and a published frame has the bytes, the times and the epoch of the stored one.
//!
//! Each stream has a *ring* of its newest frames, which shares the recorder's buffers. It is filled
//! only while the stream has subscribers, and for [`GRACE`] after that: without subscribers a frame
//! costs one relaxed load, and memory nothing. The ring begins with the frames of the chunk
//! that was open when the first subscriber came; everything before them is handed to the store, so
//! that a subscriber can join the two without a missing or a doubled frame ([`Start::Anywhere`]).
//!
//! A subscriber that falls behind what its ring holds skips to the newest keyframe. The publisher
//! never waits: if a reader holds the ring just then, the turn's frames are added in the next one.
//! A publisher wakes one task per turn, which wakes the stream's subscribers on their own threads,
//! so that their number costs the ingest thread nothing.

mod budget;
mod channel;
mod event;
mod publisher;
mod ring;
mod subscriber;

pub use self::event::{Frame, Origin, Published};
pub use self::publisher::{GRACE, Publisher};
pub use self::subscriber::{Start, Subscriber};

use self::budget::Budget;
use self::channel::Channel;
use self::event::Mark;
use holdfast_storage::ids::StreamId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What one ring may hold, in bytes.
    pub ring_bytes_max: usize,
    /// What all rings of the node may hold together, in bytes.
    pub bytes_max: usize,
    pub subscribers_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes_max: 8 << 20,
            bytes_max: 256 << 20,
            subscribers_max: 1024,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has as many subscribers as it accepts ({0})")]
pub struct Full(usize);

/// What a hub does at one moment, and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub subscribers: usize,
    pub ring_bytes: usize,
    /// Frames that subscribers missed because they were too slow.
    pub skipped_frames: u64,
    /// GOPs that did not fit into their ring, so that no subscriber could begin with them.
    pub cut_gops: u64,
}

/// The node's streams; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    channels: Mutex<BTreeMap<StreamId, Arc<Channel>>>,
    budget: Arc<Budget>,
    subscribers_max: usize,
    subscribers: AtomicUsize,
    skipped_frames: AtomicU64,
    /// Of the last publisher.
    number: AtomicU64,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Hub {
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            channels: Mutex::default(),
            budget: Arc::new(Budget::new(options.ring_bytes_max, options.bytes_max)),
            subscribers_max: options.subscribers_max,
            subscribers: AtomicUsize::new(0),
            skipped_frames: AtomicU64::new(0),
            number: AtomicU64::new(0),
        }))
    }

    /// For the recorder of a stream. Its subscribers stay when it is dropped, and continue with the
    /// next one; if there are two at once, the newer one counts.
    #[must_use]
    pub fn publisher(&self, stream: StreamId) -> Publisher {
        let mut channels = self.0.channels();
        let channel = Arc::clone(channels.entry(stream).or_insert_with(|| self.0.channel()));
        let number = self.0.number.fetch_add(1, Relaxed) + 1;
        let mut state = channel.lock();
        (state.publisher, state.standing) = (Some(number), None);
        drop(state);
        drop(channels);
        Publisher::new((self.clone(), stream), channel, number)
    }

    /// Subscribes to a stream, whether this node records it or not. Must be called on the runtime
    /// that reads: a task there wakes the stream's subscribers.
    ///
    /// # Errors
    /// The node has as many subscribers as it accepts.
    pub fn subscribe(&self, stream: StreamId, start: Start) -> Result<Subscriber, Full> {
        let max = self.0.subscribers_max;
        let one_more = |count| (count < max).then_some(count + 1);
        if self
            .0
            .subscribers
            .fetch_update(Relaxed, Relaxed, one_more)
            .is_err()
        {
            return Err(Full(max));
        }
        let mut channels = self.0.channels();
        let channel = Arc::clone(channels.entry(stream).or_insert_with(|| self.0.channel()));
        let (cursor, standing) = channel.add_subscriber(start == Start::Anywhere);
        drop(channels);
        Ok(Subscriber::new(
            (self.clone(), stream),
            channel,
            cursor,
            standing,
        ))
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            subscribers: self.0.subscribers.load(Relaxed),
            ring_bytes: self.0.budget.used(),
            skipped_frames: self.0.skipped_frames.load(Relaxed),
            cut_gops: self.0.budget.cut_gops(),
        }
    }

    /// A publisher has ended. If it is the stream's present one, subscribers are to see that.
    fn unpublish(&self, stream: StreamId, channel: &Channel, number: u64) {
        let mut channels = self.0.channels();
        let is_unused = channel.remove_publisher(number);
        forget(&mut channels, stream, channel, is_unused);
    }

    fn unsubscribe(&self, stream: StreamId, channel: &Channel) {
        let mut channels = self.0.channels();
        let is_unused = channel.remove_subscriber();
        forget(&mut channels, stream, channel, is_unused);
        self.0.subscribers.fetch_sub(1, Relaxed);
    }
}

fn forget(
    channels: &mut BTreeMap<StreamId, Arc<Channel>>,
    stream: StreamId,
    channel: &Channel,
    is_unused: bool,
) {
    let is_listed = channels
        .get(&stream)
        .is_some_and(|listed| std::ptr::eq(Arc::as_ptr(listed), channel));
    if is_unused && is_listed {
        channels.remove(&stream);
    }
}

impl Shared {
    fn channel(&self) -> Arc<Channel> {
        Arc::new(Channel::new(Arc::clone(&self.budget), Mark::Ended))
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<StreamId, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
