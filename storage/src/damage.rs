//! The register of chunks that were stored and found damaged since. Pure. Readers and the scrub fill it, readers lay it over what the segments'
//! footers still list, and it can be lost at any time: the next pass of the scrub finds the same.

use crate::chunk::{ChunkEntry, ChunkMeta, Gap, GapCause};
use crate::ids::{CameraId, SegmentId, StreamKind, TrackKind};
use crate::range::Range;
use crate::timeline::Span;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Chunks that are listed. More are counted, and never served either: their checksums fail.
pub const DAMAGED_MAX: usize = 4096;

/// Segments that wait to be looked at out of turn.
const SUSPECTS_MAX: usize = 64;

/// A chunk that the index lists and that is not there intact.
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
    /// Found beyond [`DAMAGED_MAX`].
    left_out: u64,
    suspects: BTreeSet<SegmentId>,
    /// Grows with each change, so that it is known when to write it down.
    version: u64,
}

impl Damage {
    pub(crate) fn of(chunks: Vec<DamagedChunk>) -> Self {
        let chunks = chunks.into_iter().take(DAMAGED_MAX).map(|chunk| ((chunk.segment, chunk.offset), chunk.meta));
        Self { chunks: chunks.collect(), ..Self::default() }
    }

    pub(crate) fn has(&self, segment: SegmentId, offset: u64) -> bool {
        self.chunks.contains_key(&(segment, offset))
    }

    /// Whether it was not known.
    pub(crate) fn note(&mut self, chunk: DamagedChunk) -> bool {
        if self.has(chunk.segment, chunk.offset) {
            return false;
        }
        if self.chunks.len() >= DAMAGED_MAX {
            self.left_out += 1;
            return true;
        }
        self.version += 1;
        self.chunks.insert((chunk.segment, chunk.offset), chunk.meta);
        true
    }

    /// All of a segment was read: exactly `found` is damaged in it. Returns what was not known.
    pub(crate) fn settle(&mut self, segment: SegmentId, found: &[DamagedChunk]) -> Vec<DamagedChunk> {
        let is_found = |offset: u64| found.iter().any(|chunk| chunk.offset == offset);
        let of_segment = (segment, 0)..=(segment, u64::MAX);
        let healed: Vec<_> =
            self.chunks.range(of_segment).map(|(key, _)| *key).filter(|(_, offset)| !is_found(*offset)).collect();
        self.version += healed.len() as u64;
        for key in healed {
            self.chunks.remove(&key);
        }
        self.suspects.remove(&segment);
        found.iter().copied().filter(|chunk| self.note(*chunk)).collect()
    }

    /// The segment was deleted.
    pub(crate) fn forget(&mut self, segment: SegmentId) {
        self.settle(segment, &[]);
    }

    /// Something of this segment could not be read: the scrub looks at it next.
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
        self.chunks.iter().map(|((segment, offset), meta)| DamagedChunk {
            segment: *segment,
            offset: *offset,
            meta: *meta,
        })
    }

    pub(crate) fn by_camera(&self) -> BTreeMap<CameraId, u64> {
        let mut counts = BTreeMap::new();
        self.chunks.values().for_each(|meta| *counts.entry(meta.camera).or_default() += 1);
        counts
    }

    /// Takes the damaged chunks out of a stream's entries. The chunk after one was not damaged, but frames are missing before it.
    pub(crate) fn leave_out(&self, entries: &mut Vec<ChunkEntry>) {
        if self.is_empty() {
            return;
        }
        let mut torn: BTreeSet<_> = BTreeSet::new();
        entries.retain(|entry| {
            let is_damaged = self.has(entry.location.segment, entry.location.offset);
            if is_damaged {
                let meta = &entry.meta;
                torn.insert((meta.node, meta.session, meta.track, meta.sequence.wrapping_add(1)));
            }
            !is_damaged
        });
        for entry in entries {
            let meta = &mut entry.meta;
            meta.after_loss |= torn.contains(&(meta.node, meta.session, meta.track, meta.sequence));
        }
    }

    /// What a stream lost, as the spans of its recording count: by its video, where any of it is damaged.
    fn lost(&self, camera: CameraId, stream: StreamKind) -> Vec<&ChunkMeta> {
        let of_stream = self.chunks.values().filter(|meta| (meta.camera, meta.stream) == (camera, stream));
        of_stream.filter(|meta| meta.track == TrackKind::Video).collect()
    }

    /// Cuts what is damaged out of a stream's spans.
    pub(crate) fn cut(&self, range: Range, spans: Vec<Span>) -> Vec<Span> {
        if self.is_empty() {
            return spans;
        }
        let lost = self.lost(range.camera, range.stream);
        let cut_one =
            |spans: Vec<Span>, meta: &&ChunkMeta| spans.into_iter().flat_map(|span| without(span, meta)).collect();
        lost.iter().fold(spans, cut_one)
    }

    /// The same as entries of the gap ledger.
    pub(crate) fn gaps(&self, range: Range) -> Vec<Gap> {
        let lost = self.lost(range.camera, range.stream);
        let gap = |meta: &ChunkMeta| Gap {
            camera: meta.camera,
            stream: meta.stream,
            node: meta.node,
            epoch: meta.epoch,
            start: meta.start,
            end: meta.end(),
            cause: GapCause::Damaged,
        };
        lost.into_iter().filter(|meta| range.overlaps(meta.start, meta.end())).map(gap).collect()
    }
}

/// What is left of a span without a chunk of the same recorder.
fn without(span: Span, meta: &ChunkMeta) -> impl Iterator<Item = Span> {
    let is_apart = (span.node, span.epoch, span.rank) != (meta.node, meta.epoch, meta.rank)
        || meta.end() <= span.start
        || meta.start >= span.end;
    let before = Span { end: if is_apart { span.end } else { meta.start }, ..span };
    let after = Span { start: if is_apart { span.end } else { meta.end() }, ..span };
    [before, after].into_iter().filter(|span| span.start < span.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{ChunkLocation, InitId};
    use crate::ids::{Epoch, NodeId, Rank, SessionId};
    use crate::time::Timestamp;

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
            keyframe_crc: None,
            after_loss: false,
        };
        DamagedChunk { segment: SegmentId(1), offset: u64::from(sequence) * 4096, meta }
    }

    fn entry(of: &DamagedChunk) -> ChunkEntry {
        let location = ChunkLocation { volume: 0, segment: of.segment, offset: of.offset, payload_bytes: 100 };
        ChunkEntry { meta: of.meta, location }
    }

    fn span(from_ms: i64, to_ms: i64, rank: Rank) -> Span {
        let (start, end) = (Timestamp(from_ms * 1000), Timestamp(to_ms * 1000));
        Span { start, end, node: NodeId(1), epoch: Epoch(1), rank }
    }

    #[test]
    fn a_damaged_chunk_is_left_out_and_the_next_is_torn_off() {
        let mut damage = Damage::default();
        assert!(damage.note(chunk(2, TrackKind::Video)) && !damage.note(chunk(2, TrackKind::Video)));
        let mut entries: Vec<_> = (0..5).map(|sequence| entry(&chunk(sequence, TrackKind::Video))).collect();
        damage.leave_out(&mut entries);
        let told: Vec<_> = entries.iter().map(|entry| (entry.meta.sequence, entry.meta.after_loss)).collect();
        assert_eq!(told, [(0, false), (1, false), (3, true), (4, false)]);
    }

    #[test]
    fn spans_of_the_same_recorder_have_a_hole_there_and_the_ledger_says_why() {
        let mut damage = Damage::default();
        damage.note(chunk(2, TrackKind::Video));
        damage.note(chunk(3, TrackKind::Audio));
        let spans = vec![span(0, 4000, Rank::Owner), span(0, 4000, Rank::Mirror)];
        let cut = damage.cut(Range::all(CameraId(1), StreamKind::Main), spans);
        let expected = [span(0, 1000, Rank::Owner), span(1500, 4000, Rank::Owner), span(0, 4000, Rank::Mirror)];
        assert_eq!(cut, expected);
        let gaps = damage.gaps(Range::all(CameraId(1), StreamKind::Main));
        assert_eq!(gaps.len(), 1);
        assert_eq!(
            (gaps[0].start, gaps[0].end, gaps[0].cause),
            (Timestamp(1_000_000), Timestamp(1_500_000), GapCause::Damaged)
        );
        assert!(
            damage.gaps(Range { from: Timestamp(2_000_000), ..Range::all(CameraId(1), StreamKind::Main) }).is_empty()
        );
    }

    #[test]
    fn what_a_later_reading_finds_sound_is_taken_off() {
        let mut damage = Damage::default();
        damage.note(chunk(1, TrackKind::Video));
        damage.note(chunk(2, TrackKind::Video));
        let new = damage.settle(SegmentId(1), &[chunk(2, TrackKind::Video), chunk(4, TrackKind::Video)]);
        assert_eq!(new, [chunk(4, TrackKind::Video)]);
        assert_eq!(damage.chunks().map(|chunk| chunk.meta.sequence).collect::<Vec<_>>(), [2, 4]);
        damage.forget(SegmentId(1));
        assert!(damage.is_empty());
    }

    #[test]
    fn the_list_is_bounded_and_the_rest_counted() {
        let mut damage = Damage::default();
        (0..DAMAGED_MAX as u32 + 3).for_each(|sequence| assert!(damage.note(chunk(sequence, TrackKind::Video))));
        assert_eq!((damage.chunks().count(), damage.left_out()), (DAMAGED_MAX, 3));
        (0..100).for_each(|id| damage.suspect(SegmentId(id)));
        assert_eq!(std::iter::from_fn(|| damage.take_suspect()).count(), SUSPECTS_MAX);
    }
}
