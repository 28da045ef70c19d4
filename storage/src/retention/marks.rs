//! Determines when segments were closed, although the clock that stamped them may have been wrong.
//! Pure.
//!
//! Segments are numbered in the order in which they are opened, whatever the clock says. A mark is
//! a moment at which the time was trusted: segments with smaller numbers were closed by then, the
//! rest later. A stamp counts only if the process that wrote it trusted its clock then, and only
//! between its marks. Segments of any other process are as young as the marks allow: they may have
//! been recorded a moment before the next one.

use crate::ids::SegmentId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One for each start, and one a day. Beyond this many, neighbours of the same trust are joined.
pub const MARKS_MAX: usize = 1024;

/// How far marks of one process are apart, in microseconds.
const MARK_INTERVAL_US: i64 = 24 * 3600 * 1_000_000;

/// The most marks of starts between which nothing was recorded: one for the segments before them,
/// one for those after.
const SAME_FIRST_MAX: usize = 2;

/// Segments with numbers below `first` were closed at `at` or before, the rest later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    first: SegmentId,
    at: Timestamp,
    /// The stamps of what has a number from `first` up to this one count.
    #[serde(default)]
    dated_to: SegmentId,
}

/// By number, and by time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(Vec<Mark>);

impl Marks {
    /// A process that began at `at` with the segment `first`, or had it open then, trusts its
    /// clock. On a volume without a past there is nothing that could contradict a clock: there
    /// it marks no more than where that past begins, until it was trusted for a day, or another
    /// has vouched for it. Returns whether the last mark is this process's now.
    pub fn begin(&mut self, first: SegmentId, at: Timestamp, is_vouched: bool) -> bool {
        self.refute(first, at);
        // A directory that was put back gives numbers a second time.
        self.doubt(first);
        if !self.0.is_empty() && !self.is_backed(at) && !is_vouched {
            return false;
        }
        if self
            .0
            .iter()
            .rev()
            .take_while(|mark| mark.first == first)
            .count()
            >= SAME_FIRST_MAX
        {
            self.0.pop();
        }
        self.push(Mark {
            first,
            at,
            dated_to: first,
        });
        true
    }

    /// A process trusts its clock at `at`: the oldest segment that is written is `open`, and the
    /// one that is opened next will be `next`. `is_own`: the last mark is this process's, and it
    /// has trusted its clock since; returns whether that is so now. Otherwise the process begins
    /// here, once its stamps count: what it closed before is dated by no mark of its own.
    pub fn extend(
        &mut self,
        (open, next): (SegmentId, SegmentId),
        at: Timestamp,
        (is_vouched, is_own): (bool, bool),
    ) -> bool {
        let is_refuted = self.refute(open, at);
        let counts = self.is_backed(at) || is_vouched;
        let mut is_own = is_own && !is_refuted;
        if self.0.is_empty() || counts && !is_own {
            is_own = self.begin(open, at, is_vouched);
        }
        let counts = self.is_backed(at) || is_vouched;
        let Some(last) = self.0.last_mut().filter(|_| counts && is_own) else {
            return is_own;
        };
        last.dated_to = last.dated_to.max(next);
        if last.first < open && at.micros_since(last.at) >= MARK_INTERVAL_US {
            last.dated_to = open;
            self.push(Mark {
                first: open,
                at,
                dated_to: next,
            });
        }
        is_own
    }

    /// The segment `id`, which was taken for closed, is written again: no mark may say that it was
    /// closed before. Returns whether one did.
    pub fn reopen(&mut self, id: SegmentId) -> bool {
        let before = self.0.len();
        self.0.retain(|mark| mark.first <= id);
        self.doubt(id) || self.0.len() != before
    }

    /// Whether the volume was in use a day before `at`.
    #[must_use]
    pub fn is_backed(&self, at: Timestamp) -> bool {
        self.0
            .first()
            .is_some_and(|oldest| at.micros_since(oldest.at) >= MARK_INTERVAL_US)
    }

    /// From the segment `open` on, stamps no longer count. Returns whether any did before.
    pub fn doubt(&mut self, open: SegmentId) -> bool {
        let Some(last) = self.0.last_mut().filter(|last| last.dated_to > open) else {
            return false;
        };
        last.dated_to = open;
        true
    }

    /// When a segment with the stamp `closed_at` was closed at the latest that can be, `now` being
    /// trusted.
    #[must_use]
    pub fn closed_at(&self, id: SegmentId, closed_at: Timestamp, now: Timestamp) -> Timestamp {
        let next = self.0.partition_point(|mark| mark.first <= id);
        // The beginning of a past may be known from a clock alone: it makes nothing older.
        let to = self.0.get(next.max(1)).map_or(now, |mark| mark.at.min(now));
        match next.checked_sub(1).map(|last| self.0[last]) {
            Some(from) if id < from.dated_to => closed_at.min(to).max(from.at.min(to)),
            _ => to,
        }
    }

    /// What contradicts a later mark was trusted in error. Returns whether there was any.
    fn refute(&mut self, first: SegmentId, at: Timestamp) -> bool {
        let before = self.0.len();
        self.0
            .retain(|known| known.at <= at && known.first <= first);
        self.0.len() != before
    }

    fn push(&mut self, mark: Mark) {
        if self.0.len() >= MARKS_MAX {
            self.make_room();
        }
        self.0.push(mark);
    }

    /// Joins the oldest two between which all stamps count. If there are none, the oldest goes: the
    /// segments that it dated are then as young as the next one allows.
    fn make_room(&mut self) {
        let joined = self
            .0
            .windows(2)
            .position(|two| two[0].dated_to >= two[1].first);
        let gone = self.0.remove(joined.map_or(0, |at| at + 1));
        if let Some(at) = joined {
            self.0[at].dated_to = gone.dated_to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = MARK_INTERVAL_US;

    fn day(day: i64) -> Timestamp {
        Timestamp(day * DAY)
    }

    /// Processes that trusted their clocks from their start on: the first segment, the one after
    /// the last, and when it began.
    fn marks(all: &[(u64, u64, i64)]) -> Marks {
        let mut marks = Marks::default();
        for (first, next, at) in all {
            marks.begin(SegmentId(*first), day(*at), true);
            marks.begin(SegmentId(*first), day(*at), true);
            marks.extend(
                (SegmentId(*first), SegmentId(*next)),
                day(*at),
                (true, true),
            );
        }
        marks
    }

    /// In days.
    fn closed(marks: &Marks, id: u64, stamp: i64, now: i64) -> i64 {
        marks.closed_at(SegmentId(id), day(stamp), day(now)).0 / DAY
    }

    #[test]
    fn a_stamp_between_its_marks_counts() {
        let marks = marks(&[(1, 10, 100), (10, 20, 110)]);
        assert_eq!(closed(&marks, 5, 105, 120), 105);
        assert_eq!(closed(&marks, 12, 115, 120), 115);
    }

    #[test]
    fn what_was_recorded_in_1970_is_as_old_as_its_process() {
        assert_eq!(
            closed(&marks(&[(1, 10, 100), (10, 20, 110)]), 5, 0, 120),
            100
        );
        assert_eq!(closed(&marks(&[(1, 10, 100)]), 5, 0, 120), 100);
    }

    #[test]
    fn what_was_recorded_two_years_ahead_ages_as_its_neighbours_do() {
        let known = marks(&[(1, 10, 100), (10, 20, 110)]);
        assert_eq!(closed(&known, 5, 830, 120), 110);
        assert_eq!(
            closed(&known, 12, 830, 120),
            120,
            "no more is known than that it was before now"
        );
        assert_eq!(closed(&Marks::default(), 12, 830, 120), 120);
    }

    #[test]
    fn what_a_process_stamped_that_never_trusted_its_clock_is_as_young_as_can_be() {
        let first_ever = marks(&[(10, 20, 110)]);
        assert_eq!(
            closed(&first_ever, 5, 0, 120),
            110,
            "recorded in 1970 before the first process that knew"
        );
        let between = marks(&[(1, 5, 50), (10, 20, 110)]);
        assert_eq!(
            [closed(&between, 4, 60, 120), closed(&between, 5, 60, 120)],
            [60, 110],
            "and between two that knew"
        );
        assert_eq!(
            closed(&Marks::default(), 12, 80, 120),
            120,
            "none ever knew"
        );
    }

    #[test]
    fn the_first_clock_of_a_volume_dates_recordings_after_a_day_or_once_another_vouches() {
        let hour = |hour: i64| Timestamp(100 * DAY + hour * DAY / 24);
        // Stamps of the day before, which no mark allows.
        let shown = |marks: &Marks| [1, 5, 8].map(|id| closed(marks, id, 100, 130));
        let mut steady = Marks::default();
        let mut extend = |open: u64, at| {
            steady.extend((SegmentId(open), SegmentId(open + 1)), at, (false, true));
            shown(&steady)
        };
        assert_eq!(extend(1, hour(0)), [130; 3]);
        assert_eq!(
            extend(5, hour(23)),
            [130; 3],
            "it may be weeks behind, and nothing says so"
        );
        assert_eq!(
            extend(7, hour(24)),
            [100, 100, 130],
            "it has been the same clock since"
        );
        assert_eq!(extend(9, hour(25)), [100, 100, 101]);
        let mut doubted = Marks::default();
        let mut extend = |open: u64, at, is_own| {
            let range = (SegmentId(open), SegmentId(open + 1));
            let is_own = doubted.extend(range, at, (false, is_own));
            (shown(&doubted), is_own)
        };
        assert_eq!(extend(1, hour(0), true), ([130; 3], true));
        assert_eq!(
            extend(5, hour(23), false),
            ([130; 3], false),
            "another process"
        );
        assert_eq!(
            extend(7, hour(24), false),
            ([101, 101, 130], true),
            "as young as it was then"
        );
        let mut vouched = Marks::default();
        vouched.begin(SegmentId(1), hour(0), false);
        vouched.extend((SegmentId(5), SegmentId(6)), hour(1), (true, true));
        assert_eq!([1, 5].map(|id| closed(&vouched, id, 0, 130)), [100, 100]);
        assert_eq!([1, 5].map(|id| closed(&vouched, id, 120, 130)), [120, 120]);
    }

    #[test]
    fn what_one_process_stamped_is_not_dated_by_the_mark_of_another() {
        let mut marks = Marks::default();
        marks.begin(SegmentId(1), day(100), true);
        marks.extend((SegmentId(4), SegmentId(5)), day(100), (true, true));
        // The next one starts weeks behind and is never trusted; the third has the right time.
        let later = Timestamp(100 * DAY + DAY / 2);
        let is_own = marks.begin(SegmentId(9), later, false);
        assert!(!is_own);
        marks.extend((SegmentId(10), SegmentId(11)), day(101), (false, is_own));
        assert_eq!(
            [3, 6, 10].map(|id| closed(&marks, id, 100, 130)),
            [100, 101, 101]
        );
    }

    #[test]
    fn a_segment_that_is_written_again_was_not_closed() {
        let mut marks = marks(&[(1, 10, 100), (10, 20, 110)]);
        assert_eq!(closed(&marks, 5, 101, 120), 101);
        assert!(marks.reopen(SegmentId(5)));
        assert_eq!(
            [4, 5, 12].map(|id| closed(&marks, id, 101, 120)),
            [101, 120, 120]
        );
        assert!(!marks.reopen(SegmentId(5)));
    }

    #[test]
    fn marks_of_a_file_without_dates_are_read() {
        let marks: Marks =
            serde_json::from_str(r#"[{"first":1,"at":"1970-01-01T00:00:00Z"}]"#).unwrap();
        assert_eq!(closed(&marks, 1, 0, 120), 120, "no stamp counts");
    }

    #[test]
    fn a_first_clock_that_was_weeks_behind_makes_nothing_old() {
        let mut marks = Marks::default();
        marks.begin(SegmentId(3), day(81), false);
        marks.extend((SegmentId(4), SegmentId(5)), day(81), (false, true));
        // The next process hears from another what day it is.
        marks.begin(SegmentId(5), day(100), true);
        marks.extend((SegmentId(5), SegmentId(6)), day(100), (true, true));
        assert_eq!([1, 3, 4, 5].map(|id| closed(&marks, id, 81, 101)), [100; 4]);
    }

    #[test]
    fn what_is_closed_while_a_process_doubts_its_clock_is_not_dated() {
        let mut marks = marks(&[(1, 10, 100)]);
        // Segments 8 and 9 are open when the clock is set back by years, and it is right again ten
        // days later.
        marks.doubt(SegmentId(8));
        assert_eq!(
            [closed(&marks, 7, 101, 120), closed(&marks, 8, 0, 120)],
            [101, 120]
        );
        marks.begin(SegmentId(15), day(110), false);
        marks.extend((SegmentId(15), SegmentId(16)), day(110), (false, true));
        assert_eq!(
            [7, 8, 14].map(|id| closed(&marks, id, 0, 120)),
            [100, 110, 110]
        );
        assert_eq!(closed(&marks, 15, 112, 120), 112);
    }

    #[test]
    fn a_process_has_a_mark_a_day_and_one_that_is_contradicted_goes() {
        let mut marks = Marks::default();
        marks.extend((SegmentId(1), SegmentId(7)), day(100), (true, true));
        let mut extend = |open: u64, at: Timestamp| {
            marks.extend((SegmentId(open), SegmentId(open + 1)), at, (true, true));
            marks
                .0
                .iter()
                .map(|mark| (mark.first.0, mark.at.0 / DAY, mark.dated_to.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(extend(7, Timestamp(100 * DAY + 1)), [(1, 100, 8)]);
        assert_eq!(extend(8, day(101)), [(1, 100, 8), (8, 101, 9)]);
        assert_eq!(
            extend(8, day(102)),
            [(1, 100, 8), (8, 101, 9)],
            "nothing was recorded since"
        );
        assert_eq!(
            extend(9, day(50)),
            [(9, 50, 10)],
            "the time before was trusted in error"
        );
    }

    #[test]
    fn starts_that_record_nothing_leave_two_marks() {
        let mut marks = marks(&[(1, 10, 100)]);
        for at in 110..120 {
            marks.begin(SegmentId(12), day(at), false);
        }
        marks.extend((SegmentId(12), SegmentId(13)), day(120), (false, true));
        assert_eq!(marks.0.len(), 4);
        assert_eq!(closed(&marks, 11, 0, 130), 110, "before the first of them");
        assert_eq!(closed(&marks, 12, 0, 130), 119, "after the last of them");
    }

    #[test]
    fn a_number_that_is_given_a_second_time_is_dated_by_who_gave_it_last() {
        let mut marks = marks(&[(1, 10, 100)]);
        marks.begin(SegmentId(6), day(100), false);
        assert_eq!(
            [closed(&marks, 5, 104, 120), closed(&marks, 7, 104, 120)],
            [104, 120]
        );
    }

    #[test]
    fn marks_are_bounded_and_what_they_date_stays_dated() {
        let days: Vec<_> = (0..2 * MARKS_MAX as i64)
            .map(|n| (n as u64 + 1, n as u64 + 2, n))
            .collect();
        let joined = marks(&days);
        assert_eq!(joined.0.len(), MARKS_MAX);
        assert_eq!(
            [1, 700, 2_000].map(|id| closed(&joined, id, id as i64 - 1, 3_000)),
            [0, 699, 1_999]
        );
        let mut holes = Marks::default();
        days.iter().for_each(|(first, _, at)| {
            holes.begin(SegmentId(*first), day(*at), true);
        });
        assert_eq!(holes.0.len(), MARKS_MAX);
        assert_eq!(
            holes.0.last().map(|last| last.first.0),
            days.last().map(|last| last.0)
        );
    }
}
