//! The contents of one segment. Pure: the writer fills it as batches become durable, recovery fills
//! it from a scan, and sealing writes it out.

use crate::chunk::{ChunkEntry, ChunkLocation, ChunkMeta, Gap, InitId, Record};
use crate::format::Decoded;
use crate::ids::{CameraId, NodeId, SegmentId, StreamKind, TrackKind};
use crate::time::Timestamp;
use crate::timeline::{Stretch, stretches_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One track of one stream of one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrackKey {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub track: TrackKind,
}

/// A chunk within its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    pub meta: ChunkMeta,
    /// Of the record in the file, in bytes.
    pub offset: u64,
    pub payload_bytes: u32,
}

impl ChunkRow {
    #[must_use]
    pub fn entry(&self, (holder, volume): (NodeId, u16), segment: SegmentId) -> ChunkEntry {
        let Self {
            offset,
            payload_bytes,
            ..
        } = *self;
        let location = ChunkLocation {
            volume,
            segment,
            offset,
            payload_bytes,
            holder,
        };
        ChunkEntry {
            meta: self.meta,
            location,
        }
    }

    /// The place of an entry within its segment.
    #[must_use]
    pub fn of(entry: &ChunkEntry) -> Self {
        let ChunkLocation {
            offset,
            payload_bytes,
            ..
        } = entry.location;
        Self {
            meta: entry.meta,
            offset,
            payload_bytes,
        }
    }

    fn overlaps(&self, from: Timestamp, to: Timestamp) -> bool {
        overlaps(self.meta.start, self.meta.end(), from, to)
    }
}

/// Whether `[start, end)` and `[from, to)` share an instant; an empty interval counts as its start.
#[must_use]
pub(crate) fn overlaps(start: Timestamp, end: Timestamp, from: Timestamp, to: Timestamp) -> bool {
    start < to && (end > from || start >= from)
}

/// An init segment within its segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitRow {
    pub key: TrackKey,
    pub id: InitId,
    pub offset: u64,
    pub bytes: u32,
}

/// A stretch, and the stream that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSpan {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub stretch: Stretch,
}

/// The index row of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Chunk(ChunkRow),
    Init(InitRow),
    Gap(Gap),
}

impl Row {
    /// The row of a record that is written at `offset`.
    #[must_use]
    pub fn of_record(record: &Record, offset: u64) -> Self {
        match record {
            Record::Chunk(chunk) => Self::Chunk(ChunkRow {
                meta: chunk.meta,
                offset,
                payload_bytes: chunk.payload_bytes() as u32,
            }),
            Record::Init(init) => {
                let key = TrackKey {
                    camera: init.camera,
                    stream: init.stream,
                    track: init.track,
                };
                Self::Init(InitRow {
                    key,
                    id: init.id(),
                    offset,
                    bytes: init.bytes.len() as u32,
                })
            }
            Record::Gap(gap) => Self::Gap(*gap),
        }
    }

    /// The row of a record that was read at `offset`; `None` if this release does not know its
    /// kind.
    #[must_use]
    pub fn of(decoded: &Decoded<'_>, offset: u64) -> Option<Self> {
        match *decoded {
            Decoded::Chunk { meta, payload } => Some(Self::Chunk(ChunkRow {
                meta,
                offset,
                payload_bytes: payload.len() as u32,
            })),
            Decoded::Init {
                camera,
                stream,
                track,
                id,
                payload,
            } => {
                let key = TrackKey {
                    camera,
                    stream,
                    track,
                };
                Some(Self::Init(InitRow {
                    key,
                    id,
                    offset,
                    bytes: payload.len() as u32,
                }))
            }
            Decoded::Gap(gap) => Some(Self::Gap(gap)),
            Decoded::Unknown { .. } => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    tracks: BTreeMap<TrackKey, Vec<ChunkRow>>,
    inits: Vec<InitRow>,
    gaps: Vec<Gap>,
    chunks: usize,
}

impl SegmentIndex {
    pub fn add(&mut self, row: Row) {
        match row {
            Row::Chunk(row) => self.add_chunk(row),
            Row::Init(row) => self.inits.push(row),
            Row::Gap(gap) => self.gaps.push(gap),
        }
    }

    fn add_chunk(&mut self, row: ChunkRow) {
        let meta = &row.meta;
        let key = TrackKey {
            camera: meta.camera,
            stream: meta.stream,
            track: meta.track,
        };
        self.tracks.entry(key).or_default().push(row);
        self.chunks += 1;
    }

    #[must_use]
    pub fn tracks(&self) -> &BTreeMap<TrackKey, Vec<ChunkRow>> {
        &self.tracks
    }

    #[must_use]
    pub fn inits(&self) -> &[InitRow] {
        &self.inits
    }

    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Number of chunks of all tracks.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// The chunks of all tracks of a stream that overlap `[from, to)`, track by track in the order
    /// of writing.
    pub fn rows(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = &ChunkRow> {
        let first = TrackKey {
            camera,
            stream,
            track: TrackKind::Video,
        };
        let last = TrackKey {
            camera,
            stream,
            track: TrackKind::Metadata,
        };
        self.tracks
            .range(first..=last)
            .flat_map(|(_, rows)| rows)
            .filter(move |row| row.overlaps(from, to))
    }

    /// The stretches of one stream; its video decides if there is any.
    fn stretches_of(&self, camera: CameraId, stream: StreamKind) -> Vec<Stretch> {
        let metas: Vec<ChunkMeta> = self
            .rows(camera, stream, Timestamp::MIN, Timestamp::MAX)
            .map(|row| row.meta)
            .collect();
        stretches_of(&metas)
    }

    /// The spans of every stream.
    #[must_use]
    pub fn spans(&self) -> Vec<StreamSpan> {
        let mut streams: Vec<_> = self
            .tracks
            .keys()
            .map(|key| (key.camera, key.stream))
            .collect();
        streams.dedup();
        let spans_of = |(camera, stream)| {
            let stretches = self.stretches_of(camera, stream).into_iter();
            stretches.map(move |stretch| StreamSpan {
                camera,
                stream,
                stretch,
            })
        };
        streams.into_iter().flat_map(spans_of).collect()
    }

    #[must_use]
    pub fn init(&self, camera: CameraId, id: InitId) -> Option<InitRow> {
        self.inits
            .iter()
            .rev()
            .find(|row| row.key.camera == camera && row.id == id)
            .copied()
    }
}
