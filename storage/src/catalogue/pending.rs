//! Rows of segments that are listed one soon after the other, gathered to be written at once: each
//! bucket is then read and written once for many segments instead of once for each.

use super::keys::BucketKey;
use super::{Broken, StreamRow, put_bucket};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Rows that are gathered at most, some 250 bytes each.
const ROWS_MAX: usize = 16_384;

/// So many are worth a write when the next segment begins in another hour: then no bucket is read
/// again, or only few.
const ROWS_MIN: usize = 4_096;

#[derive(Default)]
pub(super) struct Pending {
    /// Whole buckets, by start.
    buckets: BTreeMap<BucketKey, Vec<StreamRow>>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    stream_rows: usize,
    /// The bucket in which the segment that came last begins.
    hour: Option<Timestamp>,
}

impl Pending {
    /// Whether to write what is here before another segment comes, whose first row lies in the
    /// bucket `hour`.
    pub(super) fn is_due(&self, hour: Option<Timestamp>) -> bool {
        let rows = self.stream_rows + self.rows.len();
        rows >= ROWS_MAX || (rows >= ROWS_MIN && self.hour != hour)
    }

    pub(super) fn begin(&mut self, hour: Option<Timestamp>) {
        self.hour = hour;
    }

    /// A row of the same segment is replaced. `stored` tells what the bucket holds already.
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

    /// Everything as one batch; empty afterwards.
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
