//! Reads segment files and whole volumes without a running node. Everything here is read-only,
//! except [`rebuild_catalogue`].

mod footage;
mod shelf;
mod volume;

pub use footage::{Footage, footage};
pub use shelf::{Held, LostOnShelf, Shelf, ShelfFootage, ShelfProgress, ShelfVolume, StreamId};
pub use volume::{
    DamagedSegment, FailedSegment, Loss, RebuildReport, VolumeProgress, VolumeReport,
    rebuild_catalogue, verify_volume,
};

use crate::Error;
use crate::chunk::ChunkMeta;
use crate::damage::DamagedChunk;
use crate::disk::{Disk, DiskFile, IoChoice, RealDisk};
use crate::format::{BLOCK, BLOCK_BYTES, FormatError, SegmentHeader};
use crate::ids::{CameraId, SegmentId, StreamKind, TrackKind};
use crate::layout::parse_path;
use crate::scan::{Scan, scan_with};
use crate::seal::{Sealed, read_sealed};
use crate::time::Timestamp;
use crate::timeline::Span;
use crate::verify::{FooterState, Verified, verify_file};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// What a segment file contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub segment: SegmentId,
    /// From the header, or from the path if the header is damaged.
    pub class: String,
    /// `None` if the header block is damaged.
    pub node: Option<crate::ids::NodeId>,
    pub volume: Option<uuid::Uuid>,
    pub cluster: Option<uuid::Uuid>,
    pub opened_at: Option<Timestamp>,
    /// When the last batch was written.
    pub closed_at: Timestamp,
    pub is_sealed: bool,
    pub file_bytes: u64,
    pub batches: u32,
    pub damaged_batches: u32,
    pub chunks: u64,
    pub streams: Vec<StreamSummary>,
}

/// The part of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSummary {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub chunks: u64,
    pub payload_bytes: u64,
    pub spans: Vec<Span>,
}

/// The result of [`verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub is_header_sound: bool,
    /// `None`: not sealed, which is no damage. `Some(false)`: the footer is damaged or does not
    /// match the batches.
    pub is_footer_sound: Option<bool>,
    pub batches: u32,
    pub damaged_batches: u32,
    /// How many of them a crash may have left, if the segment is not sealed.
    pub torn_batches: u32,
    /// How many batches were already damaged when the segment was sealed after a crash.
    pub damaged_at_sealing: u32,
    /// No sound batch follows the last damaged place.
    pub is_tail_torn: bool,
    /// The file ends within a batch: it is incomplete.
    pub is_cut_short: bool,
    /// Chunks whose checksum was verified.
    pub chunks_sound: u64,
    /// Chunks that the footer lists but that are not intact.
    pub chunks_lost: u64,
    /// Init segments that the footer lists but that are not intact.
    pub inits_lost: u64,
    /// Lost chunks by camera and stream, with their times.
    pub lost: Vec<LostChunk>,
}

impl Report {
    /// Nothing is damaged beyond what was known when the segment was sealed, and what a crash
    /// leaves.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let torn = if self.is_footer_sound.is_none() {
            self.torn_batches
        } else {
            0
        };
        self.is_header_sound
            && !self.is_cut_short
            && self.is_footer_sound != Some(false)
            && self.damaged_batches <= self.damaged_at_sealing + torn
            && self.chunks_lost == 0
            && self.inits_lost == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostChunk {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub track: TrackKind,
    pub start: Timestamp,
    pub end: Timestamp,
}

struct Opened {
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    segment: SegmentId,
    header: Option<SegmentHeader>,
}

/// The segment's id comes from the header, or from the file's name if the header is damaged.
fn open(path: &Path) -> Result<Opened, Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let disk = RealDisk::new(IoChoice::Plain, folder).map_err(Error::io("open", path))?;
    let file = disk.open_read(path).map_err(Error::io("open", path))?;
    let file_bytes = file.bytes().map_err(Error::io("read", path))?;
    let mut block = vec![0; BLOCK_BYTES];
    if file_bytes < BLOCK {
        return Err(Error::format(path)(FormatError::Short { what: "segment" }));
    }
    file.read_exact_at(&mut block, 0)
        .map_err(Error::io("read", path))?;
    let header = match SegmentHeader::decode(&block) {
        Ok(header) => Some(header),
        Err(source @ FormatError::Version { .. }) => return Err(Error::format(path)(source)),
        Err(source) if parse_path(path).is_none() => return Err(Error::format(path)(source)),
        Err(_) => None,
    };
    let of_path = parse_path(path).map(|(id, _)| id);
    let Some(segment) = header.as_ref().map(|header| header.segment).or(of_path) else {
        return Err(Error::format(path)(FormatError::Magic { what: "segment" }));
    };
    Ok(Opened {
        file,
        file_bytes,
        segment,
        header,
    })
}

/// `progress` receives the bytes read so far and the total.
fn scan_all(
    opened: &Opened,
    path: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Scan, Error> {
    let progress = |done| progress(done, opened.file_bytes);
    scan_with(&*opened.file, opened.segment, progress)
        .map_err(Error::io("read", path))?
        .map_err(Error::format(path))
}

/// Reads a segment file's contents from its footer, or by reading all of the file if it has none.
///
/// # Errors
/// It is no segment, of a newer version, or cannot be read.
pub fn inspect(path: &Path) -> Result<Summary, Error> {
    let opened = open(path)?;
    let header = opened.header.clone();
    let summary = Summary {
        segment: opened.segment,
        class: header
            .as_ref()
            .map_or_else(|| class_of(path), |header| header.class.clone()),
        node: header.as_ref().map(|header| header.node),
        volume: header.as_ref().map(|header| header.volume),
        cluster: header.as_ref().map(|header| header.cluster),
        opened_at: header.as_ref().map(|header| header.opened_at),
        closed_at: Timestamp(0),
        is_sealed: false,
        file_bytes: opened.file_bytes,
        batches: 0,
        damaged_batches: 0,
        chunks: 0,
        streams: Vec::new(),
    };
    match read_sealed(&*opened.file, path)? {
        Sealed::Yes(trailer, head) => Ok(Summary {
            closed_at: trailer.closed_at,
            is_sealed: true,
            batches: trailer.batches,
            damaged_batches: trailer.damaged_batches,
            chunks: trailer.chunks,
            streams: streams(
                head.tracks
                    .iter()
                    .map(|table| (table.key, u64::from(table.rows), table.payload_bytes)),
                &head.spans,
            ),
            ..summary
        }),
        Sealed::No(_) => {
            let scan = scan_all(&opened, path, |_, _| {})?;
            let bytes = |rows: &Vec<crate::ChunkRow>| {
                rows.iter().map(|row| u64::from(row.payload_bytes)).sum()
            };
            let tracks = scan
                .index
                .tracks()
                .iter()
                .map(|(key, rows)| (*key, rows.len() as u64, bytes(rows)));
            Ok(Summary {
                closed_at: scan.closed_at,
                batches: scan.batches,
                damaged_batches: scan.damaged_batches,
                chunks: scan.index.chunks() as u64,
                streams: streams(tracks, &scan.index.spans()),
                ..summary
            })
        }
    }
}

fn class_of(path: &Path) -> String {
    parse_path(path).map_or_else(String::new, |(_, class)| class.to_owned())
}

fn streams(
    tracks: impl Iterator<Item = (crate::TrackKey, u64, u64)>,
    spans: &[crate::StreamSpan],
) -> Vec<StreamSummary> {
    let mut streams: Vec<StreamSummary> = Vec::new();
    for (key, chunks, payload_bytes) in tracks {
        match streams.last_mut() {
            Some(last) if (last.camera, last.stream) == (key.camera, key.stream) => {
                last.chunks += chunks;
                last.payload_bytes += payload_bytes;
            }
            _ => streams.push(StreamSummary {
                camera: key.camera,
                stream: key.stream,
                chunks,
                payload_bytes,
                spans: spans
                    .iter()
                    .filter(|row| (row.camera, row.stream) == (key.camera, key.stream))
                    .map(|row| row.stretch.span)
                    .collect(),
            }),
        }
    }
    streams
}

/// Reads everything and checks every checksum. `progress` receives the bytes done so far and the
/// total.
///
/// # Errors
/// It is no segment, of a newer version, or cannot be read. Damage is no error: it is in the
/// report.
pub fn verify(path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<Report, Error> {
    let opened = open(path)?;
    let total = opened.file_bytes;
    let verified = verify_file(&*opened.file, path, opened.segment, |done| {
        progress(done, total)
    })?;
    progress(total, total);
    Ok(Report::of(&verified))
}

impl Report {
    fn of(verified: &Verified) -> Self {
        Self {
            is_header_sound: verified.is_header_sound,
            is_footer_sound: match verified.footer {
                FooterState::Unsealed => None,
                FooterState::Sound => Some(true),
                FooterState::Damaged => Some(false),
            },
            batches: verified.scan.batches,
            damaged_batches: verified.scan.damaged_batches,
            torn_batches: verified.scan.torn_batches,
            damaged_at_sealing: verified.damaged_at_sealing,
            is_tail_torn: verified.scan.is_tail_torn,
            is_cut_short: verified.scan.is_cut_short,
            chunks_sound: verified.chunks_sound as u64,
            chunks_lost: verified.lost.len() as u64,
            inits_lost: verified.lost_inits.len() as u64,
            lost: verified.lost.iter().map(LostChunk::of).collect(),
        }
    }
}

impl LostChunk {
    fn of(chunk: &DamagedChunk) -> Self {
        let ChunkMeta {
            camera,
            stream,
            track,
            start,
            ..
        } = chunk.meta;
        Self {
            camera,
            stream,
            track,
            start,
            end: chunk.meta.end(),
        }
    }
}
