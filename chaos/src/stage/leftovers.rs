//! Cleans up after killed runs: their namespaces, mounts and files. Touches only those that carry
//! the tag of a process that is gone.

use super::{namespaces, owner, programs};
use crate::{Result, io_error};
use std::fs;
use std::path::{Path, PathBuf};

/// Followed by the tag of the process that made it.
const PREFIX: &str = "holdfast-chaos-";

/// A folder for one run, in the system's folder for temporary files; removed when dropped, along
/// with anything mounted in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// # Errors
    /// If it cannot be made.
    pub(super) fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", owner::unique()));
        fs::create_dir_all(&path).map_err(io_error(format!("make {}", path.display())))?;
        Ok(Self { path, keep: false })
    }

    /// A folder that is kept for inspection and never removed automatically.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn kept(path: &Path) -> Result<Self> {
        let path =
            std::path::absolute(path).map_err(io_error(format!("find {}", path.display())))?;
        if path.exists() {
            remove(&path);
        }
        fs::create_dir_all(&path).map_err(io_error(format!("make {}", path.display())))?;
        Ok(Self { path, keep: true })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.path);
        }
    }
}

/// Removes what processes that are gone left behind; returns one message for each removal.
pub fn clean() -> Vec<String> {
    let mut said = namespaces::clean();
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return said;
    };
    for path in entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_orphan(path))
    {
        remove(&path);
        said.push(format!(
            "removed {}, which a run that was killed had left",
            path.display()
        ));
    }
    said
}

fn is_orphan(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    owner::tag_in(name, PREFIX).is_some_and(|tag| !owner::is_alive(tag))
}

/// Unmounts everything below, innermost first, and deletes the folder.
fn remove(folder: &Path) {
    for at in mounts_below(folder) {
        let at = at.to_string_lossy();
        // Lazily if a process that was killed just now still holds a file.
        if programs::run(&["umount", &at]).is_err()
            && let Err(error) = programs::run(&["umount", "--lazy", &at])
        {
            eprintln!("{at} stays mounted: {error}");
        }
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("{} stays behind: {error}", folder.display());
    }
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|at| at.starts_with(folder)).collect();
    below.reverse();
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_processes_that_are_gone_are_taken_away() {
        let mine = Folder::create().unwrap();
        assert!(!is_orphan(mine.path()));
        assert!(is_orphan(Path::new("/tmp/holdfast-chaos-4194305-7-1")));
        for other in [
            "/tmp/holdfast-chaos",
            "/tmp/holdfast-chaos-runs",
            "/tmp/other-4194305-7-1",
        ] {
            assert!(!is_orphan(Path::new(other)), "{other}");
        }
        let path = mine.path().to_owned();
        drop(mine);
        assert!(!path.exists());
    }
}
