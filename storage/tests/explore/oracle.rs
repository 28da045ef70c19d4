//! What was accepted, what was promised, and what may be missing: the standard for the store.
//! Independent of how the store works.

use bytes::Bytes;
use holdfast_storage::Watermark;
use holdfast_storage::chunk::{Chunk, ChunkEntry, ChunkMeta, Gap, GapCause, Init, InitId};
use holdfast_storage::ids::{CameraId, SessionId, StreamId, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{HOLD_LEAD_US, Hold, Scan, VolumeHandle};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Identifies a chunk among all that were ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) stream: StreamId,
    pub(crate) track: TrackKind,
    pub(crate) session: SessionId,
    pub(crate) sequence: u32,
}

impl Key {
    pub(crate) fn of(meta: &ChunkMeta) -> Self {
        let ChunkMeta {
            track,
            session,
            sequence,
            ..
        } = *meta;
        Self {
            stream: meta.stream_id(),
            track,
            session,
            sequence,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Accepted {
    pub(crate) meta: ChunkMeta,
    pub(crate) payload: Bytes,
    order: u64,
    life: u32,
    /// Reported as durable: it must be there from now on.
    pub(crate) is_promised: bool,
    /// It was durable before the crash, together with everything before it: its init segment has to
    /// be there too. The init segment of a chunk that recovery salvaged from data that was not
    /// durable may be lost.
    pub(crate) is_decodable: bool,
    /// Its segment was deleted by retention, or damaged at rest: the chunk may be missing.
    pub(crate) is_excused: bool,
    /// It was hit by damage at rest, in at least one of its places.
    pub(crate) is_hit: bool,
}

#[derive(Clone)]
struct AcceptedGap {
    gap: Gap,
    order: u64,
    life: u32,
    is_promised: bool,
    is_excused: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) chunks: BTreeMap<Key, Accepted>,
    gaps: Vec<AcceptedGap>,
    pub(crate) inits: BTreeMap<(CameraId, InitId), Bytes>,
    /// The furthest watermark reported in this life, by stream, epoch and rank.
    marks: BTreeMap<(StreamId, u64, u8), Watermark>,
    /// The newest watermark ever reported of each stream.
    newest: BTreeMap<StreamId, Watermark>,
    order: u64,
    life: u32,
    /// A flush or close in this life has confirmed everything accepted before.
    flushed_below: u64,
    /// Something was damaged at rest.
    pub(crate) has_damage: bool,
    /// The holds that the volume last received.
    holds: Vec<Hold>,
}

impl Oracle {
    pub(crate) fn begin_life(&mut self) {
        self.life += 1;
        self.flushed_below = self.order;
        self.marks.clear();
    }

    /// The number of the next accepted record.
    pub(crate) fn order(&self) -> u64 {
        self.order
    }

    pub(crate) fn accept_chunk(&mut self, chunk: &Chunk) {
        let payload = chunk.parts.concat().into();
        let accepted = Accepted {
            meta: chunk.meta,
            payload,
            order: self.order,
            life: self.life,
            is_promised: false,
            is_decodable: false,
            is_excused: false,
            is_hit: false,
        };
        self.chunks.insert(Key::of(&chunk.meta), accepted);
        self.order += 1;
    }

    pub(crate) fn accept_gap(&mut self, gap: Gap) {
        let (order, life) = (self.order, self.life);
        self.gaps.push(AcceptedGap {
            gap,
            order,
            life,
            is_promised: false,
            is_excused: false,
        });
        self.order += 1;
    }

    pub(crate) fn accept_init(&mut self, init: &Init) {
        self.inits
            .insert((init.camera, init.id()), init.bytes.clone());
        self.order += 1;
    }

    /// A flush confirmed everything with a lower number.
    pub(crate) fn flushed(&mut self, below: u64) {
        self.flushed_below = self.flushed_below.max(below);
    }

    /// A watermark was reported.
    pub(crate) fn reported(&mut self, stream: StreamId, mark: Watermark) -> Result<(), String> {
        let newest = self.newest.entry(stream).or_insert(mark);
        if preference(&mark) > preference(newest) {
            *newest = mark;
        }
        let before = self
            .marks
            .insert((stream, mark.epoch.0, mark.rank as u8), mark);
        match before {
            Some(before) if before.durable_end > mark.durable_end => Err(format!(
                "the watermark of {stream:?} went back from {before:?} to {mark:?}"
            )),
            _ => Ok(()),
        }
    }

    /// A listed chunk has to be one that was accepted, and must stay.
    pub(crate) fn listed(&mut self, entry: &ChunkEntry) -> Result<&Accepted, String> {
        let accepted = self.chunks.get_mut(&Key::of(&entry.meta));
        let accepted = accepted
            .ok_or_else(|| format!("a chunk is listed that no camera recorded: {entry:?}"))?;
        if !is_same(&accepted.meta, &entry.meta, self.has_damage) {
            return Err(format!(
                "listed as {:?}, recorded as {:?}",
                entry.meta, accepted.meta
            ));
        }
        accepted.is_promised = true;
        Ok(accepted)
    }

    /// The end of a life: promised chunks stay promised.
    pub(crate) fn end_life(&mut self) {
        let (life, below) = (self.life, self.flushed_below);
        for accepted in self
            .chunks
            .values_mut()
            .filter(|accepted| accepted.life == life)
        {
            let meta = &accepted.meta;
            let key = (meta.stream_id(), meta.epoch.0, meta.rank as u8);
            let mark = self
                .marks
                .get(&key)
                .filter(|_| meta.track == TrackKind::Video);
            accepted.is_decodable =
                accepted.order < below || mark.is_some_and(|mark| meta.end() <= mark.durable_end);
            accepted.is_promised |= accepted.is_decodable;
        }
        for accepted in self
            .gaps
            .iter_mut()
            .filter(|accepted| accepted.life == life)
        {
            accepted.is_promised |= accepted.order < below;
        }
    }

    /// The volume receives these holds in place of the previous ones.
    pub(crate) fn hold(&mut self, holds: &[Hold]) {
        self.holds = holds.to_vec();
    }

    /// Whether a hold keeps a chunk, wherever retention deletes it. A chunk that was hit by damage
    /// may be copied, or seem copied, where it is damaged.
    pub(crate) fn is_kept(&self, accepted: &Accepted) -> bool {
        let meta = &accepted.meta;
        !accepted.is_hit
            && !accepted.is_excused
            && covers(&self.holds, meta.camera, meta.start, meta.end())
    }

    /// Chunks that are kept by a hold.
    pub(crate) fn kept(&self) -> u64 {
        self.chunks
            .values()
            .filter(|accepted| accepted.is_promised && self.is_kept(accepted))
            .count() as u64
    }

    /// The contents of a deleted segment may be missing, unless they are held.
    pub(crate) fn excuse_all(&mut self, scan: &Scan) {
        let rows = scan.index.tracks().values().flatten();
        for key in rows.map(|row| Key::of(&row.meta)) {
            let is_kept = self
                .chunks
                .get(&key)
                .is_some_and(|accepted| self.is_kept(accepted));
            if let Some(accepted) = self.chunks.get_mut(&key) {
                accepted.is_excused |= !is_kept;
            }
        }
        for accepted in &mut self.gaps {
            let AcceptedGap { gap, .. } = accepted;
            let is_kept = covers(&self.holds, gap.camera, gap.start, gap.end);
            accepted.is_excused |= !is_kept && scan.index.gaps().contains(gap);
        }
    }

    pub(crate) fn hit(&mut self, keys: &BTreeSet<Key>) {
        for key in keys {
            if let Some(accepted) = self.chunks.get_mut(key) {
                accepted.is_hit = true;
            }
        }
    }

    /// Chunks that were hit may be missing, except those that are sound in some place.
    pub(crate) fn excuse_hit_but(&mut self, sound: &BTreeSet<Key>) {
        for (key, accepted) in &mut self.chunks {
            accepted.is_excused |= accepted.is_hit && !sound.contains(key);
        }
    }

    /// The newest reported watermark of a stream, unless the footage that it depends on may be
    /// missing.
    pub(crate) fn newest_mark(&self, stream: StreamId) -> Option<Watermark> {
        let mark = *self.newest.get(&stream)?;
        let is_excused = self.of_stream(stream).any(|accepted| {
            accepted.is_excused
                && (accepted.meta.epoch, accepted.meta.rank) == (mark.epoch, mark.rank)
        });
        (!is_excused).then_some(mark)
    }

    fn of_stream(&self, stream: StreamId) -> impl Iterator<Item = &Accepted> {
        let first = Key {
            stream,
            track: TrackKind::Video,
            session: SessionId(0),
            sequence: 0,
        };
        let of_stream = self
            .chunks
            .range(first..)
            .take_while(move |(key, _)| key.stream == stream);
        of_stream.map(|(_, accepted)| accepted)
    }

    pub(crate) fn streams(&self) -> BTreeSet<StreamId> {
        self.chunks.keys().map(|key| key.stream).collect()
    }

    /// Chunks that must be there and are not in `found`.
    pub(crate) fn missing(&self, found: &BTreeSet<Key>) -> Vec<&Accepted> {
        let must = self
            .chunks
            .iter()
            .filter(|(_, accepted)| accepted.is_promised && !accepted.is_excused);
        must.filter(|(key, _)| !found.contains(key))
            .map(|(_, accepted)| accepted)
            .collect()
    }

    pub(crate) fn missing_gaps(&self, found: &[Gap]) -> Vec<Gap> {
        // A damaged batch may have held gaps too.
        let must = self
            .gaps
            .iter()
            .filter(|gap| gap.is_promised && !gap.is_excused && !self.has_damage);
        must.map(|accepted| accepted.gap)
            .filter(|gap| !found.contains(gap))
            .collect()
    }

    pub(crate) fn is_known_gap(&self, gap: &Gap) -> bool {
        let is_of_damage = self.has_damage && gap.cause == GapCause::Damaged;
        is_of_damage || self.gaps.iter().any(|accepted| accepted.gap == *gap)
    }

    /// Reads a listed chunk and compares every byte. Returns whether it could be read.
    pub(crate) fn check_bytes(
        &self,
        handle: &VolumeHandle,
        entry: &ChunkEntry,
    ) -> Result<bool, String> {
        let Some(accepted) = self.chunks.get(&Key::of(&entry.meta)) else {
            return Err(format!("unknown: {entry:?}"));
        };
        match handle.read(&entry.location) {
            Ok(bytes) if bytes == accepted.payload => Ok(true),
            Ok(_) => Err(format!(
                "served with other bytes than were recorded: {entry:?}"
            )),
            Err(_) if accepted.is_excused => Ok(false),
            Err(error) => Err(format!("listed and not readable: {error}: {entry:?}")),
        }
    }
}

/// A chunk listed after a damaged one is marked as having missing frames before it.
pub(crate) fn is_same(recorded: &ChunkMeta, listed: &ChunkMeta, has_damage: bool) -> bool {
    // Never the other way round.
    let after_loss = if has_damage && listed.after_loss {
        recorded.after_loss
    } else {
        listed.after_loss
    };
    *recorded
        == ChunkMeta {
            after_loss,
            ..*listed
        }
}

/// As documented: with a lead, so that the first picture can be decoded.
fn covers(holds: &[Hold], camera: CameraId, start: Timestamp, end: Timestamp) -> bool {
    let mut of_camera = holds.iter().filter(|hold| hold.camera == camera);
    of_camera.any(|hold| {
        let from = hold.from.plus_micros(-HOLD_LEAD_US);
        start < hold.to && (end > from || start >= from)
    })
}

/// Watermarks in the order in which they supersede each other.
pub(crate) fn preference(mark: &Watermark) -> impl Ord + use<> {
    (mark.epoch, Reverse(mark.rank), mark.durable_end)
}
