//! The last block of a sealed segment: where its footer is.

use super::bytes::{Put, Take};
use super::{
    BLOCK, BLOCK_BYTES, FORMAT_VERSION, FormatError, check_block, check_version, seal_block,
};
use crate::ids::SegmentId;
use crate::time::Timestamp;
use uuid::Uuid;

const WHAT: &str = "segment trailer";
const MAGIC: [u8; 8] = *b"HOLDFEND";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub segment: SegmentId,
    pub volume: Uuid,
    /// Where the footer starts: the end of the last batch.
    pub footer_offset: u64,
    /// Length of the footer's head: directory, init, gap and span tables.
    pub head_bytes: u64,
    pub head_crc: u32,
    /// Length of the whole footer in whole blocks, without this trailer.
    pub footer_bytes: u64,
    /// When the last batch was written; age for retention counts from here.
    pub closed_at: Timestamp,
    pub chunks: u64,
    pub batches: u32,
    /// Batches that were damaged when the segment was sealed.
    pub damaged_batches: u32,
}

impl Trailer {
    /// Length of the whole file in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.footer_offset + self.footer_bytes + BLOCK
    }

    #[must_use]
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        Put::new(&mut block)
            .bytes(&MAGIC)
            .u16(FORMAT_VERSION)
            .u16(0)
            .u32(self.head_crc)
            .u64(self.segment.0)
            .bytes(self.volume.as_bytes())
            .u64(self.footer_offset)
            .u64(self.head_bytes)
            .u64(self.footer_bytes)
            .i64(self.closed_at.0)
            .u64(self.chunks)
            .u32(self.batches)
            .u32(self.damaged_batches);
        seal_block(&mut block);
        block
    }

    /// Reads the last block of a file of `file_bytes`.
    ///
    /// # Errors
    /// The segment is not sealed (no magic), or the block is damaged, of another version or
    /// contradicts the file's length.
    pub fn decode(block: &[u8], file_bytes: u64) -> Result<Self, FormatError> {
        let block = block
            .get(..BLOCK_BYTES)
            .ok_or(FormatError::Short { what: WHAT })?;
        let mut take = Take::new(WHAT, block);
        if take.array::<8>()? != MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        check_block(WHAT, block)?;
        check_version(WHAT, take.u16()?)?;
        take.u16()?;
        let head_crc = take.u32()?;
        let (segment, volume) = (SegmentId(take.u64()?), Uuid::from_bytes(take.array()?));
        let (footer_offset, head_bytes, footer_bytes) = (take.u64()?, take.u64()?, take.u64()?);
        let (closed_at, chunks) = (Timestamp(take.i64()?), take.u64()?);
        let (batches, damaged_batches) = (take.u32()?, take.u32()?);
        let end = footer_offset
            .checked_add(footer_bytes)
            .and_then(|end| end.checked_add(BLOCK));
        if end != Some(file_bytes) || head_bytes > footer_bytes {
            return Err(FormatError::Invalid { what: WHAT });
        }
        Ok(Self {
            segment,
            volume,
            footer_offset,
            head_bytes,
            head_crc,
            footer_bytes,
            closed_at,
            chunks,
            batches,
            damaged_batches,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_is_refused_when_changed_or_in_a_file_of_another_length() {
        let trailer = Trailer {
            segment: SegmentId(1),
            volume: Uuid::from_u128(2),
            footer_offset: 8192,
            head_bytes: 100,
            head_crc: 3,
            footer_bytes: 4096,
            closed_at: Timestamp(4),
            chunks: 5,
            batches: 6,
            damaged_batches: 7,
        };
        let block = trailer.encode();
        assert_eq!(Trailer::decode(&block, 16_384), Ok(trailer));
        assert_eq!(
            Trailer::decode(&block, 20_480),
            Err(FormatError::Invalid { what: WHAT })
        );
        assert!(Trailer::decode(&block[1..], 16_384).is_err());
        let mut damaged = block;
        damaged[40] ^= 4;
        assert_eq!(
            Trailer::decode(&damaged, 16_384),
            Err(FormatError::Checksum { what: WHAT })
        );
        let mut other_version = block;
        other_version[8] = 2;
        assert_eq!(
            Trailer::decode(&other_version, 16_384),
            Err(FormatError::Checksum { what: WHAT }),
            "a flipped byte"
        );
        seal_block(&mut other_version);
        assert_eq!(
            Trailer::decode(&other_version, 16_384),
            Err(FormatError::Version {
                what: WHAT,
                found: 2
            })
        );
    }
}
