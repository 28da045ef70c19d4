//! Sessions of three recorders, frame by frame and at random: no frame is lost or doubled.

use super::*;
use std::collections::BTreeSet;

/// Frames of the camera, 40 ms each, in GOPs of [`GOP_FRAMES`].
const FRAME_US: i64 = 40_000;
const GOP_FRAMES: u32 = 25;

/// One session, frame by frame: which of the camera's frames it received, where its recorder
/// received the next epoch, and which frame was lost.
#[derive(Clone, Copy, Debug)]
struct Session {
    recorder: Recording,
    frames: (u32, u32),
    chunk_frames: u32,
    handed_at: Option<u32>,
    lost: Option<u32>,
    /// The GOP that a second session begins with, and how many frames the camera had sent since the
    /// end of the first.
    again: Option<(u32, u32)>,
}

/// A chunk, and the camera's frames in it.
#[derive(Clone, Debug)]
struct Piece {
    entry: ChunkEntry,
    frames: std::ops::Range<u32>,
    is_whole: bool,
}

impl Session {
    fn both(self) -> Vec<Self> {
        let (from, until) = self.frames;
        let ended = self
            .again
            .map(|(gop, missing)| (gop * GOP_FRAMES - missing, gop * GOP_FRAMES));
        match ended.filter(|(end, again)| from < *end && *again < until) {
            Some((end, again)) => vec![
                Self {
                    frames: (from, end),
                    ..self
                },
                Self {
                    frames: (again, until),
                    ..self
                },
            ],
            None => vec![self],
        }
    }

    fn pieces(self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut after_loss, mut damaged, mut has_begun) = (false, false, false);
        let (mut at, until) = (self.frames.0.next_multiple_of(GOP_FRAMES), self.frames.1);
        while at < until {
            if self.lost == Some(at) {
                (at, after_loss) = (at + 1, true);
                continue;
            }
            let ends = [
                Some((at + 1).next_multiple_of(GOP_FRAMES)),
                self.handed_at,
                self.lost,
            ];
            let next = ends.into_iter().flatten().filter(|end| *end > at).min();
            let end = (at + self.chunk_frames)
                .min(until)
                .min(next.unwrap_or(until));
            let sequence = u32::try_from(pieces.len()).unwrap();
            has_begun |= at.is_multiple_of(GOP_FRAMES);
            damaged = (damaged || after_loss) && !at.is_multiple_of(GOP_FRAMES) && has_begun;
            let mut entry = self.chunk(sequence, at..end, (after_loss, damaged));
            entry.meta.since_access_ms = entry.meta.since_access_ms.filter(|_| has_begun);
            pieces.push(Piece {
                entry,
                frames: at..end,
                is_whole: has_begun && !damaged,
            });
            (at, after_loss) = (end, false);
        }
        pieces
    }

    fn chunk(
        self,
        sequence: u32,
        frames: std::ops::Range<u32>,
        (after_loss, damaged): (bool, bool),
    ) -> ChunkEntry {
        let mut recorder = self.recorder;
        if self.handed_at.is_some_and(|handed| frames.start >= handed) {
            (recorder.epoch, recorder.rank) = (recorder.epoch + 1, Rank::Owner);
        }
        let mut entry = recorder.chunk(sequence, 0, TrackKind::Video);
        let count = frames.end - frames.start;
        entry.meta.session = SessionId(u64::from(self.frames.0));
        entry.meta.start = Timestamp(i64::from(frames.start) * FRAME_US + recorder.skew_us);
        entry.meta.duration_us = count * u32::try_from(FRAME_US).unwrap();
        entry.meta.frames = count;
        entry.meta.access = frames
            .start
            .is_multiple_of(GOP_FRAMES)
            .then_some(Access::sync(frames.start));
        entry.meta.since_access_ms = Some(40 * (frames.start % GOP_FRAMES));
        (entry.meta.after_loss, entry.meta.damaged) = (after_loss, damaged);
        entry
    }
}

fn session(node: u64) -> impl Strategy<Value = Session> {
    let rank = prop_oneof![Just(Rank::Owner), Just(Rank::Mirror), Just(Rank::Successor)];
    let event = || proptest::option::of(0..220_u32);
    let again = proptest::option::of((1..8_u32, 0..4_u32));
    (
        1..4_u64,
        rank,
        -9_000..9_000_i64,
        0..100_u32,
        1..120_u32,
        8..13_u32,
        event(),
        event(),
        again,
    )
        .prop_map(
            move |(epoch, rank, skew_us, from, length, chunk_frames, handed_at, lost, again)| {
                Session {
                    recorder: Recording {
                        node,
                        epoch: 2 * epoch,
                        rank,
                        skew_us,
                    },
                    frames: (from, from + length),
                    chunk_frames,
                    handed_at,
                    lost,
                    again,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Clocks are within half a frame of each other: more than that can cost a chunk that is
    /// shorter. A picture is complete if its GOP is shown up to it without a hole.
    #[test]
    fn every_frame_that_any_recorder_has_whole_is_shown_whole_and_once(
        sessions in (session(1), session(2), session(3)),
    ) {
        let sessions = [sessions.0, sessions.1, sessions.2].into_iter().flat_map(Session::both);
        let pieces: Vec<Piece> = sessions.flat_map(Session::pieces).collect();
        let frames = |entry: &ChunkEntry| {
            pieces
                .iter()
                .find(|piece| piece.entry == *entry)
                .unwrap()
                .frames
                .clone()
        };
        let shown: Vec<u32> = merge(pieces.iter().map(|piece| piece.entry).collect())
            .iter()
            .flat_map(frames)
            .collect();
        prop_assert!(shown.windows(2).all(|pair| pair[0] < pair[1]), "{shown:?}");
        let whole = pieces
            .iter()
            .filter(|piece| piece.is_whole)
            .flat_map(|piece| piece.frames.clone());
        let needed = whole.flat_map(|frame| frame - frame % GOP_FRAMES..=frame);
        let missing: BTreeSet<u32> = needed.filter(|frame| !shown.contains(frame)).collect();
        prop_assert!(missing.is_empty(), "{missing:?} of {shown:?}");
    }

    #[test]
    fn a_recorder_alone_is_shown_with_its_losses(session in session(1)) {
        let stored: Vec<ChunkEntry> = session
            .pieces()
            .into_iter()
            .map(|piece| piece.entry)
            .collect();
        let has_begun = |entry: &ChunkEntry| entry.meta.since_access_ms.is_some();
        let decodable: Vec<ChunkEntry> = stored.iter().copied().filter(has_begun).collect();
        prop_assert_eq!(merge(stored), decodable);
    }
}
