//! The nodes' disks in scenarios with disk faults: filesystems that fail on command, or whose power
//! can be cut. Needs root.

use super::programs;
use crate::faulty::{FaultyDisk, Filesystem, ResumesOnDrop};
use crate::{Error, Result, io_error};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The image is sparse; enough for some minutes of a few cameras.
const DISK_BYTES: u64 = 2 << 30;

/// Bytes reserved at once to fill a disk.
const FILL_BYTES_MAX: u64 = 1 << 30;
const FILL_BYTES_MIN: u64 = 4096;

/// Name of the foreign file that fills a disk.
const FILLER: &str = "filler";

/// One node's disk.
#[derive(Debug)]
pub(super) enum Disk {
    Faulty { disk: Box<FaultyDisk>, at: PathBuf },
    Powered(Powered),
}

/// An ext4 on a loop device, whose power can be cut (`FS_IOC_SHUTDOWN`).
#[derive(Debug)]
pub(super) struct Powered {
    at: PathBuf,
    image: PathBuf,
}

impl Disk {
    /// # Errors
    /// [`Error::CannotRun`] if this machine cannot provide one.
    pub(super) fn faulty(at: &Path) -> Result<Self> {
        let mounted = FaultyDisk::mount(at, DISK_BYTES, Filesystem::Ext4WithoutJournal)?;
        let disk = mounted.ok_or_else(|| {
            Error::CannotRun("there are no faulty disks here; see above".to_owned())
        })?;
        Ok(Self::Faulty {
            disk: Box::new(disk),
            at: at.to_owned(),
        })
    }

    /// Drop the result before the node's process.
    pub(super) fn resumes_on_drop(&self) -> Option<ResumesOnDrop> {
        self.faults().ok().map(FaultyDisk::resumes_on_drop)
    }

    /// # Errors
    /// [`Error::CannotRun`] if this process may not mount.
    pub(super) fn powered(at: &Path) -> Result<Self> {
        let wanted = ["xfs_io", "mkfs.ext4", "mount"];
        if !programs::is_root() {
            return Err(Error::CannotRun(
                "only root may cut a filesystem's power".to_owned(),
            ));
        }
        if let Some(absent) = wanted
            .into_iter()
            .find(|program| !programs::is_installed(program))
        {
            return Err(Error::CannotRun(format!(
                "there is no {absent} (Debian: xfsprogs e2fsprogs)"
            )));
        }
        let image = at.with_extension("ext4");
        File::create(&image)
            .and_then(|file| file.set_len(DISK_BYTES))
            .map_err(io_error("make a disk's file"))?;
        programs::run(&["mkfs.ext4", "-q", "-F", "-m", "0", &image.to_string_lossy()])?;
        fs::create_dir_all(at).map_err(io_error(format!("make {}", at.display())))?;
        let powered = Powered {
            at: at.to_owned(),
            image,
        };
        powered.mount()?;
        Ok(Self::Powered(powered))
    }

    fn faults(&self) -> Result<&FaultyDisk> {
        match self {
            Self::Faulty { disk, .. } => Ok(disk),
            Self::Powered(_) => Err(Error::CannotRun(
                "power cuts and other disk faults need scenarios of their own".into(),
            )),
        }
    }

    pub(super) fn fail(&self, fails: bool) -> Result<()> {
        self.faults()?.fail_writes(fails)
    }

    pub(super) fn hang(&self, hangs: bool) -> Result<()> {
        self.faults()?.hang(hangs)
    }

    pub(super) fn limit(&self, bytes_per_second: Option<u64>) -> Result<()> {
        self.faults()?.limit(bytes_per_second)
    }

    /// Creates a foreign file that takes all free space, or removes it.
    pub(super) fn fill(&self, full: bool) -> Result<()> {
        let Self::Faulty { at, .. } = self else {
            return self.faults().map(drop);
        };
        let path = at.join(FILLER);
        if full {
            return fill(&path).map_err(io_error(format!("fill {}", at.display())));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(io_error(format!("remove {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    fn power(&self) -> Result<&Powered> {
        match self {
            Self::Powered(powered) => Ok(powered),
            Self::Faulty { .. } => Err(Error::CannotRun(
                "power cuts and other disk faults need scenarios of their own".to_owned(),
            )),
        }
    }

    /// From now on no write reaches the disk, and unsynced data is lost.
    pub(super) fn cut(&self) -> Result<()> {
        self.power()?.cut()
    }

    /// Restores the power, after the process that used the disk has ended.
    pub(super) fn restore(&self) -> Result<()> {
        self.power()?.restore()
    }
}

impl Powered {
    fn mount(&self) -> Result<()> {
        programs::run(&[
            "mount",
            "-o",
            "loop",
            &self.image.to_string_lossy(),
            &self.at.to_string_lossy(),
        ])
        .map(drop)
    }

    fn cut(&self) -> Result<()> {
        // `-x` makes it work on ext4 too.
        programs::run(&["xfs_io", "-x", "-c", "shutdown", &self.at.to_string_lossy()])?;
        match File::create(self.at.join("after-the-cut")) {
            Err(_) => Ok(()),
            Ok(_) => Err(Error::Wrong(format!(
                "{} still takes writes: the power was not cut",
                self.at.display()
            ))),
        }
    }

    fn restore(&self) -> Result<()> {
        programs::run(&["umount", &self.at.to_string_lossy()])?;
        self.mount()
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        if let Err(error) = programs::run(&["umount", &self.at.to_string_lossy()]) {
            eprintln!("{error}; what stays mounted goes with the run's folder");
        }
    }
}

/// Reserves all space, in ever smaller pieces; writes nothing, so that it takes no time on a slow
/// disk.
fn fill(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut piece = FILL_BYTES_MAX;
    let mut filled = 0;
    while piece >= FILL_BYTES_MIN {
        match fallocate(&file, FallocateFlags::empty(), filled, piece) {
            Ok(()) => filled += piece,
            Err(Errno::NOSPC) => piece /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
