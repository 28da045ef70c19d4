//! One outage, one gap: joins what several nodes, or one node in several pieces, report of the same
//! outage. Pure.

use holdfast_control_api::wire;
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::HOLE_US_MIN;

/// An open outage is written in pieces of up to 10 s
/// ([`crate::capture::recorder::gaps::PIECE_US_MAX`]), and a node is replaced within seconds: an
/// unexplained piece no longer than this, next to a piece of an outage, is the same outage.
const UNWRITTEN_US_MAX: i64 = crate::capture::recorder::gaps::PIECE_US_MAX + 2_000_000;

/// Two recorders' clocks, and two ways of rounding, agree no better: no frame fits in between.
const ROUNDING_US: i64 = 1_000;

/// An interval with one explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) cause: GapCause,
    pub(super) node: Option<NodeId>,
    pub(super) frames_missing: Option<u64>,
    /// A node that was alive reports it.
    pub(super) is_seen: bool,
}

impl Piece {
    pub(super) fn of_entry(gap: &Gap, is_seen: bool, (start, end): (Timestamp, Timestamp)) -> Self {
        // The missing frames of a part of an entry are not known.
        let is_whole = (start, end) == (gap.start, gap.end);
        let frames_missing = gap.frames_missing.filter(|_| is_whole).map(u64::from);
        Self {
            start,
            end,
            cause: gap.cause,
            node: Some(gap.node),
            frames_missing,
            is_seen,
        }
    }

    pub(super) fn shown(self) -> wire::Gap {
        let Self {
            start,
            end,
            cause,
            node,
            frames_missing,
            ..
        } = self;
        wire::Gap {
            start,
            end,
            cause,
            node,
            frames_missing,
        }
    }

    fn micros(&self) -> i64 {
        self.end.micros_since(self.start)
    }

    /// Whether `next` is the same outage: of one node that was down, or of a cause that any node
    /// may notice.
    fn is_one_with(&self, next: &Self) -> bool {
        let is_same_node = self.node == next.node || (self.is_seen && next.is_seen);
        self.end == next.start && self.cause == next.cause && is_same_node
    }

    /// Continues to the end of `next`.
    fn take_in(&mut self, next: &Self) {
        let is_known = self.frames_missing.zip(next.frames_missing);
        self.frames_missing = is_known.and_then(|(before, more)| before.checked_add(more));
        self.end = next.end;
    }
}

/// The gaps of one hole, end to end.
pub(super) fn join(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let whole_us = pieces
        .last()
        .zip(pieces.first())
        .map_or(0, |(last, first)| last.end.micros_since(first.start));
    if whole_us < ROUNDING_US && pieces.iter().all(|piece| piece.frames_missing.is_none()) {
        return Vec::new();
    }
    pieces = joined(pieces);
    say_what_was_not_written(&mut pieces);
    joined(without_scraps(joined(pieces)))
}

fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match all.last_mut() {
            Some(last) if last.is_one_with(&piece) => last.take_in(&piece),
            _ => all.push(piece),
        }
    }
    all
}

/// Between two pieces of one outage, and between a piece and what came next, it was the same
/// outage: its recorder had not written that yet. The time after the last piece stays unexplained:
/// no record supports it.
fn say_what_was_not_written(pieces: &mut [Piece]) {
    for at in 1..pieces.len() {
        let (before, piece) = (pieces[at - 1], pieces[at]);
        let next = pieces.get(at + 1).copied();
        let continues = next.is_some_and(|next| next.is_seen && next.cause == before.cause);
        let is_open = piece.cause == GapCause::Unknown && next.is_some();
        let is_outage = before.is_seen && is_written_in_pieces(before.cause);
        if is_outage
            && !piece.is_seen
            && (continues || is_open)
            && piece.micros() <= UNWRITTEN_US_MAX
        {
            (pieces[at].cause, pieces[at].node, pieces[at].is_seen) =
                (before.cause, before.node, true);
        }
    }
}

/// Whether an outage of this cause is written in pieces while it lasts, and not once it is over.
fn is_written_in_pieces(cause: GapCause) -> bool {
    !matches!(
        cause,
        GapCause::PacketsLost | GapCause::Overload | GapCause::Damaged
    )
}

/// Gives pieces that are too short for a hole to their neighbours: a change of the cause takes a
/// moment.
fn without_scraps(pieces: Vec<Piece>) -> Vec<Piece> {
    let is_scrap = |piece: &Piece| piece.micros() < HOLE_US_MIN;
    let mut all: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match all.last_mut() {
            Some(last) if is_scrap(&piece) => (last.end, last.frames_missing) = (piece.end, None),
            _ => all.push(piece),
        }
    }
    if let [first, second, ..] = all[..]
        && is_scrap(&first)
    {
        all.remove(0);
        all[0] = Piece {
            start: first.start,
            frames_missing: None,
            ..second
        };
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use GapCause::{CameraUnreachable, NodeDown, RecorderStopped, Unknown};

    fn piece(from_ms: i64, to_ms: i64, cause: GapCause, node: u64) -> Piece {
        let at = |ms: i64| Timestamp(ms * 1000);
        let is_seen = !matches!(cause, NodeDown | Unknown);
        Piece {
            start: at(from_ms),
            end: at(to_ms),
            cause,
            node: Some(NodeId(node)),
            frames_missing: None,
            is_seen,
        }
    }

    fn shown(pieces: &[Piece]) -> Vec<(i64, i64, GapCause, u64)> {
        let gap = |piece: &Piece| {
            let ms = |time: Timestamp| time.micros() / 1000;
            (
                ms(piece.start),
                ms(piece.end),
                piece.cause,
                piece.node.unwrap().0,
            )
        };
        join(pieces.to_vec()).iter().map(gap).collect()
    }

    #[test]
    fn what_several_nodes_report_of_one_outage_is_one_gap_and_two_dead_nodes_are_two() {
        let turns = [
            piece(0, 9_000, CameraUnreachable, 1),
            piece(9_000, 20_000, CameraUnreachable, 2),
        ];
        assert_eq!(shown(&turns), [(0, 20_000, CameraUnreachable, 1)]);
        let dead = [
            piece(0, 9_000, NodeDown, 1),
            piece(9_000, 20_000, NodeDown, 2),
        ];
        assert_eq!(shown(&dead).len(), 2);
    }

    #[test]
    fn what_was_not_written_of_an_outage_is_part_of_it() {
        let unwritten = [
            piece(0, 10_000, CameraUnreachable, 1),
            piece(10_000, 18_000, Unknown, 1),
        ];
        let killed = [&unwritten[..], &[piece(18_000, 40_000, NodeDown, 1)]].concat();
        assert_eq!(
            shown(&killed),
            [
                (0, 18_000, CameraUnreachable, 1),
                (18_000, 40_000, NodeDown, 1)
            ]
        );
        assert_eq!(shown(&unwritten).len(), 2, "it may continue otherwise");
        let taken_over = [
            piece(0, 10_000, CameraUnreachable, 1),
            piece(10_000, 21_000, NodeDown, 1),
            piece(21_000, 30_000, CameraUnreachable, 2),
        ];
        assert_eq!(
            shown(&taken_over),
            [(0, 30_000, CameraUnreachable, 1)],
            "it was away before and after"
        );
        let long = [
            piece(0, 10_000, CameraUnreachable, 1),
            piece(10_000, 60_000, Unknown, 1),
            killed[2],
        ];
        assert_eq!(shown(&long).len(), 3, "nothing says that it was the same");
        let died = [
            piece(0, 10_000, CameraUnreachable, 1),
            piece(10_000, 15_000, NodeDown, 1),
        ];
        assert_eq!(shown(&died).len(), 2);
    }

    #[test]
    fn there_are_no_gaps_of_nothing() {
        let wrong_password = [
            piece(0, 12, Unknown, 1),
            piece(12, 20_000, CameraUnreachable, 1),
            piece(20_000, 20_001, RecorderStopped, 1),
        ];
        assert_eq!(shown(&wrong_password), [(0, 20_001, CameraUnreachable, 1)]);
        assert_eq!(
            shown(&[piece(0, 20, Unknown, 1), piece(20, 90, RecorderStopped, 1)]),
            [(0, 90, Unknown, 1)]
        );
        assert_eq!(
            shown(&[piece(0, 40, Unknown, 1)]),
            [(0, 40, Unknown, 1)],
            "a lost frame"
        );
        assert!(
            join(vec![Piece {
                end: Timestamp(900),
                ..piece(0, 1, Unknown, 1)
            }])
            .is_empty()
        );
    }
}
