//! Evidence that retention may not delete. Pure: which footage a set of holds covers.

use crate::chunk::Gap;
use crate::format::index::overlaps;
use crate::format::{FooterHead, TrackTable};
use crate::ids::CameraId;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// The class of segments that hold copies of held footage. No configured class may have this name.
pub const HOLD_CLASS: &str = "hold";

/// How much footage before a hold is kept with it, in microseconds, so that its first picture can
/// be decoded: footage plays from a keyframe.
pub const HOLD_LEAD_US: i64 = 30_000_000;

/// All streams of one camera within `[from, to)`; [`Timestamp::MAX`] means no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    pub camera: CameraId,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The footage that a set of holds covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// For each camera, sorted and disjoint, including the lead.
    cameras: BTreeMap<CameraId, Vec<(Timestamp, Timestamp)>>,
}

impl FromIterator<Hold> for Holds {
    fn from_iter<T: IntoIterator<Item = Hold>>(holds: T) -> Self {
        let holds = holds.into_iter().filter(|hold| hold.from < hold.to);
        Self::of_intervals(holds.map(|hold| Hold {
            from: hold.from.plus_micros(-HOLD_LEAD_US),
            ..hold
        }))
    }
}

fn join(intervals: &mut Vec<(Timestamp, Timestamp)>) {
    intervals.sort_unstable();
    let mut joined: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (from, to) in intervals.drain(..) {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    *intervals = joined;
}

impl Holds {
    /// From intervals that already include their lead.
    pub(crate) fn of_intervals(intervals: impl IntoIterator<Item = Hold>) -> Self {
        let mut cameras: BTreeMap<CameraId, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
        for hold in intervals.into_iter().filter(|hold| hold.from < hold.to) {
            cameras
                .entry(hold.camera)
                .or_default()
                .push((hold.from, hold.to));
        }
        cameras.values_mut().for_each(join);
        Self { cameras }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cameras.is_empty()
    }

    /// The covered intervals, including the lead; disjoint for each camera.
    pub fn intervals(&self) -> impl Iterator<Item = Hold> {
        self.cameras.iter().flat_map(|(camera, of)| {
            of.iter().map(|(from, to)| Hold {
                camera: *camera,
                from: *from,
                to: *to,
            })
        })
    }

    /// Whether an instant of `[start, end)` is held; an empty interval counts as its start.
    #[must_use]
    pub fn covers(&self, camera: CameraId, start: Timestamp, end: Timestamp) -> bool {
        let of = self.cameras.get(&camera);
        of.is_some_and(|of| of.iter().any(|(from, to)| overlaps(start, end, *from, *to)))
    }

    pub(crate) fn covers_gap(&self, gap: &Gap) -> bool {
        self.covers(gap.camera, gap.start, gap.end)
    }

    /// Payload bytes of a sealed segment that are held, estimated by time; `None` if nothing in it
    /// is held.
    pub(crate) fn held_bytes(&self, head: &FooterHead) -> Option<u64> {
        let tracks = head
            .tracks
            .iter()
            .filter(|table| self.covers(table.key.camera, table.start, table.end));
        let bytes: Vec<u64> = tracks.map(|table| self.held_of(table)).collect();
        let is_held = !bytes.is_empty() || head.gaps.iter().any(|gap| self.covers_gap(gap));
        is_held.then(|| bytes.iter().sum())
    }

    pub(crate) fn held_of(&self, table: &TrackTable) -> u64 {
        let length_us = table.end.micros_since(table.start).max(1);
        let of = self
            .cameras
            .get(&table.key.camera)
            .map_or(&[][..], Vec::as_slice);
        let held_us: i64 = of
            .iter()
            .map(|(from, to)| {
                (*to)
                    .min(table.end)
                    .micros_since((*from).max(table.start))
                    .max(0)
            })
            .sum();
        let bytes = u128::from(table.payload_bytes) * held_us.unsigned_abs() as u128
            / length_us.unsigned_abs() as u128;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(camera: u32, from_s: i64, to_s: i64) -> Hold {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        Hold {
            camera: CameraId(camera),
            from: at(from_s),
            to: at(to_s),
        }
    }

    fn covers(holds: &Holds, camera: u32, from_s: i64, to_s: i64) -> bool {
        let Hold { camera, from, to } = hold(camera, from_s, to_s);
        holds.covers(camera, from, to)
    }

    #[test]
    fn what_overlaps_a_hold_or_its_lead_is_held_and_nothing_else() {
        let holds: Holds = [hold(1, 100, 200), hold(1, 400, 500), hold(2, 0, 10)]
            .into_iter()
            .collect();
        assert!(
            covers(&holds, 1, 199, 250) && covers(&holds, 1, 60, 71) && covers(&holds, 1, 0, 1_000)
        );
        assert!(
            !covers(&holds, 1, 200, 370)
                && !covers(&holds, 1, 60, 70)
                && !covers(&holds, 3, 0, 1_000)
        );
        assert!(covers(&holds, 1, 150, 150), "an instant");
    }

    #[test]
    fn overlapping_holds_are_one_and_an_empty_one_is_none() {
        let holds: Holds = [
            hold(1, 100, 200),
            hold(1, 150, 300),
            hold(1, 300, 400),
            hold(2, 5, 5),
        ]
        .into_iter()
        .collect();
        assert_eq!(holds.intervals().collect::<Vec<_>>(), [hold(1, 70, 400)]);
    }

    #[test]
    fn a_hold_without_end_covers_all_that_comes() {
        let open = Hold {
            to: Timestamp::MAX,
            ..hold(1, 100, 0)
        };
        let holds: Holds = [open].into_iter().collect();
        assert!(holds.covers(
            CameraId(1),
            Timestamp(i64::MAX - 2),
            Timestamp(i64::MAX - 1)
        ));
        assert!(!covers(&holds, 1, 0, 60));
    }
}
