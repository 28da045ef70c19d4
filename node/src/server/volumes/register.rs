//! The numbers of this node's volumes, kept in `volumes.json` of the data directory: a volume keeps its number wherever it is mounted and in whatever order
//! the configuration names it, and no number is given twice. So a [`holdfast_storage::chunk::ChunkLocation`] that outlives a restart names the same bytes or none.

use crate::server::identity::write_durably;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FILE_NAME: &str = "volumes.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    index: u16,
    /// Where it was seen last.
    path: PathBuf,
    /// The volume's own id, once it was opened.
    #[serde(default)]
    id: Option<Uuid>,
}

/// As many entries as this node ever had volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Register {
    volumes: Vec<Entry>,
}

impl Register {
    /// What was kept; empty where nothing was. One that cannot be read is begun anew, in the order of the configuration.
    pub(super) fn load(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE_NAME);
        let read = std::fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        read.unwrap_or_else(|error: io::Error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::error!(path = %path.display(), %error, "the numbers of the volumes cannot be read; numbering them anew");
            }
            Self::default()
        })
    }

    /// # Errors
    /// The data directory cannot be written.
    pub(super) fn save(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        write_durably(data_dir, &data_dir.join(FILE_NAME), &text)
    }

    /// The number of whatever was last seen at `path`, where nothing is known of what is there now.
    pub(super) fn at(&mut self, path: &Path) -> u16 {
        let known = self.volumes.iter().rev().find(|entry| entry.path == path).map(|entry| entry.index);
        known.unwrap_or_else(|| self.add(path, None))
    }

    /// The number of the volume `id` that is now at `path`; `None` is a directory without a volume yet. What was at this path and has another id keeps
    /// its number: the disk was replaced.
    pub(super) fn resolve(&mut self, path: &Path, id: Option<Uuid>) -> u16 {
        if let Some(at) = self.volumes.iter().position(|entry| id.is_some() && entry.id == id) {
            path.clone_into(&mut self.volumes[at].path);
            let index = self.volumes[at].index;
            // The number that was kept for this path was never used.
            self.volumes.retain(|entry| entry.path != path || entry.id.is_some());
            return index;
        }
        let unnamed = |entry: &&mut Entry| entry.path == path && entry.id.is_none();
        match self.volumes.iter_mut().rev().find(unnamed) {
            Some(entry) => {
                entry.id = id;
                entry.index
            }
            None => self.add(path, id),
        }
    }

    /// The volume of this number has been opened for the first time.
    pub(super) fn name(&mut self, index: u16, id: Uuid) {
        if let Some(entry) = self.volumes.iter_mut().find(|entry| entry.index == index) {
            entry.id = Some(id);
        }
    }

    fn add(&mut self, path: &Path, id: Option<Uuid>) -> u16 {
        let next = self.volumes.iter().map(|entry| entry.index).max().map_or(0, |last| last.saturating_add(1));
        self.volumes.push(Entry { index: next, path: path.to_owned(), id });
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(0xa);
    const B: Uuid = Uuid::from_u128(0xb);

    fn two() -> Register {
        let mut register = Register::default();
        for (path, id) in [("/a", A), ("/b", B)] {
            let index = register.at(Path::new(path));
            assert_eq!(register.resolve(Path::new(path), None), index);
            register.name(index, id);
        }
        register
    }

    #[test]
    fn a_volume_keeps_its_number_wherever_it_is_mounted() {
        let mut register = two();
        assert_eq!([register.resolve(Path::new("/b"), Some(A)), register.resolve(Path::new("/a"), Some(B))], [0, 1]);
        assert_eq!([register.at(Path::new("/b")), register.at(Path::new("/a"))], [0, 1]);
        assert_eq!(register, serde_json::from_str(&serde_json::to_string(&register).unwrap()).unwrap());
    }

    #[test]
    fn a_replaced_disk_gets_a_number_of_its_own() {
        let mut register = two();
        assert_eq!(register.resolve(Path::new("/a"), None), 2, "an empty disk in its place");
        register.name(2, Uuid::from_u128(0xc));
        assert_eq!(register.resolve(Path::new("/a"), Some(Uuid::from_u128(0xd))), 3, "another node's old disk");
        assert_eq!(register.resolve(Path::new("/a"), Some(A)), 0, "and back again");
    }

    #[test]
    fn it_is_kept_and_a_damaged_one_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Register::load(dir.path()), Register::default());
        two().save(dir.path()).unwrap();
        assert_eq!(Register::load(dir.path()), two());
        std::fs::write(dir.path().join(FILE_NAME), b"{").unwrap();
        assert_eq!(Register::load(dir.path()), Register::default());
    }
}
