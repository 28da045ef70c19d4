//! Asks a disk whether it works: a small file is written, made durable and read back. Blocks as long as the disk does.

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

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

/// # Errors
/// Whatever the disk says, or that it returns other bytes than were written.
pub(super) fn probe(volume: &Path) -> io::Result<()> {
    std::fs::create_dir_all(volume)?;
    let path = volume.join(FILE_NAME);
    let mut file = File::create(&path)?;
    file.write_all(&PATTERN)?;
    file.sync_all()?;
    // What the page cache says proves nothing.
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut read = Vec::with_capacity(PATTERN.len());
    File::open(&path)?.take(PATTERN.len() as u64 + 1).read_to_end(&mut read)?;
    std::fs::remove_file(&path)?;
    if read == PATTERN { Ok(()) } else { Err(io::Error::other("the disk returned other bytes than were written")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_directory_passes_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(probe(&file.join("volume")).is_err());
    }
}
