//! A file that appears under its name only when it is complete; or standard output.

use crate::terminal::error::CliError;
use std::fs::Permissions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Before the umask of the process is applied.
const MODE: u32 = 0o666;
/// For content that only its user may read.
const PRIVATE_MODE: u32 = 0o600;

/// The destination of a command's bytes.
pub(super) struct OutputFile {
    to: To,
    bytes: u64,
}

enum To {
    /// `-`: readers see the bytes as they come.
    Stdout,
    /// Written alongside its target; dropped without [`OutputFile::finish`], it leaves nothing
    /// behind.
    File {
        temporary: NamedTempFile,
        target: PathBuf,
        replace: bool,
    },
}

impl OutputFile {
    /// Whether the file's name means standard output.
    pub(super) fn is_stdout(target: &Path) -> bool {
        target == Path::new("-")
    }

    /// # Errors
    /// The target exists and may not be replaced, or is no regular file, or its folder cannot be
    /// written; or standard output is a terminal.
    pub(super) fn create(target: &Path, replace: bool) -> Result<Self, CliError> {
        Self::create_as(target, replace, MODE)
    }

    /// As [`OutputFile::create`], readable by this user alone.
    ///
    /// # Errors
    /// As [`OutputFile::create`].
    pub(super) fn create_private(target: &Path, replace: bool) -> Result<Self, CliError> {
        Self::create_as(target, replace, PRIVATE_MODE)
    }

    fn create_as(target: &Path, replace: bool, mode: u32) -> Result<Self, CliError> {
        if Self::is_stdout(target) {
            return match std::io::stdout().is_terminal() {
                true => Err(CliError::usage(
                    "standard output is a terminal; write to a file, or into a pipe",
                )),
                false => Ok(Self {
                    to: To::Stdout,
                    bytes: 0,
                }),
            };
        }
        let target = plain_file(target, replace)?;
        let dir = target
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".holdfast-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(dir)
            .map_err(|error| cannot_write(&target, &error))?;
        Ok(Self {
            to: To::File {
                temporary,
                target,
                replace,
            },
            bytes: 0,
        })
    }

    /// # Errors
    /// The disk, or the reader, refuses the write.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match &mut self.to {
            To::Stdout => std::io::stdout()
                .lock()
                .write_all(bytes)
                .map_err(|error| cannot_pipe(&error))?,
            To::File {
                temporary, target, ..
            } => {
                temporary
                    .write_all(bytes)
                    .map_err(|error| cannot_write(target, &error))?;
            }
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// What was written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the file durable and gives it its name; returns the number of bytes written.
    ///
    /// # Errors
    /// That fails; then nothing is left of the file.
    pub(super) fn finish(self) -> Result<u64, CliError> {
        match self.to {
            To::Stdout => std::io::stdout()
                .lock()
                .flush()
                .map_err(|error| cannot_pipe(&error))?,
            To::File {
                temporary,
                target,
                replace,
            } => {
                temporary
                    .as_file()
                    .sync_all()
                    .map_err(|error| cannot_write(&target, &error))?;
                // Another file may be there since.
                let target = plain_file(&target, replace)?;
                let persisted = if replace {
                    temporary.persist(&target)
                } else {
                    temporary.persist_noclobber(&target)
                };
                persisted.map_err(|error| cannot_write(&target, &error.error))?;
                // A folder that may be written but not read cannot be synced.
                if let Some(Ok(folder)) = target.parent().map(std::fs::File::open) {
                    folder
                        .sync_all()
                        .map_err(|error| cannot_write(&target, &error))?;
                }
            }
        }
        Ok(self.bytes)
    }
}

/// The path of the file itself if `target` is a link to one.
///
/// # Errors
/// What is there is no regular file (a device would be replaced by one), or is a file that may not
/// be replaced.
pub(super) fn plain_file(target: &Path, replace: bool) -> Result<PathBuf, CliError> {
    let found = match std::fs::metadata(target) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(target.to_owned()),
        Err(error) => return Err(cannot_write(target, &error)),
    };
    if !found.is_file() {
        let message = format!("{} is no plain file; it stays as it is", target.display());
        return Err(CliError::failed(message).hint("name a file, or `-` for standard output"));
    }
    if !replace {
        return Err(
            CliError::failed(format!("{} exists", target.display())).hint("--force replaces it")
        );
    }
    std::fs::canonicalize(target).map_err(|error| cannot_write(target, &error))
}

fn cannot_write(target: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot write {}: {error}", target.display()))
}

fn cannot_pipe(error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot write to standard output: {error}"))
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

    #[test]
    fn what_is_no_plain_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |target: &Path| {
            OutputFile::create(target, true)
                .err()
                .map(|error| error.message)
        };
        for target in [Path::new("/dev/null"), Path::new("/dev/full"), dir.path()] {
            assert!(
                refused(target).unwrap().contains("no plain file"),
                "{}",
                target.display()
            );
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert!(refused(&link).unwrap().contains("no plain file"));
    }

    #[test]
    fn a_link_to_a_file_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (link, real) = (dir.path().join("link"), dir.path().join("real.mp4"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut file = OutputFile::create(&link, true).unwrap();
        file.write(b"new").unwrap();
        file.finish().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
    }

    #[test]
    fn a_private_file_is_its_users_alone_also_where_it_replaces_another() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.backup");
        std::fs::write(&target, "old").unwrap();
        OutputFile::create_private(&target, true)
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(
            std::fs::metadata(&target).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn the_umask_decides_who_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("a.mp4"), dir.path().join("b"));
        OutputFile::create(&ours, false).unwrap().finish().unwrap();
        std::fs::write(&plain, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
