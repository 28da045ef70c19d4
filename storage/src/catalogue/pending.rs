//! Collects the rows of segments that are listed in quick succession, so that each bucket is read
//! and written once for many segments instead of once per segment.

use super::keys::BucketKey;
use super::{Broken, StreamRow, put_bucket};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The most rows that are collected, some 250 bytes each.
const ROWS_MAX: usize = 16_384;

/// With this many rows a write is worth it when the next segment begins in another hour: then few
/// or no buckets are read twice.
const ROWS_MIN: usize = 4_096;

#[derive(Default)]
pub(super) struct Pending {
    /// Whole buckets, by start.
    buckets: BTreeMap<BucketKey, Vec<StreamRow>>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    stream_rows: usize,
    /// The bucket in which the most recent segment begins.
    hour: Option<Timestamp>,
}

impl Pending {
    /// Whether to write the collected rows before adding another segment, whose first row is in the
    /// bucket `hour`.
    pub(super) fn is_due(&self, hour: Option<Timestamp>) -> bool {
        let rows = self.stream_rows + self.rows.len();
        rows >= ROWS_MAX || (rows >= ROWS_MIN && self.hour != hour)
    }

    pub(super) fn begin(&mut self, hour: Option<Timestamp>) {
        self.hour = hour;
    }

    /// Adds a row, replacing one of the same segment. `stored` returns the bucket's present value.
    pub(super) fn add_row(
        &mut self,
        key: BucketKey,
        row: StreamRow,
        stored: impl FnOnce() -> Result<Vec<StreamRow>, Broken>,
    ) -> Result<(), Broken> {
        let rows = match self.buckets.entry(key) {
            Entry::Occupied(bucket) => bucket.into_mut(),
            Entry::Vacant(bucket) => bucket.insert(stored()?),
        };
        self.stream_rows += 1;
        rows.retain(|other| other.segment != row.segment);
        let at =
            rows.partition_point(|other| (other.start, other.segment) < (row.start, row.segment));
        rows.insert(at, row);
        Ok(())
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rows.insert(key, value);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.rows.get(key).map(Vec::as_slice)
    }

    /// Everything as one batch; nothing is left afterwards.
    pub(super) fn take(&mut self) -> Result<Option<sled::Batch>, Broken> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let Self { buckets, rows, .. } = std::mem::take(self);
        let mut batch = sled::Batch::default();
        for (key, rows) in buckets {
            put_bucket(&mut batch, key, &rows)?;
        }
        rows.into_iter()
            .for_each(|(key, value)| batch.insert(key, value));
        Ok(Some(batch))
    }
}
