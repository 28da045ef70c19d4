//! Why a hole in the timeline is there. Pure: the ledger's entries first, then what the assignments tell.

use holdfast_consensus::model::Tenure;
use holdfast_control_api::wire;
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;

/// A dead owner is noticed and replaced within this time; a hole that touches the end of its tenure by as much is its doing.
const TAKEOVER_US_MAX: i64 = 10_000_000;

/// Explains every microsecond of `holes`: the pieces lie end to end and cover exactly the holes.
///
/// `ledger` may overlap itself (several nodes, several pieces); the entry that starts first wins.
#[must_use]
pub fn explain(holes: &[(Timestamp, Timestamp)], ledger: &[Gap], tenures: &[Tenure]) -> Vec<wire::Gap> {
    let mut ledger = ledger.to_vec();
    ledger.sort_by_key(|gap| (gap.start, std::cmp::Reverse(gap.epoch)));
    // A flaky camera has as many entries as holes: each hole looks only at those around it.
    let reached = ledger.iter().scan(Timestamp::MIN, |reached, gap| {
        *reached = gap.end.max(*reached);
        Some(*reached)
    });
    let reached: Vec<Timestamp> = reached.collect();
    let mut pieces = Vec::new();
    for &(start, end) in holes {
        let mut at = start;
        let first = reached.partition_point(|reached| *reached <= start);
        let around = ledger[first..].iter().take_while(|gap| gap.start < end);
        for gap in around.filter(|gap| gap.end > start) {
            let (from, to) = (gap.start.max(at), gap.end.min(end));
            if to <= from {
                continue;
            }
            push(&mut pieces, at, from, unledgered(at, from, tenures), None);
            // Of a part of an entry nobody knows.
            let frames_missing = gap.frames_missing.filter(|_| (from, to) == (gap.start, gap.end)).map(u64::from);
            push(&mut pieces, from, to, (gap.cause, Some(gap.node)), frames_missing);
            at = to;
        }
        push(&mut pieces, at, end, unledgered(at, end, tenures), None);
    }
    pieces
}

fn push(
    pieces: &mut Vec<wire::Gap>,
    start: Timestamp,
    end: Timestamp,
    (cause, node): (GapCause, Option<NodeId>),
    frames_missing: Option<u64>,
) {
    if end <= start {
        return;
    }
    if let Some(last) = pieces.last_mut()
        && last.end == start
        && (last.cause, last.node) == (cause, node)
    {
        last.end = end;
        last.frames_missing = last.frames_missing.zip(frames_missing).map(|(before, more)| before + more);
        return;
    }
    pieces.push(wire::Gap { start, end, cause, node, frames_missing });
}

/// What the assignments tell of an interval that no recorder wrote a ledger entry for: a recorder that dies cannot write one.
fn unledgered(start: Timestamp, end: Timestamp, tenures: &[Tenure]) -> (GapCause, Option<NodeId>) {
    let owner = tenures.iter().rfind(|tenure| tenure.from <= start).or(tenures.first());
    let next_from = tenures.iter().skip(1).map(|next| Some(next.from)).chain([None]);
    let lost = tenures.iter().zip(next_from).find(|(tenure, next_from)| {
        // Before the next owner's time it is the last one's, however long that one had waited for its camera before it was lost.
        let reaches = |until: Timestamp| until.plus_micros(TAKEOVER_US_MAX).max(next_from.unwrap_or(until));
        tenure.until.is_some_and(|until| reaches(until) >= start && until <= end)
    });
    match (lost, owner) {
        (Some((lost, _)), _) => (GapCause::NodeDown, Some(lost.node)),
        (None, Some(owner)) => (GapCause::Unknown, Some(owner.node)),
        (None, None) => (GapCause::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{CameraId, Epoch, StreamKind};

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn gap(start: i64, end: i64, cause: GapCause) -> Gap {
        let (camera, stream, node, epoch) = (CameraId(1), StreamKind::Main, NodeId(1), Epoch(1));
        Gap { camera, stream, node, epoch, start: at(start), end: at(end), cause, frames_missing: None }
    }

    fn tenure(epoch: u64, node: u64, from: i64, until: Option<i64>) -> Tenure {
        Tenure { epoch: Epoch(epoch), node: NodeId(node), from: at(from), until: until.map(at) }
    }

    #[test]
    fn pieces_cover_a_hole_exactly_and_keep_their_causes() {
        let ledger = [gap(12, 14, GapCause::CameraStalled), gap(13, 16, GapCause::CameraUnreachable)];
        let pieces = explain(&[(at(10), at(20))], &ledger, &[tenure(1, 1, 0, None)]);
        let told: Vec<_> = pieces.iter().map(|p| (p.start.0 / 1_000_000, p.end.0 / 1_000_000, p.cause)).collect();
        assert_eq!(
            told,
            [
                (10, 12, GapCause::Unknown),
                (12, 14, GapCause::CameraStalled),
                (14, 16, GapCause::CameraUnreachable),
                (16, 20, GapCause::Unknown),
            ]
        );
    }

    #[test]
    fn missing_frames_are_counted_where_all_of_a_piece_is_known() {
        let counted =
            |start, end, frames| Gap { frames_missing: Some(frames), ..gap(start, end, GapCause::PacketsLost) };
        let told = |holes: &[(i64, i64)], ledger: &[Gap]| -> Vec<Option<u64>> {
            let holes: Vec<_> = holes.iter().map(|(start, end)| (at(*start), at(*end))).collect();
            explain(&holes, ledger, &[]).iter().map(|piece| piece.frames_missing).collect()
        };
        assert_eq!(told(&[(1, 3)], &[counted(1, 2, 5), counted(2, 3, 25)]), [Some(30)]);
        assert_eq!(told(&[(1, 3)], &[counted(1, 2, 5), gap(2, 3, GapCause::PacketsLost)]), [None]);
        assert_eq!(told(&[(1, 2)], &[counted(1, 3, 50)]), [None], "another node has a part of it");
        assert_eq!(told(&[(1, 3)], &[counted(1, 2, 5)]), [Some(5), None], "what nothing explains is unknown");
    }

    #[test]
    fn a_long_entry_explains_later_holes_too() {
        let ledger =
            [gap(0, 100, GapCause::NodeDown), gap(5, 6, GapCause::PacketsLost), gap(40, 41, GapCause::Overload)];
        let pieces = explain(&[(at(5), at(6)), (at(30), at(31)), (at(99), at(101))], &ledger, &[]);
        let told: Vec<_> = pieces.iter().map(|p| (p.start.0 / 1_000_000, p.cause)).collect();
        assert_eq!(
            told,
            [(5, GapCause::NodeDown), (30, GapCause::NodeDown), (99, GapCause::NodeDown), (100, GapCause::Unknown)]
        );
    }

    #[test]
    fn a_hole_at_a_takeover_is_the_dead_nodes() {
        let tenures = [tenure(1, 1, 0, Some(10)), tenure(2, 2, 11, None)];
        let pieces = explain(&[(at(10), at(12))], &[], &tenures);
        assert_eq!((pieces[0].cause, pieces[0].node), (GapCause::NodeDown, Some(NodeId(1))));
    }

    #[test]
    fn a_hole_before_the_next_owners_time_is_the_last_ones_however_long_that_one_had_recorded_nothing() {
        let tenures = [tenure(1, 1, 0, Some(10)), tenure(2, 2, 51, None)];
        let ledger = [gap(10, 48, GapCause::CameraUnreachable)];
        let pieces = explain(&[(at(10), at(50)), (at(60), at(61))], &ledger, &tenures);
        let told: Vec<_> = pieces.iter().map(|piece| (piece.cause, piece.node)).collect();
        assert_eq!(
            told,
            [
                (GapCause::CameraUnreachable, Some(NodeId(1))),
                (GapCause::NodeDown, Some(NodeId(1))),
                (GapCause::Unknown, Some(NodeId(2)))
            ]
        );
    }

    #[test]
    fn nothing_known_is_said_to_be_unknown() {
        let pieces = explain(&[(at(10), at(12))], &[], &[]);
        assert_eq!((pieces[0].cause, pieces[0].node), (GapCause::Unknown, None));
    }
}
