//! Format v1 of segment files, byte by byte. `docs/segment-format.md` is the contract; nothing here
//! does I/O or reads a clock.

mod batch;
pub(crate) mod bytes;
mod footer;
mod header;
pub(crate) mod index;
mod record;
#[cfg(test)]
mod tests;
mod trailer;

pub use batch::{BATCH_HEADER_BYTES, BatchBuilder, BatchHead, decode_batch_head, verify_body};
pub use footer::{Footer, FooterHead, TrackTable, decode_head, decode_table, encode_footer};
pub use header::{CLASS_NAME_BYTES_MAX, SegmentHeader};
pub(crate) use record::{ChunkHead, chunk_record_bytes, init_record_bytes};
pub use record::{
    Decoded, RECORD_HEAD_BYTES, RECORD_PAYLOAD_BYTES_MAX, RecordSpan, decode_record, encoded_bytes,
    span_of,
};
pub use trailer::Trailer;

/// The version that this code writes, and the newest that it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Everything in a segment starts at a multiple of this many bytes.
pub const BLOCK_BYTES: usize = 4096;

/// [`BLOCK_BYTES`] as a file offset.
pub const BLOCK: u64 = BLOCK_BYTES as u64;

/// Why bytes are not what the format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{what} is cut short")]
    Short { what: &'static str },
    #[error("no {what} here: the magic bytes are missing")]
    Magic { what: &'static str },
    #[error(
        "{what} is of format version {found}; this release reads up to {FORMAT_VERSION}: use a \
         newer release"
    )]
    Version { what: &'static str, found: u16 },
    #[error("{what} fails its checksum")]
    Checksum { what: &'static str },
    #[error("{what} holds an impossible value")]
    Invalid { what: &'static str },
    #[error("the disk cannot read {what}: {error}")]
    Unreadable { what: &'static str, error: String },
}

/// `bytes` rounded up to whole blocks.
#[must_use]
pub fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

fn check_version(what: &'static str, found: u16) -> Result<(), FormatError> {
    if found == FORMAT_VERSION {
        Ok(())
    } else {
        Err(FormatError::Version { what, found })
    }
}

/// Writes the CRC-32 of everything before it into the last four bytes of a block.
fn seal_block(block: &mut [u8; BLOCK_BYTES]) {
    let crc = crc32fast::hash(&block[..BLOCK_BYTES - 4]);
    block[BLOCK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
}

fn check_block(what: &'static str, block: &[u8]) -> Result<(), FormatError> {
    let (body, crc) = block.split_at(BLOCK_BYTES - 4);
    if crc == crc32fast::hash(body).to_le_bytes() {
        Ok(())
    } else {
        Err(FormatError::Checksum { what })
    }
}
