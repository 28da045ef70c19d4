//! Another disk that is mounted over the volume's path while it records: the volume is given up at
//! once, and no file of the other disk is touched.

use holdfast_storage::simulation::SimulatedDisk;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A disk that is mounted over the volume's.
pub(crate) struct Cover {
    other: SimulatedDisk,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Cover {
    /// The mounted disk is a copy, so it contains every name, too.
    pub(crate) fn mount(disk: &SimulatedDisk) -> Self {
        let other = disk.fork();
        let files = contents(&other);
        disk.mount_over(Some(other.clone()));
        Self { other, files }
    }

    /// Whether the other disk is unchanged.
    pub(crate) fn check(&self) -> Result<(), String> {
        let files = contents(&self.other);
        let differs = |(path, bytes): &(&PathBuf, &Vec<u8>)| files.get(*path) != Some(*bytes);
        match self.files.iter().find(differs) {
            Some((path, _)) => Err(format!(
                "another volume's file was changed: {}",
                path.display()
            )),
            None if files.len() > self.files.len() => {
                Err("another volume's file was made".to_owned())
            }
            None => Ok(()),
        }
    }
}

fn contents(disk: &SimulatedDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = disk.files().into_iter();
    files
        .filter_map(|(path, _)| Some((path.clone(), disk.contents(&path)?)))
        .collect()
}
