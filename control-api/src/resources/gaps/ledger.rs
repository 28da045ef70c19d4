//! The gap ledger of many cameras. It is derived from their timelines, so that both always agree.
//! Pure.

use super::{CameraGap, GapSum};
use crate::limits::{LEDGER_CAMERA_HOURS_MAX, LEDGER_CAMERAS_MAX};
use crate::range::Range;
use crate::resources::timeline::Timeline;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;

const HOUR_US: u64 = 3_600_000_000;

/// Which gaps are requested.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    pub cause: Option<GapCause>,
    pub node: Option<NodeId>,
}

impl Filter {
    fn takes(&self, cause: GapCause, node: Option<NodeId>) -> bool {
        self.cause.is_none_or(|wanted| wanted == cause)
            && self.node.is_none_or(|wanted| Some(wanted) == node)
    }
}

/// The requested gaps of one camera's timeline.
pub fn gaps_of(timeline: &Timeline, filter: Filter) -> impl Iterator<Item = CameraGap> {
    let camera = timeline.camera;
    timeline
        .gaps
        .iter()
        .filter(move |gap| filter.takes(gap.cause, gap.node))
        .map(move |gap| CameraGap {
            camera,
            start: gap.start,
            end: gap.end,
            duration_us: gap.end.micros_since(gap.start),
            cause: gap.cause,
            node: gap.node,
            frames_missing: gap.frames_missing,
        })
}

/// The number of gaps of each cause, and their total length.
#[must_use]
pub fn sums<'a>(gaps: impl IntoIterator<Item = &'a CameraGap>) -> Vec<GapSum> {
    let mut by_cause: BTreeMap<GapCause, GapSum> = BTreeMap::new();
    for gap in gaps {
        let sum = by_cause.entry(gap.cause).or_insert(GapSum {
            cause: gap.cause,
            gaps: 0,
            duration_us: 0,
        });
        sum.gaps += 1;
        sum.duration_us = sum.duration_us.saturating_add(gap.duration_us);
    }
    by_cause.into_values().collect()
}

/// The cameras of a page: those after `after`; the longer the range, the fewer.
#[must_use]
pub fn page(
    mut cameras: Vec<CameraId>,
    after: Option<CameraId>,
    range: Range,
) -> (Vec<CameraId>, bool) {
    cameras.sort_unstable();
    cameras.retain(|camera| after.is_none_or(|after| *camera > after));
    let hours = u64::try_from(range.to.micros_since(range.from))
        .unwrap_or(0)
        .div_ceil(HOUR_US)
        .max(1);
    let most = usize::try_from(LEDGER_CAMERA_HOURS_MAX / hours)
        .unwrap_or(usize::MAX)
        .clamp(1, LEDGER_CAMERAS_MAX);
    let more = cameras.len() > most;
    cameras.truncate(most);
    (cameras, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::time::Timestamp;

    fn hours(hours: i64) -> Range {
        Range {
            from: Timestamp(0),
            to: Timestamp(hours * 3_600_000_000),
        }
    }

    fn pages(cameras: u32, range: Range) -> Vec<usize> {
        let all: Vec<CameraId> = (1..=cameras).rev().map(CameraId).collect();
        let (mut after, mut seen, mut sizes) = (None, Vec::new(), Vec::new());
        loop {
            let (page, more) = page(all.clone(), after, range);
            sizes.push(page.len());
            after = page.last().copied();
            seen.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(
            seen,
            (1..=cameras).map(CameraId).collect::<Vec<_>>(),
            "each camera once, in order"
        );
        sizes
    }

    #[test]
    fn pages_name_each_camera_once_and_shrink_with_the_range() {
        assert_eq!(pages(0, hours(1)), [0]);
        assert_eq!(pages(256, hours(1)), [256]);
        assert_eq!(pages(600, hours(24)), [256, 256, 88]);
        assert_eq!(pages(20, hours(31 * 24)), [8, 8, 4]);
    }
}
