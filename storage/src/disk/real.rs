//! The disk of this machine.

use super::plain::{self, PlainFile, blocking};
use super::probe::{Choice, choose};
use super::uring::{self, Buffer, Pool, UringFile};
use super::{
    BatchDisk, DirEntry, Disk, DiskFile, FileId, IoChoice, IoMode, LocalFuture, Root, Space,
    WriterHost,
};
use crate::disk::{BATCH_BYTES_MAX, BUFFERS};
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::future::Future;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::LocalSet;

/// The most threads that plain I/O may use: one per write in progress, one for a sync, and two per
/// class (creating its next segment, and reserving space in the present one), so that a disk that
/// is slow at these does not delay writes.
const PLAIN_THREADS_MAX: usize =
    crate::disk::WRITES_IN_FLIGHT_MAX + 1 + 2 * crate::class::CLASSES_MAX;

/// Entries of the submission queue; more operations than a writer ever has in progress.
const RING_ENTRIES: u32 = 64;

/// One volume's directory and what is in it; see [`Root`].
pub struct RealDisk {
    choice: Choice,
    root: Arc<Root>,
}

impl RealDisk {
    /// Tests what works in `dir`, and logs once if it is less than what was requested.
    ///
    /// # Errors
    /// The directory cannot be opened, or io_uring is required and refused.
    pub fn new(choice: IoChoice, dir: &Path) -> io::Result<Self> {
        Self::in_root(choice, Arc::new(Root::open(dir)?))
    }

    /// Like [`Self::new`], in a directory that is open already.
    ///
    /// # Errors
    /// io_uring is required and refused.
    pub fn in_root(choice: IoChoice, root: Arc<Root>) -> io::Result<Self> {
        let choice = choose(choice, &root)?;
        if let Choice::Plain(Some(why)) = &choice {
            tracing::warn!(
                volume = %root.path().display(), why,
                "recording with plain I/O instead of io_uring"
            );
        }
        Ok(Self { choice, root })
    }

    /// For reading: does not test anything, because that writes.
    pub(crate) fn reading(root: Arc<Root>) -> Self {
        Self {
            choice: Choice::Plain(None),
            root,
        }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.root.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        self.root
            .each_entry(path, &mut |entry| entries.push(entry))?;
        Ok(entries)
    }

    fn each_entry(&self, path: &Path, take: &mut dyn FnMut(DirEntry)) -> io::Result<()> {
        self.root.each_entry(path, take)
    }

    fn each_name(&self, path: &Path, take: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
        self.root.each_name(path, take)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(
            self.root.open_file(path, OFlags::RDONLY)?,
        )))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(self.root.open_file(path, OFlags::RDWR)?)))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.root.replace(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.root.remove(path)
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        self.root.space()
    }

    fn check_place(&self) -> io::Result<()> {
        self.root.check_place()
    }

    fn unmark_new(&self) -> io::Result<()> {
        self.root.unmark_new()
    }

    fn stable_path(&self, path: &Path) -> PathBuf {
        self.root.stable_path(path)
    }
}

/// Space in the filesystem that contains `path`.
///
/// # Errors
/// `path` does not exist or cannot be accessed.
pub fn space_of(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        free_bytes: stat.f_bavail * stat.f_frsize,
        total_bytes: stat.f_blocks * stat.f_frsize,
    })
}

struct RealFile(File);

impl RealFile {
    /// `bytes` 0: to the end.
    fn advise(&self, offset: u64, bytes: u64, advice: Advice) {
        if let Err(error) = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(bytes), advice) {
            tracing::debug!(%error, "fadvise is refused");
        }
    }
}

impl DiskFile for RealFile {
    fn id(&self) -> io::Result<FileId> {
        FileId::of(&self.0)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    /// Reads into uninitialized memory.
    fn append_exact_at(&self, buffer: &mut Vec<u8>, bytes: usize, offset: u64) -> io::Result<()> {
        let (start, end) = (buffer.len(), buffer.len() + bytes);
        buffer.reserve_exact(bytes);
        while buffer.len() < end {
            let at = offset + (buffer.len() - start) as u64;
            match rustix::io::pread(&self.0, spare_capacity(buffer), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // More may have been allocated than was requested.
        buffer.truncate(end);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn settle(&self) -> io::Result<()> {
        self.0.sync_all()?;
        Ok(rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed)?)
    }

    fn advise_random(&self) {
        self.advise(0, 0, Advice::Random);
    }

    fn advise_next(&self, offset: u64, bytes: u64) {
        self.advise(offset, bytes, Advice::WillNeed);
    }

    fn forget_cached(&self, offset: u64, bytes: u64) {
        self.advise(offset, bytes, Advice::DontNeed);
    }
}

impl WriterHost for RealDisk {
    type Batch = RealBatchDisk;

    fn run_writer(
        &self,
        body: Box<dyn FnOnce(RealBatchDisk) -> LocalFuture<()>>,
    ) -> io::Result<()> {
        match self.choice {
            Choice::Uring => run_uring(Arc::clone(&self.root), body),
            Choice::Plain(_) => run_plain(Arc::clone(&self.root), body),
        }
    }
}

fn run_uring(
    root: Arc<Root>,
    body: Box<dyn FnOnce(RealBatchDisk) -> LocalFuture<()>>,
) -> io::Result<()> {
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES))?;
    runtime.block_on(async {
        let (mode, pool) = match Pool::registered(BUFFERS, BATCH_BYTES_MAX) {
            Ok(pool) => (IoMode::UringRegistered, pool),
            Err(error) => {
                tracing::info!(
                    %error,
                    "the kernel registers no buffers for this process; writing from unregistered \
                     ones"
                );
                (IoMode::Uring, Pool::plain(BUFFERS, BATCH_BYTES_MAX))
            }
        };
        body(RealBatchDisk { mode, pool, root }).await;
    });
    Ok(())
}

fn run_plain(
    root: Arc<Root>,
    body: Box<dyn FnOnce(RealBatchDisk) -> LocalFuture<()>>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(PLAIN_THREADS_MAX)
        .thread_name("holdfast-plain-io")
        .build()?;
    let pool = Pool::plain(BUFFERS, BATCH_BYTES_MAX);
    LocalSet::new().block_on(
        &runtime,
        body(RealBatchDisk {
            mode: IoMode::Plain,
            pool,
            root,
        }),
    );
    Ok(())
}

/// The writer's half of [`RealDisk`].
pub struct RealBatchDisk {
    mode: IoMode,
    pool: Pool,
    root: Arc<Root>,
}

#[derive(Clone)]
pub enum RealBatchFile {
    Uring(UringFile),
    Plain(PlainFile),
}

impl BatchDisk for RealBatchDisk {
    type File = RealBatchFile;
    type Buffer = Buffer;

    fn mode(&self) -> IoMode {
        self.mode
    }

    fn buffer(&self, bytes: usize) -> Option<Buffer> {
        if bytes > BATCH_BYTES_MAX {
            Some(Buffer::single(bytes))
        } else {
            self.pool.take()
        }
    }

    fn create(
        &self,
        path: &Path,
        header: Vec<u8>,
        allocated_bytes: u64,
        is_left: bool,
    ) -> impl Future<Output = io::Result<(RealBatchFile, FileId)>> + 'static {
        let (root, path, is_direct) = (
            Arc::clone(&self.root),
            path.to_owned(),
            self.mode != IoMode::Plain,
        );
        async move {
            let created = blocking(move || {
                if !is_left {
                    root.check_place()?;
                }
                create_file(&root, &path, &header, allocated_bytes, is_direct)
            });
            let (file, id) = created.await?;
            let file = if is_direct {
                RealBatchFile::Uring(Rc::new(tokio_uring::fs::File::from_std(file)))
            } else {
                RealBatchFile::Plain(Arc::new(file))
            };
            Ok((file, id))
        }
    }

    fn allocate(
        &self,
        file: &RealBatchFile,
        offset: u64,
        bytes: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let file = file.clone();
        async move {
            match file {
                RealBatchFile::Uring(file) => {
                    tolerate_unsupported(file.fallocate(offset, bytes, 0).await)
                }
                RealBatchFile::Plain(file) => {
                    blocking(move || fallocate(&file, offset, bytes)).await
                }
            }
        }
    }

    fn write(
        &self,
        file: &RealBatchFile,
        buffer: Buffer,
        bytes: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Buffer)> + 'static {
        let write: Pin<Box<dyn Future<Output = (io::Result<()>, Buffer)>>> = match file.clone() {
            RealBatchFile::Uring(file) => Box::pin(uring::write(file, buffer, bytes, offset)),
            RealBatchFile::Plain(file) => Box::pin(plain::write(file, buffer, bytes, offset)),
        };
        write
    }

    fn sync(&self, file: &RealBatchFile) -> impl Future<Output = io::Result<()>> + 'static {
        let file = file.clone();
        async move {
            match file {
                RealBatchFile::Uring(file) => file.sync_data().await,
                RealBatchFile::Plain(file) => plain::sync(file).await,
            }
        }
    }
}

fn fallocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    tolerate_unsupported(
        rustix::fs::fallocate(file, FallocateFlags::empty(), offset, bytes)
            .map_err(io::Error::from),
    )
}

/// Some filesystems cannot reserve space; writes then extend the file.
fn tolerate_unsupported(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// A failed attempt leaves no file behind, so that it can be retried.
fn create_file(
    root: &Root,
    path: &Path,
    header: &[u8],
    allocated_bytes: u64,
    is_direct: bool,
) -> io::Result<(File, FileId)> {
    let result = try_create(root, path, header, allocated_bytes, is_direct);
    if let Err(error) = &result
        && error.kind() != io::ErrorKind::AlreadyExists
        && let Err(error) = root.remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(
            path = %path.display(), %error,
            "a segment that could not be opened stays behind"
        );
    }
    result
}

fn try_create(
    root: &Root,
    path: &Path,
    header: &[u8],
    allocated_bytes: u64,
    is_direct: bool,
) -> io::Result<(File, FileId)> {
    let file = root.open_file(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    let id = FileId::of(&file)?;
    fallocate(&file, 0, allocated_bytes)?;
    file.write_all_at(header, 0)?;
    file.sync_all()?;
    root.sync_parent(path)?;
    if !is_direct {
        return Ok((file, id));
    }
    drop(file);
    let direct = root.open_file(path, OFlags::WRONLY | OFlags::DIRECT)?;
    // Another file may have taken the name in between.
    if FileId::of(&direct)? == id {
        Ok((direct, id))
    } else {
        Err(io::ErrorKind::AlreadyExists.into())
    }
}
