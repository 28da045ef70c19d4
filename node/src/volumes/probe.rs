//! Tests whether a disk works: writes a small file, makes it durable and reads it back. Blocks as
//! long as the disk does.

use holdfast_storage::disk::Root;
use rustix::fs::{Advice, fadvise};
use std::io::{self, Read, Seek, SeekFrom, Write};

const FILE_NAME: &str = "probe.tmp";

/// One block, which no disk can have by chance.
const PATTERN: [u8; 4096] = {
    let mut pattern = [0; 4096];
    let mut at = 0;
    while at < pattern.len() {
        pattern[at] = (at * 31 + at / 256) as u8;
        at += 1;
    }
    pattern
};

/// Probes in the volume's own directory, wherever its path leads by now.
///
/// # Errors
/// Any error of the disk, or that it returns other bytes than were written.
pub(super) fn probe(volume: &Root) -> io::Result<()> {
    let mut file = volume.scratch(FILE_NAME)?;
    file.write_all(&PATTERN)?;
    file.sync_all()?;
    // A read from the page cache proves nothing.
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut read = Vec::with_capacity(PATTERN.len());
    file.seek(SeekFrom::Start(0))?;
    file.take(PATTERN.len() as u64 + 1).read_to_end(&mut read)?;
    volume.remove_scratch(FILE_NAME)?;
    if read == PATTERN {
        Ok(())
    } else {
        Err(io::Error::other(
            "the disk returned other bytes than were written",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_directory_passes_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        probe(&root).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
        assert!(probe(&root).is_err());
    }
}
