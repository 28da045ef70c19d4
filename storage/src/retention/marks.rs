//! When segments were closed, though the clock that stamped them may have been wrong. Pure.
//!
//! Segments are numbered in the order in which they are opened, whatever the clock says. A mark is
//! a moment at which the time was trusted: what has a smaller number was closed by then, the rest
//! later. Between its marks a segment's stamp counts.

use crate::ids::SegmentId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Beyond this many the oldest go: one a day, and one for each start.
pub const MARKS_MAX: usize = 1024;

/// How far marks of one process are apart, in microseconds.
const MARK_INTERVAL_US: i64 = 24 * 3600 * 1_000_000;

/// What has a number below `first` was closed at `at` or before, the rest later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub first: SegmentId,
    pub at: Timestamp,
}

/// By number, and by time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(Vec<Mark>);

impl Marks {
    /// Adds the mark of a start, or of a day. Returns whether it says more than those before.
    pub fn note(&mut self, mark: Mark, is_start: bool) -> bool {
        // What contradicts a later mark was trusted in error.
        self.0
            .retain(|known| known.at <= mark.at && known.first <= mark.first);
        let is_due = self
            .0
            .last()
            .is_none_or(|last| mark.at.micros_since(last.at) >= MARK_INTERVAL_US);
        let is_new = self.0.last().is_none_or(|last| last.first < mark.first);
        if !(is_new && (is_start || is_due)) {
            return false;
        }
        if self.0.len() >= MARKS_MAX {
            self.0.remove(0);
        }
        self.0.push(mark);
        true
    }

    /// When a segment with the stamp `closed_at` was closed at the latest that can be, `now` being
    /// trusted.
    #[must_use]
    pub fn closed_at(&self, id: SegmentId, closed_at: Timestamp, now: Timestamp) -> Timestamp {
        let next = self.0.partition_point(|mark| mark.first <= id);
        let from = next
            .checked_sub(1)
            .map_or(Timestamp::MIN, |last| self.0[last].at);
        let to = self.0.get(next).map_or(now, |mark| mark.at.min(now));
        closed_at.min(to).max(from.min(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = MARK_INTERVAL_US;

    fn mark(first: u64, day: i64) -> Mark {
        Mark {
            first: SegmentId(first),
            at: Timestamp(day * DAY),
        }
    }

    fn marks(all: &[Mark]) -> Marks {
        let mut marks = Marks::default();
        all.iter().for_each(|mark| _ = marks.note(*mark, true));
        marks
    }

    /// In days.
    fn closed(marks: &Marks, id: u64, day: i64, now: i64) -> i64 {
        marks
            .closed_at(SegmentId(id), Timestamp(day * DAY), Timestamp(now * DAY))
            .0
            / DAY
    }

    #[test]
    fn a_stamp_between_its_marks_counts() {
        let marks = marks(&[mark(1, 100), mark(10, 110)]);
        assert_eq!(closed(&marks, 5, 105, 120), 105);
        assert_eq!(closed(&marks, 12, 115, 120), 115);
    }

    #[test]
    fn what_was_recorded_in_1970_is_as_old_as_its_process() {
        assert_eq!(
            closed(&marks(&[mark(1, 100), mark(10, 110)]), 5, 0, 120),
            100
        );
        assert_eq!(closed(&marks(&[mark(1, 100)]), 5, 0, 120), 100);
    }

    #[test]
    fn what_was_recorded_two_years_ahead_ages_as_its_neighbours_do() {
        let known = marks(&[mark(1, 100), mark(10, 110)]);
        assert_eq!(closed(&known, 5, 830, 120), 110);
        assert_eq!(
            closed(&known, 12, 830, 120),
            120,
            "no more is known than that it was before now"
        );
        assert_eq!(closed(&Marks::default(), 12, 830, 120), 120);
    }

    #[test]
    fn without_marks_a_stamp_is_all_there_is() {
        assert_eq!(closed(&Marks::default(), 12, 80, 120), 80);
    }

    #[test]
    fn a_process_has_a_mark_a_day_and_one_that_is_contradicted_goes() {
        let mut marks = marks(&[mark(1, 100)]);
        assert!(!marks.note(
            Mark {
                first: SegmentId(7),
                at: Timestamp(100 * DAY + 1)
            },
            false
        ));
        assert!(marks.note(mark(8, 101), false));
        assert!(
            !marks.note(mark(8, 102), false),
            "nothing was recorded since"
        );
        assert!(
            marks.note(mark(9, 50), true),
            "the time before was trusted in error"
        );
        assert_eq!(marks.0, [mark(9, 50)]);
    }

    #[test]
    fn marks_are_bounded_and_the_oldest_go() {
        let all: Vec<Mark> = (0..2 * MARKS_MAX as i64)
            .map(|n| mark(n as u64, n))
            .collect();
        let marks = marks(&all);
        assert_eq!(marks.0.len(), MARKS_MAX);
        assert_eq!(marks.0.last(), all.last());
    }
}
