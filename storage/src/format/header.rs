//! The first block of a segment file: which volume, node and class it belongs to.

use super::bytes::{Put, Take};
use super::{BLOCK_BYTES, FORMAT_VERSION, FormatError, check_block, check_version, seal_block};
use crate::ids::{NodeId, SegmentId};
use crate::time::Timestamp;
use uuid::Uuid;

/// The longest name of a retention class, in bytes.
pub const CLASS_NAME_BYTES_MAX: usize = 64;

const WHAT: &str = "segment header";
const MAGIC: [u8; 8] = *b"HOLDFSEG";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub cluster: Uuid,
    pub volume: Uuid,
    pub node: NodeId,
    pub segment: SegmentId,
    pub opened_at: Timestamp,
    /// Name of the retention class, at most [`CLASS_NAME_BYTES_MAX`] bytes.
    pub class: String,
}

impl SegmentHeader {
    /// # Errors
    /// The class's name is too long.
    pub fn encode(&self) -> Result<[u8; BLOCK_BYTES], FormatError> {
        let class = self.class.as_bytes();
        let class_bytes =
            u16::try_from(class.len()).map_err(|_| FormatError::Invalid { what: WHAT })?;
        if class.len() > CLASS_NAME_BYTES_MAX {
            return Err(FormatError::Invalid { what: WHAT });
        }
        let mut block = [0; BLOCK_BYTES];
        Put::new(&mut block)
            .bytes(&MAGIC)
            .u16(FORMAT_VERSION)
            .u16(class_bytes)
            .u32(BLOCK_BYTES as u32)
            .bytes(self.cluster.as_bytes())
            .bytes(self.volume.as_bytes())
            .u64(self.node.0)
            .u64(self.segment.0)
            .i64(self.opened_at.0)
            .bytes(class);
        seal_block(&mut block);
        Ok(block)
    }

    /// Reads the first block of a file. The checksum is checked before the version: a block with a
    /// wrong checksum is damaged, whatever its version.
    ///
    /// # Errors
    /// The block is short, is no header, is of another version, or is damaged.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let block = block
            .get(..BLOCK_BYTES)
            .ok_or(FormatError::Short { what: WHAT })?;
        let mut take = Take::new(WHAT, block);
        if take.array::<8>()? != MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        check_block(WHAT, block)?;
        check_version(WHAT, take.u16()?)?;
        let class_bytes = usize::from(take.u16()?);
        take.u32()?;
        let (cluster, volume) = (
            Uuid::from_bytes(take.array()?),
            Uuid::from_bytes(take.array()?),
        );
        let (node, segment) = (NodeId(take.u64()?), SegmentId(take.u64()?));
        let opened_at = Timestamp(take.i64()?);
        let class = take
            .slice(CLASS_NAME_BYTES_MAX)?
            .get(..class_bytes)
            .ok_or(FormatError::Invalid { what: WHAT })?;
        let class = std::str::from_utf8(class)
            .map_err(|_| FormatError::Invalid { what: WHAT })?
            .to_owned();
        Ok(Self {
            cluster,
            volume,
            node,
            segment,
            opened_at,
            class,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            cluster: Uuid::from_u128(1),
            volume: Uuid::from_u128(2),
            node: NodeId(3),
            segment: SegmentId(4),
            opened_at: Timestamp(5),
            class: "default".to_owned(),
        }
    }

    #[test]
    fn comes_back_and_is_refused_when_cut_or_changed() {
        let block = header().encode().unwrap();
        assert_eq!(SegmentHeader::decode(&block), Ok(header()));
        assert_eq!(
            SegmentHeader::decode(&block[..4095]),
            Err(FormatError::Short { what: WHAT })
        );
        for at in [0, 8, 20, 60, 80, 2000, 4095] {
            let mut damaged = block;
            damaged[at] ^= 1;
            assert!(SegmentHeader::decode(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_version_is_named_where_the_checksum_holds_and_is_damage_where_it_does_not() {
        let mut block = header().encode().unwrap();
        block[8] = 2;
        assert_eq!(
            SegmentHeader::decode(&block),
            Err(FormatError::Checksum { what: WHAT })
        );
        seal_block(&mut block);
        assert_eq!(
            SegmentHeader::decode(&block),
            Err(FormatError::Version {
                what: WHAT,
                found: 2
            })
        );
    }

    #[test]
    fn a_long_class_name_is_refused() {
        assert!(
            SegmentHeader {
                class: "x".repeat(64),
                ..header()
            }
            .encode()
            .is_ok()
        );
        assert!(
            SegmentHeader {
                class: "x".repeat(65),
                ..header()
            }
            .encode()
            .is_err()
        );
    }
}
