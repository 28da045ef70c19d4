//! The footage of one stream on a shelf, readable in any order.

use super::super::footage::read_record;
use super::super::{FailedSegment, open};
use super::{Contents, Segment, StreamId, contents, salvaging, scanned};
use crate::chunk::{ChunkEntry, ChunkMeta, InitId};
use crate::disk::DiskFile;
use crate::format::index::{ChunkRow, InitRow, TrackKey, overlaps};
use crate::format::{Decoded, FormatError, decode_record};
use crate::ids::SegmentId;
use crate::reader::key_of;
use crate::time::Timestamp;
use crate::verify::read_table;
use crate::{Error, Row};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most segments held open for reading: footage of one time may be in several.
const OPEN_MAX: usize = 16;

/// A segment, and the index of its directory.
type Place = (u16, SegmentId);

/// What of a segment could not be read soundly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostOnShelf {
    pub path: PathBuf,
    /// Listed, but not intact.
    pub chunks: Vec<ChunkMeta>,
    /// Damaged places of a segment without a sound list: what was stored there is not known.
    pub damaged_batches: u32,
}

/// The sound footage of one stream in a range.
#[derive(Default)]
pub struct ShelfFootage {
    paths: BTreeMap<Place, PathBuf>,
    open: RefCell<VecDeque<(Place, Arc<dyn DiskFile>)>>,
    entries: Vec<ChunkEntry>,
    inits: Vec<(InitId, Bytes)>,
    lost: Vec<LostOnShelf>,
    failed: Vec<FailedSegment>,
}

/// The part of a stream that a segment lists.
struct Listed {
    chunks: Vec<ChunkRow>,
    inits: Vec<InitRow>,
    damaged_batches: u32,
}

impl ShelfFootage {
    /// Each chunk once, by start.
    #[must_use]
    pub fn entries(&self) -> &[ChunkEntry] {
        &self.entries
    }

    /// The init segments that decode them, as far as any segment has a sound one.
    #[must_use]
    pub fn inits(&self) -> &[(InitId, Bytes)] {
        &self.inits
    }

    #[must_use]
    pub fn lost(&self) -> &[LostOnShelf] {
        &self.lost
    }

    /// Segments that could not be read at all, and why.
    #[must_use]
    pub fn failed(&self) -> &[FailedSegment] {
        &self.failed
    }

    /// The payload of one of [`Self::entries`].
    ///
    /// # Errors
    /// It cannot be read any more, or was changed.
    pub fn read(&self, entry: &ChunkEntry) -> Result<Bytes, Error> {
        let place = (entry.location.volume, entry.location.segment);
        let path = self
            .paths
            .get(&place)
            .ok_or(Error::NoSegment { segment: place.1 })?;
        let record = read_record(&*self.file(place, path)?, path, entry.location.offset)?;
        match decode_record(&record).map_err(Error::format(path))?.0 {
            Decoded::Chunk { payload, .. } => Ok(Bytes::copy_from_slice(payload)),
            _ => Err(Error::format(path)(FormatError::Magic { what: "record" })),
        }
    }

    fn file(&self, place: Place, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
        let mut files = self.open.borrow_mut();
        if let Some((_, file)) = files.iter().find(|(known, _)| *known == place) {
            return Ok(Arc::clone(file));
        }
        let file: Arc<dyn DiskFile> = Arc::new(salvaging(&open(path)?));
        files.truncate(OPEN_MAX - 1);
        files.push_front((place, Arc::clone(&file)));
        Ok(file)
    }

    pub(super) fn take_in(
        &mut self,
        segment: &Segment,
        id: StreamId,
        range: (Timestamp, Timestamp),
    ) {
        let path = &segment.path;
        let read = open(path).and_then(|opened| {
            let file: Arc<dyn DiskFile> = Arc::new(salvaging(&opened));
            let listed = listed(&contents(&opened, path)?, id, &*file, path)?;
            match listed {
                Some(listed) => Ok((file, listed)),
                // A chunk table is damaged: the batches contain what it listed.
                None => {
                    let listed = self::listed(&scanned(&*file, &opened, path)?, id, &*file, path)?;
                    listed.map(|listed| (file, listed)).ok_or(Error::NoSegment {
                        segment: segment.id,
                    })
                }
            }
        });
        match read {
            Ok((file, listed)) => self.keep_sound(segment, &*file, listed, range),
            Err(error) => self.failed.push(FailedSegment {
                path: path.clone(),
                error: error.to_string(),
            }),
        }
    }

    fn keep_sound(
        &mut self,
        segment: &Segment,
        file: &dyn DiskFile,
        listed: Listed,
        range: (Timestamp, Timestamp),
    ) {
        let Segment { volume, id, path } = segment;
        let Listed {
            chunks,
            inits,
            damaged_batches,
        } = listed;
        let wanted = chunks
            .into_iter()
            .filter(|row| overlaps(row.meta.start, row.meta.end(), range.0, range.1));
        let (sound, lost): (Vec<_>, Vec<_>) = wanted.partition(|row| is_sound(file, path, row));
        if !lost.is_empty() || damaged_batches > 0 {
            let chunks = lost.iter().map(|row| row.meta).collect();
            self.lost.push(LostOnShelf {
                path: path.clone(),
                chunks,
                damaged_batches,
            });
        }
        for row in &inits {
            self.keep_init(file, path, row);
        }
        self.entries.extend(
            sound
                .iter()
                .map(|row| row.entry((row.meta.node, *volume), *id)),
        );
        self.paths.insert((*volume, *id), path.clone());
    }

    /// Each once; an init segment that is damaged here may be sound in another segment.
    fn keep_init(&mut self, file: &dyn DiskFile, path: &Path, row: &InitRow) {
        if self.inits.iter().any(|(id, _)| *id == row.id) {
            return;
        }
        let Ok(record) = read_record(file, path, row.offset) else {
            return;
        };
        if let Ok((Decoded::Init { payload, .. }, _)) = decode_record(&record)
            && InitId::of(payload) == row.id
        {
            self.inits.push((row.id, Bytes::copy_from_slice(payload)));
        }
    }

    /// Held footage is stored in two segments until its original is deleted.
    pub(super) fn forget_copies(&mut self) {
        self.entries.sort_by_key(|entry| key_of(&entry.meta));
        self.entries
            .dedup_by(|later, first| later.meta == first.meta);
    }
}

/// What the segment lists of the stream; `None` if one of the stream's tables is damaged.
fn listed(
    contents: &Contents,
    id: StreamId,
    file: &dyn DiskFile,
    path: &Path,
) -> Result<Option<Listed>, Error> {
    let is_ours = |key: &TrackKey| (key.camera, key.stream) == (id.camera, id.stream);
    match contents {
        Contents::Sealed(head) => {
            let tables = head.tracks.iter().filter(|table| is_ours(&table.key));
            let tables: Result<Vec<_>, Error> =
                tables.map(|table| read_table(file, path, table)).collect();
            let tables: Option<Vec<_>> = tables?.into_iter().collect();
            let inits = head
                .inits
                .iter()
                .filter(|row| is_ours(&row.key))
                .copied()
                .collect();
            Ok(tables.map(|tables| Listed {
                chunks: tables.concat(),
                inits,
                damaged_batches: 0,
            }))
        }
        Contents::Scanned(scan) => {
            let tracks = scan.index.tracks().iter().filter(|(key, _)| is_ours(key));
            let chunks = tracks.flat_map(|(_, rows)| rows).copied().collect();
            let inits = scan
                .index
                .inits()
                .iter()
                .filter(|row| is_ours(&row.key))
                .copied()
                .collect();
            Ok(Some(Listed {
                chunks,
                inits,
                damaged_batches: scan.damaged_batches,
            }))
        }
    }
}

/// A block that the disk cannot read is damaged.
fn is_sound(file: &dyn DiskFile, path: &Path, row: &ChunkRow) -> bool {
    let Ok(record) = read_record(file, path, row.offset) else {
        return false;
    };
    let found = decode_record(&record)
        .ok()
        .and_then(|(decoded, _)| Row::of(&decoded, row.offset));
    found == Some(Row::Chunk(*row))
}
