//! The state of the catalogue between two lives. It is in a real directory, in memory if the
//! machine has such a filesystem.

use holdfast_storage::simulation::Random;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const SETTLE_MS_MAX: u32 = 20_000;

/// The directories of one run.
pub(crate) struct Dirs {
    _dir: TempDir,
    /// The volume's directory; it contains only the catalogue.
    pub(crate) root: PathBuf,
    /// A copy of the catalogue from the middle of a life.
    pub(crate) older: PathBuf,
    /// A copy of the catalogue from when the directory was backed up.
    backup: PathBuf,
    /// The catalogue as a crash left it, while an audit uses the original's place.
    saved: PathBuf,
}

impl Dirs {
    pub(crate) fn new() -> Result<Self, String> {
        let memory = Path::new("/dev/shm");
        let builder = tempfile::Builder::new()
            .prefix("holdfast-explore-")
            .to_owned();
        let dir = if memory.is_dir() {
            builder.tempdir_in(memory)
        } else {
            builder.tempdir()
        };
        let dir = dir.map_err(|error| format!("no directory: {error}"))?;
        let path = dir.path();
        Ok(Self {
            root: path.join("volume"),
            older: path.join("older"),
            backup: path.join("backup"),
            saved: path.join("saved"),
            _dir: dir,
        })
    }

    pub(crate) fn catalogue(&self) -> PathBuf {
        holdfast_storage::simulation::catalogue_of(&self.root)
    }

    /// Waits, in real time, until the last life's sled has released its files: simulated time may
    /// not advance.
    pub(crate) fn settle(&self) -> Result<(), String> {
        for _ in 0..SETTLE_MS_MAX {
            if !holdfast_storage::simulation::is_catalogue_held(&self.root) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err("sled does not let go of its files".to_owned())
    }

    /// What a crash does to the catalogue, which is never synced.
    pub(crate) fn after_crash(&self, random: &mut Random) -> Result<&'static str, String> {
        let catalogue = self.catalogue();
        match random.below(6) {
            0 => remove(&catalogue).map(|()| "deleted"),
            1 => damage(&catalogue).map(|()| "damaged"),
            2 | 3 if self.older.is_dir() => {
                remove(&catalogue)?;
                copy(&self.older, &catalogue).map(|()| "older")
            }
            _ => Ok("kept"),
        }
    }

    /// Stores the catalogue together with the rest of the directory.
    pub(crate) fn back_up(&self) -> Result<(), String> {
        copy(&self.catalogue(), &self.backup)
    }

    /// Restores the catalogue to its state at that time.
    pub(crate) fn take_back(&self) -> Result<(), String> {
        copy(&self.backup, &self.catalogue())
    }

    pub(crate) fn save(&self) -> Result<(), String> {
        copy(&self.catalogue(), &self.saved)
    }

    pub(crate) fn restore(&self) -> Result<(), String> {
        remove(&self.catalogue())?;
        copy(&self.saved, &self.catalogue())
    }
}

pub(crate) fn remove(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Replaces `to` with a copy of `from`; with nothing if `from` does not exist.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    remove(to)?;
    if !from.is_dir() {
        return Ok(());
    }
    copy_into(from, to).map_err(|error| format!("{}: {error}", from.display()))
}

fn copy_into(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_into(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Overwrites every file, so that the result does not depend on how sled lays out its pages.
fn damage(dir: &Path) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            damage(&path)?;
        } else {
            let length = std::fs::metadata(&path)
                .map_or(0, |meta| meta.len())
                .min(1 << 20);
            std::fs::write(&path, vec![0xa5; length as usize])
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
