//! A disk that fails on command, on top of the real one.

use super::Dir;
use holdfast_storage::clock::SystemClock;
use holdfast_storage::disk::{
    BatchDisk, DirEntry, Disk, DiskFile, FileId, IoChoice, IoMode, LocalFuture, RealDisk, Space,
    WriterHost,
};
use holdfast_storage::format::BLOCK_BYTES;
use holdfast_storage::{Volume, VolumeHandle, VolumeOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Faults that can be switched on while a volume runs.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) sync_fails: AtomicBool,
    pub(crate) write_fails: AtomicBool,
    /// Cleared when a file is removed.
    pub(crate) is_full: AtomicBool,
    /// No more space can be reserved; reserved space can be written.
    pub(crate) refuses_room: AtomicBool,
    /// How often that was refused.
    pub(crate) refusals: AtomicU32,
    /// No flush ends until this clears.
    pub(crate) sync_hangs: AtomicBool,
    /// New files are not created until this clears.
    pub(crate) create_hangs: AtomicBool,
    /// Offsets of blocks that cannot be read from any file.
    pub(crate) unreadable: Mutex<Vec<u64>>,
    /// The writer's thread hits a bug.
    pub(crate) sync_panics: AtomicBool,
    /// The keeper's thread hits a bug.
    pub(crate) space_panics: AtomicBool,
}

impl Faults {
    fn check_room(&self) -> io::Result<()> {
        if self.refuses_room.load(Ordering::SeqCst) {
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.check_space()
    }

    fn check_space(&self) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

fn check(fault: &AtomicBool) -> io::Result<()> {
    if fault.load(Ordering::SeqCst) {
        Err(io::Error::other("injected"))
    } else {
        Ok(())
    }
}

pub(crate) struct FaultyDisk {
    inner: RealDisk,
    faults: Arc<Faults>,
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FaultyFile {
            inner: self.inner.open_read(path)?,
            faults: Arc::clone(&self.faults),
        }))
    }
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open_write(path)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.replace(path, bytes)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)?;
        self.faults.is_full.store(false, Ordering::SeqCst);
        Ok(())
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        assert!(!self.faults.space_panics.load(Ordering::SeqCst), "injected");
        self.inner.space(path)
    }
}

struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl DiskFile for FaultyFile {
    fn id(&self) -> io::Result<FileId> {
        self.inner.id()
    }
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = offset..offset + buffer.len() as u64;
        let is_hit = |block: &u64| *block < read.end && *block + BLOCK_BYTES as u64 > read.start;
        if self.faults.unreadable.lock().unwrap().iter().any(is_hit) {
            // As a disk answers.
            return Err(rustix::io::Errno::IO.into());
        }
        self.inner.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(bytes, offset)
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_bytes(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

pub(crate) type Inner = <RealDisk as WriterHost>::Batch;

pub(crate) struct FaultyBatchDisk {
    inner: Inner,
    faults: Arc<Faults>,
}

impl WriterHost for FaultyDisk {
    type Batch = FaultyBatchDisk;
    fn run_writer(
        &self,
        body: Box<dyn FnOnce(FaultyBatchDisk) -> LocalFuture<()>>,
    ) -> io::Result<()> {
        let faults = Arc::clone(&self.faults);
        self.inner.run_writer(Box::new(move |inner| {
            body(FaultyBatchDisk { inner, faults })
        }))
    }
}

impl BatchDisk for FaultyBatchDisk {
    type File = <Inner as BatchDisk>::File;
    type Buffer = <Inner as BatchDisk>::Buffer;

    fn mode(&self) -> IoMode {
        self.inner.mode()
    }
    fn buffer(&self, bytes: usize) -> Option<Self::Buffer> {
        self.inner.buffer(bytes)
    }
    fn create(
        &self,
        path: &Path,
        header: Vec<u8>,
        allocated_bytes: u64,
        is_left: bool,
    ) -> impl Future<Output = io::Result<(Self::File, FileId)>> + 'static {
        let space = self.faults.check_room();
        let create = self.inner.create(path, header, allocated_bytes, is_left);
        let faults = Arc::clone(&self.faults);
        async move {
            while faults.create_hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            space?;
            create.await
        }
    }
    fn allocate(
        &self,
        file: &Self::File,
        offset: u64,
        bytes: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let space = self.faults.check_room();
        let allocate = self.inner.allocate(file, offset, bytes);
        async move {
            space?;
            allocate.await
        }
    }
    fn write(
        &self,
        file: &Self::File,
        buffer: Self::Buffer,
        bytes: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, Self::Buffer)> + 'static {
        let fault = self
            .faults
            .check_space()
            .and_then(|()| check(&self.faults.write_fails));
        let write = self.inner.write(file, buffer, bytes, offset);
        async move {
            let (result, buffer) = write.await;
            (fault.and(result), buffer)
        }
    }
    fn sync(&self, file: &Self::File) -> impl Future<Output = io::Result<()>> + 'static {
        let faults = Arc::clone(&self.faults);
        assert!(!faults.sync_panics.load(Ordering::SeqCst), "injected");
        let sync = self.inner.sync(file);
        async move {
            while faults.sync_hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            sync.await?;
            check(&faults.sync_fails)
        }
    }
}

pub(crate) fn open(dir: &Dir, options: VolumeOptions) -> (Volume, VolumeHandle, Arc<Faults>) {
    open_with(dir, options, Faults::default())
}

/// Like [`open`], with faults from the start.
pub(crate) fn open_with(
    dir: &Dir,
    options: VolumeOptions,
    faults: Faults,
) -> (Volume, VolumeHandle, Arc<Faults>) {
    let faults = Arc::new(faults);
    let inner = RealDisk::new(IoChoice::Plain, dir.path()).unwrap();
    let disk = Arc::new(FaultyDisk {
        inner,
        faults: Arc::clone(&faults),
    });
    let (volume, handle) = Volume::open_on(options, disk, Arc::new(SystemClock)).unwrap();
    (volume, handle, faults)
}
