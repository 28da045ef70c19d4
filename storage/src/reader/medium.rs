//! Distinguishes a place that the disk cannot read from a disk that is gone. The first costs what
//! is stored there; of the second nothing is lost, and nothing must be remembered as lost.

use crate::disk::DiskFile;
use crate::format::BLOCK_BYTES;
use std::io;

/// Whether the disk fails to read this place of the file and answers otherwise. `error` is what a
/// read of `offset` returned.
pub(super) fn is_bad_sector(file: &dyn DiskFile, error: &io::Error, offset: u64) -> bool {
    is_of_the_medium(error) && answers(file, offset)
}

/// As disks do for a bad sector: `EIO`, or by the block layer `ENODATA` ("medium error") and
/// `EILSEQ` ("protection error").
fn is_of_the_medium(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::IO, Errno::NODATA, Errno::ILSEQ];
    codes
        .map(|code| Some(code.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// Whether the file's first block, or the second one if `except` lies in the first, can be read: by
/// the disk, not from what the kernel has cached.
pub(super) fn answers(file: &dyn DiskFile, except: u64) -> bool {
    let bytes = BLOCK_BYTES as u64;
    let at = if except < bytes { bytes } else { 0 };
    file.forget_cached(at, bytes);
    file.read_exact_at(&mut [0; BLOCK_BYTES], at).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileId;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A file of which the first block can be read, or nothing.
    #[derive(Default)]
    struct Sick {
        is_gone: AtomicBool,
        is_cached: AtomicBool,
    }

    impl DiskFile for Sick {
        fn id(&self) -> io::Result<FileId> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn bytes(&self) -> io::Result<u64> {
            Ok(1 << 20)
        }

        fn read_exact_at(&self, _: &mut [u8], offset: u64) -> io::Result<()> {
            let is_there = !self.is_gone.load(Ordering::Relaxed);
            if offset < BLOCK_BYTES as u64 && (is_there || self.is_cached.load(Ordering::Relaxed)) {
                Ok(())
            } else {
                Err(error(rustix::io::Errno::IO))
            }
        }

        fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn set_bytes(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn sync(&self) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn forget_cached(&self, offset: u64, _: u64) {
            if offset == 0 {
                self.is_cached.store(false, Ordering::Relaxed);
            }
        }
    }

    fn error(code: rustix::io::Errno) -> io::Error {
        io::Error::from_raw_os_error(code.raw_os_error())
    }

    #[test]
    fn a_disk_that_reads_other_places_has_a_bad_sector_and_one_that_is_gone_has_none() {
        use rustix::io::Errno;
        let (sick, at) = (Sick::default(), 9 * BLOCK_BYTES as u64);
        for code in [Errno::IO, Errno::NODATA, Errno::ILSEQ] {
            assert!(is_bad_sector(&sick, &error(code), at), "{code}");
        }
        for code in [Errno::NOENT, Errno::MFILE, Errno::ACCESS] {
            assert!(!is_bad_sector(&sick, &error(code), at), "{code}");
        }
        assert!(
            !is_bad_sector(&sick, &error(Errno::IO), 0),
            "the second block cannot be read either"
        );
        sick.is_gone.store(true, Ordering::Relaxed);
        sick.is_cached.store(true, Ordering::Relaxed);
        assert!(
            !is_bad_sector(&sick, &error(Errno::IO), at),
            "the first block comes from memory alone"
        );
    }
}
