//! Which segments to delete. Pure: files, limits, room and time come in as values.

use crate::ids::SegmentId;
use crate::options::RetentionClass;
use crate::time::Timestamp;
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
}

/// The filesystem's room in bytes, and what must stay free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeSpace {
    pub free_bytes: u64,
    pub free_bytes_min: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Age,
    ClassBytes,
    FreeSpace,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Age => "older than its class allows",
            Self::ClassBytes => "its class is over its size",
            Self::FreeSpace => "the disk is short of free space",
        })
    }
}

/// The segments to delete, oldest first. The newest segment of the volume always stays, because its id tells the next one.
/// A class that is no longer configured has no limits of its own, but gives way when the disk is short of space.
#[must_use]
pub fn plan_deletions(
    segments: &[SegmentFacts<'_>],
    classes: &[RetentionClass],
    space: FreeSpace,
    now: Timestamp,
) -> Vec<(SegmentId, Reason)> {
    let newest = segments.iter().map(|segment| segment.id).max();
    let mut order: Vec<&SegmentFacts<'_>> = segments.iter().collect();
    order.sort_by_key(|segment| segment.id);
    let may_go = |segment: &SegmentFacts<'_>| segment.is_deletable && Some(segment.id) != newest;
    let mut chosen: Vec<(&SegmentFacts<'_>, Reason)> = Vec::new();
    for class in classes {
        let of_class: Vec<_> = order.iter().copied().filter(|segment| segment.class == class.name).collect();
        choose_in_class(&of_class, class, now, &may_go, &mut chosen);
    }
    choose_for_space(&order, space, &may_go, &mut chosen);
    chosen.sort_by_key(|(segment, _)| segment.id);
    chosen.into_iter().map(|(segment, reason)| (segment.id, reason)).collect()
}

fn choose_in_class<'a>(
    segments: &[&'a SegmentFacts<'a>],
    class: &RetentionClass,
    now: Timestamp,
    may_go: &impl Fn(&SegmentFacts<'_>) -> bool,
    chosen: &mut Vec<(&'a SegmentFacts<'a>, Reason)>,
) {
    let age_us_max = class.age_max.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    for segment in segments.iter().filter(|segment| may_go(segment)) {
        let is_old = age_us_max.is_some_and(|age_us_max| now.micros_since(segment.closed_at) > age_us_max);
        let is_over = class.bytes_max.is_some_and(|bytes_max| bytes > bytes_max);
        if is_old || is_over {
            bytes -= segment.bytes;
            chosen.push((segment, if is_old { Reason::Age } else { Reason::ClassBytes }));
        }
    }
}

fn choose_for_space<'a>(
    order: &[&'a SegmentFacts<'a>],
    space: FreeSpace,
    may_go: &impl Fn(&SegmentFacts<'_>) -> bool,
    chosen: &mut Vec<(&'a SegmentFacts<'a>, Reason)>,
) {
    let freed: u64 = chosen.iter().map(|(segment, _)| segment.bytes).sum();
    let mut missing = space.free_bytes_min.saturating_sub(space.free_bytes.saturating_add(freed));
    for segment in order.iter().filter(|segment| may_go(segment)) {
        if missing == 0 {
            return;
        }
        if chosen.iter().all(|(other, _)| other.id != segment.id) {
            missing = missing.saturating_sub(segment.bytes);
            chosen.push((segment, Reason::FreeSpace));
        }
    }
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
        }
    }

    fn class(name: &str, age_s: Option<u64>, bytes_max: Option<u64>) -> RetentionClass {
        RetentionClass { name: name.to_owned(), age_max: age_s.map(Duration::from_secs), bytes_max }
    }

    fn ids(plan: &[(SegmentId, Reason)]) -> Vec<u64> {
        plan.iter().map(|(id, _)| id.0).collect()
    }

    const NOW: Timestamp = Timestamp(1_000_000_000);

    #[test]
    fn age_takes_only_what_is_older() {
        let segments = [segment(1, "a", 100), segment(2, "a", 899), segment(3, "a", 901), segment(4, "b", 1)];
        let plan = plan_deletions(&segments, &[class("a", Some(100), None)], FreeSpace::default(), NOW);
        assert_eq!(plan, [(SegmentId(1), Reason::Age), (SegmentId(2), Reason::Age)]);
    }

    #[test]
    fn bytes_take_the_oldest_and_count_what_cannot_go() {
        let mut segments = vec![segment(1, "a", 1), segment(2, "a", 2), segment(3, "a", 3), segment(4, "b", 4)];
        segments[2].is_deletable = false;
        let plan = plan_deletions(&segments, &[class("a", None, Some(250))], FreeSpace::default(), NOW);
        assert_eq!(ids(&plan), [1]);
    }

    #[test]
    fn free_space_takes_the_oldest_of_all_classes_and_counts_what_goes_anyway() {
        let segments = [segment(1, "a", 1), segment(2, "gone", 2), segment(3, "a", 3), segment(4, "a", 4)];
        let space = FreeSpace { free_bytes: 50, free_bytes_min: 250 };
        assert_eq!(ids(&plan_deletions(&segments, &[class("a", None, None)], space, NOW)), [1, 2]);
        let plan = plan_deletions(&segments, &[class("a", None, Some(200))], space, NOW);
        assert_eq!(plan, [(SegmentId(1), Reason::ClassBytes), (SegmentId(2), Reason::FreeSpace)]);
    }

    #[test]
    fn the_newest_segment_stays_whatever_the_limits() {
        let segments = [segment(1, "a", 1), segment(2, "a", 2)];
        let space = FreeSpace { free_bytes: 0, free_bytes_min: u64::MAX };
        assert_eq!(ids(&plan_deletions(&segments, &[class("a", Some(0), Some(0))], space, NOW)), [1]);
    }
}
