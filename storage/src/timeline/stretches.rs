//! Spans of one segment, with the numbers of the chunks at their ends. So a seam to another segment
//! can be distinguished from a hole, however far apart a camera's frames are. Pure.

use super::{Ledger, Span};
use crate::chunk::{ChunkMeta, Gap};
use crate::ids::{NodeId, SessionId, TrackKind};
use crate::time::Timestamp;
use std::collections::HashMap;

/// The part of a span that one segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub span: Span,
    pub track: TrackKind,
    pub first: ChunkNumber,
    pub last: ChunkNumber,
    /// Frames were lost immediately before it.
    pub after_loss: bool,
}

/// A chunk's number in its track and recorder's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkNumber {
    pub session: SessionId,
    pub sequence: u32,
}

impl ChunkNumber {
    pub(crate) fn of(meta: &ChunkMeta) -> Self {
        Self {
            session: meta.session,
            sequence: meta.sequence,
        }
    }

    pub(crate) fn next(self) -> Option<Self> {
        let sequence = self.sequence.checked_add(1)?;
        Some(Self { sequence, ..self })
    }
}

impl Stretch {
    /// The stretch of one chunk.
    pub(crate) fn of(meta: &ChunkMeta, damaged: bool) -> Self {
        let ChunkMeta {
            start,
            node,
            epoch,
            rank,
            track,
            after_loss,
            ..
        } = *meta;
        let span = Span {
            start,
            end: meta.end(),
            node,
            epoch,
            rank,
            damaged,
        };
        let number = ChunkNumber::of(meta);
        Self {
            span,
            track,
            first: number,
            last: number,
            after_loss,
        }
    }
}

/// Extends a stretch to the start of the one that begins with its recorder's next chunk, in any
/// segment, epoch and state: a frame lasts until the next one, which may take many seconds. Where
/// `ledger` has an entry, the hole stays.
pub(crate) fn close_seams(stretches: &mut [Stretch], ledger: &[Gap]) {
    stretches.sort_by_key(|stretch| stretch.span.start);
    let mut reached = Timestamp::MIN;
    let mut behind_seams: HashMap<(NodeId, TrackKind, ChunkNumber), Timestamp> = HashMap::new();
    for Stretch {
        span,
        track,
        first,
        after_loss,
        ..
    } in &*stretches
    {
        if span.start > reached && !after_loss {
            behind_seams.insert((span.node, *track, *first), span.start);
        }
        reached = reached.max(span.end);
    }
    let ledger = Ledger::of(ledger);
    for Stretch {
        span, track, last, ..
    } in stretches
    {
        let next = last
            .next()
            .and_then(|next| behind_seams.get(&(span.node, *track, next)));
        if let Some(next) =
            next.filter(|next| **next > span.end && !ledger.has_entry_within(span.end, **next))
        {
            span.end = *next;
        }
    }
}
