//! The latest snapshot as a file: magic, CRC-32 of the rest, then metadata and state as [`codec`]
//! writes them. It is written to a second file, fsynced, then renamed over the old one.

use super::SnapshotMeta;
use crate::codec::{self, Finalized, first_version};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Format 1 of the file's envelope.
const MAGIC: &[u8; 8] = b"HFSNAP01";
const HEADER_BYTES: usize = MAGIC.len() + 4;

/// A state as [`codec`] writes it, with the metadata that Raft needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotImage {
    pub(crate) meta: SnapshotMeta,
    #[serde(with = "as_bytes")]
    pub(crate) state: Vec<u8>,
}

first_version!(SnapshotImage => "the snapshot");

/// The path of one node's snapshot. Clones share the lock that orders writers.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    written: Arc<Mutex<()>>,
    finalized: Finalized,
}

impl SnapshotFile {
    pub(crate) fn new(dir: &Path, finalized: Finalized) -> Self {
        Self {
            path: dir.join("snapshot"),
            written: Arc::default(),
            finalized,
        }
    }

    /// `None` if there never was one.
    ///
    /// # Errors
    /// It cannot be read, or its CRC does not match: the log before it is purged, so the node
    /// cannot start from what it has.
    pub(crate) fn read(&self) -> io::Result<Option<SnapshotImage>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let what = |why| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("snapshot {}: {why}", self.path.display()),
            )
        };
        decode(&bytes).map(Some).map_err(what)
    }

    /// Replaces the snapshot, unless the file is newer.
    pub(crate) fn write(&self, image: &SnapshotImage) -> io::Result<()> {
        let _one_writer = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if self
            .read()?
            .is_some_and(|there| there.meta.last_log_id > image.meta.last_log_id)
        {
            return Ok(());
        }
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&encode(image, &self.finalized)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        let dir = self
            .path
            .parent()
            .ok_or_else(|| io::Error::other("the snapshot has no folder"))?;
        File::open(dir)?.sync_all()
    }
}

fn encode(image: &SnapshotImage, finalized: &Finalized) -> io::Result<Vec<u8>> {
    let body = codec::encode(image, finalized).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<SnapshotImage, String> {
    let parts = bytes
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.split_first_chunk::<4>());
    match parts {
        Some((crc, body)) if crc32fast::hash(body) == u32::from_le_bytes(*crc) => {
            codec::decode(body).map_err(|error| error.to_string())
        }
        _ => Err(
            "is damaged; remove this node from the cluster, clear its Raft folder and join again"
                .to_owned(),
        ),
    }
}

/// Postcard writes a `Vec<u8>` one element at a time; this writes all of it at once.
mod as_bytes {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = seq.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}
