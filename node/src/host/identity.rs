//! The identity of this node: its cluster and its number, kept in `identity.json` of the data
//! directory.
//!
//! Written once, when the node founds or joins a cluster; without it the node serves its API and
//! waits for `cluster init` or `join`.

use crate::durable_file::write_durably;
use holdfast_consensus::generation::ClusterGeneration;
use holdfast_consensus::peer::trust::names::NodeUri;
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::fs::{self};
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub cluster: Uuid,
    pub node: NodeId,
    /// The generation in which the node became a member, or which it began; `None`: the cluster's
    /// first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<ClusterGeneration>,
}

/// In the data directory, for the cluster's first generation; a later one has its number appended.
const RAFT_DIR: &str = "raft";

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{path} is damaged ({source}); restore it from a backup, or remove this node and let it \
         join again with an empty data directory"
    )]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write {path}: {source}; make the data directory writable")]
    Write { path: PathBuf, source: io::Error },
}

/// The consensus folder of any generation, if there is one.
pub(crate) fn any_raft_dir(data_dir: &Path) -> Option<PathBuf> {
    let is_raft = |name: &str| name == RAFT_DIR || name.starts_with(&format!("{RAFT_DIR}-"));
    let entries = fs::read_dir(data_dir).ok()?.flatten();
    let found = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_raft));
    found.map(|entry| entry.path()).min()
}

impl Identity {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("identity.json")
    }

    /// The identity of a node that became a member in `generation`.
    pub(crate) fn new(cluster: Uuid, node: NodeId, generation: ClusterGeneration) -> Self {
        let is_first = generation.is(&ClusterGeneration::first(cluster));
        Self {
            cluster,
            node,
            generation: (!is_first).then_some(generation),
        }
    }

    /// As its certificate has it.
    pub(crate) fn name(&self) -> NodeUri {
        NodeUri {
            cluster: self.cluster,
            node: self.node,
        }
    }

    pub(crate) fn generation(&self) -> ClusterGeneration {
        self.generation
            .unwrap_or_else(|| ClusterGeneration::first(self.cluster))
    }

    /// The folder with the log and snapshot of this identity's consensus.
    pub(crate) fn raft_dir(&self, data_dir: &Path) -> PathBuf {
        match self.generation().number {
            1 => data_dir.join(RAFT_DIR),
            number => data_dir.join(format!("{RAFT_DIR}-{number}")),
        }
    }

    /// The identity kept in `data_dir`; `None` if this node belongs to no cluster yet.
    ///
    /// # Errors
    /// When the file exists and cannot be read or parsed.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = Self::path(data_dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Read { path, source }),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| IdentityError::Damaged { path, source })
    }

    /// Writes the identity so that it survives a power cut, whole.
    ///
    /// # Errors
    /// When the directory cannot be written or synced.
    pub(crate) fn save(&self, data_dir: &Path) -> Result<(), IdentityError> {
        let path = Self::path(data_dir);
        let written = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = written.and_then(|text| write_durably(data_dir, &path, &text));
        written.map_err(|source| IdentityError::Write { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::generation::Recovered;
    use holdfast_storage::time::Timestamp;

    #[test]
    fn each_generation_has_a_folder_of_its_own() {
        let (dir, cluster) = (tempfile::tempdir().unwrap(), Uuid::new_v4());
        assert_eq!(any_raft_dir(dir.path()), None);
        let first = ClusterGeneration::first(cluster);
        let recovered = Recovered {
            by: NodeId(3),
            at: Timestamp(0),
        };
        let second = Identity::new(cluster, NodeId(3), first.next(Uuid::new_v4(), recovered));
        second.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(second));
        assert_eq!(second.raft_dir(dir.path()), dir.path().join("raft-2"));
        assert_eq!(
            Identity::new(cluster, NodeId(3), first).raft_dir(dir.path()),
            dir.path().join("raft")
        );
        fs::create_dir(second.raft_dir(dir.path())).unwrap();
        assert_eq!(any_raft_dir(dir.path()), Some(dir.path().join("raft-2")));
    }

    #[test]
    fn is_none_then_kept_then_reported_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        let cluster = Uuid::new_v4();
        let identity = Identity::new(cluster, NodeId(3), ClusterGeneration::first(cluster));
        identity.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(identity));
        fs::write(dir.path().join("identity.json"), b"{").unwrap();
        assert!(matches!(
            Identity::load(dir.path()),
            Err(IdentityError::Damaged { .. })
        ));
    }
}
