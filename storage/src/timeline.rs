//! When a camera was recorded. Pure: merges the recordings of several nodes into one continuous
//! view.
//!
//! Recorded means playable. Where frames were lost a span ends, and the next one begins at the
//! frame after the loss. It is *damaged* up to the next access point ([`crate::pictures`]), because
//! its pictures refer to lost ones. Such holes are in the gap ledger however short they are. Other
//! seams of up to [`HOLE_US_MIN`] are jitter. Frames with no access point before them belong to no
//! span.

mod merge;
mod sound;
mod stretches;
#[cfg(test)]
mod tests;

pub use merge::merge;
pub(crate) use stretches::close_seams;
pub use stretches::{ChunkNumber, Stretch};

use crate::chunk::{ChunkEntry, ChunkMeta, Gap};
use crate::ids::{Epoch, NodeId, Rank, TrackKind};
use crate::pictures::{Decoding, Shown};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The shortest interval without a frame that counts as a hole, in microseconds. Exceptions:
/// between consecutive chunks of a session there never is a hole, and an interval with an entry in
/// the gap ledger always is one.
pub const HOLE_US_MIN: i64 = 100_000;

/// An interval that one node recorded without interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
    pub node: NodeId,
    pub epoch: Epoch,
    pub rank: Rank,
    /// Its pictures are incomplete: a decoder conceals what is missing.
    pub damaged: bool,
}

/// Who recorded a chunk, in the readers' order of preference: the higher epoch, then the lower
/// rank, then the lower node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Recorder {
    epoch: Reverse<Epoch>,
    rank: Rank,
    node: NodeId,
}

impl Recorder {
    pub(crate) fn of(meta: &ChunkMeta) -> Self {
        Self {
            epoch: Reverse(meta.epoch),
            rank: meta.rank,
            node: meta.node,
        }
    }

    fn of_span(span: &Span) -> Self {
        Self {
            epoch: Reverse(span.epoch),
            rank: span.rank,
            node: span.node,
        }
    }
}

/// The intervals of `entries`, sorted by start, one per recorder and interruption. Video decides if
/// there is any.
#[must_use]
pub fn spans_of(entries: &[ChunkEntry]) -> Vec<Span> {
    let metas: Vec<ChunkMeta> = entries.iter().map(|entry| entry.meta).collect();
    let has_video = metas.iter().any(|meta| meta.track == TrackKind::Video);
    let mut stretches = stretches_of(&metas);
    close_seams(&mut stretches, &[]);
    let mut spans: Vec<Span> = stretches.into_iter().map(|stretch| stretch.span).collect();
    spans.sort_by_key(|span| (span.start, Recorder::of_span(span)));
    if has_video {
        spans
    } else {
        join_touching(spans)
    }
}

/// Like [`spans_of`], for the contents of one segment.
pub(crate) fn stretches_of(metas: &[ChunkMeta]) -> Vec<Stretch> {
    let has_video = metas.iter().any(|meta| meta.track == TrackKind::Video);
    let mut by_recorder: BTreeMap<(Recorder, TrackKind), Vec<ChunkMeta>> = BTreeMap::new();
    for meta in metas
        .iter()
        .filter(|meta| !has_video || meta.track == TrackKind::Video)
    {
        by_recorder
            .entry((Recorder::of(meta), meta.track))
            .or_default()
            .push(*meta);
    }
    let mut stretches: Vec<Stretch> = by_recorder.into_values().flat_map(fold_stretches).collect();
    stretches.sort_by_key(|stretch| (stretch.span.start, Recorder::of_span(&stretch.span)));
    stretches
}

/// The stretches of one recorder's chunks of one track.
fn fold_stretches(mut metas: Vec<ChunkMeta>) -> Vec<Stretch> {
    metas.sort_by_key(|meta| (meta.start, meta.session, meta.sequence));
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut decoding = Decoding::default();
    let mut previous: Option<ChunkMeta> = None;
    for meta in metas {
        let shown = if meta.track == TrackKind::Video {
            decoding.next(&meta)
        } else {
            Shown::Whole
        };
        let damaged = match shown {
            Shown::Whole => false,
            Shown::Damaged => true,
            Shown::Nothing => {
                previous = None;
                continue;
            }
        };
        match (stretches.last_mut(), previous) {
            (Some(Stretch { span, last, .. }), Some(before))
                if span.damaged == damaged && continues(&before, span.end, &meta) =>
            {
                span.end = span.end.max(meta.end());
                *last = ChunkNumber::of(&meta);
            }
            _ => stretches.push(Stretch::of(&meta, damaged)),
        }
        previous = Some(meta);
    }
    stretches
}

/// Whether there is no hole between `next` and a span that ends with `before`.
fn continues(before: &ChunkMeta, end: Timestamp, next: &ChunkMeta) -> bool {
    before.is_followed_by(next) || (!next.after_loss && next.start.micros_since(end) <= HOLE_US_MIN)
}

fn join_touching(spans: Vec<Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if touches(last, &span) => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

fn touches(last: &Span, next: &Span) -> bool {
    Preference::of(last) == Preference::of(next) && next.start <= last.end
}

/// The order of preference among overlapping spans: complete ones before damaged ones, whichever
/// node recorded them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Preference(bool, Recorder);

impl Preference {
    fn of(span: &Span) -> Self {
        Self(span.damaged, Recorder::of_span(span))
    }
}

/// One view of a whole camera from the spans of all its recorders: never two at once, the preferred
/// recorder wherever it recorded, the others where it did not, and damaged spans where there is
/// nothing else.
#[must_use]
pub fn merge_spans(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.end > span.start);
    spans.sort_by_key(|span| (Preference::of(span), span.start));
    let mut view: Vec<Span> = Vec::new();
    for recording in spans.chunk_by(|one, next| Preference::of(one) == Preference::of(next)) {
        let free = free_parts(&view, recording);
        view.extend(free);
        view.sort_by_key(|span| span.start);
    }
    join_touching(view)
}

/// What one recorder's spans, by start, add to `view`.
fn free_parts(view: &[Span], recording: &[Span]) -> Vec<Span> {
    let mut parts = Vec::new();
    let mut reached = Timestamp::MIN;
    for span in recording {
        let free = uncovered(view, span.start.max(reached), span.end);
        parts.extend(free.into_iter().map(|(start, end)| Span {
            start,
            end,
            ..*span
        }));
        reached = reached.max(span.end);
    }
    parts
}

/// The parts of `[from, to)` that no span covers. `spans` are sorted and do not overlap.
fn uncovered(spans: &[Span], from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut free = Vec::new();
    let mut at = from;
    let first = spans.partition_point(|span| span.end <= from);
    for span in spans[first..].iter().take_while(|span| span.start < to) {
        if span.start > at {
            free.push((at, span.start));
        }
        at = at.max(span.end);
    }
    if at < to {
        free.push((at, to));
    }
    free
}

/// Joins consecutive spans of one node, except where `ledger` records a loss within the seam.
#[must_use]
pub(crate) fn join_seams(mut spans: Vec<Span>, ledger: &[Gap]) -> Vec<Span> {
    let ledger = Ledger::of(ledger);
    spans.sort_by_key(|span| (span.node, span.epoch, span.rank, span.start));
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last)
                if Preference::of(last) == Preference::of(&span)
                    && !ledger.is_hole(last.end, span.start) =>
            {
                last.end = last.end.max(span.end);
            }
            _ => joined.push(span),
        }
    }
    joined.sort_by_key(|span| (span.start, span.epoch, span.rank, span.node));
    joined
}

/// The intervals of `[from, to)` that no span covers, except seams of up to [`HOLE_US_MIN`] without
/// an entry in `ledger`.
#[must_use]
pub fn holes(
    spans: &[Span],
    ledger: &[Gap],
    from: Timestamp,
    to: Timestamp,
) -> Vec<(Timestamp, Timestamp)> {
    let view = merge_spans(spans.to_vec());
    let mut holes = uncovered(&view, from, to);
    let ledger = Ledger::of(ledger);
    holes.retain(|(start, end)| ledger.is_hole(*start, *end));
    holes
}

/// Intervals of the gap ledger, by start: there may be as many as seams.
struct Ledger(Vec<(Timestamp, Timestamp)>);

impl Ledger {
    fn of(gaps: &[Gap]) -> Self {
        let mut intervals: Vec<_> = gaps.iter().map(|gap| (gap.start, gap.end)).collect();
        intervals.sort_unstable();
        Self(intervals)
    }

    fn is_hole(&self, start: Timestamp, end: Timestamp) -> bool {
        end.micros_since(start) > HOLE_US_MIN || self.has_entry_within(start, end)
    }

    /// Only an entry that lies within the seam makes it a hole; an entry for a longer outage does
    /// not.
    fn has_entry_within(&self, start: Timestamp, end: Timestamp) -> bool {
        let first = self.0.partition_point(|gap| gap.0 < start);
        let mut within = self.0[first..].iter().take_while(|gap| gap.0 < end);
        within.any(|gap| gap.0 < gap.1 && gap.1 <= end)
    }
}
