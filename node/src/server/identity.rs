//! Who this node is: its cluster and its number, kept in `identity.json` of the data directory.
//!
//! Written once, when the node founds or joins a cluster; without it the node serves its API and waits for `cluster init` or `join`.

use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub cluster: Uuid,
    pub node: NodeId,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{path} is damaged ({source}); restore it from a backup, or remove this node and join it anew with an empty data directory"
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("cannot write {path}: {source}; make the data directory writable")]
    Write { path: PathBuf, source: io::Error },
}

/// Names this node's attempt to join, so that a question whose answer was lost, even by a crash, is answered with the same id. Made on the first
/// call, and of no use once there is an identity.
///
/// # Errors
/// When the directory cannot be read or written.
pub(crate) fn join_attempt(data_dir: &Path) -> Result<Uuid, IdentityError> {
    let path = data_dir.join("join-attempt");
    let known = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(attempt) = known {
        return Ok(attempt);
    }
    let attempt = Uuid::new_v4();
    write_durably(data_dir, &path, attempt.to_string().as_bytes())
        .map_err(|source| IdentityError::Write { path, source })?;
    Ok(attempt)
}

/// Puts a small file in place of another so that one of them is there, whole, after a power cut.
pub(crate) fn write_durably(data_dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(data_dir)?.sync_all()
}

impl Identity {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("identity.json")
    }

    /// The identity kept in `data_dir`; `None` where this node belongs to no cluster yet.
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
        serde_json::from_slice(&text).map(Some).map_err(|source| IdentityError::Damaged { path, source })
    }

    /// Writes the identity so that it is there, whole, after a power cut.
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

    #[test]
    fn an_attempt_to_join_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = join_attempt(dir.path()).unwrap();
        assert_eq!(join_attempt(dir.path()).unwrap(), attempt);
    }

    #[test]
    fn is_none_then_kept_then_told_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        let identity = Identity { cluster: Uuid::new_v4(), node: NodeId(3) };
        identity.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), Some(identity));
        fs::write(dir.path().join("identity.json"), b"{").unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Damaged { .. })));
    }
}
