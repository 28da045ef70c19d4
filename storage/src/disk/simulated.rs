//! An in-memory disk that fails as disks do. One seed is one run.
//!
//! The fault model:
//!
//! - **Durability.** Readers see a write once it has completed; it is durable once a sync that
//!   began after its completion has succeeded. After a power cut each change that was not durable
//!   (including incomplete ones) is present in whole, not at all, or in part, sector by sector (512
//!   or 4096 bytes); later changes may be present and earlier ones missing; of several changes of
//!   one sector any may be present. [`Loss`] selects the rule.
//! - **Lengths and names.** A file's length and reserved space are changes like others: after a
//!   power cut a file may have its old length, with the new data beyond it lost, or the new length
//!   and zeros. A created or removed name is durable once its directory was synced: until then a
//!   created file may be gone after a power cut, and a removed one may be back with its data.
//!   [`Disk::replace`] is atomic.
//! - **Kills.** After a kill all completed changes are visible, but no more durable than before;
//!   writes in progress are present or not.
//! - **Errors.** `EIO` on write (with any of its sectors written), read, sync, allocate and name
//!   operations; `ENOSPC` for lack of space or by chance. Data that a failed sync should have
//!   covered stays visible, and no later sync makes it durable, as with a page cache.
//! - **Time.** Operations of the writer's half take random times and may hang; they complete in any
//!   order. Those of the blocking half take no time: one turn of the keeper does not interleave
//!   with the writer, but may be cut short between any two operations.
//! - **Mounts.** [`SimulatedDisk::mount_over`] mounts another disk over the path of this one. Open
//!   files and directories are not affected; [`Disk::check_place`] reports the mount.
//! - **At rest.** [`SimulatedDisk::damage`] changes durable bytes.
//!
//! Not modelled: sectors that fail permanently, misdirected writes, a disk that lies about syncs
//! (unless [`Lie`] says so), data of other files in new blocks, a filesystem that is itself damaged
//! by a power cut.
//!
//! [`SimulatedDisk::stop_after`] stops the machine between any two changing operations: after that
//! nothing changes, and no operation of the writer's half completes. [`SimulatedDisk::restart`]
//! then decides what is present.

mod batch;
mod faults;
mod file;
mod state;
#[cfg(test)]
mod tests;

pub use crate::random::Random;
pub use faults::{Faults, Lie, OneIn};
pub use file::Loss;

use super::{DirEntry, Disk, DiskFile, FileId, LocalFuture, Space, WriterHost};
use crate::hold::HOLD_CLASS;
use crate::locks::lock;
use batch::SimulatedBatchDisk;
use faults::Kind;
use state::{Inode, State};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::task::LocalSet;

/// Properties that are constant while the disk exists.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub capacity_bytes: u64,
    /// The unit that is written atomically: 512 or 4096.
    pub sector_bytes: usize,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process was killed; the machine keeps running.
    Killed,
    PowerCut(Loss),
}

/// Cheap to clone: all clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    /// The disk mounted over this one.
    over: Arc<Mutex<Option<Self>>>,
}

impl SimulatedDisk {
    #[must_use]
    pub fn new(geometry: Geometry, random: Random) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(geometry, random))),
            over: Arc::default(),
        }
    }

    /// An independent disk with the same contents and the same future.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(lock(&self.state).clone())),
            over: Arc::default(),
        }
    }

    /// Mounts another disk over this one's path; `None` unmounts it.
    pub fn mount_over(&self, other: Option<Self>) {
        *lock(&self.over) = other;
    }

    fn follows_mounts(&self) -> bool {
        lock(&self.state).faults.lie == Lie::NamesFollowMounts
    }

    /// The state that names resolve to.
    fn named(&self) -> Arc<Mutex<State>> {
        let over = lock(&self.over)
            .as_ref()
            .map(|over| Arc::clone(&over.state));
        over.filter(|_| self.follows_mounts())
            .unwrap_or_else(|| Arc::clone(&self.state))
    }

    /// Simulates a program that follows mounts: it does not compare files either.
    fn id_of(&self, inode: Inode) -> FileId {
        if self.follows_mounts() {
            return FileId {
                device: 0,
                inode: 0,
            };
        }
        FileId {
            device: Arc::as_ptr(&self.state) as u64,
            inode,
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// As if the disk had been replaced by a larger or smaller one.
    pub fn set_capacity(&self, bytes: u64) {
        lock(&self.state).geometry.capacity_bytes = bytes;
    }

    /// Stops the machine after this many more operations.
    pub fn stop_after(&self, operations: u64) {
        let mut state = lock(&self.state);
        state.stop_at = Some(state.operations + operations);
    }

    /// Stops the machine now.
    pub fn stop(&self) {
        lock(&self.state).is_stopped = true;
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        lock(&self.state).is_stopped
    }

    /// Decides what is present after the end of a run. Nothing of the run may use the disk any
    /// more.
    pub fn restart(&self, end: End) {
        lock(&self.state).restart(end);
    }

    /// The number of changing operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.state).operations
    }

    /// A checksum of all operations so far, in order.
    #[must_use]
    pub fn digest(&self) -> u32 {
        lock(&self.state).digest
    }

    /// Descriptions of the last operations, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<String> {
        lock(&self.state).recent.iter().cloned().collect()
    }

    /// Every file with its length, by path.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        lock(&self.state)
            .all()
            .map(|(path, file)| (path.clone(), file.bytes()))
            .collect()
    }

    /// The contents of a file as readers see them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = lock(&self.state);
        let inode = state.find(path).ok()?;
        state.file(inode).ok().map(file::File::contents)
    }

    /// The files removed since the last call, with their contents.
    pub fn take_removed(&self) -> Vec<(PathBuf, Vec<u8>)> {
        std::mem::take(&mut lock(&self.state).removed)
    }

    /// Changes a byte of a file on the medium, unnoticed by the program.
    pub fn damage(&self, path: &Path, offset: u64, change: impl Fn(u8) -> u8) {
        let mut state = lock(&self.state);
        if let Ok(inode) = state.find(path)
            && let Ok(file) = state.file_mut(inode)
        {
            file.damage(offset, change);
        }
    }

    /// The writer's half.
    #[must_use]
    pub fn batch(&self) -> SimulatedBatchDisk {
        SimulatedBatchDisk::new(self.clone())
    }

    /// A name operation: counted, and failing by chance.
    fn name_operation<T>(
        &self,
        what: &str,
        path: &Path,
        run: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = lock(&self.state);
        state.operate(what, path, 0)?;
        state.check(Kind::Name)?;
        run(&mut state)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let named = self.named();
        let mut state = lock(&named);
        let inode = state.find(path)?;
        state.check(Kind::Name)?;
        drop(state);
        let id = self.id_of(inode);
        Ok(Arc::new(SimulatedFile {
            state: named,
            path: path.to_owned(),
            inode,
            id,
        }))
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.name_operation("create directory", path, |state| {
            state.make_dir(path);
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let named = self.named();
        let mut state = lock(&named);
        state.check(Kind::Name)?;
        state.list(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.name_operation("replace", path, |state| state.replace(path, bytes))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !Arc::ptr_eq(&self.named(), &self.state) {
            return lock(&self.named()).remove(path);
        }
        self.name_operation("remove", path, |state| state.remove(path))
    }

    fn check_place(&self) -> io::Result<()> {
        let is_there = self.follows_mounts() || lock(&self.over).is_none();
        if is_there {
            Ok(())
        } else {
            Err(super::root::elsewhere(Path::new("/volume")))
        }
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(lock(&self.state).space())
    }
}

/// In real time, for tests that run a whole volume on it; a simulation uses
/// [`SimulatedDisk::batch`] itself.
impl WriterHost for SimulatedDisk {
    type Batch = SimulatedBatchDisk;

    fn run_writer(
        &self,
        body: Box<dyn FnOnce(SimulatedBatchDisk) -> LocalFuture<()>>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        LocalSet::new().block_on(&runtime, body(self.batch()));
        Ok(())
    }
}

struct SimulatedFile {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    inode: Inode,
    id: FileId,
}

impl DiskFile for SimulatedFile {
    fn id(&self) -> io::Result<FileId> {
        Ok(self.id)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.state).file(self.inode)?.bytes())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.check(Kind::Read)?;
        let is_there = state.file(self.inode)?.read(buffer, offset);
        if is_there {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate("write", &self.path, offset)?;
        let end = offset + bytes.len() as u64;
        let pages = state.file(self.inode)?.pages_of(bytes, offset);
        if let Err(error) = state.check(Kind::Write) {
            state.write_in_part(self.inode, pages)?;
            return Err(error);
        }
        state.check_room(self.inode, end)?;
        state.write(self.inode, pages, end)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate("set length", &self.path, bytes)?;
        state.check(Kind::Name)?;
        let stamp = state.next_stamp();
        state.file_mut(self.inode)?.set_bytes(stamp, bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate("sync", &self.path, 0)?;
        if state.faults.lie == Lie::CopySyncDoesNothing
            && self
                .path
                .components()
                .any(|part| part.as_os_str() == HOLD_CLASS)
        {
            return Ok(());
        }
        state.sync(self.inode)
    }

    fn settle(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.operate("settle", &self.path, 0)?;
        state.sync(self.inode)?;
        state.settle(self.inode)
    }
}
