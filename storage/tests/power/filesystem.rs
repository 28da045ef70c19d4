//! A filesystem on a loop device, whose power can be cut.

use super::scratch::{detach, run, text, unmount};
use std::fs::File;
use std::path::{Path, PathBuf};

/// xfs needs at least 300 MiB; the file is sparse.
const IMAGE_BYTES: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A sparse file with an empty filesystem in it.
///
/// # Errors
/// The error of `mkfs`.
pub(crate) fn make_image(kind: Kind, image: &Path) -> Result<(), String> {
    let made = File::create(image).and_then(|file| file.set_len(IMAGE_BYTES));
    made.map_err(|error| format!("{}: {error}", image.display()))?;
    run(&format!("mkfs.{}", kind.name()), &["-q", text(image)]).map(|_| ())
}

/// Mounted until it is dropped.
pub(crate) struct Filesystem {
    device: String,
    at: PathBuf,
    is_mounted: bool,
}

impl Filesystem {
    /// A new filesystem in `dir`.
    ///
    /// # Errors
    /// The errors of the tools.
    pub(crate) fn new(kind: Kind, dir: &Path) -> Result<Self, String> {
        let image = dir.join("disk.img");
        make_image(kind, &image)?;
        Self::open(&image, dir)
    }

    /// Mounts the filesystem in an image below `dir`, which replays its journal.
    ///
    /// # Errors
    /// The errors of the tools.
    pub(crate) fn open(image: &Path, dir: &Path) -> Result<Self, String> {
        let at = dir.join("mnt");
        std::fs::create_dir_all(&at).map_err(|error| format!("{}: {error}", at.display()))?;
        let device = run("losetup", &["--find", "--show", text(image)])?;
        let mut filesystem = Self {
            device,
            at,
            is_mounted: false,
        };
        filesystem.mount()?;
        Ok(filesystem)
    }

    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    fn mount(&mut self) -> Result<(), String> {
        run("mount", &[&self.device, text(&self.at)])?;
        self.is_mounted = true;
        Ok(())
    }

    /// `FS_IOC_SHUTDOWN` without flushing the log: from now on nothing reaches the device, and what
    /// was not synced is lost.
    ///
    /// # Errors
    /// The error of `xfs_io`; its `-x` makes it work on ext4 too.
    pub(crate) fn cut(&self) -> Result<(), String> {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.at)])?;
        let probe = self.at.join("after-the-cut");
        match File::create(&probe) {
            Err(_) => Ok(()),
            Ok(_) => Err(format!(
                "{} still takes writes: the power was not cut",
                self.at.display()
            )),
        }
    }

    /// Turns the power on again.
    ///
    /// # Errors
    /// The errors of the tools.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        unmount(&self.at)?;
        self.is_mounted = false;
        self.mount()
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        let unmounted = if self.is_mounted {
            unmount(&self.at)
        } else {
            Ok(())
        };
        for problem in [unmounted, detach(&self.device)]
            .into_iter()
            .filter_map(Result::err)
        {
            eprintln!("{problem}");
        }
    }
}
