//! A volume's directory, held open. Every name is resolved from its descriptor, so a directory that
//! is mounted over its path, or takes its place, is never touched.
//!
//! A filesystem may also be mounted over a subdirectory. Those are compared with what they were
//! when they were first used.

use super::{DirEntry, Space};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Subject to the process's umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// An empty file of this name: an operator wants a new volume in a directory that held another one.
const NEW_MARK: &str = "volume.new";

/// Identifies a file independently of its name: two names with the same value are one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    /// # Errors
    /// The descriptor cannot be queried.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::fstat(file)?))
    }
}

impl From<&Stat> for FileId {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
    id: FileId,
    /// The subdirectories in use, as they were when they were first used.
    below: Mutex<BTreeMap<PathBuf, FileId>>,
}

enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(dir) => *dir,
            Self::Below(dir) => dir.as_fd(),
        }
    }
}

impl Root {
    /// # Errors
    /// It does not exist, is no directory, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let at = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let dir = rustix::fs::open(at, DIRECTORY, Mode::empty())?;
        let id = FileId::of(&dir)?;
        Ok(Self {
            path: path.to_owned(),
            dir,
            id,
            below: Mutex::default(),
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Whether the directory's path still leads to it, and its subdirectories in use are the same.
    /// An error describes what is there instead.
    ///
    /// # Errors
    /// A filesystem was mounted there or unmounted, or the path cannot be examined.
    pub fn check_place(&self) -> io::Result<()> {
        match rustix::fs::stat(&self.path) {
            Ok(stat) if FileId::from(&stat) == self.id => {}
            Ok(_) | Err(Errno::NOENT) => return Err(elsewhere(&self.path)),
            Err(error) => return Err(error.into()),
        }
        for (below, id) in crate::locks::lock(&self.below).iter() {
            match rustix::fs::statat(&self.dir, below, AtFlags::empty()) {
                Ok(stat) if FileId::from(&stat) != *id => {
                    return Err(elsewhere(&self.path.join(below)));
                }
                // An empty subdirectory may be removed.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether an operator wants a new volume here; see [`mark_new`].
    #[must_use]
    pub fn is_marked_new(&self) -> bool {
        rustix::fs::statat(&self.dir, NEW_MARK, AtFlags::empty()).is_ok()
    }

    /// Removes the mark once the new volume exists.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn unmark_new(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.dir, NEW_MARK, AtFlags::empty()) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates or empties a file right in the directory, and opens it for reading and writing.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn scratch(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(
            &self.dir, name, flags, FILE_MODE,
        )?))
    }

    /// Removes a file right in the directory.
    ///
    /// # Errors
    /// It is not there, or the directory cannot be written.
    pub fn remove_scratch(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    /// A path for `path` that stays below this directory even if something is mounted over it: for
    /// code that only accepts paths.
    pub(crate) fn stable_path(&self, path: &Path) -> PathBuf {
        let dir = PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd()));
        match path.strip_prefix(&self.path) {
            Ok(below) if dir.exists() => dir.join(below),
            _ => path.to_owned(),
        }
    }

    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut made = PathBuf::new();
        for part in self.below(path)?.components() {
            made.push(part);
            match rustix::fs::mkdirat(&self.dir, &made, DIRECTORY_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        rustix::fs::fsync(self.directory(path)?)?;
        let (parent, _) = self.parent(path)?;
        Ok(rustix::fs::fsync(parent)?)
    }

    /// Calls `take` with each name and whether it is a directory.
    pub(crate) fn each_name(
        &self,
        path: &Path,
        take: &mut dyn FnMut(&str, bool),
    ) -> io::Result<()> {
        let dir = self.directory(path)?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_dir = match entry.file_type() {
                FileType::Unknown => stat_of(&dir, name)?.is_some_and(|stat| is_directory(&stat)),
                known => known == FileType::Directory,
            };
            take(&name.to_string_lossy(), is_dir);
        }
        Ok(())
    }

    pub(crate) fn each_entry(&self, path: &Path, take: &mut dyn FnMut(DirEntry)) -> io::Result<()> {
        let dir = self.directory(path)?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // Entries removed in the meantime are skipped.
            if let Some(stat) = stat_of(&dir, name)? {
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                take(DirEntry {
                    name: name.to_string_lossy().into_owned(),
                    bytes,
                    is_dir: is_directory(&stat),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        Ok(File::from(rustix::fs::openat(
            parent,
            name,
            flags | OFlags::CLOEXEC,
            FILE_MODE,
        )?))
    }

    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let next = Path::new(name).with_extension("next");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&parent, &next, flags, FILE_MODE)?);
        file.write_all(bytes)?;
        file.sync_all()?;
        rustix::fs::renameat(&parent, &next, &parent, name)?;
        Ok(rustix::fs::fsync(parent)?)
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
    }

    /// Makes the names in the parent directory of `path` durable.
    pub(crate) fn sync_parent(&self, path: &Path) -> io::Result<()> {
        let (parent, _) = self.parent(path)?;
        Ok(rustix::fs::fsync(parent)?)
    }

    pub(crate) fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(Space {
            free_bytes: stat.f_bavail * stat.f_frsize,
            total_bytes: stat.f_blocks * stat.f_frsize,
        })
    }

    fn below<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        let below = path
            .strip_prefix(&self.path)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let is_plain = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if is_plain {
            Ok(below)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Parent<'_>, &'a OsStr)> {
        let below = self.below(path)?;
        let name = below.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = below.parent().unwrap_or(Path::new(""));
        Ok((self.directory_below(parent)?, name))
    }

    fn directory(&self, path: &Path) -> io::Result<Parent<'_>> {
        self.directory_below(self.below(path)?)
    }

    fn directory_below(&self, below: &Path) -> io::Result<Parent<'_>> {
        if below.as_os_str().is_empty() {
            return Ok(Parent::Root(self.dir.as_fd()));
        }
        let dir = rustix::fs::openat(&self.dir, below, DIRECTORY, Mode::empty())?;
        let id = FileId::of(&dir)?;
        let known = *crate::locks::lock(&self.below)
            .entry(below.to_owned())
            .or_insert(id);
        if known == id {
            Ok(Parent::Below(dir))
        } else {
            Err(elsewhere(&self.path.join(below)))
        }
    }
}

/// Marks the directory as wanted for a new volume although its path held another one.
///
/// # Errors
/// The directory does not exist or cannot be written.
pub fn mark_new(dir: &Path) -> io::Result<()> {
    let root = Root::open(dir)?;
    root.scratch(NEW_MARK)?.sync_all()?;
    Ok(rustix::fs::fsync(&root.dir)?)
}

/// The path leads to another directory than it did when it was opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is another directory than it was: a filesystem was mounted there, or taken away",
    .0.display()
)]
struct Elsewhere(PathBuf);

pub(super) fn elsewhere(path: &Path) -> io::Error {
    io::Error::other(Elsewhere(path.to_owned()))
}

/// Whether an operation failed because the volume's path leads elsewhere.
#[must_use]
pub fn is_elsewhere(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Elsewhere>())
}

fn stat_of(dir: &Parent<'_>, name: &std::ffi::CStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        other => Ok(Some(other?)),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(root: &Root, path: &Path) -> Vec<(String, bool)> {
        let mut names = Vec::new();
        root.each_name(path, &mut |name, is_dir| {
            names.push((name.to_owned(), is_dir))
        })
        .unwrap();
        names.sort();
        names
    }

    #[test]
    fn another_directory_in_its_place_is_noticed_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("v"), dir.path().join("aside"));
        fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        root.create_dir(&path.join("segments/a")).unwrap();
        root.replace(&path.join("segments/a/1"), b"one").unwrap();
        root.check_place().unwrap();
        fs::rename(&path, &aside).unwrap();
        assert!(root.check_place().is_err(), "nothing is there");
        fs::create_dir_all(path.join("segments/a")).unwrap();
        fs::write(path.join("segments/a/1"), b"theirs").unwrap();
        assert!(root.check_place().is_err(), "another one is there");
        root.replace(&path.join("segments/a/1"), b"ours").unwrap();
        assert_eq!(fs::read(path.join("segments/a/1")).unwrap(), b"theirs");
        assert_eq!(fs::read(aside.join("segments/a/1")).unwrap(), b"ours");
        root.remove(&path.join("segments/a/1")).unwrap();
        assert!(path.join("segments/a/1").exists() && !aside.join("segments/a/1").exists());
        let stable = root.stable_path(&path.join("catalogue"));
        fs::create_dir(&stable).unwrap();
        assert!(aside.join("catalogue").exists() && !path.join("catalogue").exists());
    }

    #[test]
    fn another_directory_below_is_noticed_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        root.create_dir(&path.join("segments/a")).unwrap();
        root.replace(&path.join("segments/a/1"), b"ours").unwrap();
        fs::rename(path.join("segments/a"), path.join("a")).unwrap();
        root.check_place().unwrap();
        fs::create_dir(path.join("segments/a")).unwrap();
        fs::write(path.join("segments/a/1"), b"theirs").unwrap();
        assert!(root.check_place().is_err());
        assert!(root.remove(&path.join("segments/a/1")).is_err());
        assert!(
            root.open_file(&path.join("segments/a/1"), OFlags::RDWR)
                .is_err()
        );
        assert_eq!(fs::read(path.join("segments/a/1")).unwrap(), b"theirs");
    }

    #[test]
    fn lists_and_refuses_what_is_not_below() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.create_dir(&dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/c"), b"12345").unwrap();
        assert_eq!(
            names(&root, &dir.path().join("a")),
            [("b".to_owned(), true), ("c".to_owned(), false)]
        );
        let mut entries = Vec::new();
        root.each_entry(&dir.path().join("a"), &mut |entry| entries.push(entry))
            .unwrap();
        entries.sort();
        assert_eq!((entries[1].bytes, entries[0].is_dir), (5, true));
        assert!(
            root.remove(&dir.path().join("a/../a/c")).is_err()
                && root.remove(Path::new("/etc/hosts")).is_err()
        );
        assert!(root.space().unwrap().total_bytes > 0);
    }

    #[test]
    fn a_mark_is_set_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(!root.is_marked_new());
        mark_new(dir.path()).unwrap();
        assert!(root.is_marked_new());
        root.unmark_new().unwrap();
        root.unmark_new().unwrap();
        assert!(!root.is_marked_new());
    }
}
