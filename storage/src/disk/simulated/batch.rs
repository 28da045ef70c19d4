//! The writer's half of the simulated disk: operations take time, complete in any order, and never
//! complete once the machine has stopped.

use super::faults::{Kind, Lie};
use super::state::{Inode, State};
use super::{SimulatedDisk, lock};
use crate::disk::{BATCH_BYTES_MAX, BUFFERS};
use crate::disk::{BatchDisk, Disk as _, FileId, IoMode};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// How late a sync is done that was acknowledged immediately.
const LATE_SYNC: Duration = Duration::from_millis(30);

type Home = Rc<RefCell<Vec<Vec<u8>>>>;

/// A buffer that keeps its old contents when it is reused, as real ones do.
pub struct SimulatedBuffer {
    bytes: Vec<u8>,
    home: Option<Home>,
}

impl Deref for SimulatedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for SimulatedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for SimulatedBuffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.borrow_mut().push(std::mem::take(&mut self.bytes));
        }
    }
}

#[derive(Clone)]
pub struct SimulatedBatchFile {
    path: Rc<PathBuf>,
    inode: Inode,
}

pub struct SimulatedBatchDisk {
    disk: SimulatedDisk,
    pool: Home,
}

impl SimulatedBatchDisk {
    pub(super) fn new(disk: SimulatedDisk) -> Self {
        // Allocated when they are first used.
        let pool = vec![Vec::new(); BUFFERS];
        Self {
            disk,
            pool: Rc::new(RefCell::new(pool)),
        }
    }
}

impl BatchDisk for SimulatedBatchDisk {
    type File = SimulatedBatchFile;
    type Buffer = SimulatedBuffer;

    fn mode(&self) -> IoMode {
        IoMode::Uring
    }

    fn buffer(&self, bytes: usize) -> Option<SimulatedBuffer> {
        if bytes > BATCH_BYTES_MAX {
            return Some(SimulatedBuffer {
                bytes: vec![0; bytes],
                home: None,
            });
        }
        let mut bytes = self.pool.borrow_mut().pop()?;
        if bytes.is_empty() {
            bytes = vec![0; BATCH_BYTES_MAX];
        }
        Some(SimulatedBuffer {
            bytes,
            home: Some(Rc::clone(&self.pool)),
        })
    }

    fn create(
        &self,
        path: &Path,
        header: Vec<u8>,
        allocated_bytes: u64,
        is_left: bool,
    ) -> impl Future<Output = io::Result<(SimulatedBatchFile, FileId)>> + 'static {
        let (disk, path) = (self.disk.clone(), path.to_owned());
        async move {
            disk.take_time().await;
            let created = create_file(&disk, &path, &header, allocated_bytes, is_left);
            disk.unless_stopped().await;
            let exists =
                matches!(&created, Err(error) if error.kind() == io::ErrorKind::AlreadyExists);
            if created.is_err() && !exists {
                // As on the real disk, so that the operation can be retried; if this fails too, the
                // file stays.
                disk.name_operation("take back", &path, |state| state.take_back(&path))
                    .ok();
            }
            let file = created?;
            let id = disk.id_of(file.inode);
            Ok((file, id))
        }
    }

    fn allocate(
        &self,
        file: &SimulatedBatchFile,
        offset: u64,
        bytes: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (disk, file) = (self.disk.clone(), file.clone());
        async move {
            disk.take_time().await;
            let result = lock(&disk.state).allocate(&file.path, file.inode, offset + bytes);
            disk.unless_stopped().await;
            result
        }
    }

    fn write(
        &self,
        file: &SimulatedBatchFile,
        buffer: SimulatedBuffer,
        bytes: usize,
        offset: u64,
    ) -> impl Future<Output = (io::Result<()>, SimulatedBuffer)> + 'static {
        let (disk, file) = (self.disk.clone(), file.clone());
        async move {
            let launched = launch(&disk, &file, &buffer[..bytes], offset);
            disk.take_time().await;
            let result =
                launched.and_then(|write| land(&disk, &file, write, offset + bytes as u64));
            disk.unless_stopped().await;
            (result, buffer)
        }
    }

    fn sync(&self, file: &SimulatedBatchFile) -> impl Future<Output = io::Result<()>> + 'static {
        let (disk, file) = (self.disk.clone(), file.clone());
        async move {
            let begun = begin_sync(&disk, &file);
            let lie = lock(&disk.state).faults.lie;
            match lie {
                Lie::None | Lie::CopySyncDoesNothing | Lie::NamesFollowMounts => {}
                Lie::SyncDoesNothing => return begun.map(|_| ()),
                Lie::SyncIsLate => {
                    let late = async move {
                        tokio::time::sleep(LATE_SYNC).await;
                        begun.and_then(|stamp| end_sync(&disk, &file, stamp)).ok();
                    };
                    tokio::task::spawn_local(late);
                    return Ok(());
                }
            }
            disk.take_time().await;
            let result = begun.and_then(|stamp| end_sync(&disk, &file, stamp));
            disk.unless_stopped().await;
            result
        }
    }
}

impl SimulatedDisk {
    async fn take_time(&self) {
        let latency = {
            let mut state = lock(&self.state);
            let State { faults, random, .. } = &mut *state;
            faults.latency(random)
        };
        tokio::time::sleep(latency).await;
        self.unless_stopped().await;
    }

    /// Never returns if the machine has stopped.
    async fn unless_stopped(&self) {
        if self.is_stopped() {
            std::future::pending::<()>().await;
        }
    }
}

/// The machine may stop at each step.
fn create_file(
    disk: &SimulatedDisk,
    path: &Path,
    header: &[u8],
    bytes: u64,
    is_left: bool,
) -> io::Result<SimulatedBatchFile> {
    if !is_left {
        disk.check_place()?;
    }
    let inode = disk.name_operation("create", path, |state| state.create(path))?;
    let mut state = lock(&disk.state);
    state.allocate(path, inode, bytes)?;
    state.operate("write header", path, u64::from(crc32fast::hash(header)))?;
    let pages = state.file(inode)?.pages_of(header, 0);
    state.check(Kind::Write)?;
    state.write(inode, pages, header.len() as u64)?;
    state.operate("sync", path, 0)?;
    state.check(Kind::Sync)?;
    state.file_mut(inode)?.sync(u64::MAX);
    state.operate("sync directory of", path, 0)?;
    state.check(Kind::Name)?;
    if let Some(dir) = path.parent() {
        state.sync_dir(dir);
    }
    Ok(SimulatedBatchFile {
        path: Rc::new(path.to_owned()),
        inode,
    })
}

impl State {
    fn allocate(&mut self, path: &Path, inode: Inode, end: u64) -> io::Result<()> {
        self.operate("allocate", path, end)?;
        self.check(Kind::Allocate)?;
        self.check_room(inode, end)?;
        let stamp = self.next_stamp();
        self.file_mut(inode)?.allocate(stamp, end);
        Ok(())
    }
}

/// Starts the write: after a power cut its data may be present. Returns its number.
fn launch(
    disk: &SimulatedDisk,
    file: &SimulatedBatchFile,
    bytes: &[u8],
    offset: u64,
) -> io::Result<u64> {
    let mut state = lock(&disk.state);
    state.operate(
        "begin write",
        &file.path,
        offset ^ u64::from(crc32fast::hash(bytes)) << 32,
    )?;
    state.check_room(file.inode, offset + bytes.len() as u64)?;
    let (write, pages) = (
        state.next_stamp(),
        state.file(file.inode)?.pages_of(bytes, offset),
    );
    state.file_mut(file.inode)?.launch(write, pages);
    Ok(write)
}

fn land(disk: &SimulatedDisk, file: &SimulatedBatchFile, write: u64, end: u64) -> io::Result<()> {
    let mut state = lock(&disk.state);
    state.operate("end write", &file.path, end)?;
    let pages = state.file_mut(file.inode)?.land(write);
    match state.check(Kind::Write) {
        Ok(()) => state.write(file.inode, pages, end),
        Err(error) => {
            state.write_in_part(file.inode, pages)?;
            Err(error)
        }
    }
}

/// Returns the moment of the sync: it covers all earlier operations.
fn begin_sync(disk: &SimulatedDisk, file: &SimulatedBatchFile) -> io::Result<u64> {
    let mut state = lock(&disk.state);
    state.operate("begin sync", &file.path, 0)?;
    Ok(state.next_stamp())
}

fn end_sync(disk: &SimulatedDisk, file: &SimulatedBatchFile, stamp: u64) -> io::Result<()> {
    let mut state = lock(&disk.state);
    state.operate("end sync", &file.path, 0)?;
    let failed = state.check(Kind::Sync);
    state.sync_until(file.inode, stamp, failed)
}
