//! Which segments to delete. Pure: files, limits, holds, room and time come in as values.

mod forecast;

pub use forecast::{Rate, full_in_s};

use crate::hold::HOLD_CLASS;
use crate::ids::SegmentId;
use crate::options::RetentionClass;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::fmt;

/// What retention knows of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts<'a> {
    pub id: SegmentId,
    pub class: &'a str,
    pub bytes: u64,
    /// When its last batch was written.
    pub closed_at: Timestamp,
    /// Sealed and indexed; anything else counts, and stays.
    pub is_deletable: bool,
    /// Bytes of footage in it that is held; `None` where nothing is. Before the segment goes they are copied into the class [`HOLD_CLASS`].
    pub held_bytes: Option<u64>,
}

impl SegmentFacts<'_> {
    /// So much of it is held that deleting it would free next to nothing: it stays where it is, and counts for no limit of its class.
    fn is_kept_whole(&self) -> bool {
        self.class != HOLD_CLASS
            && self.held_bytes.is_some_and(|held_bytes| is_worth_keeping_whole(self.bytes, held_bytes))
    }

    fn is_released(&self) -> bool {
        self.class == HOLD_CLASS && self.held_bytes.is_none()
    }

    /// What deleting it frees, in bytes.
    fn freed_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.held_bytes.unwrap_or(0))
    }

    /// Whether it may go at all, if held parts of up to `copy_bytes_max` can be copied.
    fn may_go(&self, copy_bytes_max: u64) -> bool {
        let may_be_freed = match self.held_bytes {
            None => true,
            Some(held_bytes) => self.class != HOLD_CLASS && !self.is_kept_whole() && held_bytes <= copy_bytes_max,
        };
        self.is_deletable && may_be_freed
    }
}

/// Whether a segment's copy would be about as long as the segment.
pub(crate) fn is_worth_keeping_whole(bytes: u64, held_bytes: u64) -> bool {
    held_bytes >= bytes - bytes / KEPT_WHOLE_SHARE
}

/// A segment of which less than one part in so many is not held is kept whole.
const KEPT_WHOLE_SHARE: u64 = 8;

/// The filesystem's room in bytes, and what must stay free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeSpace {
    pub free_bytes: u64,
    pub free_bytes_min: u64,
    /// Longer held parts cannot be copied now.
    pub copy_bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Age,
    ClassBytes,
    FreeSpace,
    Released,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Age => "older than its class allows",
            Self::ClassBytes => "its class is over its size",
            Self::FreeSpace => "the disk is short of free space",
            Self::Released => "no hold covers it any more",
        })
    }
}

/// What retention decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Oldest first.
    pub deletions: Vec<(SegmentId, Reason)>,
    /// What of the room that must stay free cannot be reached by deleting, in bytes.
    pub short_bytes: u64,
}

/// The segments to delete, of `segments` by id (what is not deletable may come in any order). The newest segment of the volume always stays, because its
/// id tells the next one. A class that is no longer configured has no limits of its own, but gives way when the disk is short of space. Copies of held
/// footage go when no hold covers them any more, and only then: the limits of the class that they came from were over when they were made.
#[must_use]
pub fn plan_deletions<'a>(
    segments: &(impl Iterator<Item = SegmentFacts<'a>> + Clone),
    classes: &[RetentionClass],
    space: FreeSpace,
    now: Timestamp,
) -> Plan {
    let newest = segments.clone().map(|segment| segment.id).max();
    let may_go = |segment: &SegmentFacts<'_>| Some(segment.id) != newest && segment.may_go(space.copy_bytes_max);
    let released = segments.clone().filter(|segment| segment.is_released() && may_go(segment));
    let mut chosen: Vec<(SegmentFacts<'a>, Reason)> = released.map(|segment| (segment, Reason::Released)).collect();
    for class in classes {
        let of_class = segments.clone().filter(|segment| segment.class == class.name);
        choose_in_class(&of_class, class, now, &may_go, &mut chosen);
    }
    let short_bytes = choose_for_space(segments, space, &may_go, &mut chosen);
    chosen.sort_by_key(|(segment, _)| segment.id);
    Plan { deletions: chosen.into_iter().map(|(segment, reason)| (segment.id, reason)).collect(), short_bytes }
}

fn choose_in_class<'a>(
    segments: &(impl Iterator<Item = SegmentFacts<'a>> + Clone),
    class: &RetentionClass,
    now: Timestamp,
    may_go: &impl Fn(&SegmentFacts<'_>) -> bool,
    chosen: &mut Vec<(SegmentFacts<'a>, Reason)>,
) {
    let age_us_max = class.age_max.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let counted = segments.clone().filter(|segment| !segment.is_kept_whole());
    let mut bytes: u64 = counted.map(|segment| segment.bytes).sum();
    for segment in segments.clone().filter(|segment| may_go(segment)) {
        let is_old = age_us_max.is_some_and(|age_us_max| now.micros_since(segment.closed_at) > age_us_max);
        let is_over = class.bytes_max.is_some_and(|bytes_max| bytes > bytes_max);
        if is_old || is_over {
            bytes -= segment.bytes;
            chosen.push((segment, if is_old { Reason::Age } else { Reason::ClassBytes }));
        }
    }
}

/// Returns what is missing still, in bytes.
fn choose_for_space<'a>(
    segments: &(impl Iterator<Item = SegmentFacts<'a>> + Clone),
    space: FreeSpace,
    may_go: &impl Fn(&SegmentFacts<'_>) -> bool,
    chosen: &mut Vec<(SegmentFacts<'a>, Reason)>,
) -> u64 {
    let freed: u64 = chosen.iter().map(|(segment, _)| segment.freed_bytes()).sum();
    let mut missing = space.free_bytes_min.saturating_sub(space.free_bytes.saturating_add(freed));
    let known: BTreeSet<SegmentId> = chosen.iter().map(|(segment, _)| segment.id).collect();
    for segment in segments.clone().filter(|segment| may_go(segment) && !known.contains(&segment.id)) {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(segment.freed_bytes());
        chosen.push((segment, Reason::FreeSpace));
    }
    missing
}

/// How a volume's bytes stand to deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// What deleting everything that may go would free.
    pub deletable_bytes: u64,
    /// Copies of held footage, and held footage where it was recorded.
    pub held_bytes: u64,
}

/// How the sealed segments stand to deletion if there were room for every copy.
#[must_use]
pub fn holding<'a>(segments: impl Iterator<Item = SegmentFacts<'a>>) -> Holding {
    let mut holding = Holding::default();
    for segment in segments {
        if segment.may_go(u64::MAX) {
            holding.deletable_bytes += segment.freed_bytes();
        }
        if let Some(held_bytes) = segment.held_bytes {
            let is_whole = segment.class == HOLD_CLASS || segment.is_kept_whole();
            holding.held_bytes += if is_whole { segment.bytes } else { held_bytes };
        }
    }
    holding
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn segment(id: u64, class: &str, closed_s: i64) -> SegmentFacts<'_> {
        SegmentFacts {
            id: SegmentId(id),
            class,
            bytes: 100,
            closed_at: Timestamp(closed_s * 1_000_000),
            is_deletable: true,
            held_bytes: None,
        }
    }

    fn held(segment: SegmentFacts<'_>, bytes: u64) -> SegmentFacts<'_> {
        SegmentFacts { held_bytes: Some(bytes), ..segment }
    }

    fn class(name: &str, age_s: Option<u64>, bytes_max: Option<u64>) -> RetentionClass {
        RetentionClass { name: name.to_owned(), age_max: age_s.map(Duration::from_secs), bytes_max }
    }

    fn planned(segments: &[SegmentFacts<'_>], classes: &[RetentionClass], space: FreeSpace, now: Timestamp) -> Plan {
        plan_deletions(&segments.iter().cloned(), classes, space, now)
    }

    fn ids(plan: &Plan) -> Vec<u64> {
        plan.deletions.iter().map(|(id, _)| id.0).collect()
    }

    fn space(free_bytes: u64, free_bytes_min: u64) -> FreeSpace {
        FreeSpace { free_bytes, free_bytes_min, copy_bytes_max: 100 }
    }

    const NOW: Timestamp = Timestamp(1_000_000_000);

    #[test]
    fn age_takes_only_what_is_older() {
        let segments = [segment(1, "a", 100), segment(2, "a", 899), segment(3, "a", 901), segment(4, "b", 1)];
        let plan = planned(&segments, &[class("a", Some(100), None)], FreeSpace::default(), NOW);
        assert_eq!(plan.deletions, [(SegmentId(1), Reason::Age), (SegmentId(2), Reason::Age)]);
    }

    #[test]
    fn bytes_take_the_oldest_and_count_what_cannot_go() {
        let mut segments = vec![segment(1, "a", 1), segment(2, "a", 2), segment(3, "a", 3), segment(4, "b", 4)];
        segments[2].is_deletable = false;
        let plan = planned(&segments, &[class("a", None, Some(250))], FreeSpace::default(), NOW);
        assert_eq!(ids(&plan), [1]);
    }

    #[test]
    fn free_space_takes_the_oldest_of_all_classes_and_counts_what_goes_anyway() {
        let segments = [segment(1, "a", 1), segment(2, "gone", 2), segment(3, "a", 3), segment(4, "a", 4)];
        let space = space(50, 250);
        assert_eq!(ids(&planned(&segments, &[class("a", None, None)], space, NOW)), [1, 2]);
        let plan = planned(&segments, &[class("a", None, Some(200))], space, NOW);
        assert_eq!(plan.deletions, [(SegmentId(1), Reason::ClassBytes), (SegmentId(2), Reason::FreeSpace)]);
    }

    #[test]
    fn the_newest_segment_stays_whatever_the_limits() {
        let segments = [segment(1, "a", 1), segment(2, "a", 2)];
        let space = space(0, u64::MAX);
        assert_eq!(ids(&planned(&segments, &[class("a", Some(0), Some(0))], space, NOW)), [1]);
    }

    #[test]
    fn what_is_partly_held_goes_and_counts_only_for_what_it_frees() {
        let segments = [held(segment(1, "a", 1), 60), segment(2, "a", 2), segment(3, "a", 3), segment(4, "a", 4)];
        assert_eq!(ids(&planned(&segments, &[], space(0, 130), NOW)), [1, 2], "40 and 100 bytes are freed");
        let no_room = FreeSpace { copy_bytes_max: 59, ..space(0, 130) };
        assert_eq!(ids(&planned(&segments, &[], no_room, NOW)), [2, 3], "without room for the copy it waits");
    }

    #[test]
    fn what_is_all_held_stays_and_does_not_count_for_its_class() {
        let segments = [held(segment(1, "a", 1), 90), segment(2, "a", 2), segment(3, "a", 3), segment(4, "b", 4)];
        let plan = planned(&segments, &[class("a", Some(1), Some(200))], FreeSpace::default(), NOW);
        assert_eq!(ids(&plan), [2, 3], "by age");
        let plan = planned(&segments, &[class("a", None, Some(200))], FreeSpace::default(), NOW);
        assert_eq!(plan.deletions, [], "two count");
    }

    #[test]
    fn copies_stay_whatever_the_need_until_they_are_released() {
        let segments = [held(segment(1, HOLD_CLASS, 1), 10), segment(2, HOLD_CLASS, 2), segment(3, "a", 3)];
        let plan = planned(&segments, &[], space(0, 1_000), NOW);
        assert_eq!(plan, Plan { deletions: vec![(SegmentId(2), Reason::Released)], short_bytes: 900 });
        assert_eq!(planned(&segments, &[], space(10, 10), NOW).deletions, [(SegmentId(2), Reason::Released)]);
    }

    #[test]
    fn bytes_are_held_or_deletable() {
        let copy = held(segment(1, HOLD_CLASS, 1), 80);
        let segments = [copy, held(segment(2, "a", 2), 40), held(segment(3, "a", 3), 95), segment(4, "a", 4)];
        assert_eq!(holding(segments.into_iter()), Holding { deletable_bytes: 160, held_bytes: 240 });
    }
}
