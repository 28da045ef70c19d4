//! Which parts of a range are in no file, and why, as far as the volumes know. Pure.

use holdfast_control_api::playback::GAP_MICROS_MIN;
use holdfast_control_api::range::Range;
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use serde::Serialize;

/// A hole in the video that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hole {
    pub(super) camera: CameraId,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// The cause that the ledger gives for most of it; `damaged` if there were chunks that cannot
    /// be read.
    pub(super) cause: GapCause,
}

/// The holes of `range`, from the intervals that are shown, the ledger, and lost chunks.
pub(super) fn holes(
    camera: CameraId,
    shown: &[(Timestamp, Timestamp)],
    range: Range,
    ledger: &[Gap],
    lost: Vec<(Timestamp, Timestamp)>,
) -> Vec<Hole> {
    let mut shown = shown.to_vec();
    shown.sort_unstable();
    let mut holes = Vec::new();
    let mut at = range.from;
    for (start, end) in shown.into_iter().chain([(range.to, range.to)]) {
        let start = start.min(range.to);
        if start.micros_since(at) >= GAP_MICROS_MIN {
            holes.push(Hole {
                camera,
                start: at,
                end: start,
                cause: cause((at, start), ledger, &lost),
            });
        }
        at = at.max(end);
    }
    holes
}

fn cause(
    hole: (Timestamp, Timestamp),
    ledger: &[Gap],
    lost: &[(Timestamp, Timestamp)],
) -> GapCause {
    let common =
        |start: Timestamp, end: Timestamp| end.min(hole.1).micros_since(start.max(hole.0)).max(0);
    if lost.iter().any(|(start, end)| common(*start, *end) > 0) {
        return GapCause::Damaged;
    }
    let known = ledger
        .iter()
        .map(|gap| (common(gap.start, gap.end), gap.cause))
        .filter(|(common, _)| *common > 0);
    known
        .max_by_key(|(common, _)| *common)
        .map_or(GapCause::Unknown, |(_, cause)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{Epoch, NodeId, StreamKind};

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn gap(from: i64, to: i64, cause: GapCause) -> Gap {
        let (camera, stream, node, epoch) = (CameraId(1), StreamKind::Main, NodeId(1), Epoch(1));
        Gap {
            camera,
            stream,
            node,
            epoch,
            start: at(from),
            end: at(to),
            cause,
            frames_missing: None,
        }
    }

    #[test]
    fn holes_have_the_cause_that_explains_most_of_them() {
        let shown = [
            (at(12), at(20)),
            (at(2), at(10)),
            (at(20), at(25)),
            (at(24), at(30)),
        ];
        let ledger = [
            gap(10, 11, GapCause::NodeDown),
            gap(10, 12, GapCause::CameraStalled),
            gap(50, 60, GapCause::Overload),
        ];
        let found = holes(
            CameraId(1),
            &shown,
            Range {
                from: at(0),
                to: at(40),
            },
            &ledger,
            vec![(at(39), at(41))],
        );
        let shown: Vec<_> = found
            .iter()
            .map(|hole| (hole.start, hole.end, hole.cause))
            .collect();
        let expected = [
            (at(0), at(2), GapCause::Unknown),
            (at(10), at(12), GapCause::CameraStalled),
            (at(30), at(40), GapCause::Damaged),
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            holes(
                CameraId(1),
                &[],
                Range {
                    from: at(0),
                    to: at(1)
                },
                &[],
                Vec::new()
            )
            .len(),
            1
        );
    }
}
