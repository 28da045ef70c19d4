//! The simulated filesystem behind one lock: names, files, space, and what was done so far. Pure
//! except for the lock around it.

use super::faults::{Faults, Kind, input_output_error};
use super::file::{File, Loss, Pages};
use super::{End, Geometry};
use crate::disk::{DirEntry, Space};
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

/// Operations that are kept as descriptions for the analysis of a failure.
const RECENT_MAX: usize = 400;

pub(super) type Inode = u64;

/// A name that was created or removed; not durable until its directory is synced.
#[derive(Clone, Debug)]
struct NameChange {
    path: PathBuf,
    inode: Option<Inode>,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) geometry: Geometry,
    pub(super) faults: Faults,
    pub(super) random: Random,
    files: BTreeMap<Inode, File>,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    pending_names: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    /// Removed files with their contents.
    pub(super) removed: Vec<(PathBuf, Vec<u8>)>,
    /// Counts and orders all events.
    pub(super) stamp: u64,
    /// The number of changing operations.
    pub(super) operations: u64,
    pub(super) stop_at: Option<u64>,
    pub(super) is_stopped: bool,
    /// CRC-32 of all operations, in order.
    pub(super) digest: u32,
    pub(super) recent: VecDeque<String>,
}

impl State {
    pub(super) fn new(geometry: Geometry, random: Random) -> Self {
        Self {
            geometry,
            faults: Faults::default(),
            random,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            dirs: BTreeSet::new(),
            removed: Vec::new(),
            stamp: 1,
            operations: 0,
            stop_at: None,
            is_stopped: false,
            digest: 0,
            recent: VecDeque::new(),
        }
    }

    /// Counts a changing operation. An error if the machine has stopped, or stops now, before it.
    pub(super) fn operate(&mut self, what: &str, path: &Path, detail: u64) -> io::Result<()> {
        self.is_stopped |= self.stop_at.is_some_and(|at| self.operations >= at);
        if self.is_stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        self.operations += 1;
        self.note(what, path, detail);
        Ok(())
    }

    fn note(&mut self, what: &str, path: &Path, detail: u64) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut hasher = crc32fast::Hasher::new_with_initial(self.digest);
        hasher.update(what.as_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&detail.to_le_bytes());
        self.digest = hasher.finalize();
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent
            .push_back(format!("{:>6} {what} {name} {detail}", self.operations));
    }

    pub(super) fn check(&mut self, kind: Kind) -> io::Result<()> {
        self.faults.check(kind, &mut self.random)
    }

    pub(super) fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    pub(super) fn file(&self, inode: Inode) -> io::Result<&File> {
        self.files.get(&inode).ok_or_else(input_output_error)
    }

    pub(super) fn file_mut(&mut self, inode: Inode) -> io::Result<&mut File> {
        self.files.get_mut(&inode).ok_or_else(input_output_error)
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn make_dir(&mut self, path: &Path) {
        self.dirs.extend(path.ancestors().map(Path::to_owned));
    }

    /// A new, empty file; its name is not durable.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<Inode> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.next_stamp();
        self.files.insert(inode, File::default());
        self.rename(path, Some(inode));
        Ok(inode)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        let contents = self.file(inode)?.contents();
        self.removed.push((path.to_owned(), contents));
        self.rename(path, None);
        Ok(())
    }

    /// Like [`Self::remove`], for a file that never held anything.
    pub(super) fn take_back(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.rename(path, None);
        Ok(())
    }

    fn rename(&mut self, path: &Path, inode: Option<Inode>) {
        apply_name(&mut self.names, path, inode);
        self.pending_names.push(NameChange {
            path: path.to_owned(),
            inode,
        });
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let is_there = |change: &mut NameChange| change.path.parent() == Some(dir);
        for change in self.pending_names.extract_if(.., is_there) {
            apply_name(&mut self.durable_names, &change.path, change.inode);
        }
    }

    /// Replaces a file, durably.
    pub(super) fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let inode = self.next_stamp();
        let mut file = File::default();
        let pages = file.pages_of(bytes, 0);
        file.write(0, pages, bytes.len() as u64);
        file.sync(u64::MAX);
        self.files.insert(inode, file);
        self.rename(path, Some(inode));
        self.sync_dir(path.parent().ok_or_else(input_output_error)?);
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        if !self.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name_of = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let dirs = self.dirs.iter().filter(|path| path.parent() == Some(dir));
        let dirs = dirs.map(|path| DirEntry {
            name: name_of(path),
            bytes: 0,
            is_dir: true,
        });
        let files = self
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir));
        let files = files.map(|(path, inode)| {
            let bytes = self.files.get(inode).map_or(0, File::bytes);
            DirEntry {
                name: name_of(path),
                bytes,
                is_dir: false,
            }
        });
        Ok(dirs.chain(files).collect())
    }

    /// Every file, by path.
    pub(super) fn all(&self) -> impl Iterator<Item = (&PathBuf, &File)> {
        self.names
            .iter()
            .filter_map(|(path, inode)| Some((path, self.files.get(inode)?)))
    }

    pub(super) fn space(&self) -> Space {
        let used: u64 = self.all().map(|(_, file)| file.reserved_bytes).sum();
        let total_bytes = self.geometry.capacity_bytes;
        Space {
            free_bytes: total_bytes.saturating_sub(used),
            total_bytes,
        }
    }

    /// An error if a file that grows to `end` would not fit.
    pub(super) fn check_room(&self, inode: Inode, end: u64) -> io::Result<()> {
        let grows = end.saturating_sub(self.file(inode)?.reserved_bytes);
        if grows > self.space().free_bytes {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    pub(super) fn write(&mut self, inode: Inode, pages: Pages, end: u64) -> io::Result<()> {
        let stamp = self.next_stamp();
        self.file_mut(inode)?.write(stamp, pages, end);
        Ok(())
    }

    pub(super) fn write_in_part(&mut self, inode: Inode, pages: Pages) -> io::Result<()> {
        let (stamp, mut random) = (self.next_stamp(), self.random.fork());
        let sector_bytes = self.geometry.sector_bytes;
        self.file_mut(inode)?
            .write_in_part(stamp, pages, sector_bytes, &mut random);
        Ok(())
    }

    /// Makes everything done so far durable, or gives it up.
    pub(super) fn sync(&mut self, inode: Inode) -> io::Result<()> {
        let (failed, stamp) = (self.check(Kind::Sync), self.next_stamp());
        self.sync_until(inode, stamp, failed)
    }

    /// Like [`Self::sync`], for what was done before `stamp`.
    pub(super) fn sync_until(
        &mut self,
        inode: Inode,
        stamp: u64,
        failed: io::Result<()>,
    ) -> io::Result<()> {
        let file = self.file_mut(inode)?;
        match failed {
            Ok(()) => file.sync(stamp),
            Err(_) => file.sync_failed(stamp),
        }
        failed
    }

    /// Decides whether data that failed syncs gave up is present; readers see the result.
    pub(super) fn settle(&mut self, inode: Inode) -> io::Result<()> {
        let (sector_bytes, mut random) = (self.geometry.sector_bytes, self.random.fork());
        let file = self.file_mut(inode)?;
        *file = file.after_power_cut(
            Loss::Scattered { kept_of_eight: 4 },
            sector_bytes,
            &mut random,
        );
        Ok(())
    }

    /// Restarts after the end of the machine or the process.
    pub(super) fn restart(&mut self, end: End) {
        match end {
            End::Killed => self.kill(),
            End::PowerCut(loss) => self.cut_power(loss),
        }
        self.is_stopped = false;
        self.stop_at = None;
        let used: BTreeSet<Inode> = self
            .names
            .values()
            .chain(self.durable_names.values())
            .copied()
            .collect();
        let waiting: BTreeSet<Inode> = self
            .pending_names
            .iter()
            .filter_map(|change| change.inode)
            .collect();
        self.files
            .retain(|inode, _| used.contains(inode) || waiting.contains(inode));
    }

    fn kill(&mut self) {
        let (stamp, mut random) = (self.next_stamp(), self.random.fork());
        self.files
            .values_mut()
            .for_each(|file| file.after_kill(stamp, &mut random));
    }

    fn cut_power(&mut self, loss: Loss) {
        let mut random = self.random.fork();
        for change in std::mem::take(&mut self.pending_names) {
            if is_kept(loss, &mut random) {
                apply_name(&mut self.durable_names, &change.path, change.inode);
            }
        }
        self.names.clone_from(&self.durable_names);
        let sector_bytes = self.geometry.sector_bytes;
        for file in self.files.values_mut() {
            *file = file.after_power_cut(loss, sector_bytes, &mut random);
        }
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, Inode>, path: &Path, inode: Option<Inode>) {
    match inode {
        Some(inode) => names.insert(path.to_owned(), inode),
        None => names.remove(path),
    };
}

fn is_kept(loss: Loss, random: &mut Random) -> bool {
    match loss {
        Loss::Everything => false,
        Loss::Nothing => true,
        Loss::Scattered { kept_of_eight } => random.below(8) < u64::from(kept_of_eight),
        Loss::Ordered => random.one_in(2),
    }
}
