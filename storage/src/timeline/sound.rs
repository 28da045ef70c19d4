//! Audio for the shown video. Pure.
//!
//! Audio is taken from the recorder whose video is shown. Each chunk of audio is identified by its
//! first frame: where one recorder gives way to another and both have chunks that begin with the
//! same frame, the change is exactly there, so that no frame is lost and none is doubled. That need
//! not be where the video changes. If no frame is shared, the cut is where the end of the one and
//! the beginning of the other fit best.

use super::HOLE_US_MIN;
use super::merge::{Run, end_of, start_of};
use crate::chunk::ChunkEntry;
use crate::ids::{NodeId, TrackKind};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::ops::Range;

/// How far before its end an audio chunk is assigned to an owner, in microseconds: the chunk ends
/// with a GOP of video or is longer, and may be off the video by as much as people do not notice.
const SOUND_END_US: i64 = 160_000;

/// How far from a change of recorder the audio may change, in microseconds: usually two GOPs.
const NEAR_US: i64 = 2_000_000;

/// The most chunks of each recorder that are considered on each side of a change.
const NEAR_CHUNKS_MAX: usize = 16;

/// How far apart two recorders may place the same audio frame, in microseconds. All frames of
/// silence are identical.
const SHARED_US_MAX: i64 = 500_000;

/// Recorders' clocks differ by less, in microseconds: smaller differences do not matter.
const FITS_US: i64 = 25_000;

/// Which recorder's video is shown from when to when.
#[derive(Clone, Copy, Debug)]
struct Piece {
    node: NodeId,
    start: Timestamp,
    end: Timestamp,
    /// The same, extended by half of the distance to its neighbours if that is short, for audio
    /// that extends beyond the video.
    from: Timestamp,
    until: Timestamp,
}

/// The chunks of the tracks other than video that belong to a view of video.
pub(super) fn follow(view: &[Run], others: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    let pieces = pieces(view);
    let mut tracks: BTreeMap<TrackKind, BTreeMap<NodeId, Vec<ChunkEntry>>> = BTreeMap::new();
    for entry in others {
        tracks
            .entry(entry.meta.track)
            .or_default()
            .entry(entry.meta.node)
            .or_default()
            .push(entry);
    }
    tracks
        .into_values()
        .flat_map(|recorded| follow_track(&pieces, recorded))
        .collect()
}

fn pieces(view: &[Run]) -> Vec<Piece> {
    let piece = |run: &Run| {
        let (node, start, end) = (run.first()?.meta.node, start_of(run), end_of(run));
        Some(Piece {
            node,
            start,
            end,
            from: start.plus_micros(-HOLE_US_MIN),
            until: end.plus_micros(HOLE_US_MIN),
        })
    };
    let mut pieces: Vec<Piece> = view.iter().filter_map(piece).collect();
    for after in 1..pieces.len() {
        let (end, start) = (pieces[after - 1].end, pieces[after].start);
        let middle = end.plus_micros(start.micros_since(end) / 2);
        pieces[after - 1].until = middle.min(end.plus_micros(HOLE_US_MIN)).min(start);
        pieces[after].from = middle.max(start.plus_micros(-HOLE_US_MIN)).min(start);
    }
    pieces
}

/// For one track, by its recorders.
fn follow_track(
    pieces: &[Piece],
    mut recorded: BTreeMap<NodeId, Vec<ChunkEntry>>,
) -> Vec<ChunkEntry> {
    for chunks in recorded.values_mut() {
        chunks.sort_by_key(|entry| (entry.meta.start, entry.meta.session, entry.meta.sequence));
        chunks.dedup_by_key(|entry| (entry.meta.session, entry.meta.sequence));
    }
    let of = |piece: &Piece| recorded.get(&piece.node).map_or(&[][..], Vec::as_slice);
    let by_time =
        |piece: &Piece| first_from(of(piece), piece.from)..first_from(of(piece), piece.until);
    let mut parts: Vec<Range<usize>> = pieces.iter().map(by_time).collect();
    let mut joined = vec![false; pieces.len()];
    for next in 1..pieces.len() {
        let (before, after) = (&pieces[next - 1], &pieces[next]);
        let touches = after.start.micros_since(before.end) <= HOLE_US_MIN;
        if touches
            && before.node != after.node
            && let Some(join) = join(of(before), of(after), after.start)
        {
            (parts[next - 1].end, parts[next].start, joined[next]) =
                (join.before_until, join.after_from, true);
        }
    }
    let mut shown: Vec<ChunkEntry> = Vec::new();
    for (next, (piece, part)) in pieces.iter().zip(&parts).enumerate() {
        let mut chunks = of(piece).get(part.clone()).unwrap_or_default();
        let is_cut = joined[next] && !parts[next - 1].is_empty();
        if let Some(end) = shown.last().map(|last| last.meta.end()).filter(|_| !is_cut) {
            // The previous piece was shorter than the time in which its audio can change.
            chunks = &chunks[chunks.partition_point(|entry| middle_of(entry) < end)..];
        }
        shown.extend_from_slice(chunks);
    }
    shown
}

/// The first of sorted chunks that belongs to what is shown from `at` on.
fn first_from(chunks: &[ChunkEntry], at: Timestamp) -> usize {
    chunks.partition_point(|entry| {
        entry
            .meta
            .start
            .max(entry.meta.end().plus_micros(-SOUND_END_US))
            < at
    })
}

fn middle_of(entry: &ChunkEntry) -> Timestamp {
    entry
        .meta
        .start
        .plus_micros(i64::from(entry.meta.duration_us) / 2)
}

/// Where audio changes from one recorder to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Join {
    /// How many chunks of the first recorder are shown.
    before_until: usize,
    /// The second recorder's first chunk that is shown.
    after_from: usize,
}

/// How well two recorders' audio fits at a join; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Both have the same frame there, at times that differ by this many [`FITS_US`].
    Shared(u64),
    /// A hole or an overlap of this many [`FITS_US`].
    ByTime(u64),
}

/// The best join near `at`, and among equals the nearest; `None` if one of the two has no audio
/// near it.
fn join(before: &[ChunkEntry], after: &[ChunkEntry], at: Timestamp) -> Option<Join> {
    let ends = near(before, at);
    let joins = near(after, at).flat_map(|after_from| {
        // The first may have ended before the second begins.
        (ends.start..=ends.end).map(move |before_until| Join {
            before_until,
            after_from,
        })
    });
    let fits = joins.filter_map(|join| {
        let next = &after[join.after_from];
        let fit = fit(
            before.get(..join.before_until)?.last(),
            before.get(join.before_until),
            next,
        )?;
        Some(((fit, next.meta.start.micros_since(at).unsigned_abs()), join))
    });
    fits.min_by_key(|(fit, _)| *fit).map(|(_, join)| join)
}

/// How well `next` fits after `last`, instead of `own_next` of the same recorder. `None` if their
/// order by time would be different.
fn fit(last: Option<&ChunkEntry>, own_next: Option<&ChunkEntry>, next: &ChunkEntry) -> Option<Fit> {
    if last.is_some_and(|last| last.meta.start >= next.meta.start) {
        return None;
    }
    let shared =
        own_next.filter(|own| own.meta.access.is_some() && own.meta.access == next.meta.access);
    let apart = shared.map(|own| own.meta.start.micros_since(next.meta.start).unsigned_abs());
    if let Some(apart_us) = apart.filter(|us| *us <= SHARED_US_MAX.unsigned_abs()) {
        return Some(Fit::Shared(apart_us / FITS_US.unsigned_abs()));
    }
    let off_us = next
        .meta
        .start
        .micros_since(last?.meta.end())
        .unsigned_abs();
    Some(Fit::ByTime(off_us / FITS_US.unsigned_abs()))
}

/// The chunks that begin near `at`.
fn near(chunks: &[ChunkEntry], at: Timestamp) -> Range<usize> {
    let first_at = |at: Timestamp| chunks.partition_point(|entry| entry.meta.start < at);
    let (from, middle, until) = (
        first_at(at.plus_micros(-NEAR_US)),
        first_at(at),
        first_at(at.plus_micros(NEAR_US)),
    );
    from.max(middle.saturating_sub(NEAR_CHUNKS_MAX))..until.min(middle + NEAR_CHUNKS_MAX)
}
