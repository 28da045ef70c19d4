//! What is at a volume's path: whether it may be used, and which volume it is. Looking writes
//! nothing, except that it creates the folder when a path is used for the first time.

use super::register::Register;
use holdfast_storage::disk::Root;
use holdfast_storage::{Error, open_root, volume_in};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// A folder that may be used.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) root: Arc<Root>,
    pub(super) index: u16,
    /// `None`: it becomes a new volume.
    pub(super) volume: Option<Uuid>,
}

/// Why a volume is not open.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The volume that belongs there is missing. Nothing is written, and the path is examined again
    /// and again.
    Awaited(String),
    Store(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Blocks as long as the disk does. `open` are the volumes that are open at other paths.
///
/// # Errors
/// It may not be used (yet), or cannot be looked at.
pub(super) fn look(
    path: &Path,
    register: &Mutex<Register>,
    open: &[(PathBuf, Uuid)],
) -> Result<Looked, Refusal> {
    let root = match open_root(path, false)? {
        Some(root) => root,
        None => {
            // At a path that held a volume not even the folder is created.
            lock(register)
                .place(path, None, false)
                .map_err(Refusal::Awaited)?;
            let made = open_root(path, true)?;
            made.ok_or_else(|| {
                Refusal::Awaited("its folder has gone as soon as it was made".to_owned())
            })?
        }
    };
    let volume = volume_in(&root)?;
    if let Some(id) = volume {
        refuse_copies(&root, id, register, open)?;
    }
    let index = lock(register)
        .place(path, volume, root.is_marked_new())
        .map_err(Refusal::Awaited)?;
    Ok(Looked {
        root,
        index,
        volume,
    })
}

/// A copy of a folder has the volume's id, too. Both would give the same names to different
/// footage, so only one of them is used: the one that is open, or else the one at the path where
/// the volume was last seen.
fn refuse_copies(
    root: &Root,
    id: Uuid,
    register: &Mutex<Register>,
    open: &[(PathBuf, Uuid)],
) -> Result<(), Refusal> {
    let copy_of = |path: &Path| {
        let (here, there) = (root.path().display(), path.display());
        Refusal::Awaited(format!(
            "{here} is a copy of the volume at {there}: only one of them is used. Take the other \
             one out of the configuration, or unmount it"
        ))
    };
    if let Some((path, _)) = open
        .iter()
        .find(|(path, open)| *open == id && path != root.path())
    {
        return Err(copy_of(path));
    }
    let before = lock(register).path_of(id).map(Path::to_owned);
    let Some(before) = before.filter(|before| before != root.path()) else {
        return Ok(());
    };
    let there = open_root(&before, false).ok().flatten();
    let is_there = there.is_some_and(|there| {
        there.id() != root.id() && volume_in(&there).ok().flatten() == Some(id)
    });
    if is_there {
        Err(copy_of(&before))
    } else {
        Ok(())
    }
}

/// Whether a volume would lie on the system disk while others have disks of their own: most likely
/// its disk is not mounted.
pub(super) fn is_on_system_disk(own: u64, system: u64, others: &[u64]) -> bool {
    own == system && others.iter().any(|other| *other != system)
}

pub(super) fn lock(register: &Mutex<Register>) -> MutexGuard<'_, Register> {
    register.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_on_the_system_disk_next_to_volumes_that_are_not_is_suspicious() {
        assert!(is_on_system_disk(1, 1, &[1, 7]));
        assert!(!is_on_system_disk(1, 1, &[1]), "all are there");
        assert!(!is_on_system_disk(7, 1, &[8]));
    }

    #[test]
    fn the_first_use_makes_the_folder_and_one_that_held_a_volume_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let (path, register) = (dir.path().join("a/b"), Mutex::new(Register::default()));
        let looked = look(&path, &register, &[]).unwrap();
        assert_eq!(
            (looked.index, looked.volume, path.is_dir()),
            (0, None, true)
        );
        lock(&register).name(0, Uuid::from_u128(1));
        std::fs::remove_dir(&path).unwrap();
        assert!(matches!(
            look(&path, &register, &[]),
            Err(Refusal::Awaited(_))
        ));
        assert!(!path.exists());
    }
}
