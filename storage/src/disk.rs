//! The one seam between the store and the world's disks.
//!
//! [`Disk`] is what any thread may ask for: directories and blocking reads and writes.
//! [`BatchDisk`] is the writer's own, asynchronous half. The real disk implements both on io_uring
//! with `O_DIRECT`, or on plain buffered I/O. With the feature `simulation`, `simulated` is a disk
//! in memory that fails by a seed.

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
pub use root::{FileId, Root, mark_new};
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

/// Room in a filesystem, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Available to this process.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The blocking half. Errors are the system's own; callers add what they were doing.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory and its parents, durably.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Tells of each entry of a directory in turn: there may be a hundred thousand.
    fn each_entry(&self, path: &Path, tell: &mut dyn FnMut(DirEntry)) -> io::Result<()> {
        self.list(path)?.into_iter().for_each(tell);
        Ok(())
    }
    /// As [`Self::each_entry`], the names and which of them are directories, without looking at
    /// each.
    fn each_name(&self, path: &Path, tell: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
        self.each_entry(path, &mut |entry| tell(&entry.name, entry.is_dir))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Puts a whole small file in place of another, durably and in one step.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Whether the volume's path still leads to the directory that was opened: a filesystem may be
    /// mounted over it, or taken away.
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
    /// A name for `path` that leads below the directory that was opened whatever is mounted over
    /// it: for code that takes nothing but paths.
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
    /// Appends the `bytes` from `offset` on to `buffer`, or fails as [`Self::read_exact_at`] does.
    fn append_exact_at(&self, buffer: &mut Vec<u8>, bytes: usize, offset: u64) -> io::Result<()> {
        let at = buffer.len();
        buffer.resize(at + bytes, 0);
        self.read_exact_at(&mut buffer[at..], offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Makes durable what can be, and forgets what only memory has: what is read afterwards is on
    /// the medium. After a failed sync a page cache may go on showing data that no later sync
    /// writes.
    fn settle(&self) -> io::Result<()> {
        self.sync()
    }
    /// These bytes are read next: the disk may begin to fetch them.
    fn advise_next(&self, _offset: u64, _bytes: u64) {}
    /// Later reads are scattered: do not read ahead, above all not where a writer is about to write
    /// past the page cache.
    fn advise_random(&self) {}
    /// Nobody reads this again soon, or what is cached is not to be trusted (after a flush that
    /// failed, the page cache holds what the disk does not): later reads come from the disk.
    /// `bytes` 0: to the end.
    fn forget_cached(&self, _offset: u64, _bytes: u64) {}
}

/// How the writer reaches its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoChoice {
    /// io_uring where kernel and filesystem take it, else plain I/O.
    #[default]
    Auto,
    /// io_uring, or the volume does not open.
    Uring,
    Plain,
}

/// What was chosen.
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

/// Writes that the disk works on at a time.
pub const WRITES_IN_FLIGHT_MAX: usize = 4;

/// Buffers of [`BATCH_BYTES_MAX`]: those in flight, and as many being filled or waiting.
pub const BUFFERS: usize = 2 * WRITES_IN_FLIGHT_MAX;

/// The writer's half. Lives on the writer's thread; futures are never dropped before they end,
/// because the kernel may still use their buffers.
pub trait BatchDisk: 'static {
    type File: Clone + 'static;
    type Buffer: DerefMut<Target = [u8]> + 'static;

    fn mode(&self) -> IoMode;
    /// A buffer of at least `bytes`, aligned for direct I/O; `None` while all pooled buffers are in
    /// use. One that is larger than the pool's is made on the spot.
    fn buffer(&self, bytes: usize) -> Option<Self::Buffer>;
    /// Creates a file that must not exist, with `header` as its first block and room for
    /// `allocated_bytes`; durable with its name on return. Refused where the volume's path
    /// leads elsewhere by now.
    fn create(
        &self,
        path: &Path,
        header: Vec<u8>,
        allocated_bytes: u64,
    ) -> impl Future<Output = io::Result<(Self::File, FileId)>> + 'static;
    /// Makes room for `bytes` more at `offset`.
    fn allocate(
        &self,
        file: &Self::File,
        offset: u64,
        bytes: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static;
    /// Writes the first `bytes` of `buffer`, and gives the buffer back in any case.
    fn write(
        &self,
        file: &Self::File,
        buffer: Self::Buffer,
        bytes: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Self::Buffer)> + 'static;
    /// Makes everything durable that was written before.
    fn sync(&self, file: &Self::File) -> impl Future<Output = io::Result<()>> + 'static;
}

/// A future that stays on its thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// Runs a writer on the current thread, in the runtime that its disk needs.
pub trait WriterHost: Disk {
    type Batch: BatchDisk;

    /// Calls `body` with the writer's half, in a runtime with timers where
    /// `tokio::task::spawn_local` works, until its future ends.
    ///
    /// # Errors
    /// The runtime or the disk's own half cannot be set up; `body` was not called then.
    fn run_writer(&self, body: Box<dyn FnOnce(Self::Batch) -> LocalFuture<()>>) -> io::Result<()>;
}
