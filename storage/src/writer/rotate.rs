//! Switches from one segment to the next. The next one is opened ahead, so that no batch waits for
//! a file, and discarded if it was not needed.

use super::plan::{Rotation, SegmentLimits, Successor};
use super::run::Writer;
use super::segment::Slot;
use crate::disk::BatchDisk;
use crate::ids::SegmentId;
use crate::state::Job;
use crate::time::Timestamp;
use std::sync::Arc;

impl<D: BatchDisk> Writer<D> {
    /// Makes sure that the class has a segment for a batch of `batch_bytes`.
    pub(super) fn rotate(&mut self, class: usize, batch_bytes: usize) {
        let now = self.shared.clock.now();
        match self.rotation(class, batch_bytes, now) {
            Rotation::Stay => {}
            Rotation::Prepare if self.is_closing => {}
            Rotation::Prepare => self.ahead[class] = Some(self.open_segment(class, now)),
            Rotation::TakeOver => self.take_over(class, now),
            Rotation::Open => {
                self.give_up_ahead(class);
                self.ahead[class] = Some(self.open_segment(class, now));
                self.take_over(class, now);
            }
        }
    }

    fn rotation(&self, class: usize, batch_bytes: usize, now: Timestamp) -> Rotation {
        let options = &self.shared.options;
        let limits = SegmentLimits::new(options.segment_time_max, options.segment_bytes_max);
        let ahead = self.ahead[class].and_then(|id| self.slots.get(&id));
        let successor = ahead.map_or(Successor::None, Slot::as_successor);
        match self.slot_of(class) {
            Some(slot) => slot.fill.rotation(batch_bytes, limits, successor, now),
            None => Rotation::Open,
        }
    }

    fn open_segment(&mut self, class: usize, now: Timestamp) -> SegmentId {
        let id = self.shared.take_segment_id();
        let name: Arc<str> = Arc::from(self.shared.class_name(class));
        self.slots.insert(
            id,
            Slot::new(id, name, self.shared.allocate_step_bytes, now),
        );
        self.start_create(id);
        id
    }

    /// Makes the segment opened ahead the class's current one; its time begins now.
    fn take_over(&mut self, class: usize, now: Timestamp) {
        let Some(next) = self.ahead[class].take() else {
            return;
        };
        self.retire(class);
        self.inits.forget_unused(Self::instant());
        self.current[class] = Some(next);
        if let Some(slot) = self.slots.get_mut(&next) {
            slot.fill.opened_at = now;
        }
    }

    pub(super) fn retire(&mut self, class: usize) {
        if let Some(id) = self.current[class].take() {
            self.end_segment(id);
        }
    }

    /// The segment opened ahead is not needed.
    pub(super) fn give_up_ahead(&mut self, class: usize) {
        if let Some(id) = self.ahead[class].take() {
            self.end_segment(id);
        }
    }

    fn end_segment(&mut self, id: SegmentId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.is_retired = true;
            self.seal_if_done(id);
        }
    }

    /// Passes a segment to the keeper once it is complete and everything in it is published. The
    /// keeper removes an empty one.
    pub(super) fn seal_if_done(&mut self, id: SegmentId) {
        if self
            .slots
            .get(&id)
            .is_some_and(|slot| slot.is_retired && slot.unpublished == 0 && !slot.is_busy)
        {
            self.slots.remove(&id);
            // Without a keeper the segment stays as it is, and is recovered at the next start.
            self.keeper.send(Job::Seal(id)).ok();
        }
    }
}
