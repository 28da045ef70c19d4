//! What the writer decides. Pure: sizes, times and limits come in as values.

use super::{ALLOCATE_BYTES_MIN, ALLOCATE_STEP_BYTES};
use crate::chunk::{InitId, Record};
use crate::ids::CameraId;
use crate::time::Timestamp;
use std::collections::HashSet;

/// Chunks of one segment: bounds the index that is held in memory until it is sealed.
pub(crate) const SEGMENT_CHUNKS_MAX: usize = 200_000;

/// When a segment has to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentLimits {
    pub(crate) time_us_max: i64,
    pub(crate) bytes_max: u64,
}

/// How far an open segment is filled. Offsets are in bytes from the start of its file.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) opened_at: Timestamp,
    /// Where the next batch goes.
    pub(crate) next_offset: u64,
    pub(crate) next_batch: u32,
    pub(crate) chunks: usize,
    /// Init segments that stand in this segment already.
    pub(crate) inits: HashSet<(CameraId, InitId)>,
}

impl Fill {
    /// Whether the segment should end before a batch of `batch_bytes`. A clock that jumped back does not keep it open for ever: bytes and chunks do not look at it.
    pub(crate) fn is_full(&self, batch_bytes: usize, limits: SegmentLimits, now: Timestamp) -> bool {
        let is_empty = self.next_batch == 0;
        let age_us = now.micros_since(self.opened_at);
        !is_empty
            && (age_us >= limits.time_us_max
                || age_us < -limits.time_us_max
                || self.next_offset + batch_bytes as u64 > limits.bytes_max
                || self.chunks >= SEGMENT_CHUNKS_MAX)
    }

    /// The init segment that must be written before `record`, so that this file alone can be decoded.
    pub(crate) fn missing_init(&self, record: &Record) -> Option<(CameraId, InitId)> {
        let Record::Chunk(chunk) = record else { return None };
        let key = (chunk.meta.camera, chunk.meta.init);
        (!self.inits.contains(&key)).then_some(key)
    }

    /// Takes note of a record that goes into this segment.
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

/// How many bytes to reserve next, given what is reserved and needed; `None` while there is enough ahead.
pub(crate) fn allocate_next(allocated: u64, needed: u64, step: u64) -> Option<u64> {
    let is_short = needed + ALLOCATE_STEP_BYTES / 2 > allocated;
    is_short.then(|| step.max(needed.saturating_sub(allocated)).max(ALLOCATE_BYTES_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SegmentLimits = SegmentLimits { time_us_max: 60_000_000, bytes_max: 10_000_000 };

    fn fill() -> Fill {
        Fill { opened_at: Timestamp(0), next_offset: 4096, next_batch: 1, chunks: 0, inits: HashSet::new() }
    }

    #[test]
    fn a_segment_ends_by_time_bytes_and_chunks() {
        assert!(!fill().is_full(1 << 20, LIMITS, Timestamp(59_999_999)));
        assert!(fill().is_full(1 << 20, LIMITS, Timestamp(60_000_000)));
        assert!(Fill { next_offset: 9_000_000, ..fill() }.is_full(1 << 20, LIMITS, Timestamp(0)));
        assert!(Fill { chunks: SEGMENT_CHUNKS_MAX, ..fill() }.is_full(4096, LIMITS, Timestamp(0)));
    }

    #[test]
    fn an_empty_segment_takes_even_a_batch_that_is_too_long() {
        assert!(!Fill { next_batch: 0, ..fill() }.is_full(20_000_000, LIMITS, Timestamp(0)));
    }

    #[test]
    fn a_clock_that_jumped_far_back_ends_the_segment() {
        assert!(!fill().is_full(4096, LIMITS, Timestamp(-1)));
        assert!(fill().is_full(4096, LIMITS, Timestamp(-60_000_001)));
    }

    #[test]
    fn room_is_reserved_ahead_and_for_a_long_batch_at_once() {
        let step = ALLOCATE_STEP_BYTES;
        assert_eq!(allocate_next(step, 4096, step), None);
        assert_eq!(allocate_next(step, step - 1, step), Some(step));
        assert_eq!(allocate_next(0, 3 * step, step), Some(3 * step));
    }
}
