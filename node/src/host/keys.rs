//! This node's key, its certificates and, if it may sign others', the authority's key: the folder
//! `pki` of the data directory, in PEM, readable by the service alone.

use crate::durable_file::write_durably;
use holdfast_consensus::Issued;
use holdfast_consensus::peer::trust::authority::Authority;
use holdfast_consensus::peer::trust::keys::{CertificateDer, Credentials, Key, key_of};
use holdfast_consensus::peer::trust::names::NodeUri;
use holdfast_consensus::peer::trust::roster::Roster;
use holdfast_consensus::peer::trust::{Trust, TrustError, found};
use holdfast_storage::time::Timestamp;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const DIR: &str = "pki";
const KEY: &str = "node.key";
/// The key of a node that is about to join.
const JOINING: &str = "join.key";
/// The node's own certificate, then the root above it. Written last.
const CHAIN: &str = "node.pem";
const AUTHORITY: &str = "authority.key";
const PRIVATE: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";
/// Longer than any of the files, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error(
        "this node's keys are missing from {}; remove this node, empty its data_dir, and let it \
         join again",
        .0.display()
    )]
    Missing(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{} is damaged ({why}); remove this node, empty its data_dir, and let it join again",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{0}")]
    Trust(#[from] TrustError),
}

/// What a member needs to speak to others.
pub(crate) struct Keys {
    pub(crate) credentials: Credentials,
    pub(crate) authority: Option<Arc<Authority>>,
    cluster: Uuid,
}

/// The folder with the files.
struct Folder(PathBuf);

impl Keys {
    /// Of the founder of `cluster`; those that an attempt before has made, if there was one.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub(crate) fn of_founder(
        data_dir: &Path,
        name: NodeUri,
        at: Timestamp,
    ) -> Result<Self, KeysError> {
        match Self::load(data_dir, name) {
            Err(KeysError::Missing(_) | KeysError::Damaged { .. }) => {}
            known => return known,
        }
        let folder = Folder::make(data_dir)?;
        let (credentials, authority) = found(name, at)?;
        folder.write(AUTHORITY, PRIVATE, [authority.key().to_pkcs8()])?;
        folder.write(KEY, PRIVATE, [credentials.key.to_pkcs8()])?;
        folder.write(CHAIN, CERTIFICATE, in_der(&credentials.chain))?;
        Self::load(data_dir, name)
    }

    /// The key that a node joins with, durable before it is used: until it has joined, a retry has
    /// the same one, so that the cluster gives out no second number if the first answer was lost,
    /// even in a crash.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub(crate) fn key_to_join(data_dir: &Path) -> Result<Key, KeysError> {
        let folder = Folder::make(data_dir)?;
        if !folder.has(JOINING) {
            folder.write(JOINING, PRIVATE, [Key::generate()?.to_pkcs8()])?;
        }
        folder.key(JOINING)
    }

    /// Keeps what the cluster gave to a node that joins with this key.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub(crate) fn keep(data_dir: &Path, key: &Key, issued: Issued) -> Result<(), KeysError> {
        let folder = Folder::make(data_dir)?;
        folder.remove(AUTHORITY)?;
        if let Some(authority) = issued.authority {
            folder.write(AUTHORITY, PRIVATE, [authority])?;
        }
        folder.write(KEY, PRIVATE, [key.to_pkcs8()])?;
        folder.write(CHAIN, CERTIFICATE, issued.chain)
    }

    /// The node has its identity: it never joins with that key again.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub(crate) fn has_joined(data_dir: &Path) -> Result<(), KeysError> {
        Folder(data_dir.join(DIR)).remove(JOINING)
    }

    /// Of the member with this name.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub(crate) fn load(data_dir: &Path, name: NodeUri) -> Result<Self, KeysError> {
        let folder = Folder(data_dir.join(DIR));
        if !folder.has(KEY) || !folder.has(CHAIN) {
            return Err(KeysError::Missing(folder.0));
        }
        let chain: Vec<_> = folder.read(CHAIN, CERTIFICATE)?;
        let credentials = Credentials {
            key: folder.key(KEY)?,
            chain: chain.into_iter().map(Into::into).collect(),
        };
        if NodeUri::of(&credentials.chain[0]) != Some(name) {
            return Err(folder.damaged(CHAIN, &format!("it is not of {name}")));
        }
        if key_of(&credentials.chain[0]) != Some(credentials.key.hash()) {
            return Err(folder.damaged(CHAIN, &format!("it is not of the key in {KEY}")));
        }
        let authority = folder.authority(name.cluster, root(&credentials));
        let authority = authority.unwrap_or_else(|error| {
            tracing::error!(%error, "this node can admit no other");
            None
        });
        Ok(Self {
            credentials,
            authority,
            cluster: name.cluster,
        })
    }

    /// For a member that has lost its keys: no other node recognises it, and it records what it
    /// last knew.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn strange(name: NodeUri, at: Timestamp) -> Result<Self, KeysError> {
        let (credentials, _) = found(name, at)?;
        Ok(Self {
            credentials,
            authority: None,
            cluster: name.cluster,
        })
    }

    /// For handshakes; it knows no member before the node has read its state.
    ///
    /// # Errors
    /// The certificate is not that of the key, for instance.
    pub(crate) fn trust(&self) -> Result<Trust, KeysError> {
        let roster = Roster::of(self.cluster, vec![root(&self.credentials)]);
        Ok(Trust::new(&self.credentials, roster)?)
    }
}

/// The last certificate; a chain that was read or made is not empty.
fn root(credentials: &Credentials) -> CertificateDer<'static> {
    credentials.chain[credentials.chain.len() - 1].clone()
}

fn in_der(chain: &[CertificateDer<'_>]) -> Vec<Vec<u8>> {
    chain.iter().map(|der| der.to_vec()).collect()
}

impl Folder {
    fn make(data_dir: &Path) -> Result<Self, KeysError> {
        let path = data_dir.join(DIR);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(KeysError::Write {
                path,
                source: error,
            }),
            _ => Ok(Self(path)),
        }
    }

    fn remove(&self, name: &str) -> Result<(), KeysError> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeysError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    fn write(
        &self,
        name: &str,
        tag: &str,
        parts: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<(), KeysError> {
        let path = self.0.join(name);
        let parts = parts.into_iter().map(|part| pem::Pem::new(tag, part));
        let text = pem::encode_many(&parts.collect::<Vec<_>>());
        write_durably(&self.0, &path, text.as_bytes())
            .map_err(|source| KeysError::Write { path, source })
    }

    /// The parts with this tag: at least one.
    fn read(&self, name: &str, tag: &str) -> Result<Vec<Vec<u8>>, KeysError> {
        let path = self.0.join(name);
        let is_small = |path: &Path| Ok(fs::metadata(path)?.len() <= FILE_BYTES_MAX);
        let text = match is_small(&path) {
            Ok(true) => fs::read(&path),
            Ok(false) => Err(io::Error::other(format!(
                "longer than {FILE_BYTES_MAX} bytes"
            ))),
            Err(error) => Err(error),
        };
        let text = text.map_err(|source| KeysError::Read { path, source })?;
        let parsed = pem::parse_many(text).map_err(|error| self.damaged(name, &error))?;
        let parts = parsed.into_iter().filter(|part| part.tag() == tag);
        let parts: Vec<_> = parts.map(pem::Pem::into_contents).collect();
        if parts.is_empty() {
            return Err(self.damaged(name, &format!("it holds no {tag}")));
        }
        Ok(parts)
    }

    fn key(&self, name: &str) -> Result<Key, KeysError> {
        let parts = self.read(name, PRIVATE)?;
        Key::from_pkcs8(&parts[0]).map_err(|error| self.damaged(name, &error))
    }

    fn authority(
        &self,
        cluster: Uuid,
        root: CertificateDer<'static>,
    ) -> Result<Option<Arc<Authority>>, KeysError> {
        if !self.has(AUTHORITY) {
            return Ok(None);
        }
        let authority = Authority::restore(cluster, self.key(AUTHORITY)?, root)?;
        Ok(Some(Arc::new(authority)))
    }

    fn damaged(&self, name: &str, why: &(impl std::fmt::Display + ?Sized)) -> KeysError {
        KeysError::Damaged {
            path: self.0.join(name),
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::NodeId;
    use std::os::unix::fs::PermissionsExt as _;

    const CLUSTER: Uuid = Uuid::from_u128(7);

    fn name(node: u64) -> NodeUri {
        NodeUri {
            cluster: CLUSTER,
            node: NodeId(node),
        }
    }

    #[test]
    fn a_founder_and_a_newcomer_find_again_what_they_were_given() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let found = || Keys::of_founder(first.path(), name(1), Timestamp(0)).unwrap();
        let one = found();
        assert_eq!(found().credentials.key.hash(), one.credentials.key.hash());
        one.trust().unwrap();

        let key = Keys::key_to_join(second.path()).unwrap();
        let again = Keys::key_to_join(second.path()).unwrap();
        assert_eq!(again.hash(), key.hash(), "a retry is the same node");
        assert!(matches!(
            Keys::load(second.path(), name(2)),
            Err(KeysError::Missing(_))
        ));
        let authority = one.authority.unwrap();
        let chain = authority.issue(NodeId(2), &key.public(), Timestamp(0));
        let chain = in_der(&chain.unwrap());
        let issued = Issued {
            chain,
            authority: None,
        };
        Keys::keep(second.path(), &key, issued).unwrap();
        let two = Keys::load(second.path(), name(2)).unwrap();
        assert_eq!(two.credentials.key.hash(), key.hash());
        assert!(two.authority.is_none());
        assert_eq!(Keys::key_to_join(second.path()).unwrap().hash(), key.hash());
        Keys::has_joined(second.path()).unwrap();
        let other = Keys::key_to_join(second.path()).unwrap();
        assert_ne!(other.hash(), key.hash(), "another membership, another key");
        two.trust().unwrap();

        let pki = second.path().join(DIR);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&pki), 0o700);
        for name in [KEY, CHAIN] {
            assert_eq!(mode(&pki.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn keys_of_another_cluster_or_node_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let one = Keys::of_founder(dir.path(), name(1), Timestamp(0)).unwrap();
        assert!(Keys::load(dir.path(), name(2)).is_err());
        let elsewhere = NodeUri {
            cluster: Uuid::from_u128(8),
            node: NodeId(1),
        };
        let new = Keys::of_founder(dir.path(), elsewhere, Timestamp(0)).unwrap();
        assert_ne!(new.credentials.key.hash(), one.credentials.key.hash());
    }

    #[test]
    fn what_is_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Keys::of_founder(dir.path(), name(1), Timestamp(0)).unwrap();
        let path = dir.path().join(DIR).join(KEY);
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            fs::write(&path, text).unwrap();
            let error = Keys::load(dir.path(), name(1)).map(drop).unwrap_err();
            assert!(
                matches!(&error, KeysError::Damaged { path: at, .. } if *at == path),
                "{error}"
            );
        }
    }
}
