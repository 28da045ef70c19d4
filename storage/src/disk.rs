//! The only interface between the store and disks.
//!
//! [`Disk`] is for any thread: directories and blocking reads and writes. [`BatchDisk`] is the
//! asynchronous half, used by the writer alone. The real disk implements both on io_uring with
//! `O_DIRECT`, or on plain buffered I/O. With the feature `simulation`, `simulated` is an in-memory
//! disk with faults drawn from a seed.

mod buffer;
mod plain;
mod probe;
mod real;
mod root;
mod salvage;
#[cfg(feature = "simulation")]
pub(crate) mod simulated;
mod uring;

pub use buffer::AlignedBuffer;
pub use real::{RealDisk, space_of};
pub use root::{FileId, Root, is_elsewhere, mark_new};
pub(crate) use salvage::Salvaging;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::DerefMut;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

/// A file's name in its directory, and its length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    pub name: String,
    pub bytes: u64,
    pub is_dir: bool,
}

/// Space in a filesystem, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Available to this process.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The blocking half. Errors are the system's; callers add what they were doing.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory and its parents, durably.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Calls `take` for each entry of a directory, one at a time: there may be a hundred thousand.
    fn each_entry(&self, path: &Path, take: &mut dyn FnMut(DirEntry)) -> io::Result<()> {
        self.list(path)?.into_iter().for_each(take);
        Ok(())
    }
    /// Like [`Self::each_entry`], with only the names and whether each is a directory; does not
    /// stat the entries.
    fn each_name(&self, path: &Path, take: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
        self.each_entry(path, &mut |entry| take(&entry.name, entry.is_dir))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces a small file atomically and durably.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Whether the volume's path still leads to the directory that was opened: a filesystem may
    /// have been mounted over it, or unmounted.
    ///
    /// # Errors
    /// What is there instead, or why it cannot be looked at.
    fn check_place(&self) -> io::Result<()> {
        Ok(())
    }
    /// See [`Root::unmark_new`].
    ///
    /// # Errors
    /// The directory cannot be written.
    fn unmark_new(&self) -> io::Result<()> {
        Ok(())
    }
    /// A path for `path` that stays below the directory that was opened even if something is
    /// mounted over it: for code that only accepts paths.
    fn stable_path(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// An open file of the blocking half.
pub trait DiskFile: Send + Sync {
    fn id(&self) -> io::Result<FileId>;
    fn bytes(&self) -> io::Result<u64>;
    /// Fills `buffer`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Appends `bytes` bytes from `offset` to `buffer`, or fails like [`Self::read_exact_at`].
    fn append_exact_at(&self, buffer: &mut Vec<u8>, bytes: usize, offset: u64) -> io::Result<()> {
        let at = buffer.len();
        buffer.resize(at + bytes, 0);
        self.read_exact_at(&mut buffer[at..], offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Makes durable what can be, and drops what is only in memory: later reads return what is on
    /// the medium. After a failed sync a page cache may keep showing data that no later sync
    /// writes.
    fn settle(&self) -> io::Result<()> {
        self.sync()
    }
    /// Announces that these bytes are read next, so that the disk may prefetch them.
    fn advise_next(&self, _offset: u64, _bytes: u64) {}
    /// Announces scattered reads: no read-ahead, above all not where a writer is about to write
    /// around the page cache.
    fn advise_random(&self) {}
    /// Drops cached data that is not read again soon or cannot be trusted (after a failed flush the
    /// page cache holds what the disk does not): later reads come from the disk. `bytes` 0: to the
    /// end.
    fn forget_cached(&self, _offset: u64, _bytes: u64) {}
}

/// How the writer accesses its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoChoice {
    /// io_uring if the kernel and filesystem support it, else plain I/O.
    #[default]
    Auto,
    /// io_uring; without it the volume does not open.
    Uring,
    Plain,
}

/// The access method in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoMode {
    /// io_uring and `O_DIRECT` from buffers registered with the kernel.
    UringRegistered,
    /// io_uring and `O_DIRECT`; the kernel refused to register buffers (`RLIMIT_MEMLOCK`).
    Uring,
    /// `pwrite` and `fdatasync` through the page cache.
    Plain,
}

impl fmt::Display for IoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UringRegistered => "io_uring with registered buffers",
            Self::Uring => "io_uring",
            Self::Plain => "plain",
        })
    }
}

/// The length that batches grow to under load.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// The most writes in progress at a time.
pub const WRITES_IN_FLIGHT_MAX: usize = 4;

/// Buffers of [`BATCH_BYTES_MAX`]: one for each write in progress, and as many being filled or
/// waiting.
pub const BUFFERS: usize = 2 * WRITES_IN_FLIGHT_MAX;

/// The writer's half, used only on the writer's thread. Futures are never dropped before they
/// complete, because the kernel may still use their buffers.
pub trait BatchDisk: 'static {
    type File: Clone + 'static;
    type Buffer: DerefMut<Target = [u8]> + 'static;

    fn mode(&self) -> IoMode;
    /// A buffer of at least `bytes`, aligned for direct I/O; `None` while all pooled buffers are in
    /// use. A buffer larger than the pool's is allocated for the call.
    fn buffer(&self, bytes: usize) -> Option<Self::Buffer>;
    /// Creates a file that must not exist, with `header` as its first block and `allocated_bytes`
    /// reserved; durable with its name on return. Fails if the volume's path now leads elsewhere
    /// ([`is_elsewhere`]), unless `is_left`: then the file is created where the volume is.
    fn create(
        &self,
        path: &Path,
        header: Vec<u8>,
        allocated_bytes: u64,
        is_left: bool,
    ) -> impl Future<Output = io::Result<(Self::File, FileId)>> + 'static;
    /// Reserves `bytes` more at `offset`.
    fn allocate(
        &self,
        file: &Self::File,
        offset: u64,
        bytes: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static;
    /// Writes the first `bytes` of `buffer`, and always returns the buffer.
    fn write(
        &self,
        file: &Self::File,
        buffer: Self::Buffer,
        bytes: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Self::Buffer)> + 'static;
    /// Makes all earlier writes durable.
    fn sync(&self, file: &Self::File) -> impl Future<Output = io::Result<()>> + 'static;
}

/// A future that stays on one thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Runs a writer on the current thread, in the runtime that its disk needs.
pub trait WriterHost: Disk {
    type Batch: BatchDisk;

    /// Calls `body` with the writer's half, in a runtime with timers and
    /// `tokio::task::spawn_local`, and runs its future to completion.
    ///
    /// # Errors
    /// The runtime or the disk's half cannot be set up; `body` is not called then.
    fn run_writer(&self, body: Box<dyn FnOnce(Self::Batch) -> LocalFuture<()>>) -> io::Result<()>;
}
