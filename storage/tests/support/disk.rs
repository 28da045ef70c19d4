//! The real disk, which can be full for the blocking half, and records the operations on each file
//! that it opened for writing.

#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

use holdfast_storage::disk::{
    DirEntry, Disk, DiskFile, FileId, IoChoice, LocalFuture, RealDisk, Space, WriterHost,
};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

type Steps = Arc<Mutex<BTreeMap<PathBuf, Vec<String>>>>;

pub(crate) struct WatchedDisk {
    inner: RealDisk,
    /// Writes of the blocking half find no space.
    pub(crate) is_full: Arc<AtomicBool>,
    steps: Steps,
}

impl WatchedDisk {
    pub(crate) fn new(dir: &Path) -> Self {
        let inner = RealDisk::new(IoChoice::Plain, dir).unwrap();
        Self {
            inner,
            is_full: Arc::default(),
            steps: Steps::default(),
        }
    }

    /// `write`, `footer`, `cut`, `sync`, in order.
    pub(crate) fn steps(&self, path: &Path) -> Vec<String> {
        self.steps
            .lock()
            .unwrap()
            .get(path)
            .cloned()
            .unwrap_or_default()
    }
}

impl Disk for WatchedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open_read(path)
    }
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open_write(path)?;
        let (steps, is_full) = (Arc::clone(&self.steps), Arc::clone(&self.is_full));
        Ok(Arc::new(WatchedFile {
            inner,
            path: path.to_owned(),
            steps,
            is_full,
        }))
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.replace(path, bytes)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }
}

impl WriterHost for WatchedDisk {
    type Batch = <RealDisk as WriterHost>::Batch;
    fn run_writer(&self, body: Box<dyn FnOnce(Self::Batch) -> LocalFuture<()>>) -> io::Result<()> {
        self.inner.run_writer(body)
    }
}

struct WatchedFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    steps: Steps,
    is_full: Arc<AtomicBool>,
}

impl WatchedFile {
    fn note(&self, step: &str) {
        self.steps
            .lock()
            .unwrap()
            .entry(self.path.clone())
            .or_default()
            .push(step.to_owned());
    }
}

impl DiskFile for WatchedFile {
    fn id(&self) -> io::Result<FileId> {
        self.inner.id()
    }
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.note(if bytes.starts_with(b"HFFT") {
            "footer"
        } else {
            "write"
        });
        self.inner.write_all_at(bytes, offset)
    }
    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.note("cut");
        self.inner.set_bytes(bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.note("sync");
        self.inner.sync()
    }
}
