//! The statistics of a volume, for metrics and the console.

use crate::disk::IoMode;
use crate::ids::CameraId;
use crate::locks::{lock, read};
use crate::retention::RetentionStatus;
use crate::state::ScrubStatus;
use crate::state::Shared;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot. Counters count from the opening of the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// `None` until the writer's thread is running.
    pub io_mode: Option<IoMode>,
    /// Bytes handed to the kernel in batches, padding included.
    pub written_bytes: u64,
    pub batches: u64,
    pub flushes: u64,
    pub flush_us_last: u64,
    pub flush_us_max: u64,
    pub flush_us_sum: u64,
    /// Bytes of the records that wait in memory.
    pub queued_bytes: u64,
    pub queued_bytes_max: u64,
    /// Segments that this process is writing or has not sealed yet.
    pub segments_open: u64,
    /// Sealed and listed.
    pub segments_sealed: u64,
    /// Bytes of the sealed segments.
    pub sealed_bytes: u64,
    /// Segments of earlier processes that were not listed when the catalogue was opened; recovery
    /// is complete when the same number is recovered or refused.
    pub segments_to_recover: u64,
    pub segments_recovered: u64,
    /// Left untouched: of a newer format, or unreadable.
    pub segments_refused: u64,
    /// Why the first of them was refused.
    pub first_refusal: Option<String>,
    pub segments_deleted: u64,
    pub deleted_bytes: u64,
    /// Batches that recovery found torn: a crash interrupted them before they were reported
    /// durable.
    pub torn_batches: u64,
    /// Batches that recovery found damaged although they had been flushed.
    pub damaged_batches: u64,
    /// Chunks that a reader requested and did not get because their checksum fails.
    pub damaged_reads: u64,
    /// Chunks found damaged by readers or the scrub, each once.
    pub damaged_chunks: u64,
    /// How many of them still exist.
    pub known_damaged: BTreeMap<CameraId, u64>,
    pub scrub: ScrubStatus,
    /// Time since the last complete pass of the scrub ended; `None` before the first.
    pub scrub_age_us: Option<u64>,
    pub chunks_without_init: u64,
    pub catalogue_rebuilds: u32,
    pub is_catalogue_open: bool,
    /// Of the filesystem, as retention last saw it.
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Copies of held footage, and held footage in its original segments (that part estimated).
    pub held_bytes: u64,
    /// What deleting everything deletable would free.
    pub deletable_bytes: u64,
    /// How much of [`crate::VolumeOptions::free_bytes_min`] is missing and cannot be freed.
    pub short_bytes: u64,
    /// See [`crate::retention::full_in_s`].
    pub full_in_s: Option<u64>,
    /// Segments of held footage that were copied before their original was deleted, and their
    /// bytes.
    pub copied_segments: u64,
    pub copied_bytes: u64,
    /// Until the holds are known, nothing is deleted.
    pub are_holds_known: bool,
    /// The disk refused the last write for lack of space.
    pub has_no_space: bool,
    /// And nothing on it may be deleted.
    pub is_stuck: bool,
    pub failed: Option<String>,
    pub retention: RetentionStatus,
}

impl Stats {
    /// The statistics of a volume that could not be opened.
    #[must_use]
    pub fn of_unopened(reason: &str) -> Self {
        Self {
            failed: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    /// Whether every segment of earlier processes is listed or refused.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.is_catalogue_open
            && self.segments_recovered + self.segments_refused >= self.segments_to_recover
    }
}

pub(crate) fn collect(shared: &Shared, queued_bytes: u64, has_no_space: bool) -> Stats {
    let counters = &shared.counters;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let scrub = shared.scrub.status();
    let known = read(&shared.known);
    let full_in_s = load(&counters.full_in_s);
    Stats {
        io_mode: *lock(&shared.io_mode),
        written_bytes: load(&counters.written_bytes),
        batches: load(&counters.batches),
        flushes: load(&counters.flushes),
        flush_us_last: load(&counters.flush_us_last),
        flush_us_max: load(&counters.flush_us_max),
        flush_us_sum: load(&counters.flush_us_sum),
        queued_bytes,
        queued_bytes_max: shared.options.buffer_bytes_max,
        segments_open: read(&shared.open).len() as u64,
        segments_sealed: known.len() as u64,
        sealed_bytes: known.values().map(|known| known.bytes).sum(),
        segments_to_recover: load(&counters.segments_to_recover),
        segments_recovered: load(&counters.segments_recovered),
        segments_refused: load(&counters.refused_segments),
        first_refusal: lock(&shared.first_refusal).clone(),
        segments_deleted: load(&counters.deleted_segments),
        deleted_bytes: load(&counters.deleted_bytes),
        torn_batches: load(&counters.torn_batches),
        damaged_batches: load(&counters.damaged_batches),
        damaged_reads: load(&counters.damaged_reads),
        damaged_chunks: load(&counters.damaged_chunks),
        known_damaged: read(&shared.damage).by_camera(),
        scrub_age_us: scrub
            .last_ended_at
            .map(|ended_at| age_us(shared.clock.now(), ended_at)),
        scrub,
        chunks_without_init: load(&counters.chunks_without_init),
        catalogue_rebuilds: counters.catalogue_rebuilds.load(Ordering::Relaxed),
        is_catalogue_open: read(&shared.catalogue).is_some(),
        free_bytes: load(&counters.free_bytes),
        total_bytes: load(&counters.total_bytes),
        held_bytes: load(&counters.held_bytes),
        deletable_bytes: load(&counters.deletable_bytes),
        short_bytes: load(&counters.short_bytes),
        full_in_s: (full_in_s != u64::MAX).then_some(full_in_s),
        copied_segments: load(&counters.copied_segments),
        copied_bytes: load(&counters.copied_bytes),
        are_holds_known: read(&shared.holds).is_some(),
        has_no_space,
        is_stuck: has_no_space && counters.has_nothing_deletable.load(Ordering::Relaxed),
        failed: shared.failed.borrow().as_deref().map(str::to_owned),
        retention: shared.retention.status(),
    }
}

/// Zero if the clock was set back.
fn age_us(now: Timestamp, then: Timestamp) -> u64 {
    u64::try_from(now.micros_since(then)).unwrap_or(0)
}
