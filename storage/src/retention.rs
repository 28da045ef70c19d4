//! Which segments to delete. Pure: files, limits, holds, room and time are passed in as values.
//!
//! `trust` decides whether the clock may be used for ages, `marks` when a segment was closed even
//! if its clock was wrong, and `brake` how much of what the limits would delete may go now.

pub mod brake;
pub(crate) mod control;
pub(crate) mod file;
mod forecast;
mod marks;
mod status;
mod trust;

pub use brake::{State, Subject};
pub use control::{RetentionAction, RetentionOrder};
pub use forecast::{Rate, full_in_s};
pub use marks::{MARKS_MAX, Marks};
pub use status::{Announced, RetentionStatus};
pub use trust::{ABSENCE_MAX, Caution, Pause, PeerClocks, Reading, TOLERANCE, Trust};

use brake::Wish;

use crate::class::RetentionClass;
use crate::hold::HOLD_CLASS;
use crate::ids::SegmentId;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::fmt;

/// A segment, as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts<'a> {
    pub id: SegmentId,
    pub class: &'a str,
    pub bytes: u64,
    /// When its last batch was written.
    pub closed_at: Timestamp,
    /// Sealed and indexed; anything else counts, and stays.
    pub is_deletable: bool,
    /// Bytes of footage in it that is held; `None` if nothing is. Before the segment goes they are
    /// copied into the class [`HOLD_CLASS`].
    pub held_bytes: Option<u64>,
}

impl SegmentFacts<'_> {
    /// Whether so much of it is held that deleting it would free next to nothing: it stays in
    /// place, and counts for no limit of its class.
    fn is_kept_whole(&self) -> bool {
        self.class != HOLD_CLASS
            && self
                .held_bytes
                .is_some_and(|held_bytes| is_worth_keeping_whole(self.bytes, held_bytes))
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
            Some(held_bytes) => {
                self.class != HOLD_CLASS && !self.is_kept_whole() && held_bytes <= copy_bytes_max
            }
        };
        self.is_deletable && may_be_freed
    }
}

/// Whether a segment's copy would be about as long as the segment.
pub(crate) fn is_worth_keeping_whole(bytes: u64, held_bytes: u64) -> bool {
    held_bytes >= bytes - bytes / KEPT_WHOLE_SHARE
}

/// A segment is kept whole if less than one part in this many is not held.
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
    /// An operator removes footage that was recorded ahead of time.
    Ahead,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Age => "older than its class allows",
            Self::ClassBytes => "its class is over its size",
            Self::FreeSpace => "the disk is short of free space",
            Self::Released => "no hold covers it any more",
            Self::Ahead => "its times have yet to come, and an operator removes it",
        })
    }
}

/// What retention decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Oldest first.
    pub deletions: Vec<(SegmentId, Reason)>,
    /// How much of the room that must stay free deletion cannot provide, in bytes.
    pub short_bytes: u64,
}

/// How many bytes of what a limit would delete may go now.
pub type Allow<'a> = dyn FnMut(&Subject, Wish) -> u64 + 'a;

/// The segments to delete, of `segments` by id (what is not deletable may come in any order). The
/// newest segment of the volume always stays, because its id determines the next one. A class that
/// is no longer configured has no limits of its own, but gives way when the disk is short of space.
/// Copies of held footage go only when no hold covers them any more: they had exceeded the limits
/// of their own class when they were made. If `now` is not known, age is no reason. `allow` is
/// asked once for each class, and for free space.
#[must_use]
pub fn plan_deletions<'a>(
    segments: &(impl Iterator<Item = SegmentFacts<'a>> + Clone),
    classes: &[RetentionClass],
    space: FreeSpace,
    now: Option<Timestamp>,
    allow: &mut Allow<'_>,
) -> Plan {
    let newest = segments.clone().map(|segment| segment.id).max();
    let may_go = |segment: &SegmentFacts<'_>| {
        Some(segment.id) != newest && segment.may_go(space.copy_bytes_max)
    };
    let released = segments
        .clone()
        .filter(|segment| segment.is_released() && may_go(segment));
    let mut chosen: Vec<(SegmentFacts<'a>, Reason)> = released
        .map(|segment| (segment, Reason::Released))
        .collect();
    for class in classes {
        let of_class = segments
            .clone()
            .filter(|segment| segment.class == class.name);
        let wanted = choose_in_class(&of_class, class, now, &may_go);
        let wish = Wish {
            bytes: wanted.iter().map(|(segment, _)| segment.bytes).sum(),
            limits: limits(&(class.age_max, class.bytes_max)),
            ..stored(of_class)
        };
        let allowed = allow(&Subject::Class(class.name.clone()), wish);
        chosen.extend(within(allowed, wanted));
    }
    let short_bytes = choose_for_space(segments, space, &may_go, allow, &mut chosen);
    chosen.sort_by_key(|(segment, _)| segment.id);
    Plan {
        deletions: chosen
            .into_iter()
            .map(|(segment, reason)| (segment.id, reason))
            .collect(),
        short_bytes,
    }
}

fn choose_in_class<'a>(
    segments: &(impl Iterator<Item = SegmentFacts<'a>> + Clone),
    class: &RetentionClass,
    now: Option<Timestamp>,
    may_go: &impl Fn(&SegmentFacts<'_>) -> bool,
) -> Vec<(SegmentFacts<'a>, Reason)> {
    let age_us_max = class
        .age_max
        .map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let counted = segments.clone().filter(|segment| !segment.is_kept_whole());
    let mut bytes: u64 = counted.map(|segment| segment.bytes).sum();
    let mut wanted = Vec::new();
    for segment in segments.clone().filter(|segment| may_go(segment)) {
        let is_older =
            |(now, age_us_max): (Timestamp, i64)| now.micros_since(segment.closed_at) > age_us_max;
        let is_old = now.zip(age_us_max).is_some_and(is_older);
        let is_over = class.bytes_max.is_some_and(|bytes_max| bytes > bytes_max);
        if is_old || is_over {
            bytes -= segment.bytes;
            wanted.push((
                segment,
                if is_old {
                    Reason::Age
                } else {
                    Reason::ClassBytes
                },
            ));
        }
    }
    wanted
}

/// Returns how many bytes are still missing after every permitted deletion.
fn choose_for_space<'a>(
    segments: &(impl Iterator<Item = SegmentFacts<'a>> + Clone),
    space: FreeSpace,
    may_go: &impl Fn(&SegmentFacts<'_>) -> bool,
    allow: &mut Allow<'_>,
    chosen: &mut Vec<(SegmentFacts<'a>, Reason)>,
) -> u64 {
    let freed: u64 = chosen
        .iter()
        .map(|(segment, _)| segment.freed_bytes())
        .sum();
    let mut missing = space
        .free_bytes_min
        .saturating_sub(space.free_bytes.saturating_add(freed));
    let known: BTreeSet<SegmentId> = chosen.iter().map(|(segment, _)| segment.id).collect();
    let mut wanted = Vec::new();
    for segment in segments
        .clone()
        .filter(|segment| may_go(segment) && !known.contains(&segment.id))
    {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(segment.freed_bytes());
        wanted.push((segment, Reason::FreeSpace));
    }
    let wish = Wish {
        bytes: wanted
            .iter()
            .map(|(segment, _)| segment.freed_bytes())
            .sum(),
        limits: limits(&space.free_bytes_min),
        ..stored(segments.clone())
    };
    let allowed = allow(&Subject::FreeSpace, wish);
    chosen.extend(within(allowed, wanted));
    missing
}

fn stored<'a>(segments: impl Iterator<Item = SegmentFacts<'a>> + Clone) -> Wish {
    Wish {
        stored_bytes: segments.clone().map(|segment| segment.bytes).sum(),
        largest_bytes: segments.map(|segment| segment.bytes).max().unwrap_or(0),
        ..Wish::default()
    }
}

/// One number for limits, the same in every process.
fn limits(of: &impl fmt::Debug) -> u64 {
    u64::from(crc32fast::hash(format!("{of:?}").as_bytes()))
}

/// The first ones of `wanted`, until they free `allowed` bytes or a little more.
fn within<'a>(
    allowed: u64,
    wanted: Vec<(SegmentFacts<'a>, Reason)>,
) -> impl Iterator<Item = (SegmentFacts<'a>, Reason)> {
    let mut freed = 0;
    wanted.into_iter().take_while(move |(segment, _)| {
        let goes = freed < allowed;
        freed += segment.bytes;
        goes
    })
}

/// A volume's bytes by whether they can be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// What deleting everything that may go would free.
    pub deletable_bytes: u64,
    /// Copies of held footage, and held footage where it was recorded.
    pub held_bytes: u64,
}

/// How many bytes of the sealed segments could be deleted, if there were room for every copy.
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
        SegmentFacts {
            held_bytes: Some(bytes),
            ..segment
        }
    }

    fn class(name: &str, age_s: Option<u64>, bytes_max: Option<u64>) -> RetentionClass {
        RetentionClass {
            name: name.to_owned(),
            age_max: age_s.map(Duration::from_secs),
            bytes_max,
        }
    }

    fn planned(
        segments: &[SegmentFacts<'_>],
        classes: &[RetentionClass],
        space: FreeSpace,
        now: Timestamp,
    ) -> Plan {
        plan_deletions(
            &segments.iter().cloned(),
            classes,
            space,
            Some(now),
            &mut |_, wish| wish.bytes,
        )
    }

    fn ids(plan: &Plan) -> Vec<u64> {
        plan.deletions.iter().map(|(id, _)| id.0).collect()
    }

    fn space(free_bytes: u64, free_bytes_min: u64) -> FreeSpace {
        FreeSpace {
            free_bytes,
            free_bytes_min,
            copy_bytes_max: 100,
        }
    }

    const NOW: Timestamp = Timestamp(1_000_000_000);

    #[test]
    fn age_takes_only_what_is_older() {
        let segments = [
            segment(1, "a", 100),
            segment(2, "a", 899),
            segment(3, "a", 901),
            segment(4, "b", 1),
        ];
        let plan = planned(
            &segments,
            &[class("a", Some(100), None)],
            FreeSpace::default(),
            NOW,
        );
        assert_eq!(
            plan.deletions,
            [(SegmentId(1), Reason::Age), (SegmentId(2), Reason::Age)]
        );
    }

    #[test]
    fn without_a_time_nothing_is_old_and_the_other_limits_count() {
        let segments = [
            segment(1, "a", 1),
            segment(2, "a", 2),
            segment(3, "a", 3),
            segment(4, "b", 4),
        ];
        let planned = |classes: &[RetentionClass]| {
            let mut all = |_: &Subject, wish: Wish| wish.bytes;
            plan_deletions(
                &segments.iter().cloned(),
                classes,
                FreeSpace::default(),
                None,
                &mut all,
            )
        };
        assert_eq!(planned(&[class("a", Some(1), None)]).deletions, []);
        assert_eq!(
            planned(&[class("a", Some(1), Some(200))]).deletions,
            [(SegmentId(1), Reason::ClassBytes)]
        );
    }

    #[test]
    fn of_what_the_limits_say_the_oldest_goes_as_far_as_is_allowed() {
        let segments = [
            segment(1, "a", 1),
            segment(2, "a", 2),
            segment(3, "a", 3),
            segment(4, "b", 4),
        ];
        let mut asked = Vec::new();
        let mut some = |subject: &Subject, wish: Wish| {
            asked.push((
                subject.clone(),
                wish.bytes,
                wish.stored_bytes,
                wish.largest_bytes,
            ));
            if *subject == Subject::FreeSpace {
                0
            } else {
                101
            }
        };
        let limits = [class("a", Some(1), None)];
        let plan = plan_deletions(
            &segments.iter().cloned(),
            &limits,
            space(0, 300),
            Some(NOW),
            &mut some,
        );
        assert_eq!(
            ids(&plan),
            [1, 2],
            "a segment more than 101 bytes need not wait"
        );
        assert_eq!(plan.short_bytes, 0, "what may not go yet is not missing");
        let of_class = (Subject::Class("a".to_owned()), 300, 300, 100);
        assert_eq!(asked, [of_class, (Subject::FreeSpace, 100, 400, 100)]);
    }

    #[test]
    fn bytes_take_the_oldest_and_count_what_cannot_go() {
        let mut segments = vec![
            segment(1, "a", 1),
            segment(2, "a", 2),
            segment(3, "a", 3),
            segment(4, "b", 4),
        ];
        segments[2].is_deletable = false;
        let plan = planned(
            &segments,
            &[class("a", None, Some(250))],
            FreeSpace::default(),
            NOW,
        );
        assert_eq!(ids(&plan), [1]);
    }

    #[test]
    fn free_space_takes_the_oldest_of_all_classes_and_counts_what_goes_anyway() {
        let segments = [
            segment(1, "a", 1),
            segment(2, "gone", 2),
            segment(3, "a", 3),
            segment(4, "a", 4),
        ];
        let space = space(50, 250);
        assert_eq!(
            ids(&planned(&segments, &[class("a", None, None)], space, NOW)),
            [1, 2]
        );
        let plan = planned(&segments, &[class("a", None, Some(200))], space, NOW);
        assert_eq!(
            plan.deletions,
            [
                (SegmentId(1), Reason::ClassBytes),
                (SegmentId(2), Reason::FreeSpace)
            ]
        );
    }

    #[test]
    fn the_newest_segment_stays_whatever_the_limits() {
        let segments = [segment(1, "a", 1), segment(2, "a", 2)];
        let space = space(0, u64::MAX);
        assert_eq!(
            ids(&planned(
                &segments,
                &[class("a", Some(0), Some(0))],
                space,
                NOW
            )),
            [1]
        );
    }

    #[test]
    fn what_is_partly_held_goes_and_counts_only_for_what_it_frees() {
        let segments = [
            held(segment(1, "a", 1), 60),
            segment(2, "a", 2),
            segment(3, "a", 3),
            segment(4, "a", 4),
        ];
        assert_eq!(
            ids(&planned(&segments, &[], space(0, 130), NOW)),
            [1, 2],
            "40 and 100 bytes are freed"
        );
        let no_room = FreeSpace {
            copy_bytes_max: 59,
            ..space(0, 130)
        };
        assert_eq!(
            ids(&planned(&segments, &[], no_room, NOW)),
            [2, 3],
            "without room for the copy it waits"
        );
    }

    #[test]
    fn what_is_all_held_stays_and_does_not_count_for_its_class() {
        let segments = [
            held(segment(1, "a", 1), 90),
            segment(2, "a", 2),
            segment(3, "a", 3),
            segment(4, "b", 4),
        ];
        let plan = planned(
            &segments,
            &[class("a", Some(1), Some(200))],
            FreeSpace::default(),
            NOW,
        );
        assert_eq!(ids(&plan), [2, 3], "by age");
        let plan = planned(
            &segments,
            &[class("a", None, Some(200))],
            FreeSpace::default(),
            NOW,
        );
        assert_eq!(plan.deletions, [], "two count");
    }

    #[test]
    fn copies_stay_whatever_the_need_until_they_are_released() {
        let segments = [
            held(segment(1, HOLD_CLASS, 1), 10),
            segment(2, HOLD_CLASS, 2),
            segment(3, "a", 3),
        ];
        let plan = planned(&segments, &[], space(0, 1_000), NOW);
        assert_eq!(
            plan,
            Plan {
                deletions: vec![(SegmentId(2), Reason::Released)],
                short_bytes: 900
            }
        );
        assert_eq!(
            planned(&segments, &[], space(10, 10), NOW).deletions,
            [(SegmentId(2), Reason::Released)]
        );
    }

    #[test]
    fn bytes_are_held_or_deletable() {
        let copy = held(segment(1, HOLD_CLASS, 1), 80);
        let segments = [
            copy,
            held(segment(2, "a", 2), 40),
            held(segment(3, "a", 3), 95),
            segment(4, "a", 4),
        ];
        assert_eq!(
            holding(segments.into_iter()),
            Holding {
                deletable_bytes: 160,
                held_bytes: 240
            }
        );
    }
}
