//! The gap ledger's entries of one recorder. Pure.
//!
//! While nothing can be recorded, one *outage* is open. It is written in consecutive pieces, at
//! least every 10 s, so that a crash loses no more than that and no interval is written twice. A
//! recorder's first pieces are shorter: its process may not last. Short gaps within a recording are
//! noted one by one. Entries that could not be written yet wait in a bounded queue, which joins
//! neighbours of the same cause.

use holdfast_storage::chunk::GapCause;
use holdfast_storage::time::Timestamp;
use std::collections::VecDeque;

/// How long a piece of an open outage may stay unwritten, in microseconds.
pub const PIECE_US_MAX: i64 = 10_000_000;
/// The first piece; each that follows may be twice as long as the one before.
const FIRST_PIECE_US: i64 = 1_000_000;
/// No frame fits into a shorter time: a cause that was the only one for less is not worth a piece.
const MOMENT_US: i64 = 1_000;
/// Entries that may wait. Beyond, a new one is joined to the last, over-stating rather than hiding
/// what is missing.
pub const WAITING_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub start: Timestamp,
    pub end: Timestamp,
    pub cause: GapCause,
    /// How many frames are missing, if known.
    pub frames: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    /// End of the part that was written.
    from: Timestamp,
    cause: GapCause,
}

#[derive(Debug)]
pub struct Ledger {
    outage: Option<Outage>,
    waiting: VecDeque<Interval>,
    /// How long the open outage may stay unwritten, in microseconds.
    piece_us: i64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            outage: None,
            waiting: VecDeque::new(),
            piece_us: FIRST_PIECE_US,
        }
    }
}

impl Ledger {
    /// Records an interval that has ended, with the number of missing frames if known; ignores an
    /// empty one.
    pub fn note(&mut self, start: Timestamp, end: Timestamp, cause: GapCause, frames: Option<u32>) {
        if end <= start {
            return;
        }
        let full = self.waiting.len() >= WAITING_MAX;
        match self.waiting.back_mut() {
            Some(last)
                if full || (last.cause == cause && last.end >= start && last.start <= start) =>
            {
                let counts = last.frames.zip(frames).filter(|_| last.end == start);
                last.frames = counts.and_then(|(before, more)| before.checked_add(more));
                last.end = last.end.max(end);
            }
            _ => self.waiting.push_back(Interval {
                start,
                end,
                cause,
                frames,
            }),
        }
    }

    /// Opens an outage at `start`. If one is open, its cause changes at `now`; one that was too
    /// short for a frame is dropped.
    pub fn open(&mut self, start: Timestamp, now: Timestamp, cause: GapCause) {
        match self.outage {
            Some(outage) if outage.cause == cause => {}
            Some(outage) => {
                if now.micros_since(outage.from) >= MOMENT_US {
                    self.write_until(now);
                }
                self.outage = self.outage.map(|outage| Outage { cause, ..outage });
            }
            None => self.outage = Some(Outage { from: start, cause }),
        }
    }

    /// Makes a piece of the open outage due if it is long enough.
    pub fn advance(&mut self, now: Timestamp) {
        if self
            .outage
            .is_some_and(|outage| now.micros_since(outage.from) >= self.piece_us)
        {
            self.write_until(now);
            self.piece_us = (2 * self.piece_us).min(PIECE_US_MAX);
        }
    }

    /// Ends the outage, if one is open, at the first frame after it.
    pub fn close(&mut self, end: Timestamp) {
        self.write_until(end);
        self.outage = None;
    }

    /// The wall clock was set to `now`, and the open outage was written until then
    /// ([`Self::write_until`]): it continues at `now`, and the time between belongs to no outage.
    pub fn rebase(&mut self, now: Timestamp) {
        self.outage = self.outage.map(|outage| Outage {
            from: now,
            ..outage
        });
    }

    /// How far the open outage is written.
    #[must_use]
    pub fn written_until(&self) -> Option<Timestamp> {
        self.outage.map(|outage| outage.from)
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outage.is_some()
    }

    /// The oldest entry to write; [`Self::written`] takes it off.
    #[must_use]
    pub fn next(&self) -> Option<Interval> {
        self.waiting.front().copied()
    }

    pub fn written(&mut self) {
        self.waiting.pop_front();
    }

    /// Makes the piece of the open outage up to `end` due, however short.
    pub fn write_until(&mut self, end: Timestamp) {
        if let Some(outage) = self.outage {
            self.note(outage.from, end, outage.cause, None);
            self.outage = Some(Outage {
                from: outage.from.max(end),
                ..outage
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GapCause::{CameraStalled, CameraUnreachable, Overload};

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn drain(ledger: &mut Ledger) -> Vec<(i64, i64, GapCause)> {
        let mut all = Vec::new();
        while let Some(next) = ledger.next() {
            ledger.written();
            all.push((
                next.start.micros() / 1_000_000,
                next.end.micros() / 1_000_000,
                next.cause,
            ));
        }
        all
    }

    #[test]
    fn a_long_outage_is_written_in_consecutive_pieces() {
        let mut ledger = Ledger::default();
        ledger.open(at(5), at(8), CameraUnreachable);
        let mut pieces = Vec::new();
        for now in 8..60 {
            ledger.advance(at(now));
            pieces.extend(drain(&mut ledger));
        }
        ledger.close(at(61));
        pieces.extend(drain(&mut ledger));
        let ends: Vec<i64> = pieces.iter().map(|piece| piece.1).collect();
        assert_eq!(ends, [8, 10, 14, 22, 32, 42, 52, 61], "the first ones soon");
        let starts: Vec<i64> = pieces.iter().map(|piece| piece.0).collect();
        assert_eq!(starts, [5, 8, 10, 14, 22, 32, 42, 52], "end to end");
        assert!(!ledger.is_open());
    }

    #[test]
    fn a_changing_cause_splits_the_outage() {
        let mut ledger = Ledger::default();
        ledger.open(at(1), at(4), CameraStalled);
        ledger.open(at(1), at(6), CameraUnreachable);
        ledger.open(at(1), at(7), CameraUnreachable);
        ledger.close(at(9));
        assert_eq!(
            drain(&mut ledger),
            [(1, 6, CameraStalled), (6, 9, CameraUnreachable)]
        );
    }

    #[test]
    fn a_cause_of_no_moment_leaves_no_piece() {
        let mut ledger = Ledger::default();
        ledger.open(at(1), at(1), CameraStalled);
        ledger.open(at(1), at(1).plus_micros(300), CameraUnreachable);
        ledger.close(at(9));
        assert_eq!(drain(&mut ledger), [(1, 9, CameraUnreachable)]);
    }

    #[test]
    fn neighbours_are_joined_and_the_queue_is_bounded() {
        let mut ledger = Ledger::default();
        ledger.note(at(1), at(2), Overload, None);
        ledger.note(at(2), at(3), Overload, None);
        ledger.note(at(3), at(3), Overload, None);
        assert_eq!(drain(&mut ledger), [(1, 3, Overload)]);
        for n in 0..1000 {
            ledger.note(at(10 * n), at(10 * n + 1), Overload, None);
        }
        let all = drain(&mut ledger);
        assert_eq!(all.len(), WAITING_MAX);
        assert_eq!(
            all.last().map(|last| last.1),
            Some(9991),
            "nothing missing is hidden"
        );
    }

    #[test]
    fn frames_of_joined_neighbours_are_summed_where_all_are_known() {
        let joined = |parts: &[(i64, i64, Option<u32>)]| {
            let mut ledger = Ledger::default();
            parts.iter().for_each(|(start, end, frames)| {
                ledger.note(at(*start), at(*end), Overload, *frames)
            });
            ledger.next().unwrap().frames
        };
        assert_eq!(joined(&[(1, 2, Some(5)), (2, 3, Some(20))]), Some(25));
        assert_eq!(joined(&[(1, 2, Some(5)), (2, 3, None)]), None);
        assert_eq!(
            joined(&[(1, 3, Some(5)), (2, 4, Some(20))]),
            None,
            "some may be counted twice"
        );
    }
}
