//! One stream between its publisher and its subscribers.
//!
//! All of them share one lock, held for as long as it takes to add a turn's frames, or to read one.
//! Publishers do not wait for it while they publish, and subscribers only for each other.

use super::budget::Budget;
use super::event::Mark;
use super::publisher::Pending;
use super::ring::{Cursor, Item, Read, Ring};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Channel {
    /// Whether the ring is filled.
    is_kept: AtomicBool,
    subscribers: AtomicUsize,
    /// There is something to read. One task waits for it, which wakes the subscribers.
    turned: Notify,
    readers: Notify,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    ring: Ring,
    /// Why no frames come; `None` while they do.
    pub(super) standing: Option<Mark>,
    /// The number of the present publisher.
    pub(super) publisher: Option<u64>,
    /// A task wakes the subscribers.
    is_relayed: bool,
}

/// The task that wakes a stream's subscribers.
struct Relay(Arc<Channel>);

impl Channel {
    pub(super) fn new(budget: Arc<Budget>, standing: Mark) -> Self {
        Self {
            is_kept: AtomicBool::new(false),
            subscribers: AtomicUsize::new(0),
            turned: Notify::new(),
            readers: Notify::new(),
            budget,
            state: Mutex::new(State {
                ring: Ring::default(),
                standing: Some(standing),
                publisher: None,
                is_relayed: false,
            }),
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Relaxed)
    }

    pub(super) fn has_subscribers(&self) -> bool {
        self.subscribers.load(Relaxed) > 0
    }

    /// Returns where the subscriber begins, and why no frames come if there are none to begin with.
    pub(super) fn add_subscriber(
        self: &Arc<Self>,
        may_begin_anywhere: bool,
    ) -> (Cursor, Option<Mark>) {
        let mut state = self.lock();
        self.subscribers.fetch_add(1, Relaxed);
        if !self.is_kept.swap(true, Relaxed) {
            self.budget.add_ring();
        }
        if !std::mem::replace(&mut state.is_relayed, true) {
            tokio::spawn(Relay(Arc::clone(self)).run());
        }
        let cursor = state.ring.cursor(may_begin_anywhere);
        let standing = state.standing.filter(|_| state.ring.is_read(&cursor));
        (cursor, standing)
    }

    /// Returns whether the channel is of no more use.
    pub(super) fn remove_subscriber(&self) -> bool {
        let state = self.lock();
        let is_last = self.subscribers.fetch_sub(1, Relaxed) == 1;
        if is_last {
            // It ends.
            self.turned.notify_one();
        }
        is_last && state.publisher.is_none()
    }

    /// Marks the end if `number` is the present publisher. Returns whether the channel is of no
    /// more use.
    pub(super) fn remove_publisher(&self, number: u64) -> bool {
        let mut state = self.lock();
        if state.publisher != Some(number) {
            return false;
        }
        (state.publisher, state.standing) = (None, Some(Mark::Ended));
        if self.is_kept() {
            self.add(&mut state.ring, Item::Mark(Mark::Ended));
            self.turned.notify_one();
        }
        !self.has_subscribers()
    }

    /// Adds what publisher `number` has to publish. Leaves it there if a reader is in the way.
    pub(super) fn publish(&self, number: u64, pending: &mut Pending) {
        if let Some(mut state) = self.try_lock() {
            self.take(&mut state, number, pending);
        }
    }

    /// As [`Self::publish`], but waits for the reader that is in the way.
    pub(super) fn publish_last(&self, number: u64, pending: &mut Pending) {
        self.take(&mut self.lock(), number, pending);
    }

    /// Stops filling the ring if there are no subscribers. Returns whether that is so.
    pub(super) fn give_up(&self) -> bool {
        let Some(mut state) = self.try_lock() else {
            return false;
        };
        if self.has_subscribers() {
            return false;
        }
        self.clear(&mut state.ring);
        true
    }

    /// Gives way to other rings if that is necessary.
    pub(super) fn trim(&self) {
        if let Some(mut state) = self.try_lock() {
            self.fit(&mut state.ring);
        }
    }

    pub(super) fn read(&self, cursor: &mut Cursor) -> Option<Read> {
        self.lock().ring.read(cursor)
    }

    /// Ends when there may be something to read. What comes after the call counts, even before the
    /// future is polled.
    pub(super) fn turned(&self) -> impl Future<Output = ()> {
        self.readers.notified()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn take(&self, state: &mut State, number: u64, pending: &mut Pending) {
        let is_present = state.publisher == Some(number);
        if let Some(standing) = pending.standing.take().filter(|_| is_present) {
            state.standing = standing;
        }
        let (items, left_out) = pending.take();
        if !is_present || !self.is_kept() {
            return;
        }
        state.ring.leave_out(left_out);
        for item in items {
            self.add(&mut state.ring, item);
        }
        self.turned.notify_one();
    }

    fn add(&self, ring: &mut Ring, item: Item) {
        let before = ring.bytes();
        ring.push(item);
        self.resized(ring, before);
    }

    fn fit(&self, ring: &mut Ring) {
        self.resized(ring, ring.bytes());
    }

    /// Makes a ring that had `before` bytes fit, and accounts for it.
    fn resized(&self, ring: &mut Ring, before: usize) {
        let mut is_cut = ring.fit(self.budget.allowance());
        let now = ring.bytes();
        let excess = self.budget.changed(before, now);
        if excess > 0 {
            is_cut |= ring.fit(now.saturating_sub(excess));
            self.budget.changed(now, ring.bytes());
        }
        if is_cut {
            self.budget.count_cut_gop();
        }
    }

    fn clear(&self, ring: &mut Ring) {
        self.budget.changed(ring.bytes(), 0);
        ring.clear();
        if self.is_kept.swap(false, Relaxed) {
            self.budget.remove_ring();
        }
    }
}

#[cfg(test)]
impl State {
    pub(super) fn ring_bytes(&self) -> usize {
        self.ring.bytes()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let mut ring = std::mem::take(
            &mut self
                .state
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .ring,
        );
        self.clear(&mut ring);
    }
}

impl Relay {
    /// Runs until no subscriber is left.
    async fn run(self) {
        loop {
            self.0.turned.notified().await;
            if !self.0.has_subscribers() {
                let mut state = self.0.lock();
                // One may have come since.
                if !self.0.has_subscribers() {
                    state.is_relayed = false;
                    return;
                }
            }
            self.0.readers.notify_waiters();
        }
    }
}
