//! Reads all of a segment file and compares its footer with its batches. Changes nothing; shared by
//! the scrub and the offline tools.

use crate::Error;
use crate::damage::DamagedChunk;
use crate::disk::DiskFile;
use crate::format::index::{ChunkRow, InitRow, Row, TrackKey};
use crate::format::{
    BLOCK, BLOCK_BYTES, FooterHead, FormatError, RECORD_HEAD_BYTES, SegmentHeader, TrackTable,
    decode_record, decode_table, span_of,
};
use crate::ids::SegmentId;
use crate::scan::{Scan, scan_with};
use crate::seal::{Sealed, read_sealed};
use std::collections::BTreeSet;
use std::path::Path;

/// The state of a segment's footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FooterState {
    /// There is no footer: the segment is being written, or its node was killed.
    Unsealed,
    Sound,
    /// Unreadable in whole or in part.
    Damaged,
}

/// The result of verifying a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) is_header_sound: bool,
    pub(crate) footer: FooterState,
    pub(crate) scan: Scan,
    /// Chunks that the scan found, and those that it could not find after a damaged length but that
    /// are intact where the footer lists them.
    pub(crate) chunks_sound: usize,
    /// Batches that were already damaged when the segment was sealed; what was lost with them is
    /// not listed.
    pub(crate) damaged_at_sealing: u32,
    /// Listed, but not intact. By offset.
    pub(crate) lost: Vec<DamagedChunk>,
    pub(crate) lost_inits: Vec<InitRow>,
}

/// `progress` receives the position in the file, in bytes.
///
/// # Errors
/// It cannot be read, or is of a newer version. Damage is no error.
pub(crate) fn verify_file(
    file: &dyn DiskFile,
    path: &Path,
    segment: SegmentId,
    progress: impl FnMut(u64),
) -> Result<Verified, Error> {
    let is_header_sound = read_header(file, path)?.is_some();
    let scan = scan_with(file, segment, progress)
        .map_err(Error::io("read", path))?
        .map_err(Error::format(path))?;
    let mut verified = Verified {
        is_header_sound,
        footer: FooterState::Unsealed,
        chunks_sound: scan.index.chunks(),
        scan,
        damaged_at_sealing: 0,
        lost: Vec::new(),
        lost_inits: Vec::new(),
    };
    match read_sealed(file, path)? {
        Sealed::Yes(trailer, head) => {
            verified.footer = FooterState::Sound;
            verified.damaged_at_sealing = trailer.damaged_batches;
            compare(file, path, segment, &head, &mut verified)?;
        }
        Sealed::No(_) if ends_like_a_seal(file, path)? => verified.footer = FooterState::Damaged,
        Sealed::No(_) => {}
    }
    Ok(verified)
}

/// The header block, `None` if it is damaged.
///
/// # Errors
/// It cannot be read, or is of a newer version.
pub(crate) fn read_header(
    file: &dyn DiskFile,
    path: &Path,
) -> Result<Option<SegmentHeader>, Error> {
    let mut block = vec![0; BLOCK_BYTES];
    file.read_exact_at(&mut block, 0)
        .map_err(Error::io("read", path))?;
    match SegmentHeader::decode(&block) {
        Ok(header) => Ok(Some(header)),
        Err(source @ FormatError::Version { .. }) => Err(Error::format(path)(source)),
        Err(_) => Ok(None),
    }
}

/// The scan must have found everything that the footer lists.
fn compare(
    file: &dyn DiskFile,
    path: &Path,
    segment: SegmentId,
    head: &FooterHead,
    verified: &mut Verified,
) -> Result<(), Error> {
    for table in &head.tracks {
        match read_table(file, path, table)? {
            Some(rows) => compare_track(file, path, segment, (table.key, &rows), verified)?,
            None => verified.footer = FooterState::Damaged,
        }
    }
    verified.lost.sort_by_key(|chunk| chunk.offset);
    for row in head
        .inits
        .iter()
        .filter(|row| !verified.scan.index.inits().contains(row))
    {
        if !is_intact(file, path, row.offset, |found| *found == Row::Init(*row))? {
            verified.lost_inits.push(*row);
        }
    }
    Ok(())
}

/// The scan must have found the listed chunks of one track.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn compare_track(
    file: &dyn DiskFile,
    path: &Path,
    segment: SegmentId,
    (key, listed): (TrackKey, &[ChunkRow]),
    verified: &mut Verified,
) -> Result<(), Error> {
    let rows = verified.scan.index.tracks().get(&key).into_iter().flatten();
    let found: BTreeSet<u64> = rows.map(|row| row.offset).collect();
    for row in listed.iter().filter(|row| !found.contains(&row.offset)) {
        if is_intact(file, path, row.offset, |found| *found == Row::Chunk(*row))? {
            verified.chunks_sound += 1;
        } else {
            verified.lost.push(DamagedChunk {
                segment,
                offset: row.offset,
                meta: row.meta,
            });
        }
    }
    Ok(())
}

/// Whether the record that the footer lists at `offset` is intact: a scan goes from record to
/// record, and cannot pass one whose length is damaged.
fn is_intact(
    file: &dyn DiskFile,
    path: &Path,
    offset: u64,
    is_listed: impl FnOnce(&Row) -> bool,
) -> Result<bool, Error> {
    let read = |buffer: &mut [u8]| match file.read_exact_at(buffer, offset) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map_err(Error::io("read", path)).map(|()| true),
    };
    let mut head = [0; RECORD_HEAD_BYTES];
    if !read(&mut head)? {
        return Ok(false);
    }
    let Ok(span) = span_of(&head) else {
        return Ok(false);
    };
    let mut record = vec![0; span.bytes()];
    let is_there = read(&mut record)?;
    let found = decode_record(&record)
        .ok()
        .and_then(|(decoded, _)| Row::of(&decoded, offset));
    Ok(is_there && found.is_some_and(|row| is_listed(&row)))
}

/// A chunk table, `None` if it is damaged.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read_table(
    file: &dyn DiskFile,
    path: &Path,
    table: &TrackTable,
) -> Result<Option<Vec<ChunkRow>>, Error> {
    let mut bytes = vec![0; table.bytes()];
    match file.read_exact_at(&mut bytes, table.offset) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        other => other
            .map_err(Error::io("read", path))
            .map(|()| decode_table(table, &bytes).ok()),
    }
}

/// Whether the last block is a trailer, sound or not.
///
/// # Errors
/// It cannot be read.
pub(crate) fn ends_like_a_seal(file: &dyn DiskFile, path: &Path) -> Result<bool, Error> {
    let bytes = file.bytes().map_err(Error::io("read", path))?;
    let Some(at) = bytes.checked_sub(BLOCK) else {
        return Ok(false);
    };
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, at)
        .map_err(Error::io("read", path))?;
    Ok(&magic == b"HOLDFEND")
}
