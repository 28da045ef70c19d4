//! Which segments are being listed from their batches, and which could not be. Pure.

use crate::ids::SegmentId;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A segment that could not be read is tried again after this time, in microseconds.
const RETRY_AFTER_US: i64 = 600_000_000;

/// Why a segment is not to be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// Another reader is at it.
    UnderWay,
    /// It could not be read a while ago.
    Failed,
}

#[derive(Debug, Default)]
pub(crate) struct Rescans {
    under_way: BTreeSet<SegmentId>,
    failed: BTreeMap<SegmentId, Timestamp>,
}

impl Rescans {
    pub(crate) fn begin(&mut self, segment: SegmentId, now: Timestamp) -> Result<(), NotNow> {
        let is_recent = |at: &Timestamp| (0..RETRY_AFTER_US).contains(&now.micros_since(*at));
        if self.failed.get(&segment).is_some_and(is_recent) {
            return Err(NotNow::Failed);
        }
        self.failed.remove(&segment);
        if self.under_way.insert(segment) {
            Ok(())
        } else {
            Err(NotNow::UnderWay)
        }
    }

    pub(crate) fn end(&mut self, segment: SegmentId) {
        self.under_way.remove(&segment);
    }

    pub(crate) fn fail(&mut self, segment: SegmentId, now: Timestamp) {
        self.failed.insert(segment, now);
    }

    pub(crate) fn forget(&mut self, segment: SegmentId) {
        self.failed.remove(&segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_by_one_reader_and_not_again_soon_after_it_failed() {
        let (mut rescans, one, other) = (Rescans::default(), SegmentId(1), SegmentId(2));
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        assert_eq!(rescans.begin(one, at(0)), Ok(()));
        assert_eq!(rescans.begin(one, at(1)), Err(NotNow::UnderWay));
        assert_eq!(rescans.begin(other, at(1)), Ok(()));
        rescans.end(one);
        assert_eq!(rescans.begin(one, at(2)), Ok(()));
        rescans.fail(one, at(3));
        rescans.end(one);
        assert_eq!(rescans.begin(one, at(602)), Err(NotNow::Failed));
        assert_eq!(rescans.begin(one, at(603)), Ok(()));
        rescans.end(one);
        rescans.fail(one, at(700));
        assert_eq!(
            rescans.begin(one, at(600)),
            Ok(()),
            "the clock was set back"
        );
        rescans.end(one);
        rescans.fail(one, at(700));
        rescans.forget(one);
        assert_eq!(rescans.begin(one, at(701)), Ok(()));
    }
}
