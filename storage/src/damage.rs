//! The register of chunks that were stored and later found damaged. Pure. Readers and the scrub
//! fill it; readers apply it to what the segments' footers still list. It can be lost at any time:
//! the next pass of the scrub finds the same damage.

use crate::chunk::{ChunkEntry, ChunkMeta, Gap, GapCause};
use crate::ids::{CameraId, NodeId, SegmentId, SessionId, StreamKind, TrackKind};
use crate::pictures::{Decoding, Shown};
use crate::range::Range;
use crate::time::Timestamp;
use crate::timeline::{HOLE_US_MIN, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most chunks that are listed. Further ones are only counted; they are not served either,
/// because their checksums fail.
pub const DAMAGED_MAX: usize = 4096;

/// Segments waiting to be scrubbed out of turn.
const SUSPECTS_MAX: usize = 64;

/// A chunk that the index lists but that is not intact in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedChunk {
    pub segment: SegmentId,
    /// Of the record in the file, in bytes.
    pub offset: u64,
    pub meta: ChunkMeta,
}

#[derive(Debug, Default)]
pub(crate) struct Damage {
    chunks: BTreeMap<(SegmentId, u64), ChunkMeta>,
    /// Chunks found after [`DAMAGED_MAX`] was reached.
    left_out: u64,
    suspects: BTreeSet<SegmentId>,
    /// Grows with each change; shows when the register has to be saved.
    version: u64,
}

impl Damage {
    pub(crate) fn of(chunks: Vec<DamagedChunk>) -> Self {
        let chunks = chunks
            .into_iter()
            .take(DAMAGED_MAX)
            .map(|chunk| ((chunk.segment, chunk.offset), chunk.meta));
        Self {
            chunks: chunks.collect(),
            ..Self::default()
        }
    }

    pub(crate) fn has(&self, segment: SegmentId, offset: u64) -> bool {
        self.chunks.contains_key(&(segment, offset))
    }

    /// Adds a chunk. Returns whether it is new.
    pub(crate) fn note(&mut self, chunk: DamagedChunk) -> bool {
        if self.has(chunk.segment, chunk.offset) {
            return false;
        }
        if self.chunks.len() >= DAMAGED_MAX {
            self.left_out += 1;
            return true;
        }
        self.version += 1;
        self.chunks
            .insert((chunk.segment, chunk.offset), chunk.meta);
        true
    }

    /// Replaces a segment's damage with `found` after all of it was read. Returns the chunks that
    /// are new.
    pub(crate) fn settle(
        &mut self,
        segment: SegmentId,
        found: &[DamagedChunk],
    ) -> Vec<DamagedChunk> {
        let is_found = |offset: u64| found.iter().any(|chunk| chunk.offset == offset);
        let of_segment = (segment, 0)..=(segment, u64::MAX);
        let healed: Vec<_> = self
            .chunks
            .range(of_segment)
            .map(|(key, _)| *key)
            .filter(|(_, offset)| !is_found(*offset))
            .collect();
        self.version += healed.len() as u64;
        for key in healed {
            self.chunks.remove(&key);
        }
        self.suspects.remove(&segment);
        found
            .iter()
            .copied()
            .filter(|chunk| self.note(*chunk))
            .collect()
    }

    /// The segment was deleted.
    pub(crate) fn forget(&mut self, segment: SegmentId) {
        self.settle(segment, &[]);
    }

    /// Some part of this segment could not be read: the scrub reads it next.
    pub(crate) fn suspect(&mut self, segment: SegmentId) {
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.insert(segment);
        }
    }

    pub(crate) fn take_suspect(&mut self) -> Option<SegmentId> {
        self.suspects.pop_first()
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// By segment and offset.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = DamagedChunk> {
        self.chunks
            .iter()
            .map(|((segment, offset), meta)| DamagedChunk {
                segment: *segment,
                offset: *offset,
                meta: *meta,
            })
    }

    pub(crate) fn by_camera(&self) -> BTreeMap<CameraId, u64> {
        let mut counts = BTreeMap::new();
        self.chunks
            .values()
            .for_each(|meta| *counts.entry(meta.camera).or_default() += 1);
        counts
    }

    /// Removes the damaged chunks from a stream's entries, which contain every place of each chunk.
    /// If a chunk is sound nowhere, the next one is marked: it is not damaged, but frames are
    /// missing before it.
    pub(crate) fn leave_out(&self, entries: &mut Vec<ChunkEntry>) {
        if self.is_empty() {
            return;
        }
        let is_damaged =
            |entry: &ChunkEntry| self.has(entry.location.segment, entry.location.offset);
        let (damaged, sound): (Vec<_>, Vec<_>) = entries.drain(..).partition(is_damaged);
        *entries = sound;
        let there: BTreeSet<_> = entries.iter().map(|entry| place(&entry.meta)).collect();
        let lost = damaged
            .iter()
            .map(|entry| place(&entry.meta))
            .filter(|place| !there.contains(place));
        let torn: BTreeSet<_> = lost
            .map(|place| Place {
                sequence: place.sequence.wrapping_add(1),
                ..place
            })
            .collect();
        for entry in entries {
            entry.meta.after_loss |= torn.contains(&place(&entry.meta));
        }
    }

    /// The damaged video chunks of a stream, by start: video decides its spans.
    pub(crate) fn video_of(&self, camera: CameraId, stream: StreamKind) -> Vec<ChunkMeta> {
        let of_stream = self
            .chunks
            .values()
            .filter(|meta| (meta.camera, meta.stream) == (camera, stream));
        let mut video: Vec<ChunkMeta> = of_stream
            .filter(|meta| meta.track == TrackKind::Video)
            .copied()
            .collect();
        video.sort_by_key(|meta| meta.start);
        video
    }
}

/// A chunk's position in its session. Its copies have the same position, and no other chunk of the
/// stream has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    node: NodeId,
    session: SessionId,
    track: TrackKind,
    sequence: u32,
}

fn place(meta: &ChunkMeta) -> Place {
    Place {
        node: meta.node,
        session: meta.session,
        track: meta.track,
        sequence: meta.sequence,
    }
}

/// The effect of damage on a stream: the chunks that are sound nowhere and, marked as *damaged*,
/// the chunks that refer to them, up to the next access point. `stored` has every place of each
/// chunk, and whether it is damaged there.
pub(crate) fn lost(stored: &[(ChunkMeta, bool)]) -> Vec<Span> {
    let mut chunks: BTreeMap<Place, (&ChunkMeta, bool)> = BTreeMap::new();
    for (meta, is_damaged) in stored
        .iter()
        .filter(|(meta, _)| meta.track == TrackKind::Video)
    {
        let chunk = chunks.entry(place(meta)).or_insert((meta, true));
        chunk.1 &= is_damaged;
    }
    let (mut gone, mut damaged): (Vec<Span>, Vec<Span>) = (Vec::new(), Vec::new());
    let mut decoding = Decoding::default();
    let mut after_lost: Option<SessionId> = None;
    for (meta, is_lost) in chunks.into_values() {
        let continues = after_lost == Some(meta.session);
        if is_lost {
            decoding.miss(meta);
            add(&mut gone, meta, (continues, false));
            after_lost = Some(meta.session);
            continue;
        }
        if let Some(span) = gone
            .last_mut()
            .filter(|span| continues && touches(span, meta.start))
        {
            span.end = span.end.max(meta.start);
        }
        if decoding.next(meta) == Shown::Damaged {
            add(&mut damaged, meta, (true, true));
        }
        after_lost = None;
    }
    gone.append(&mut damaged);
    gone
}

fn add(spans: &mut Vec<Span>, meta: &ChunkMeta, (continues, damaged): (bool, bool)) {
    let (start, end) = (meta.start, meta.end());
    let is_same =
        |span: &&mut Span| (span.node, span.epoch, span.rank) == (meta.node, meta.epoch, meta.rank);
    match spans.last_mut().filter(is_same) {
        Some(span) if continues && touches(span, start) => span.end = span.end.max(end),
        _ => spans.push(Span {
            start,
            end,
            node: meta.node,
            epoch: meta.epoch,
            rank: meta.rank,
            damaged,
        }),
    }
}

fn touches(span: &Span, start: Timestamp) -> bool {
    start.micros_since(span.end) <= HOLE_US_MIN
}

/// Removes lost parts from a stream's spans, and marks damaged ones.
pub(crate) fn cut(spans: Vec<Span>, lost: &[Span]) -> Vec<Span> {
    let cut_one = |spans: Vec<Span>, lost: &Span| {
        spans
            .into_iter()
            .flat_map(|span| without(span, lost))
            .collect()
    };
    lost.iter().fold(spans, cut_one)
}

/// The lost parts as entries of the gap ledger.
pub(crate) fn gaps(lost: &[Span], range: Range) -> impl Iterator<Item = Gap> {
    let gap = move |gone: &Span| Gap {
        camera: range.camera,
        stream: range.stream,
        node: gone.node,
        epoch: gone.epoch,
        start: gone.start,
        end: gone.end,
        cause: GapCause::Damaged,
        frames_missing: None,
    };
    lost.iter()
        .filter(move |lost| !lost.damaged && range.overlaps(lost.start, lost.end))
        .map(gap)
}

/// The rest of a span after the same recorder's loss is removed from it, or the span with the loss
/// marked.
fn without(span: Span, lost: &Span) -> impl Iterator<Item = Span> + use<> {
    let is_apart = (span.node, span.epoch, span.rank) != (lost.node, lost.epoch, lost.rank)
        || lost.end <= span.start
        || lost.start >= span.end;
    let (from, to) = if is_apart {
        (span.end, span.end)
    } else {
        (lost.start, lost.end)
    };
    let before = Span { end: from, ..span };
    let marked = Span {
        start: from.max(span.start),
        end: to.min(span.end),
        damaged: true,
        ..span
    };
    let after = Span { start: to, ..span };
    let marked = Some(marked).filter(|_| lost.damaged);
    [Some(before), marked, Some(after)]
        .into_iter()
        .flatten()
        .filter(|span| span.start < span.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Access, ChunkLocation, InitId};
    use crate::ids::{Epoch, Rank};

    fn chunk(sequence: u32, track: TrackKind) -> DamagedChunk {
        let meta = ChunkMeta {
            camera: CameraId(1),
            stream: StreamKind::Main,
            track,
            node: NodeId(1),
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(1),
            sequence,
            init: InitId(1),
            start: Timestamp(i64::from(sequence) * 500_000),
            duration_us: 500_000,
            frames: 12,
            access: None,
            since_access_ms: (track == TrackKind::Video).then_some(500 * sequence),
            after_loss: false,
            damaged: false,
        };
        DamagedChunk {
            segment: SegmentId(1),
            offset: u64::from(sequence) * 4096,
            meta,
        }
    }

    fn entry(of: &DamagedChunk) -> ChunkEntry {
        let DamagedChunk {
            segment,
            offset,
            meta,
        } = *of;
        let location = ChunkLocation {
            volume: 0,
            segment,
            offset,
            payload_bytes: 100,
            holder: meta.node,
        };
        ChunkEntry {
            meta: of.meta,
            location,
        }
    }

    fn span(from_ms: i64, to_ms: i64, rank: Rank) -> Span {
        let (start, end) = (Timestamp(from_ms * 1000), Timestamp(to_ms * 1000));
        Span {
            start,
            end,
            node: NodeId(1),
            epoch: Epoch(1),
            rank,
            damaged: false,
        }
    }

    #[test]
    fn a_damaged_chunk_is_left_out_and_the_next_is_torn_off() {
        let mut damage = Damage::default();
        assert!(
            damage.note(chunk(2, TrackKind::Video)) && !damage.note(chunk(2, TrackKind::Video))
        );
        let mut entries: Vec<_> = (0..5)
            .map(|sequence| entry(&chunk(sequence, TrackKind::Video)))
            .collect();
        damage.leave_out(&mut entries);
        let reported: Vec<_> = entries
            .iter()
            .map(|entry| (entry.meta.sequence, entry.meta.after_loss))
            .collect();
        assert_eq!(reported, [(0, false), (1, false), (3, true), (4, false)]);
    }

    #[test]
    fn a_copy_that_is_sound_makes_up_for_damage() {
        let mut damage = Damage::default();
        damage.note(chunk(2, TrackKind::Video));
        let copy = DamagedChunk {
            segment: SegmentId(9),
            ..chunk(2, TrackKind::Video)
        };
        let mut entries: Vec<_> = [
            chunk(1, TrackKind::Video),
            chunk(2, TrackKind::Video),
            copy,
            chunk(3, TrackKind::Video),
        ]
        .iter()
        .map(entry)
        .collect();
        damage.leave_out(&mut entries);
        let reported: Vec<_> = entries
            .iter()
            .map(|entry| (entry.meta.sequence, entry.meta.after_loss))
            .collect();
        assert_eq!(reported, [(1, false), (2, false), (3, false)]);
        let meta = |sequence| chunk(sequence, TrackKind::Video).meta;
        assert_eq!(
            lost(&[(meta(2), true), (meta(2), false), (meta(3), false)]),
            []
        );
    }

    #[test]
    fn what_refers_to_a_lost_chunk_is_damaged_up_to_the_next_access_point() {
        let video = |sequence: u32, is_keyframe: bool, is_damaged: bool| {
            let meta = chunk(sequence, TrackKind::Video).meta;
            (
                ChunkMeta {
                    access: is_keyframe.then_some(Access::sync(1)),
                    ..meta
                },
                is_damaged,
            )
        };
        let found = |stored: &[(ChunkMeta, bool)]| -> Vec<(i64, i64, bool)> {
            lost(stored)
                .iter()
                .map(|span| (span.start.0 / 1000, span.end.0 / 1000, span.damaged))
                .collect()
        };
        let gop = [
            video(0, true, false),
            video(1, false, true),
            video(2, false, false),
            video(3, true, false),
        ];
        assert_eq!(found(&gop), [(500, 1000, false), (1000, 1500, true)]);
        assert_eq!(
            found(&[gop[1], gop[2]]),
            [(500, 1000, false), (1000, 1500, true)],
            "as far as it is known"
        );
        assert_eq!(
            found(&[video(0, true, true), gop[2]]),
            [(0, 500, false), (1000, 1500, true)]
        );
        let late = |meta: ChunkMeta| ChunkMeta {
            start: meta.start.plus_micros(30_000),
            ..meta
        };
        assert_eq!(
            found(&[gop[1], (late(gop[2].0), false)])[0],
            (500, 1030, false),
            "a seam"
        );
        assert_eq!(
            found(&[gop[1], (late(gop[3].0), false)])[0],
            (500, 1000, false),
            "another hole lies between"
        );
        let moved = ChunkMeta {
            epoch: Epoch(2),
            ..video(2, false, true).0
        };
        let each = [(500, 1000, false), (1000, 1500, false)];
        assert_eq!(
            found(&[gop[1], (moved, true), gop[3]]),
            each,
            "each epoch for itself"
        );
        let other = ChunkMeta {
            session: SessionId(2),
            ..gop[2].0
        };
        assert_eq!(
            found(&[gop[1], (other, false)]),
            [(500, 1000, false)],
            "another session is not affected"
        );
    }

    #[test]
    fn spans_of_the_same_recorder_have_a_hole_there_and_the_ledger_says_why() {
        let mut damage = Damage::default();
        damage.note(chunk(2, TrackKind::Video));
        damage.note(chunk(3, TrackKind::Audio));
        let video = damage.video_of(CameraId(1), StreamKind::Main);
        let mut lost = lost(&video.iter().map(|meta| (*meta, true)).collect::<Vec<_>>());
        lost.push(Span {
            damaged: true,
            ..span(1500, 2000, Rank::Owner)
        });
        let cut = cut(
            vec![span(0, 4000, Rank::Owner), span(0, 4000, Rank::Mirror)],
            &lost,
        );
        let damaged = Span {
            damaged: true,
            ..span(1500, 2000, Rank::Owner)
        };
        let whole = |from, to| span(from, to, Rank::Owner);
        let expected = [
            whole(0, 1000),
            damaged,
            whole(2000, 4000),
            span(0, 4000, Rank::Mirror),
        ];
        assert_eq!(cut, expected);
        let all = Range::all(CameraId(1), StreamKind::Main);
        let reported: Vec<_> = gaps(&lost, all)
            .map(|gap| (gap.start.0, gap.end.0, gap.cause))
            .collect();
        assert_eq!(reported, [(1_000_000, 1_500_000, GapCause::Damaged)]);
        assert_eq!(
            gaps(
                &lost,
                Range {
                    from: Timestamp(2_000_000),
                    ..all
                }
            )
            .count(),
            0
        );
    }

    #[test]
    fn what_a_later_reading_finds_sound_is_taken_off() {
        let mut damage = Damage::default();
        damage.note(chunk(1, TrackKind::Video));
        damage.note(chunk(2, TrackKind::Video));
        let new = damage.settle(
            SegmentId(1),
            &[chunk(2, TrackKind::Video), chunk(4, TrackKind::Video)],
        );
        assert_eq!(new, [chunk(4, TrackKind::Video)]);
        assert_eq!(
            damage
                .chunks()
                .map(|chunk| chunk.meta.sequence)
                .collect::<Vec<_>>(),
            [2, 4]
        );
        damage.forget(SegmentId(1));
        assert!(damage.is_empty());
    }

    #[test]
    fn the_list_is_bounded_and_the_rest_counted() {
        let mut damage = Damage::default();
        (0..DAMAGED_MAX as u32 + 3)
            .for_each(|sequence| assert!(damage.note(chunk(sequence, TrackKind::Video))));
        assert_eq!(
            (damage.chunks().count(), damage.left_out()),
            (DAMAGED_MAX, 3)
        );
        (0..100).for_each(|id| damage.suspect(SegmentId(id)));
        assert_eq!(
            std::iter::from_fn(|| damage.take_suspect()).count(),
            SUSPECTS_MAX
        );
    }
}
