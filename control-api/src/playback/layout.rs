//! Which byte of an answer is in which chunk. All of it is known before the first byte is read: a
//! part that a client requests is made on its own, and is the same on every node. Pure.
//!
//! A promised length is kept: a chunk that is damaged or deleted is replaced by a `free` box
//! (ISO/IEC 14496-12, 8.1.2), which players skip.

use super::schedule::{Place, Placer};
use super::tear::{Absent, Tear};
use bytes::Bytes;
use holdfast_storage::chunk::{ChunkEntry, ChunkMeta};
use holdfast_storage::cmaf::Error;
use holdfast_storage::cmaf::init::Times;
use holdfast_storage::cmaf::sidx::{PART_BYTES_MAX, PARTS_MAX, Part, index};
use holdfast_storage::ids::TrackKind;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// What a part may read before its first byte, to see that nothing was lost that decides about it:
/// minutes of video.
const READ_BACK_BYTES_MAX: u64 = 64 << 20;

/// Increased when the same footage is sent as different bytes than before, so that no client joins
/// the two.
const RENDERING: u32 = 1;

/// A presentation, byte for byte.
#[derive(Clone, Debug)]
pub struct Layout {
    head: Bytes,
    chunks: Vec<ChunkEntry>,
    places: Vec<Place>,
    /// Where each chunk ends, in bytes from the beginning.
    ends: Vec<u64>,
    /// Which chunks are replaced by a box without content, and why.
    absent: Vec<Option<Absent>>,
    placer: Placer,
}

/// A part of a presentation, to be sent.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The part before the chunks.
    pub head: Bytes,
    pub chunks: Vec<ChunkEntry>,
    pub slots: Vec<Slot>,
    /// The state after everything before this part.
    pub tear: Tear,
    /// Bytes of the first chunks that are not sent.
    pub skip: u64,
    /// Bytes of chunks that are sent.
    pub bytes: u64,
    pub placer: Placer,
}

/// How a chunk is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub place: Place,
    /// Number of the `moof` within the presentation, from 1.
    pub number: u32,
    pub bytes: u64,
    /// Why it is left out.
    pub absent: Option<Absent>,
}

impl Layout {
    /// The chunks in the order of sending, without a header.
    #[must_use]
    pub fn of_segment(chunks: Vec<ChunkEntry>, placer: Placer) -> Self {
        let places = placer.schedule(&chunks);
        let absent = vec![None; chunks.len()];
        let mut layout = Self {
            head: Bytes::new(),
            chunks,
            places,
            ends: Vec::new(),
            absent,
            placer,
        };
        layout.ends = layout.ends_after(0);
        layout
    }

    /// A file of these chunks, with a header and an index. It is shown from `shown_from_us` on.
    ///
    /// # Errors
    /// [`Error::Unbuildable`].
    pub fn of_file(
        chunks: Vec<ChunkEntry>,
        placer: Placer,
        shown_from_us: u64,
    ) -> Result<Self, Error> {
        let mut layout = Self::of_segment(chunks, placer);
        let times = Times {
            shown_from_us,
            durations: layout.durations(),
        };
        let header = layout.placer.init().with_times(&times)?;
        let timescale = layout
            .placer
            .init()
            .timescale
            .get(&TrackKind::Video)
            .copied()
            .unwrap_or_default();
        let end = times
            .durations
            .get(&TrackKind::Video)
            .copied()
            .unwrap_or_default();
        let index = index(&layout.parts(), end, timescale)?.unwrap_or_default();
        layout.head = [header, index].concat().into();
        layout.ends = layout.ends_after(layout.head.len() as u64);
        Ok(layout)
    }

    #[must_use]
    pub fn chunks(&self) -> &[ChunkEntry] {
        &self.chunks
    }

    /// The same without the chunks in `lost`, and without those that cannot be shown without them.
    /// `strict`: chunks that refer to lost frames are left out, too.
    #[must_use]
    pub fn without(mut self, lost: &[Option<Absent>], strict: bool) -> Self {
        let mut tear = Tear::new(strict);
        let lost = lost.iter().copied().chain(std::iter::repeat(None));
        self.absent = self
            .chunks
            .iter()
            .zip(lost)
            .map(|(entry, lost)| tear.next(&entry.meta, lost))
            .collect();
        self
    }

    /// Length of all of it, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(self.head.len() as u64)
    }

    /// A strong entity tag (RFC 9110, 8.8.3) of the bytes.
    #[must_use]
    pub fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (RENDERING, &self.head[..]).hash(&mut hasher);
        for ((entry, place), absent) in self.chunks.iter().zip(&self.places).zip(&self.absent) {
            let ChunkMeta {
                camera,
                stream,
                track,
                node,
                session,
                sequence,
                init,
                ..
            } = entry.meta;
            absent.is_some().hash(&mut hasher);
            (
                camera.0,
                stream as u8,
                track as u8,
                node.0,
                session.0,
                sequence,
                init.0,
            )
                .hash(&mut hasher);
            (place.at, place.until, entry.location.payload_bytes).hash(&mut hasher);
        }
        format!("\"{:016x}\"", hasher.finish())
    }

    /// The chunks of which these bytes are made, and those that have to be read before that is
    /// certain. `strict`: chunks from the previous access point on, because their loss would leave
    /// out chunks that refer to them; otherwise only if no video precedes these, because then a
    /// loss has the same effect.
    #[must_use]
    pub fn cut(mut self, range: Range<u64>, strict: bool) -> Cut {
        let head = self.head.len() as u64;
        let within = |at: u64| usize::try_from(at.min(head)).unwrap_or(usize::MAX);
        let sent = range.start.max(head)..range.end.max(head);
        let last = self.ends.partition_point(|end| *end < sent.end);
        let mut first = self.ends.partition_point(|end| *end <= sent.start);
        if first < self.chunks.len() {
            first = self.read_from(first, strict);
        }
        let last = if sent.is_empty() {
            first
        } else {
            (last + 1).min(self.chunks.len())
        };
        let begin = first
            .checked_sub(1)
            .map_or(head, |before| self.ends[before]);
        let slots = (first..last).map(|index| Slot {
            place: self.places[index],
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            bytes: self.ends[index]
                - index
                    .checked_sub(1)
                    .map_or(head, |before| self.ends[before]),
            absent: self.absent[index],
        });
        let slots = slots.collect();
        let mut tear = Tear::new(strict);
        for (entry, absent) in self.chunks.iter().zip(&self.absent).take(first) {
            tear.next(&entry.meta, *absent);
        }
        self.chunks.truncate(last);
        self.chunks.drain(..first.min(last));
        Cut {
            head: self.head.slice(within(range.start)..within(range.end)),
            chunks: self.chunks,
            slots,
            tear,
            skip: sent.start.saturating_sub(begin),
            bytes: sent.end - sent.start,
            placer: self.placer,
        }
    }

    /// Where the decision about the chunk at `index` begins, if that is near. A GOP may be as long
    /// as a session: what is lost far before is found by the answer that sends it.
    fn read_from(&self, index: usize, strict: bool) -> usize {
        let is_there = |at: &usize| self.absent[*at].is_none() && is_video(&self.chunks[*at]);
        let is_access = |at: &usize| is_there(at) && self.chunks[*at].meta.is_access_point();
        let begin = (0..=index).rev().find(is_access).unwrap_or(0);
        let bytes_before = index.checked_sub(1).map_or(0, |before| self.ends[before])
            - begin.checked_sub(1).map_or(0, |before| self.ends[before]);
        let is_near = bytes_before <= READ_BACK_BYTES_MAX;
        if is_near && (strict || !(0..begin).any(|at| is_there(&at))) {
            begin
        } else {
            index
        }
    }

    fn ends_after(&self, head: u64) -> Vec<u64> {
        let bytes = |entry: &ChunkEntry| {
            u64::from(entry.location.payload_bytes) + self.placer.added_bytes(&entry.meta)
        };
        let end = |end: &mut u64, entry: &ChunkEntry| {
            *end = end.saturating_add(bytes(entry));
            Some(*end)
        };
        self.chunks.iter().scan(head, end).collect()
    }

    fn durations(&self) -> BTreeMap<TrackKind, u64> {
        let mut durations = BTreeMap::new();
        for (entry, place) in self.chunks.iter().zip(&self.places) {
            let end = durations.entry(entry.meta.track).or_insert(0);
            *end = place.until.max(*end);
        }
        durations
    }

    /// Where players may begin, no more often than an index can list.
    fn parts(&self) -> Vec<Part> {
        let end = self
            .durations()
            .get(&TrackKind::Video)
            .copied()
            .unwrap_or_default();
        let ticks_min = end / (PARTS_MAX as u64 / 2);
        let bytes_min = self.bytes() / (PARTS_MAX as u64 / 4);
        let mut parts: Vec<Part> = Vec::new();
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        let chunks = self
            .chunks
            .iter()
            .zip(&self.places)
            .zip(begins.zip(&self.ends));
        for ((entry, place), (begin, end)) in chunks {
            let (bytes, is_video) = (end - begin, entry.meta.track == TrackKind::Video);
            let cut = is_video
                && parts.last().is_none_or(|part| {
                    let is_long = place.at.saturating_sub(part.at) >= ticks_min.max(1);
                    let is_full = part.bytes + bytes > PART_BYTES_MAX.max(bytes_min);
                    (is_long && entry.meta.is_access_point()) || is_full
                });
            match parts.last_mut() {
                Some(part) if !cut => part.bytes += bytes,
                _ => parts.push(Part {
                    at: place.at,
                    bytes,
                    access: entry.meta.access.map(|access| access.point),
                }),
            }
        }
        parts
    }
}

fn is_video(entry: &ChunkEntry) -> bool {
    entry.meta.track == TrackKind::Video
}

/// A box of this many bytes in place of a chunk, or `None` if no box is so short.
#[must_use]
pub fn free_box(bytes: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(bytes).ok().filter(|length| *length >= 8)?;
    let size = u32::try_from(bytes).ok()?;
    let mut free = vec![0; length];
    free[..4].copy_from_slice(&size.to_be_bytes());
    free[4..8].copy_from_slice(b"free");
    Some(free)
}

#[cfg(test)]
mod tests;
