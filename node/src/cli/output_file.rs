//! A file that appears under its name only when it is complete.

use super::error::CliError;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Written beside its target; dropped without [`Self::finish`], it leaves nothing behind.
pub(super) struct OutputFile {
    temporary: NamedTempFile,
    target: PathBuf,
    replace: bool,
    bytes: u64,
}

impl OutputFile {
    /// # Errors
    /// Where the target exists and is not to be replaced, or its folder cannot be written.
    pub(super) fn create(target: &Path, replace: bool) -> Result<Self, CliError> {
        if target.exists() && !replace {
            return Err(CliError::failed(format!("{} exists", target.display())).hint("--force replaces it"));
        }
        let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".holdfast-")
            .tempfile_in(dir)
            .map_err(|error| cannot_write(target, &error))?;
        Ok(Self { temporary, target: target.to_owned(), replace, bytes: 0 })
    }

    /// # Errors
    /// Where the disk does not take it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.temporary.write_all(bytes).map_err(|error| cannot_write(&self.target, &error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// What was written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it durable and gives it its name; the number of bytes written.
    ///
    /// # Errors
    /// Where that fails; then nothing is left of it.
    pub(super) fn finish(self) -> Result<u64, CliError> {
        let Self { temporary, target, replace, bytes } = self;
        temporary.as_file().sync_all().map_err(|error| cannot_write(&target, &error))?;
        let persisted = if replace { temporary.persist(&target) } else { temporary.persist_noclobber(&target) };
        persisted.map_err(|error| cannot_write(&target, &error.error))?;
        Ok(bytes)
    }
}

fn cannot_write(target: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot write {}: {error}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_seen_before_the_end_nor_after_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp4");
        let mut file = OutputFile::create(&target, false).unwrap();
        file.write(b"half").unwrap();
        assert!(!target.exists());
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_existing_file_is_replaced_only_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp4");
        let late = OutputFile::create(&target, false).unwrap();
        std::fs::write(&target, "old").unwrap();
        assert!(OutputFile::create(&target, false).is_err_and(|error| error.hint.is_some()));
        assert!(late.finish().is_err(), "it came into being in between");
        let mut file = OutputFile::create(&target, true).unwrap();
        file.write(b"new").unwrap();
        assert_eq!(file.finish().unwrap(), 3);
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }
}
