//! Reads a file around the blocks that its disk cannot read: one bad sector costs its own contents,
//! not the segment.

use super::{DiskFile, FileId};
use crate::format::BLOCK_BYTES;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The most unreadable blocks of one file before the whole file counts as unreadable: each can take
/// a disk seconds, and a disk that returns nothing has to be replaced, not worked around.
const UNREADABLE_BLOCKS_MAX: u64 = 64;

/// Fills a block that cannot be read. Not zero, which would look like space that was never written,
/// and accepted by no checksum.
const UNREADABLE: u8 = 0xdb;

/// Only for reading. Each block is tried twice, so that a transient error has no effect.
pub(crate) struct Salvaging {
    file: Arc<dyn DiskFile>,
    should_stop: Box<dyn Fn() -> bool + Send + Sync>,
    unreadable_blocks: AtomicU64,
    first_unreadable: OnceLock<u64>,
}

impl Salvaging {
    /// `should_stop` is checked at each unreadable block.
    pub(crate) fn new(
        file: Arc<dyn DiskFile>,
        should_stop: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let (unreadable_blocks, first_unreadable) = (AtomicU64::new(0), OnceLock::new());
        Self {
            file,
            should_stop: Box::new(should_stop),
            unreadable_blocks,
            first_unreadable,
        }
    }

    /// Offset of the first unreadable block.
    pub(crate) fn first_unreadable(&self) -> Option<u64> {
        self.first_unreadable.get().copied()
    }

    fn salvage(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for block in buffer.chunks_mut(BLOCK_BYTES) {
            if let Err(error) = self.file.read_exact_at(block, at) {
                self.first_unreadable.get_or_init(|| at);
                let unreadable_blocks = self.unreadable_blocks.fetch_add(1, Ordering::Relaxed);
                if unreadable_blocks >= UNREADABLE_BLOCKS_MAX || (self.should_stop)() {
                    return Err(error);
                }
                block.fill(UNREADABLE);
            }
            at += block.len() as u64;
        }
        Ok(())
    }
}

impl DiskFile for Salvaging {
    fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.file.read_exact_at(buffer, offset) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                self.salvage(buffer, offset)
            }
            other => other,
        }
    }

    fn write_all_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn set_bytes(&self, _bytes: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn forget_cached(&self, offset: u64, bytes: u64) {
        self.file.forget_cached(offset, bytes);
    }
}

fn read_only() -> io::Error {
    io::Error::from(io::ErrorKind::ReadOnlyFilesystem)
}
