//! A batch: records of many cameras that were written together. It begins and ends at a block
//! boundary.

use super::bytes::{Put, Take};
use super::record::encode_record;
use super::{FORMAT_VERSION, FormatError, check_version, padded};
use crate::chunk::Record;
use crate::ids::SegmentId;
use crate::time::Timestamp;
use crc32fast::Hasher;
use uuid::Uuid;

/// Length of a batch's header; its first record follows.
pub const BATCH_HEADER_BYTES: usize = 64;

const WHAT: &str = "batch header";
const MAGIC: [u8; 4] = *b"HFBT";
const CRC_AT: usize = BATCH_HEADER_BYTES - 4;

/// The contents of a batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    pub segment: SegmentId,
    pub volume: Uuid,
    /// Number of the batch in its segment, from 0.
    pub sequence: u32,
    pub records: u32,
    /// Header and records without the padding.
    pub bytes: u32,
    pub created_at: Timestamp,
    pub body_crc: u32,
}

impl BatchHead {
    /// The space that the batch takes in the file, in bytes.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        padded(self.bytes as usize)
    }

    fn encode(&self, out: &mut [u8]) {
        Put::new(out)
            .bytes(&MAGIC)
            .u16(FORMAT_VERSION)
            .u16(0)
            .u64(self.segment.0)
            .u32(self.sequence)
            .u32(self.records)
            .u32(self.bytes)
            .u32(0)
            .i64(self.created_at.0)
            .bytes(self.volume.as_bytes())
            .u32(self.body_crc);
        let crc = crc32fast::hash(&out[..CRC_AT]);
        Put::new(&mut out[CRC_AT..]).u32(crc);
    }
}

/// Fills a buffer with records; the header is written last.
#[derive(Debug)]
pub struct BatchBuilder {
    used_bytes: usize,
    records: u32,
    body: Hasher,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            used_bytes: BATCH_HEADER_BYTES,
            records: 0,
            body: Hasher::new(),
        }
    }
}

impl BatchBuilder {
    /// Whether records of `bytes` more fit into a buffer of `capacity_bytes`.
    #[must_use]
    pub fn has_room(&self, bytes: usize, capacity_bytes: usize) -> bool {
        padded(self.used_bytes + bytes) <= capacity_bytes
    }

    /// The space that the batch would take in the file if it ended now.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        padded(self.used_bytes)
    }

    /// Appends a record, for which the caller has checked that there is space, and returns its
    /// offset from the start of the batch.
    pub fn push(&mut self, record: &Record, out: &mut [u8]) -> usize {
        let at = self.used_bytes;
        self.used_bytes += encode_record(record, &mut out[at..], &mut self.body);
        self.records += 1;
        at
    }

    /// Pads with zeros, writes the header, and returns the length to write.
    pub fn finish(
        self,
        segment: SegmentId,
        volume: Uuid,
        sequence: u32,
        created_at: Timestamp,
        out: &mut [u8],
    ) -> usize {
        let head = BatchHead {
            segment,
            volume,
            sequence,
            records: self.records,
            bytes: self.used_bytes as u32,
            created_at,
            body_crc: self.body.finalize(),
        };
        head.encode(out);
        out[self.used_bytes..head.padded_bytes()].fill(0);
        head.padded_bytes()
    }
}

/// Reads the header at the start of `bytes`.
///
/// # Errors
/// There is no header here, it is of another version, or it is damaged.
pub fn decode_batch_head(bytes: &[u8]) -> Result<BatchHead, FormatError> {
    let head = bytes
        .get(..BATCH_HEADER_BYTES)
        .ok_or(FormatError::Short { what: WHAT })?;
    let mut take = Take::new(WHAT, head);
    if take.array::<4>()? != MAGIC {
        return Err(FormatError::Magic { what: WHAT });
    }
    let version = take.u16()?;
    if head[CRC_AT..] != crc32fast::hash(&head[..CRC_AT]).to_le_bytes() {
        return Err(FormatError::Checksum { what: WHAT });
    }
    check_version(WHAT, version)?;
    take.u16()?;
    let (segment, sequence, records, bytes) = (
        SegmentId(take.u64()?),
        take.u32()?,
        take.u32()?,
        take.u32()?,
    );
    take.u32()?;
    let (created_at, volume) = (Timestamp(take.i64()?), Uuid::from_bytes(take.array()?));
    if (bytes as usize) < BATCH_HEADER_BYTES {
        return Err(FormatError::Invalid { what: WHAT });
    }
    Ok(BatchHead {
        segment,
        volume,
        sequence,
        records,
        bytes,
        created_at,
        body_crc: take.u32()?,
    })
}

/// Checks everything after the header, up to the padding.
///
/// # Errors
/// The batch is cut short or damaged.
pub fn verify_body(head: &BatchHead, batch: &[u8]) -> Result<(), FormatError> {
    let what = "batch";
    let body = batch
        .get(BATCH_HEADER_BYTES..head.bytes as usize)
        .ok_or(FormatError::Short { what })?;
    if crc32fast::hash(body) == head.body_crc {
        Ok(())
    } else {
        Err(FormatError::Checksum { what })
    }
}
