//! Reads a segment file that has no footer: keeps every sound record, skips and counts damaged
//! places. Changes nothing.

use crate::disk::DiskFile;
use crate::format::index::{Row, SegmentIndex};
use crate::format::{
    BATCH_HEADER_BYTES, BLOCK, BLOCK_BYTES, BatchHead, FormatError, RECORD_HEAD_BYTES,
    decode_batch_head, decode_record, span_of, verify_body,
};
use crate::ids::SegmentId;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::io;

/// Files are read in pieces of this size, or of one batch if that is longer.
const READ_BYTES: usize = 1 << 20;

/// No batch is longer: the longest record with its headers, rounded up.
const BATCH_READ_BYTES_MAX: usize = crate::format::RECORD_PAYLOAD_BYTES_MAX + (1 << 20);

const FOOTER_MAGIC: &[u8] = b"HFFT";

/// A batch that a crash interrupted was written at most this long before the last sound batch, in
/// microseconds: an older one was flushed. More than the flush interval plus the longest flush that
/// a volume survives.
const UNFLUSHED_US_MAX: i64 = 5_000_000;

/// Reserved space is mostly zeros; comparing whole blocks is much faster than comparing bytes.
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// The result of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    pub index: SegmentIndex,
    pub batches: u32,
    /// Places with something other than zeros that is no sound batch.
    pub damaged_batches: u32,
    /// How many of them a crash may have left: no sound batch follows them, or only batches that
    /// were written with them and not flushed yet.
    pub torn_batches: u32,
    /// No sound batch follows the last of these places: what a crash leaves.
    pub is_tail_torn: bool,
    /// The file ends within a batch.
    pub is_cut_short: bool,
    /// When the last sound batch was written.
    pub closed_at: Timestamp,
    /// End of the last data that is neither zeros nor a footer: a new footer may be written here.
    pub data_end: u64,
    /// Only zeros follow the header: the segment was opened ahead before a crash.
    pub is_blank: bool,
}

/// A window of the file that moves forward.
struct Window<'a> {
    file: &'a dyn DiskFile,
    file_bytes: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The bytes from `offset`, up to `wanted` or the end of the file.
    fn at(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let have = self.start..self.start + self.bytes.len() as u64;
        let left = self.file_bytes.saturating_sub(offset);
        let wanted = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        if offset < have.start || offset + wanted as u64 > have.end {
            let length = wanted
                .max(READ_BYTES)
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            if length > self.bytes.len() {
                self.bytes = vec![0; length];
            }
            self.bytes.truncate(length);
            self.file.read_exact_at(&mut self.bytes, offset)?;
            self.start = offset;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..at + wanted])
    }
}

/// Damage near the end, which a crash may have left.
#[derive(Default)]
struct Tail {
    /// Damaged places after the last sound batch.
    places: u32,
    /// Earlier damaged places, with the time at which the first sound batch after them was written;
    /// old ones are dropped.
    recent: VecDeque<(Timestamp, u32)>,
}

impl Tail {
    fn sound_batch(&mut self, created_at: Timestamp) {
        if self.places > 0 {
            self.recent
                .push_back((created_at, std::mem::take(&mut self.places)));
        }
        let is_old =
            |(behind, _): &(Timestamp, u32)| created_at.micros_since(*behind) > UNFLUSHED_US_MAX;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
    }

    fn torn_batches(&self) -> u32 {
        self.places + self.recent.iter().map(|(_, places)| places).sum::<u32>()
    }
}

/// The content of a block boundary.
enum Found {
    Batch(BatchHead),
    Newer(FormatError),
    Footer,
    Zeros,
    Junk,
}

/// Scans everything after the header block. `segment` is the one that the batches must belong to.
///
/// # Errors
/// The file cannot be read (outer), or holds a batch or a record of a newer format version (inner):
/// then it must be left untouched.
pub(crate) fn scan(
    file: &dyn DiskFile,
    segment: SegmentId,
) -> io::Result<Result<Scan, FormatError>> {
    scan_with(file, segment, |_| {})
}

/// Like [`scan`]; `progress` receives the position in the file, in bytes.
///
/// # Errors
/// As [`scan`].
pub(crate) fn scan_with(
    file: &dyn DiskFile,
    segment: SegmentId,
    mut progress: impl FnMut(u64),
) -> io::Result<Result<Scan, FormatError>> {
    let file_bytes = file.bytes()?;
    let mut window = Window {
        file,
        file_bytes,
        start: 0,
        bytes: Vec::new(),
    };
    let mut scan = Scan {
        data_end: BLOCK,
        is_blank: true,
        ..Scan::default()
    };
    let mut tail = Tail::default();
    let mut offset = BLOCK;
    let mut is_within_damage = false;
    while offset < file_bytes {
        progress(offset);
        let found = classify(window.at(offset, BLOCK_BYTES)?, segment);
        scan.is_blank &= matches!(found, Found::Zeros);
        match found {
            Found::Batch(head) => {
                if let Err(error) = take_batch(
                    &mut scan,
                    &head,
                    offset,
                    window.at(offset, head.padded_bytes())?,
                ) {
                    return Ok(Err(error));
                }
                if scan.is_tail_torn {
                    tail.places += 1
                } else {
                    tail.sound_batch(head.created_at)
                }
                offset += head.padded_bytes() as u64;
                scan.is_cut_short = offset > file_bytes.next_multiple_of(BLOCK);
                is_within_damage = false;
                scan.data_end = offset.min(file_bytes.next_multiple_of(BLOCK));
            }
            Found::Newer(error) => return Ok(Err(error)),
            Found::Footer => break,
            Found::Zeros => offset += BLOCK,
            Found::Junk => {
                scan.damaged_batches += u32::from(!is_within_damage);
                tail.places += u32::from(!is_within_damage);
                is_within_damage = true;
                scan.is_tail_torn = true;
                offset += BLOCK;
                scan.data_end = offset;
            }
        }
    }
    scan.torn_batches = tail.torn_batches();
    Ok(Ok(scan))
}

fn classify(block: &[u8], segment: SegmentId) -> Found {
    match decode_batch_head(block) {
        Ok(head) if head.segment == segment && head.padded_bytes() <= BATCH_READ_BYTES_MAX => {
            Found::Batch(head)
        }
        Err(error @ FormatError::Version { .. }) => Found::Newer(error),
        _ if block.starts_with(FOOTER_MAGIC) => Found::Footer,
        _ if block == &ZEROS[..block.len()] => Found::Zeros,
        _ => Found::Junk,
    }
}

/// Takes the sound records of a batch. Each has its own checksum, so a damaged batch may still
/// yield some.
///
/// # Errors
/// The batch is sound and holds a record of a newer version: without that record the segment must
/// not be sealed.
fn take_batch(
    scan: &mut Scan,
    head: &BatchHead,
    offset: u64,
    batch: &[u8],
) -> Result<(), FormatError> {
    let is_sound = verify_body(head, batch).is_ok();
    scan.is_tail_torn = !is_sound;
    scan.damaged_batches += u32::from(!is_sound);
    scan.batches += 1;
    scan.closed_at = scan.closed_at.max(head.created_at);
    let body_end = batch.len().min(head.bytes as usize);
    let mut at = BATCH_HEADER_BYTES;
    while at + RECORD_HEAD_BYTES <= body_end {
        let rest = &batch[at..body_end];
        if let Ok((decoded, _)) = decode_record(rest)
            && let Some(row) = Row::of(&decoded, offset + at as u64)
        {
            scan.index.add(row);
        }
        match span_of(rest) {
            Ok(span) => at += span.padded(),
            Err(error @ FormatError::Version { .. }) if is_sound => return Err(error),
            Err(_) => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torn(batches: &[Option<i64>]) -> u32 {
        let mut tail = Tail::default();
        for batch in batches {
            match batch {
                Some(seconds) => tail.sound_batch(Timestamp(seconds * 1_000_000)),
                None => tail.places += 1,
            }
        }
        tail.torn_batches()
    }

    #[test]
    fn only_what_was_written_last_may_be_torn_by_a_crash() {
        assert_eq!(
            torn(&[Some(1), None, Some(2), Some(60)]),
            0,
            "it was flushed long before the end"
        );
        assert_eq!(
            torn(&[Some(1), None, Some(58), None, Some(60)]),
            2,
            "several writes were under way"
        );
        assert_eq!(torn(&[Some(60), None]), 1);
        assert_eq!(torn(&[None]), 1);
        assert_eq!(torn(&[Some(1), Some(2)]), 0);
    }
}
