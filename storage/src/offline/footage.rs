//! One camera's part of a segment file, readable in any order.

use super::{Opened, open, scan_all};
use crate::Error;
use crate::chunk::{ChunkEntry, InitId};
use crate::disk::DiskFile;
use crate::format::index::{InitRow, SegmentIndex};
use crate::format::{Decoded, FormatError, RECORD_HEAD_BYTES, decode_record, span_of};
use crate::ids::{CameraId, StreamKind};
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// The sound chunks of one camera's stream in a segment.
pub struct Footage {
    opened: Opened,
    path: PathBuf,
    inits: Vec<InitRow>,
    entries: Vec<ChunkEntry>,
    damaged_batches: u32,
}

/// Reads all of the segment and finds the stream's init segments and sound chunks. `progress`
/// receives the bytes done so far and the total.
///
/// # Errors
/// It is no segment, of a newer version, or cannot be read. Damage is no error.
pub fn footage(
    path: &Path,
    camera: CameraId,
    stream: StreamKind,
    progress: impl FnMut(u64, u64),
) -> Result<Footage, Error> {
    let opened = open(path)?;
    let scan = scan_all(&opened, path, progress)?;
    let is_wanted = |row: &&InitRow| (row.key.camera, row.key.stream) == (camera, stream);
    Ok(Footage {
        inits: scan
            .index
            .inits()
            .iter()
            .filter(is_wanted)
            .copied()
            .collect(),
        entries: entries(&opened, &scan.index, camera, stream),
        damaged_batches: scan.damaged_batches,
        path: path.to_owned(),
        opened,
    })
}

fn entries(
    opened: &Opened,
    index: &SegmentIndex,
    camera: CameraId,
    stream: StreamKind,
) -> Vec<ChunkEntry> {
    let tracks = index
        .tracks()
        .iter()
        .filter(|(key, _)| (key.camera, key.stream) == (camera, stream));
    let rows = tracks.flat_map(|(_, rows)| rows);
    // A single file has no volume, so no volume index either.
    let mut entries: Vec<ChunkEntry> = rows
        .map(|row| row.entry((row.meta.node, 0), opened.segment))
        .collect();
    entries.sort_by_key(|entry| entry.location.offset);
    entries
}

impl Footage {
    /// In the order of writing.
    #[must_use]
    pub fn entries(&self) -> &[ChunkEntry] {
        &self.entries
    }

    /// The number of damaged places in the segment: chunks of this stream may have been lost there.
    #[must_use]
    pub fn damaged_batches(&self) -> u32 {
        self.damaged_batches
    }

    /// The payload of one of [`Self::entries`].
    ///
    /// # Errors
    /// The file cannot be read, or changed since it was scanned.
    pub fn read(&self, entry: &ChunkEntry) -> Result<Bytes, Error> {
        match self.record(entry.location.offset)? {
            Payload::Chunk(bytes) => Ok(bytes),
            Payload::Init(_) | Payload::Other => Err(self.changed()),
        }
    }

    /// The init segments, each once.
    ///
    /// # Errors
    /// Like [`Self::read`].
    pub fn inits(&self) -> Result<Vec<(InitId, Bytes)>, Error> {
        let mut inits: Vec<(InitId, Bytes)> = Vec::new();
        for row in &self.inits {
            if inits.iter().all(|(id, _)| *id != row.id) {
                let Payload::Init(bytes) = self.record(row.offset)? else {
                    return Err(self.changed());
                };
                inits.push((row.id, bytes));
            }
        }
        Ok(inits)
    }

    fn record(&self, offset: u64) -> Result<Payload, Error> {
        let record = read_record(&*self.opened.file, &self.path, offset)?;
        Ok(
            match decode_record(&record).map_err(Error::format(&self.path))?.0 {
                Decoded::Chunk { payload, .. } => Payload::Chunk(Bytes::copy_from_slice(payload)),
                Decoded::Init { payload, .. } => Payload::Init(Bytes::copy_from_slice(payload)),
                Decoded::Gap(_) | Decoded::Unknown { .. } => Payload::Other,
            },
        )
    }

    fn changed(&self) -> Error {
        Error::format(&self.path)(FormatError::Magic { what: "record" })
    }
}

enum Payload {
    Chunk(Bytes),
    Init(Bytes),
    Other,
}

pub(super) fn read_record(file: &dyn DiskFile, path: &Path, offset: u64) -> Result<Vec<u8>, Error> {
    let mut head = [0; RECORD_HEAD_BYTES];
    file.read_exact_at(&mut head, offset)
        .map_err(Error::io("read", path))?;
    let span = span_of(&head).map_err(Error::format(path))?;
    let mut record = vec![0; span.bytes()];
    file.read_exact_at(&mut record, offset)
        .map_err(Error::io("read", path))?;
    Ok(record)
}
