//! A file that grows under another name, `FILE.part`, until it is complete, and that a later run
//! can continue. `FILE.part.etag` holds the node's tag for it: the node decides whether the missing
//! part still fits.

use crate::cli::output_file::plain_file;
use crate::terminal::error::CliError;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// A longer tag is not one of Holdfast's.
const TAG_BYTES_MAX: u64 = 256;

#[derive(Debug)]
pub(in crate::cli) struct PartFile {
    target: PathBuf,
    replace: bool,
    part: PathBuf,
    file: File,
    bytes: u64,
    /// The tag of the bytes that are there; without it nothing can be continued.
    tag: Option<String>,
}

impl PartFile {
    /// # Errors
    /// The target exists and may not be replaced, it or its part is no regular file, or another
    /// process writes the part.
    pub(in crate::cli) fn open(target: &Path, replace: bool) -> Result<Self, CliError> {
        let target = plain_file(target, replace)?;
        let part = with_suffix(&target, ".part");
        if part.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Err(CliError::failed(format!(
                "{} is no plain file; it stays as it is",
                part.display()
            )));
        }
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part);
        let file = opened.map_err(|error| cannot_write(&part, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CliError::failed(format!(
                    "another export is writing {}",
                    part.display()
                ))
                .hint("wait for it, or name another file"));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "a partial file is not locked")
            }
        }
        let bytes = file
            .metadata()
            .map_err(|error| cannot_write(&part, &error))?
            .len();
        let tag = read_tag(&with_suffix(&part, ".etag"));
        let bytes = if tag.is_some() { bytes } else { 0 };
        Ok(Self {
            target,
            replace,
            part,
            file,
            bytes,
            tag,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes are there and their tag, if they can be continued.
    pub(super) fn there(&self) -> Option<(u64, &str)> {
        self.tag
            .as_deref()
            .filter(|_| self.bytes > 0)
            .map(|tag| (self.bytes, tag))
    }

    pub(super) fn part(&self) -> &Path {
        &self.part
    }

    /// The next write continues after the bytes that are there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn resume(&mut self) -> Result<&mut File, CliError> {
        self.file
            .seek(SeekFrom::Start(self.bytes))
            .map_err(|error| cannot_write(&self.part, &error))?;
        Ok(&mut self.file)
    }

    /// The next write is the beginning; a later run can continue it if it has a tag.
    ///
    /// # Errors
    /// The disk refuses the write.
    pub(super) fn begin(&mut self, tag: Option<&str>) -> Result<(), CliError> {
        // Durably, before its tag declares it to be another version.
        self.file
            .set_len(0)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| cannot_write(&self.part, &error))?;
        self.bytes = 0;
        self.resume()?;
        let note = with_suffix(&self.part, ".etag");
        let noted = match tag {
            Some(tag) => std::fs::write(&note, tag),
            None => remove(&note),
        };
        noted.map_err(|error| cannot_write(&note, &error))?;
        self.tag = tag.map(str::to_owned);
        Ok(())
    }

    /// # Errors
    /// The disk refuses the write.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file
            .write_all(bytes)
            .map_err(|error| cannot_write(&self.part, &error))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// That fails; the part stays.
    pub(super) fn finish(self) -> Result<u64, CliError> {
        self.file
            .set_len(self.bytes)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| cannot_write(&self.part, &error))?;
        // Another file may be there since.
        let target = plain_file(&self.target, self.replace)?;
        let part = TempPath::try_from_path(&self.part)
            .map_err(|error| cannot_write(&self.part, &error))?;
        let named = if self.replace {
            part.persist(&target)
        } else {
            part.persist_noclobber(&target)
        };
        if let Err(error) = named {
            let failed = cannot_write(&target, &error.error);
            error
                .path
                .keep()
                .map_err(|error| cannot_write(&self.part, &error.error))?;
            return Err(failed);
        }
        let note = with_suffix(&self.part, ".etag");
        remove(&note).map_err(|error| cannot_write(&note, &error))?;
        Ok(self.bytes)
    }

    /// Leaves behind only what a later run can continue; returns whether there is any.
    pub(super) fn leave(self) -> bool {
        let is_useful = self.there().is_some();
        if !is_useful {
            for path in [self.part.clone(), with_suffix(&self.part, ".etag")] {
                if let Err(error) = remove(&path) {
                    tracing::debug!(%error, path = %path.display(), "a partial file stays");
                }
            }
        }
        is_useful
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn read_tag(path: &Path) -> Option<String> {
    let mut tag = String::new();
    File::open(path)
        .ok()?
        .take(TAG_BYTES_MAX)
        .read_to_string(&mut tag)
        .ok()?;
    let is_strong = tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"');
    Some(tag).filter(|tag| is_strong && tag.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_later_run_continues_and_the_file_appears_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp4");
        let mut first = PartFile::open(&target, false).unwrap();
        assert_eq!(first.there(), None);
        first.begin(Some("\"7\"")).unwrap();
        first.write(b"be").unwrap();
        first.write(b"gin").unwrap();
        assert!(first.leave());
        assert_eq!(names(dir.path()), ["a.mp4.part", "a.mp4.part.etag"]);
        let mut second = PartFile::open(&target, false).unwrap();
        assert_eq!(second.there(), Some((5, "\"7\"")));
        second.resume().unwrap();
        second.write(b"ning").unwrap();
        assert_eq!(second.finish().unwrap(), 9);
        assert_eq!(names(dir.path()), ["a.mp4"]);
        assert_eq!(std::fs::read(&target).unwrap(), b"beginning");
    }

    #[test]
    fn what_begins_again_leaves_nothing_of_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp4");
        let mut part = PartFile::open(&target, false).unwrap();
        part.begin(Some("\"7\"")).unwrap();
        part.write(b"a long beginning").unwrap();
        part.begin(Some("\"8\"")).unwrap();
        part.write(b"other").unwrap();
        assert_eq!(part.there(), Some((5, "\"8\"")));
        part.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"other");
    }

    #[test]
    fn what_has_no_tag_cannot_be_continued_and_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp4");
        let mut part = PartFile::open(&target, false).unwrap();
        part.begin(None).unwrap();
        part.write(b"begin").unwrap();
        assert!(!part.leave());
        assert_eq!(names(dir.path()), [""; 0]);
        std::fs::write(dir.path().join("a.mp4.part"), "x").unwrap();
        for tag in ["", "W/\"7\"", "\"a b\"", "\"a\nb\""] {
            std::fs::write(dir.path().join("a.mp4.part.etag"), tag).unwrap();
            assert_eq!(
                PartFile::open(&target, false).unwrap().there(),
                None,
                "{tag:?}"
            );
        }
    }

    #[test]
    fn two_processes_do_not_write_one_part() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp4");
        let first = PartFile::open(&target, false).unwrap();
        assert!(
            PartFile::open(&target, false)
                .unwrap_err()
                .message
                .contains("another export")
        );
        drop(first);
        PartFile::open(&target, false).unwrap();
    }

    #[test]
    fn an_existing_file_is_replaced_only_on_demand_and_a_device_never() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.mp4");
        let mut late = PartFile::open(&target, false).unwrap();
        late.begin(Some("\"7\"")).unwrap();
        late.write(b"new").unwrap();
        std::fs::write(&target, "old").unwrap();
        assert!(PartFile::open(&target, false).is_err());
        assert!(late.finish().is_err(), "it came into being in between");
        let forced = PartFile::open(&target, true).unwrap();
        assert_eq!(forced.there(), Some((3, "\"7\"")));
        forced.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert!(PartFile::open(Path::new("/dev/null"), true).is_err());
        std::os::unix::fs::symlink("/dev/null", dir.path().join("b.mp4.part")).unwrap();
        assert!(
            PartFile::open(&dir.path().join("b.mp4"), false)
                .unwrap_err()
                .message
                .contains("no plain file")
        );
    }
}
