//! Whole data directories as one: their streams, and all footage of one stream, without a node.
//! Everything here is read-only, works on read-only mounts, and works around damage.

mod footage;

pub use footage::{LostOnShelf, ShelfFootage};

use super::volume::{Opened as Directory, open as open_directory};
use super::{FailedSegment, Opened, open};
use crate::Error;
use crate::chunk::Gap;
use crate::disk::{DiskFile, Salvaging};
use crate::format::FooterHead;
use crate::format::index::{ChunkRow, overlaps};
use crate::identity::{self, Lock};
use crate::ids::{CameraId, NodeId, SegmentId, StreamKind};
use crate::names::{self, CameraNames};
use crate::scan::{Scan, scan};
use crate::seal::{Sealed, read_sealed};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// One stream of one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub camera: CameraId,
    pub stream: StreamKind,
}

/// One of the directories.
#[derive(Clone, Debug)]
pub struct ShelfVolume {
    pub path: PathBuf,
    /// The volume's own id and its cluster's; `None` if neither `volume.json` nor a segment has
    /// them.
    pub identity: Option<(Uuid, Uuid)>,
    pub names: Option<CameraNames>,
    /// The process that has it open, if any: what that process is writing may be missing.
    pub in_use_by: Option<String>,
    /// The nodes that recorded the footage.
    pub nodes: BTreeSet<NodeId>,
    pub segments: u64,
    pub bytes: u64,
}

/// What all directories hold of a stream, including copies of held footage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub from: Timestamp,
    pub to: Timestamp,
    pub chunks: u64,
    pub payload_bytes: u64,
    pieces: Vec<Piece>,
}

/// A segment's part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    segment: u32,
    from: Timestamp,
    to: Timestamp,
}

/// Progress of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShelfProgress {
    pub done_segments: u64,
    pub total_segments: u64,
}

struct Segment {
    volume: u16,
    id: SegmentId,
    path: PathBuf,
}

pub struct Shelf {
    volumes: Vec<ShelfVolume>,
    segments: Vec<Segment>,
    streams: BTreeMap<StreamId, Held>,
    gaps: BTreeMap<StreamId, Vec<Gap>>,
    failed: Vec<FailedSegment>,
}

/// What is known of a segment without reading its footage, or all of it if it has no footer.
enum Contents {
    Sealed(FooterHead),
    Scanned(Box<Scan>),
}

impl Shelf {
    /// Reads every segment's footer; a segment without a sound footer is read completely. Failures
    /// are in [`Self::failed`].
    ///
    /// # Errors
    /// A directory is no volume, or cannot be listed.
    pub fn open(dirs: &[PathBuf], mut progress: impl FnMut(ShelfProgress)) -> Result<Self, Error> {
        let mut shelf = Self {
            volumes: Vec::new(),
            segments: Vec::new(),
            streams: BTreeMap::new(),
            gaps: BTreeMap::new(),
            failed: Vec::new(),
        };
        for (volume, dir) in (0..u16::MAX).zip(dirs) {
            shelf.add_directory(volume, &open_directory(dir)?)?;
        }
        let total_segments = shelf.segments.len() as u64;
        for at in 0..shelf.segments.len() {
            shelf.take_in(at);
            progress(ShelfProgress {
                done_segments: at as u64 + 1,
                total_segments,
            });
        }
        for gaps in shelf.gaps.values_mut() {
            gaps.sort_by_key(|gap| (gap.start, gap.end, gap.cause, gap.node, gap.epoch));
            gaps.dedup();
        }
        Ok(shelf)
    }

    fn add_directory(&mut self, volume: u16, directory: &Directory) -> Result<(), Error> {
        let Directory {
            disk,
            layout,
            segments,
        } = directory;
        self.volumes.push(ShelfVolume {
            path: layout.root.clone(),
            // If the file cannot be understood, the segments have the ids.
            identity: identity::read(disk, layout)
                .ok()
                .flatten()
                .map(|known| (known.volume, known.cluster)),
            names: names::read(disk, layout).ok().flatten(),
            in_use_by: Lock::holder(disk.root()).ok().flatten(),
            nodes: BTreeSet::new(),
            segments: segments.len() as u64,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
        });
        let found = segments.iter().map(|found| Segment {
            volume,
            id: found.id,
            path: found.path.clone(),
        });
        self.segments.extend(found);
        Ok(())
    }

    fn take_in(&mut self, at: usize) {
        let Segment { volume, path, .. } = &self.segments[at];
        let (volume, path) = (usize::from(*volume), path.clone());
        let looked = open(&path).and_then(|opened| Ok((contents(&opened, &path)?, opened)));
        let (contents, opened) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                return self.failed.push(FailedSegment {
                    path,
                    error: error.to_string(),
                });
            }
        };
        if let Some(header) = &opened.header {
            self.volumes[volume].nodes.insert(header.node);
            self.volumes[volume]
                .identity
                .get_or_insert((header.volume, header.cluster));
        }
        let segment = u32::try_from(at).unwrap_or(u32::MAX);
        match &contents {
            Contents::Sealed(head) => {
                for table in &head.tracks {
                    let id = StreamId {
                        camera: table.key.camera,
                        stream: table.key.stream,
                    };
                    let piece = Piece {
                        segment,
                        from: table.start,
                        to: table.end,
                    };
                    self.add_piece(id, piece, u64::from(table.rows), table.payload_bytes);
                }
            }
            Contents::Scanned(scan) => {
                for (key, rows) in scan.index.tracks() {
                    let id = StreamId {
                        camera: key.camera,
                        stream: key.stream,
                    };
                    let bytes = rows.iter().map(|row| u64::from(row.payload_bytes)).sum();
                    self.add_piece(id, piece_of(segment, rows), rows.len() as u64, bytes);
                }
            }
        }
        for gap in contents.gaps() {
            self.gaps
                .entry(StreamId {
                    camera: gap.camera,
                    stream: gap.stream,
                })
                .or_default()
                .push(*gap);
        }
    }

    fn add_piece(&mut self, id: StreamId, piece: Piece, chunks: u64, payload_bytes: u64) {
        if chunks == 0 {
            return;
        }
        let Piece { from, to, .. } = piece;
        let none = Held {
            from,
            to,
            chunks: 0,
            payload_bytes: 0,
            pieces: Vec::new(),
        };
        let held = self.streams.entry(id).or_insert(none);
        (held.from, held.to) = (held.from.min(from), held.to.max(to));
        held.chunks += chunks;
        held.payload_bytes += payload_bytes;
        match held.pieces.last_mut() {
            // Another track of the same segment.
            Some(last) if last.segment == piece.segment => {
                (last.from, last.to) = (last.from.min(from), last.to.max(to));
            }
            _ => held.pieces.push(piece),
        }
    }

    #[must_use]
    pub fn volumes(&self) -> &[ShelfVolume] {
        &self.volumes
    }

    pub fn streams(&self) -> impl Iterator<Item = (StreamId, &Held)> {
        self.streams.iter().map(|(id, held)| (*id, held))
    }

    #[must_use]
    pub fn held(&self, id: StreamId) -> Option<&Held> {
        self.streams.get(&id)
    }

    /// What could not be read or understood, and why.
    #[must_use]
    pub fn failed(&self) -> &[FailedSegment] {
        &self.failed
    }

    /// The gap ledger of a stream within `[from, to)`, as far as the directories contain it; not
    /// clipped.
    pub fn gaps(
        &self,
        id: StreamId,
        (from, to): (Timestamp, Timestamp),
    ) -> impl Iterator<Item = Gap> {
        let all = self.gaps.get(&id).map_or(&[][..], Vec::as_slice);
        all.iter()
            .filter(move |gap| overlaps(gap.start, gap.end, from, to))
            .copied()
    }

    /// All sound chunks of a stream that overlap `[from, to)`; each is read once to verify it.
    /// `progress` receives the segments done so far and the total.
    pub fn footage(
        &self,
        id: StreamId,
        (from, to): (Timestamp, Timestamp),
        mut progress: impl FnMut(ShelfProgress),
    ) -> ShelfFootage {
        let mut found = ShelfFootage::default();
        let pieces = self.streams.get(&id).map_or(&[][..], |held| &held.pieces);
        let wanted: Vec<&Piece> = pieces
            .iter()
            .filter(|piece| overlaps(piece.from, piece.to, from, to))
            .collect();
        let total_segments = wanted.len() as u64;
        for (done, piece) in (1..).zip(wanted) {
            let segment = &self.segments[piece.segment as usize];
            found.take_in(segment, id, (from, to));
            progress(ShelfProgress {
                done_segments: done,
                total_segments,
            });
        }
        found.forget_copies();
        found
    }
}

impl Contents {
    fn gaps(&self) -> &[Gap] {
        match self {
            Self::Sealed(head) => &head.gaps,
            Self::Scanned(scan) => scan.index.gaps(),
        }
    }
}

fn piece_of(segment: u32, rows: &[ChunkRow]) -> Piece {
    let from = rows
        .iter()
        .map(|row| row.meta.start)
        .min()
        .unwrap_or_default();
    let to = rows
        .iter()
        .map(|row| row.meta.end())
        .max()
        .unwrap_or_default();
    Piece { segment, from, to }
}

fn salvaging(opened: &Opened) -> Salvaging {
    Salvaging::new(Arc::clone(&opened.file), || false)
}

fn contents(opened: &Opened, path: &Path) -> Result<Contents, Error> {
    let file = salvaging(opened);
    match read_sealed(&file, path)? {
        Sealed::Yes(trailer, head) if trailer.segment == opened.segment => {
            Ok(Contents::Sealed(head))
        }
        Sealed::Yes(..) | Sealed::No(_) => scanned(&file, opened, path),
    }
}

fn scanned(file: &dyn DiskFile, opened: &Opened, path: &Path) -> Result<Contents, Error> {
    let scan = scan(file, opened.segment)
        .map_err(Error::io("read", path))?
        .map_err(Error::format(path))?;
    Ok(Contents::Scanned(Box::new(scan)))
}
