//! The consequences of a completed operation: publication after a sync, a retry on a full disk, or
//! the volume's failure.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use super::{Done, Writer};
use crate::disk::{BatchDisk, FileId, is_elsewhere};
use crate::format::index::Row;
use crate::ids::SegmentId;
use crate::locks::{read, write};
use crate::room::ALLOCATE_BYTES_MIN;
use crate::state::Job;
use crate::state::{OpenSegment, OpenState};
use crate::writer::NO_SPACE_RETRY;
use crate::writer::fill::{Contents, Ready, long_bytes};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// How often a writer tries to make room on a disk that its volume's path does not lead to any
/// more.
const REFUSALS_WHEN_LEFT_MAX: u32 = 4;

impl<D: BatchDisk> Writer<D> {
    pub(super) fn apply_done(&mut self, done: Done<D>) -> Result<(), String> {
        match done {
            Done::Created(id, bytes, result) => self.created(id, bytes, result),
            Done::Allocated(id, bytes, result) => self.allocated(id, bytes, result),
            Done::Written(batch, result) => self.written(batch, result),
            Done::Synced(started, result) => {
                result.map_err(|error| format!("flush: {error}"))?;
                self.synced(started);
                Ok(())
            }
        }
    }

    fn created(
        &mut self,
        id: SegmentId,
        bytes: u64,
        result: io::Result<(D::File, FileId)>,
    ) -> Result<(), String> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Ok(());
        };
        slot.is_busy = false;
        match result {
            Ok((opened, file)) => {
                slot.file = Some(opened);
                slot.allocated_bytes = bytes;
                let class = Arc::clone(&slot.class_name);
                let state = RwLock::new(OpenState {
                    closed_at: slot.fill.opened_at,
                    ..OpenState::default()
                });
                write(&self.shared.open).insert(id, Arc::new(OpenSegment { class, file, state }));
                self.seal_if_done(id);
                self.has_space();
                Ok(())
            }
            Err(error) => {
                let may_stay = is_elsewhere(&error) && !slot.is_left;
                // A segment that was discarded in the meantime is not retried.
                self.seal_if_done(id);
                if may_stay {
                    // What was accepted is still written, where the volume is.
                    self.shared.leave(&error);
                    return Ok(());
                }
                self.no_space_or(id, "open segment", error)
            }
        }
    }

    fn allocated(
        &mut self,
        id: SegmentId,
        bytes: u64,
        result: io::Result<()>,
    ) -> Result<(), String> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Ok(());
        };
        slot.is_busy = false;
        match result {
            Ok(()) => {
                slot.allocated_bytes += bytes;
                slot.allocate_step_bytes = self.shared.allocate_step_bytes;
                self.seal_if_done(id);
                self.has_space();
                Ok(())
            }
            Err(error) => self.no_space_or(id, "reserve room in segment", error),
        }
    }

    fn written(&mut self, batch: Ready<D::Buffer>, result: io::Result<()>) -> Result<(), String> {
        self.writes_in_flight -= 1;
        match result {
            Ok(()) => {
                self.ledger.written(batch.sequence);
                self.long_bytes -= long_bytes(batch.buffer.len());
                self.shared
                    .counters
                    .written_bytes
                    .fetch_add(batch.bytes as u64, Ordering::Relaxed);
                self.shared.counters.batches.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                let id = batch.segment;
                self.ready.push_front(batch);
                self.is_write_refused = true;
                self.no_space_or(id, "write segment", error)
            }
        }
    }

    /// A full disk is retried after a delay, each time with a smaller request; any other error is
    /// final.
    fn no_space_or(&mut self, id: SegmentId, action: &str, error: io::Error) -> Result<(), String> {
        if !matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Err(format!("{action} {id}: {error}"));
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.allocate_step_bytes = (slot.allocate_step_bytes / 2).max(ALLOCATE_BYTES_MIN);
        }
        if self.shared.is_left.load(Ordering::Relaxed) {
            // The node waits for the end of the writer before it takes up what is there now.
            self.refusals_when_left += 1;
            if self.refusals_when_left > REFUSALS_WHEN_LEFT_MAX {
                return Err(format!("{action} {id}: {error}"));
            }
        }
        if !self.budget.has_no_space.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                volume = %self.shared.options.path.display(),
                "the disk is full: deleting the oldest segments"
            );
        }
        self.retry_at = Some(Instant::now() + NO_SPACE_RETRY);
        self.keeper.send(Job::Reclaim).ok();
        Ok(())
    }

    fn has_space(&mut self) {
        self.budget.has_no_space.store(false, Ordering::Relaxed);
    }

    /// Publishes what the sync covered: first the index, then the watermarks, then the
    /// notification.
    fn synced(&mut self, started: Instant) {
        self.count_flush(started.elapsed());
        let durable = self.ledger.end_sync();
        let mut done: Vec<SegmentId> = Vec::new();
        for (id, contents) in &durable {
            self.publish(*id, contents);
            done.push(*id);
        }
        done.dedup();
        done.into_iter().for_each(|id| self.seal_if_done(id));
        self.shared
            .published
            .send_replace(self.ledger.published_below());
    }

    fn publish(&mut self, id: SegmentId, contents: &Contents) {
        if let Some(segment) = read(&self.shared.open).get(&id) {
            let mut state = write(&segment.state);
            contents.rows.iter().for_each(|row| state.index.add(*row));
            state.batches += 1;
            state.data_end = contents.end;
            state.closed_at = state.closed_at.max(contents.created_at);
        }
        let mut watermarks = write(&self.shared.watermarks);
        for row in &contents.rows {
            if let Row::Chunk(row) = row {
                watermarks.observe(&row.meta);
            }
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.unpublished -= 1;
        }
    }

    fn count_flush(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let counters = &self.shared.counters;
        counters.flushes.fetch_add(1, Ordering::Relaxed);
        counters.flush_us_last.store(took_us, Ordering::Relaxed);
        counters.flush_us_sum.fetch_add(took_us, Ordering::Relaxed);
        counters.flush_us_max.fetch_max(took_us, Ordering::Relaxed);
    }
}
