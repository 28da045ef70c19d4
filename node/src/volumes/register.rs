//! The numbers of this node's volumes, kept in `volumes.json` of the data directory. A volume keeps
//! its number wherever it is mounted and in whatever order the configuration names it, and no
//! number is given twice. So a [`holdfast_storage::chunk::ChunkLocation`] that outlives a restart
//! names the same bytes or none.

use crate::durable_file::write_durably;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FILE_NAME: &str = "volumes.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    index: u16,
    /// The path at which the volume was last seen.
    path: PathBuf,
    /// The volume's own id, once it was opened.
    #[serde(default)]
    id: Option<Uuid>,
}

/// One entry for each volume that this node ever had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Register {
    volumes: Vec<Entry>,
    /// Every path that a volume was at.
    #[serde(default)]
    held: BTreeSet<PathBuf>,
    /// Why the register cannot be read: the file is then left as it is.
    #[serde(skip)]
    unreadable: Option<String>,
}

/// A register that cannot be read may have given any number below this one: volumes are then
/// numbered from here on.
const PROVISIONAL: u16 = 1 << 15;

impl Register {
    /// Loads the register; empty if there is none. A register that cannot be read does not count as
    /// missing: it is left as it is, and no number that it may have given is given again.
    pub(super) fn load(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE_NAME);
        match std::fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?)) {
            Ok(register) => register,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                let problem = unreadable(&path, &error);
                tracing::error!(%problem, "the numbers of the volumes cannot be read");
                Self {
                    unreadable: Some(problem),
                    ..Self::default()
                }
            }
        }
    }

    /// # Errors
    /// The data directory cannot be written.
    pub(super) fn save(&self, data_dir: &Path) -> io::Result<()> {
        if self.unreadable.is_some() {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(self)?;
        write_durably(data_dir, &data_dir.join(FILE_NAME), &text)
    }

    /// Why the numbers are provisional, and what to do; `None` if they are not.
    pub(super) fn problem(&self) -> Option<String> {
        self.unreadable.clone()
    }

    /// The number of the volume that was last seen at `path`, if it is not known what is there now.
    pub(super) fn at(&mut self, path: &Path) -> u16 {
        let known = self
            .volumes
            .iter()
            .rev()
            .find(|entry| entry.path == path)
            .map(|entry| entry.index);
        known.unwrap_or_else(|| self.add(path, None))
    }

    /// The number for what is at `path`: the volume `found`, or nothing yet. A path that held a
    /// volume and holds none now is not used, unless an operator wants a new one there: most likely
    /// its disk is not mounted, and another disk is there.
    ///
    /// # Errors
    /// Why nothing may be written there, and what to do.
    pub(super) fn place(
        &mut self,
        path: &Path,
        found: Option<Uuid>,
        is_new_wanted: bool,
    ) -> Result<u16, String> {
        if found.is_none() && !is_new_wanted {
            if let Some(problem) = &self.unreadable {
                return Err(format!(
                    "it holds no volume, and whether its disk is missing is not known: {problem}"
                ));
            }
            if self.held(path) {
                return Err(missing(self.seen_at(path), path));
            }
        }
        Ok(self.resolve(path, found))
    }

    /// The path at which the volume `id` was last seen.
    pub(super) fn path_of(&self, id: Uuid) -> Option<&Path> {
        self.volumes
            .iter()
            .find(|entry| entry.id == Some(id))
            .map(|entry| entry.path.as_path())
    }

    /// The number of the volume that was seen last at `path`, unless it was seen elsewhere since.
    fn seen_at(&self, path: &Path) -> Option<u16> {
        let named = |entry: &&Entry| entry.path == path && entry.id.is_some();
        self.volumes
            .iter()
            .rev()
            .find(named)
            .map(|entry| entry.index)
    }

    fn held(&self, path: &Path) -> bool {
        self.held.contains(path) || self.seen_at(path).is_some()
    }

    /// The number of the volume `id` that is now at `path`; `None` is a directory without a volume
    /// yet. A volume that was at this path under another id keeps its number: the disk was
    /// replaced.
    fn resolve(&mut self, path: &Path, id: Option<Uuid>) -> u16 {
        if let Some(at) = self
            .volumes
            .iter()
            .position(|entry| id.is_some() && entry.id == id)
        {
            self.held.insert(std::mem::replace(
                &mut self.volumes[at].path,
                path.to_owned(),
            ));
            let index = self.volumes[at].index;
            // The number that was kept for this path was never used.
            self.volumes
                .retain(|entry| entry.path != path || entry.id.is_some());
            return index;
        }
        let is_provisional = self.unreadable.is_some();
        let unnamed = |entry: &&mut Entry| entry.path == path && entry.id.is_none();
        match self.volumes.iter_mut().rev().find(unnamed) {
            // Provisional numbers are derived from the volume, which is known by now.
            Some(_) if is_provisional && id.is_some() => {
                self.volumes
                    .retain(|entry| entry.path != path || entry.id.is_some());
                self.add(path, id)
            }
            Some(entry) => {
                entry.id = id;
                entry.index
            }
            None => self.add(path, id),
        }
    }

    /// The volume of this number has been opened.
    pub(super) fn name(&mut self, index: u16, id: Uuid) {
        if let Some(entry) = self.volumes.iter_mut().find(|entry| entry.index == index) {
            entry.id = Some(id);
            self.held.insert(entry.path.clone());
        }
    }

    fn add(&mut self, path: &Path, id: Option<Uuid>) -> u16 {
        let next = if self.unreadable.is_some() {
            self.provisional(path, id)
        } else {
            self.next()
        };
        self.volumes.push(Entry {
            index: next,
            path: path.to_owned(),
            id,
        });
        next
    }

    fn next(&self) -> u16 {
        self.volumes
            .iter()
            .map(|entry| entry.index)
            .max()
            .map_or(0, |last| last.saturating_add(1))
    }

    /// While the register cannot be read: the same number for the same volume.
    fn provisional(&self, path: &Path, id: Option<Uuid>) -> u16 {
        let seed = id.map_or_else(
            || path.as_os_str().as_encoded_bytes().to_vec(),
            |id| id.as_bytes().to_vec(),
        );
        let first = seed.iter().fold(0_u16, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u16::from(*byte))
        });
        let is_free = |index: &u16| self.volumes.iter().all(|entry| entry.index != *index);
        let numbers = (0..PROVISIONAL)
            .map(|step| PROVISIONAL | (first.wrapping_add(step) & (PROVISIONAL - 1)));
        numbers.into_iter().find(is_free).unwrap_or(u16::MAX)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    format!(
        "{path} cannot be read ({error}): make it readable for the node's user, or restore it, and \
         start the node again; until then volumes have provisional numbers"
    )
}

fn missing(index: Option<u16>, path: &Path) -> String {
    let path = path.display();
    let volume = index.map_or_else(|| "a volume".to_owned(), |index| format!("volume {index}"));
    format!(
        "{path} held {volume}, and holds none now: is its disk mounted? Mount it, and it is taken \
         up by itself. Nothing is written there until then. If the disk was replaced: holdfast \
         volume init {path}"
    )
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
            assert_eq!(register.place(Path::new(path), None, false), Ok(index));
            register.name(index, id);
        }
        register
    }

    fn place(register: &mut Register, path: &str, id: Uuid) -> u16 {
        register.place(Path::new(path), Some(id), false).unwrap()
    }

    #[test]
    fn a_volume_keeps_its_number_wherever_it_is_mounted() {
        let mut register = two();
        assert_eq!(
            [place(&mut register, "/b", A), place(&mut register, "/a", B)],
            [0, 1]
        );
        assert_eq!(
            [register.at(Path::new("/b")), register.at(Path::new("/a"))],
            [0, 1]
        );
        assert_eq!(
            register,
            serde_json::from_str(&serde_json::to_string(&register).unwrap()).unwrap()
        );
    }

    #[test]
    fn a_replaced_disk_gets_a_number_of_its_own() {
        let mut register = two();
        assert_eq!(
            register.place(Path::new("/a"), None, true),
            Ok(2),
            "an operator wants a new one in its place"
        );
        register.name(2, Uuid::from_u128(0xc));
        assert_eq!(
            place(&mut register, "/a", Uuid::from_u128(0xd)),
            3,
            "another node's old disk"
        );
        assert_eq!(place(&mut register, "/a", A), 0, "and back again");
    }

    #[test]
    fn a_path_that_held_a_volume_is_not_used_without_it() {
        let mut register = two();
        let why = register.place(Path::new("/a"), None, false).unwrap_err();
        assert!(
            why.contains("/a held volume 0") && why.contains("holdfast volume init /a"),
            "{why}"
        );
        assert_eq!(register.at(Path::new("/a")), 0, "its number stays its own");
        assert_eq!(place(&mut register, "/a", A), 0, "it is there again");
        // Its disk is at another place now, and this path is empty.
        assert_eq!(place(&mut register, "/c", A), 0);
        assert!(register.place(Path::new("/a"), None, false).is_err());
        let kept: Register =
            serde_json::from_str(&serde_json::to_string(&register).unwrap()).unwrap();
        assert!(
            kept.clone().place(Path::new("/a"), None, false).is_err(),
            "also after a restart: {kept:?}"
        );
        assert_eq!(
            register.place(Path::new("/new"), None, false),
            Ok(2),
            "the first use of a path needs nothing"
        );
    }

    #[test]
    fn it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Register::load(dir.path()), Register::default());
        two().save(dir.path()).unwrap();
        assert_eq!(Register::load(dir.path()), two());
    }

    #[test]
    fn one_that_cannot_be_read_stays_as_it_is_and_no_number_is_given_again() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), b"{").unwrap();
        let mut register = Register::load(dir.path());
        let index = place(&mut register, "/a", A);
        assert!(index >= PROVISIONAL, "{index}");
        assert!(register.problem().unwrap().contains(FILE_NAME));
        assert!(
            register.place(Path::new("/b"), None, false).is_err(),
            "what was there is not known"
        );
        register.save(dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join(FILE_NAME)).unwrap(), b"{");
        let again = place(&mut Register::load(dir.path()), "/elsewhere", A);
        assert_eq!(again, index, "it is the volume's, wherever that is");
    }
}
