//! The writer's decisions. Pure: sizes, times and limits are arguments.

use super::ALLOCATE_BYTES_MIN;
use crate::chunk::{InitId, Record};
use crate::ids::CameraId;
use crate::time::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// The most chunks of one segment, plus an eighth while the next one's file is being created:
/// bounds the index that is held in memory until the segment is sealed.
pub(crate) const SEGMENT_CHUNKS_MAX: usize = 200_000;

/// The next segment is opened this long before the present one is full, or an eighth of its time if
/// that is less.
const AHEAD_US_MAX: i64 = 2_000_000;

/// The same in bytes, or an eighth of its length if that is less.
const AHEAD_BYTES_MAX: u64 = 16 << 20;

/// How far a segment may exceed its length while the next one's file is being created, or half its
/// length if that is less.
const OVERRUN_BYTES_MAX: u64 = 64 << 20;

/// When a segment has to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentLimits {
    pub(crate) time_us_max: i64,
    pub(crate) bytes_max: u64,
    pub(crate) chunks_max: usize,
}

impl SegmentLimits {
    pub(crate) fn new(time_max: Duration, bytes_max: u64) -> Self {
        let time_us_max = i64::try_from(time_max.as_micros()).unwrap_or(i64::MAX);
        Self {
            time_us_max,
            bytes_max,
            chunks_max: SEGMENT_CHUNKS_MAX,
        }
    }

    /// The limits at which the next segment is opened.
    fn ahead(self) -> Self {
        Self {
            time_us_max: self.time_us_max - (self.time_us_max / 8).min(AHEAD_US_MAX),
            bytes_max: self.bytes_max - (self.bytes_max / 8).min(AHEAD_BYTES_MAX),
            chunks_max: self.chunks_max - self.chunks_max / 8,
        }
    }

    /// The limits at which a segment ends even if batches have to wait for the next one. Exceeding
    /// the time alone does no harm.
    fn overrun(self) -> Self {
        let bytes_max = self
            .bytes_max
            .saturating_add((self.bytes_max / 2).min(OVERRUN_BYTES_MAX));
        Self {
            time_us_max: i64::MAX,
            bytes_max,
            chunks_max: self.chunks_max + self.chunks_max / 8,
        }
    }
}

/// The segment opened ahead, which follows the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    None,
    /// Its file is being created.
    Coming,
    Ready {
        opened_at: Timestamp,
    },
}

/// What to do with a class's segments before its next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// The batch goes into the present segment.
    Stay,
    /// Like `Stay`, and the next segment is opened.
    Prepare,
    /// The segment opened ahead takes over, whether its file exists or not.
    TakeOver,
    /// A segment opened now takes over, and the batch waits for its file. A segment opened ahead
    /// long ago is discarded: ids have to follow the age of the contents, and other classes have
    /// opened newer ones since.
    Open,
}

/// How far an open segment is filled. Offsets are in bytes from the start of its file.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) opened_at: Timestamp,
    /// Where the next batch goes.
    pub(crate) next_offset: u64,
    pub(crate) next_batch: u32,
    pub(crate) chunks: usize,
    /// Init segments that this segment already contains.
    pub(crate) inits: HashSet<(CameraId, InitId)>,
}

impl Fill {
    /// Whether the segment should end before a batch of `batch_bytes`. A clock that jumped back
    /// does not keep it open forever: the limits of bytes and chunks do not depend on the clock.
    fn is_full(&self, batch_bytes: usize, limits: SegmentLimits, now: Timestamp) -> bool {
        let is_empty = self.next_batch == 0;
        let age_us = now.micros_since(self.opened_at);
        !is_empty
            && (age_us >= limits.time_us_max
                || age_us < -limits.time_us_max
                || self.next_offset + batch_bytes as u64 > limits.bytes_max
                || self.chunks >= limits.chunks_max)
    }

    /// How to continue after this segment. No batch waits for a file if the disk creates one within
    /// [`AHEAD_US_MAX`] and the bytes of an overrun.
    pub(crate) fn rotation(
        &self,
        batch_bytes: usize,
        limits: SegmentLimits,
        successor: Successor,
        now: Timestamp,
    ) -> Rotation {
        let is_full = |limits| self.is_full(batch_bytes, limits, now);
        let is_stale = |opened_at| {
            now.micros_since(opened_at).unsigned_abs() > limits.time_us_max.unsigned_abs()
        };
        match successor {
            Successor::Ready { opened_at } if is_full(limits) && is_stale(opened_at) => {
                Rotation::Open
            }
            Successor::Ready { .. } if is_full(limits) => Rotation::TakeOver,
            Successor::Coming if is_full(limits.overrun()) => Rotation::TakeOver,
            Successor::None if is_full(limits.overrun()) => Rotation::Open,
            Successor::None if is_full(limits.ahead()) => Rotation::Prepare,
            _ => Rotation::Stay,
        }
    }

    /// The init segment that must be written before `record`, so that this file alone can be
    /// decoded.
    pub(crate) fn missing_init(&self, record: &Record) -> Option<(CameraId, InitId)> {
        let Record::Chunk(chunk) = record else {
            return None;
        };
        let key = (chunk.meta.camera, chunk.meta.init);
        (!self.inits.contains(&key)).then_some(key)
    }

    /// Notes a record that is written to this segment.
    pub(crate) fn note(&mut self, record: &Record) {
        match record {
            Record::Chunk(_) => self.chunks += 1,
            Record::Init(init) => {
                self.inits.insert((init.camera, init.id()));
            }
            Record::Gap(_) => {}
        }
    }
}

/// How many bytes to reserve next, given what is reserved and needed; `None` while enough is
/// reserved. `step` is the present request size, `step_max` the one used while the disk has space.
pub(crate) fn allocate_next(allocated: u64, needed: u64, step: u64, step_max: u64) -> Option<u64> {
    let is_short = needed + step_max / 2 > allocated;
    is_short.then(|| {
        step.max(needed.saturating_sub(allocated))
            .max(ALLOCATE_BYTES_MIN)
    })
}

#[cfg(test)]
mod tests;
