//! Why a hole in the timeline is there. Pure.
//!
//! What a node that was alive wrote into its ledger is final. Of several such entries the one that
//! ends first is believed: entries are written when they end, so no later entry ever takes its
//! place. If there is none, a node that came back reports since when it was down, which counts for
//! the time in which it owned the camera. Last come the assignments: a recorder that dies writes
//! nothing.

mod outages;

use holdfast_consensus::model::Tenure;
use holdfast_control_api::wire;
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use outages::Piece;
use std::collections::BTreeSet;

/// A dead owner is noticed and replaced within this time; a hole that begins up to this long after
/// the end of its tenure is attributed to it.
const TAKEOVER_US_MAX: i64 = 10_000_000;

/// Explains every microsecond of `holes`: the pieces lie end to end and cover exactly the holes,
/// except for those that are shorter than the precision to which two recorders' clocks agree. The
/// pieces of one outage are one gap, whichever nodes noticed it.
///
/// `ledger` may overlap itself (several nodes, several pieces).
#[must_use]
pub fn explain(
    holes: &[(Timestamp, Timestamp)],
    ledger: &[Gap],
    tenures: &[Tenure],
) -> Vec<wire::Gap> {
    let entries = entries(ledger, tenures);
    // A flaky camera has as many entries as holes: each hole looks only at those around it.
    let reached = entries.iter().scan(Timestamp::MIN, |reached, entry| {
        *reached = entry.end.max(*reached);
        Some(*reached)
    });
    let reached: Vec<Timestamp> = reached.collect();
    let mut gaps = Vec::new();
    for &(start, end) in holes {
        let first = reached.partition_point(|reached| *reached <= start);
        let pieces = explain_one((start, end), &entries[first..], tenures);
        gaps.extend(outages::join(pieces).into_iter().map(Piece::shown));
    }
    gaps
}

/// How credible an entry is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// A node that was alive reports what it saw.
    Seen,
    /// A node that was down reports that.
    WasDown,
    /// A node that was alive reports that it does not know.
    Unknown,
}

/// An entry of the ledger, cut to the time for which it counts.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    start: Timestamp,
    end: Timestamp,
    word: Word,
    gap: &'a Gap,
}

/// By start.
fn entries<'a>(ledger: &'a [Gap], tenures: &[Tenure]) -> Vec<Entry<'a>> {
    let mut entries = Vec::with_capacity(ledger.len());
    for gap in ledger {
        let entry = |word, start, end| Entry {
            start,
            end,
            word,
            gap,
        };
        match gap.cause {
            GapCause::NodeDown => {
                let owned = owned(gap.node, (gap.start, gap.end), tenures);
                entries.extend(owned.map(|(start, end)| entry(Word::WasDown, start, end)));
            }
            GapCause::Unknown => entries.push(entry(Word::Unknown, gap.start, gap.end)),
            _ => entries.push(entry(Word::Seen, gap.start, gap.end)),
        }
    }
    entries.retain(|entry| entry.start < entry.end);
    entries.sort_by_key(|entry| (entry.start, entry.end, entry.gap.node));
    entries
}

/// The parts of an interval in which `node` owned the camera, and the part before the first known
/// owner.
fn owned(
    node: NodeId,
    (start, end): (Timestamp, Timestamp),
    tenures: &[Tenure],
) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let known_from = tenures.first().map_or(Timestamp::MAX, |first| first.from);
    let next_from = tenures
        .iter()
        .skip(1)
        .map(|next| next.from)
        .chain([Timestamp::MAX]);
    let of_node = tenures
        .iter()
        .zip(next_from)
        .filter(move |(tenure, _)| tenure.node == node);
    let owned = of_node.map(|(tenure, next)| (tenure.from, next));
    owned
        .chain([(Timestamp::MIN, known_from)])
        .map(move |(from, to)| (start.max(from), end.min(to)))
}

/// `entries` are those that end after the hole begins, by start; they may extend beyond it.
fn explain_one(
    hole: (Timestamp, Timestamp),
    entries: &[Entry<'_>],
    tenures: &[Tenure],
) -> Vec<Piece> {
    let (mut at, end) = hole;
    let mut pieces = Vec::new();
    let mut coming = entries
        .iter()
        .enumerate()
        .take_while(|(_, entry)| entry.start < end)
        .peekable();
    let mut open: BTreeSet<(Word, Timestamp, NodeId, usize)> = BTreeSet::new();
    while at < end {
        while let Some((index, entry)) = coming.next_if(|(_, entry)| entry.start <= at) {
            open.insert((entry.word, entry.end, entry.gap.node, index));
        }
        while open.first().is_some_and(|(_, until, ..)| *until <= at) {
            open.pop_first();
        }
        let next_start = coming.peek().map_or(end, |(_, entry)| entry.start);
        match open.first() {
            Some(&(word, until, _, index)) => {
                let to = until.min(next_start).min(end);
                pieces.push(Piece::of_entry(
                    entries[index].gap,
                    word == Word::Seen,
                    (at, to),
                ));
                at = to;
            }
            None => {
                pieces.push(unledgered((at, next_start), tenures));
                at = next_start;
            }
        }
    }
    pieces
}

/// The explanation from the assignments of an interval for which no recorder wrote a ledger entry:
/// a recorder that dies cannot write one.
fn unledgered((start, end): (Timestamp, Timestamp), tenures: &[Tenure]) -> Piece {
    let owner = tenures
        .iter()
        .rfind(|tenure| tenure.from <= start)
        .or(tenures.first());
    let next_from = tenures
        .iter()
        .skip(1)
        .map(|next| Some(next.from))
        .chain([None]);
    let lost = tenures.iter().zip(next_from).find(|(tenure, next_from)| {
        // The time before the next owner's is the last one's, however long that owner had waited
        // for its camera before it was lost.
        let reaches = |until: Timestamp| {
            until
                .plus_micros(TAKEOVER_US_MAX)
                .max(next_from.unwrap_or(until))
        };
        tenure
            .until
            .is_some_and(|until| reaches(until) >= start && until <= end)
    });
    let (cause, node) = match (lost, owner) {
        (Some((lost, _)), _) => (GapCause::NodeDown, Some(lost.node)),
        (None, Some(owner)) => (GapCause::Unknown, Some(owner.node)),
        (None, None) => (GapCause::Unknown, None),
    };
    Piece {
        start,
        end,
        cause,
        node,
        frames_missing: None,
        is_seen: false,
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
        Gap {
            camera,
            stream,
            node,
            epoch,
            start: at(start),
            end: at(end),
            cause,
            frames_missing: None,
        }
    }

    fn tenure(epoch: u64, node: u64, from: i64, until: Option<i64>) -> Tenure {
        Tenure {
            epoch: Epoch(epoch),
            node: NodeId(node),
            from: at(from),
            until: until.map(at),
        }
    }

    #[test]
    fn pieces_cover_a_hole_exactly_and_keep_their_causes() {
        let ledger = [
            gap(12, 14, GapCause::CameraStalled),
            gap(13, 16, GapCause::CameraUnreachable),
        ];
        let pieces = explain(&[(at(10), at(20))], &ledger, &[tenure(1, 1, 0, None)]);
        let shown: Vec<_> = pieces
            .iter()
            .map(|p| (p.start.0 / 1_000_000, p.end.0 / 1_000_000, p.cause))
            .collect();
        assert_eq!(
            shown,
            [
                (10, 12, GapCause::Unknown),
                (12, 14, GapCause::CameraStalled),
                (14, 16, GapCause::CameraUnreachable),
                (16, 20, GapCause::Unknown),
            ]
        );
    }

    #[test]
    fn what_a_living_node_wrote_stays_whatever_a_node_says_that_comes_back() {
        let entry = |start, end, cause, node| Gap {
            node: NodeId(node),
            ..gap(start, end, cause)
        };
        let tenures = [tenure(1, 1, 0, Some(60)), tenure(2, 2, 61, None)];
        let written = [
            entry(10, 20, GapCause::CameraUnreachable, 1),
            entry(20, 30, GapCause::CameraUnreachable, 1),
            entry(13, 23, GapCause::CameraProtocol, 2),
        ];
        let holes = [(at(10), at(30)), (at(60), at(62))];
        let shown = |ledger: &[Gap]| -> Vec<_> {
            let pieces = explain(&holes, ledger, &tenures);
            pieces
                .iter()
                .map(|p| {
                    (
                        p.start.0 / 1_000_000,
                        p.end.0 / 1_000_000,
                        p.cause,
                        p.node.unwrap().0,
                    )
                })
                .collect()
        };
        let before = shown(&written);
        assert_eq!(
            before,
            [
                (10, 20, GapCause::CameraUnreachable, 1),
                (20, 23, GapCause::CameraProtocol, 2),
                (23, 30, GapCause::CameraUnreachable, 1),
                (60, 62, GapCause::NodeDown, 1)
            ],
        );
        // Node 1 and node 2 come back after a kill; both had recorded until 10, as far as they
        // know.
        let back = [
            entry(10, 70, GapCause::NodeDown, 1),
            entry(10, 40, GapCause::NodeDown, 2),
        ];
        assert_eq!(shown(&[&written[..], &back[..]].concat()), before);
        // An entry that is written later comes too late for an earlier time.
        let late = entry(5, 31, GapCause::CameraStalled, 2);
        assert_eq!(shown(&[&written[..], &[late]].concat()), before);
    }

    #[test]
    fn no_node_is_blamed_for_the_time_of_another_owner() {
        let tenures = [tenure(1, 1, 0, Some(10)), tenure(2, 2, 11, None)];
        let down = Gap {
            node: NodeId(1),
            ..gap(10, 100, GapCause::NodeDown)
        };
        let pieces = explain(&[(at(10), at(12)), (at(50), at(52))], &[down], &tenures);
        let shown: Vec<_> = pieces
            .iter()
            .map(|p| (p.start.0 / 1_000_000, p.cause, p.node.unwrap().0))
            .collect();
        assert_eq!(
            shown,
            [(10, GapCause::NodeDown, 1), (50, GapCause::Unknown, 2)]
        );
    }

    #[test]
    fn missing_frames_are_counted_where_all_of_a_piece_is_known() {
        let counted = |start, end, frames| Gap {
            frames_missing: Some(frames),
            ..gap(start, end, GapCause::PacketsLost)
        };
        let shown = |holes: &[(i64, i64)], ledger: &[Gap]| -> Vec<Option<u64>> {
            let holes: Vec<_> = holes
                .iter()
                .map(|(start, end)| (at(*start), at(*end)))
                .collect();
            explain(&holes, ledger, &[])
                .iter()
                .map(|piece| piece.frames_missing)
                .collect()
        };
        assert_eq!(
            shown(&[(1, 3)], &[counted(1, 2, 5), counted(2, 3, 25)]),
            [Some(30)]
        );
        assert_eq!(
            shown(
                &[(1, 3)],
                &[counted(1, 2, 5), gap(2, 3, GapCause::PacketsLost)]
            ),
            [None]
        );
        assert_eq!(
            shown(&[(1, 2)], &[counted(1, 3, 50)]),
            [None],
            "another node has a part of it"
        );
        assert_eq!(
            shown(&[(1, 3)], &[counted(1, 2, 5)]),
            [Some(5), None],
            "what nothing explains is unknown"
        );
    }

    #[test]
    fn a_long_entry_explains_what_nothing_else_does() {
        let ledger = [
            gap(0, 100, GapCause::NodeDown),
            gap(5, 6, GapCause::PacketsLost),
            gap(40, 41, GapCause::Overload),
        ];
        let pieces = explain(
            &[(at(5), at(6)), (at(30), at(31)), (at(99), at(101))],
            &ledger,
            &[],
        );
        let shown: Vec<_> = pieces
            .iter()
            .map(|p| (p.start.0 / 1_000_000, p.cause))
            .collect();
        assert_eq!(
            shown,
            [
                (5, GapCause::PacketsLost),
                (30, GapCause::NodeDown),
                (99, GapCause::NodeDown),
                (100, GapCause::Unknown)
            ]
        );
    }

    #[test]
    fn a_hole_at_a_takeover_is_the_dead_nodes() {
        let tenures = [tenure(1, 1, 0, Some(10)), tenure(2, 2, 11, None)];
        let pieces = explain(&[(at(10), at(12))], &[], &tenures);
        assert_eq!(
            (pieces[0].cause, pieces[0].node),
            (GapCause::NodeDown, Some(NodeId(1)))
        );
    }

    #[test]
    fn a_hole_before_the_next_owners_time_is_the_last_ones_even_if_it_recorded_nothing() {
        let tenures = [tenure(1, 1, 0, Some(10)), tenure(2, 2, 51, None)];
        let ledger = [gap(10, 48, GapCause::CameraUnreachable)];
        let pieces = explain(&[(at(10), at(50)), (at(60), at(61))], &ledger, &tenures);
        let shown: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.cause, piece.node))
            .collect();
        assert_eq!(
            shown,
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
