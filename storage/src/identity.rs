//! A data directory's own id and its cluster's, and the lock that excludes a second process.

pub(crate) mod adoption;

use crate::Error;
use crate::disk::{Disk, RealDisk, Root};
use crate::format::FormatError;
use crate::layout::Layout;
use crate::segments::{find_segments, identity_of_segments};
use adoption::Adoption;
use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const LAYOUT_VERSION: u16 = 1;

/// `volume.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    version: u16,
    pub(crate) volume: Uuid,
    pub(crate) cluster: Uuid,
}

impl Identity {
    pub(crate) fn new(volume: Uuid, cluster: Uuid) -> Self {
        Self {
            version: LAYOUT_VERSION,
            volume,
            cluster,
        }
    }

    /// One line of text, so that an operator can read it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self {
            version,
            volume,
            cluster,
        } = self;
        format!("{{\"version\":{version},\"volume\":\"{volume}\",\"cluster\":\"{cluster}\"}}\n")
            .into_bytes()
    }
}

/// Reads the directory's identity, or creates one. If the file is lost, the identity is taken from
/// `of_segment`, a segment's header.
pub(crate) fn identify(
    disk: &dyn Disk,
    layout: &Layout,
    cluster: Uuid,
    of_segment: impl FnOnce() -> Option<(Uuid, Uuid)>,
) -> Result<(Identity, Option<Adoption>), Error> {
    let path = layout.identity();
    let identity = read(disk, layout)?;
    let is_stored = identity.is_some();
    let identity = identity.unwrap_or_else(|| {
        let (volume, cluster) = of_segment().unwrap_or_else(|| (Uuid::new_v4(), cluster));
        Identity::new(volume, cluster)
    });
    let adoption = admit(disk, layout, identity, cluster)?;
    if !is_stored {
        disk.replace(&path, &identity.encode())
            .map_err(Error::io("write", &path))?;
    }
    Ok((identity, adoption))
}

/// How this cluster came to own the volume: `None` if it always did.
///
/// # Errors
/// It is another cluster's.
pub(crate) fn admit(
    disk: &dyn Disk,
    layout: &Layout,
    identity: Identity,
    cluster: Uuid,
) -> Result<Option<Adoption>, Error> {
    if identity.cluster == cluster {
        return Ok(None);
    }
    let adopted = adoption::read(disk, layout)?;
    let is_ours = |adopted: &Adoption| {
        (adopted.volume, adopted.from, adopted.into) == (identity.volume, identity.cluster, cluster)
    };
    match adopted.filter(is_ours) {
        Some(adopted) => Ok(Some(adopted)),
        None => Err(Error::ForeignVolume {
            path: layout.root.clone(),
            found: identity.cluster,
            expected: cluster,
        }),
    }
}

/// From its own file, or from the newest segment whose header can be read; `None` if there is no
/// volume.
///
/// # Errors
/// The volume cannot be read, or is of a newer version.
pub(crate) fn known(disk: &dyn Disk, layout: &Layout) -> Result<Option<Identity>, Error> {
    if let Some(identity) = read(disk, layout)? {
        return Ok(Some(identity));
    }
    let found = match find_segments(disk, layout) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        found => found?,
    };
    let of_segment = identity_of_segments(disk, layout, &found);
    Ok(of_segment.map(|(volume, cluster)| Identity::new(volume, cluster)))
}

/// The directory's identity, `None` if it is lost.
///
/// # Errors
/// It cannot be read, or is of a newer version.
pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Identity>, Error> {
    let path = layout.identity();
    match disk.open_read(&path) {
        Ok(file) => {
            let bytes = file.bytes().map_err(Error::io("read", &path))?;
            let mut text = vec![0; usize::try_from(bytes.min(4096)).unwrap_or(0)];
            file.read_exact_at(&mut text, 0)
                .map_err(Error::io("read", &path))?;
            decode(&text).map_err(Error::format(&path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

/// The id of the volume in a directory, without opening it; `None` if there is none yet. If
/// `volume.json` is lost, the id comes from a segment's header.
///
/// # Errors
/// The directory's contents cannot be read, or are of a newer version.
pub fn volume_in(root: &Arc<Root>) -> Result<Option<Uuid>, Error> {
    let (disk, layout) = (
        RealDisk::reading(Arc::clone(root)),
        Layout {
            root: root.path().to_owned(),
        },
    );
    Ok(known(&disk, &layout)?.map(|identity| identity.volume))
}

/// The cluster that a data directory belongs to, without opening it: the cluster that recorded its
/// contents, or adopted them. `None` if there is no volume yet, or its `volume.json` cannot be
/// understood.
///
/// # Errors
/// The directory cannot be read.
pub fn volume_cluster(path: &Path) -> Result<Option<Uuid>, Error> {
    let root = match Root::open(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        opened => Arc::new(opened.map_err(Error::io("open", path))?),
    };
    let (disk, layout) = (
        RealDisk::reading(root),
        Layout {
            root: path.to_owned(),
        },
    );
    let identity = match read(&disk, &layout) {
        Err(Error::Format { .. }) => return Ok(None),
        read => read?,
    };
    let Some(identity) = identity else {
        return Ok(None);
    };
    let adopted = adoption::read(&disk, &layout).ok().flatten();
    let is_its =
        |adopted: &Adoption| (adopted.volume, adopted.from) == (identity.volume, identity.cluster);
    Ok(Some(
        adopted
            .filter(is_its)
            .map_or(identity.cluster, |adopted| adopted.into),
    ))
}

/// The fields that every version has.
#[derive(Deserialize)]
struct Version {
    version: u16,
}

/// `None` if it is damaged; it can be recreated then.
///
/// # Errors
/// It is of a newer version, whatever else it contains.
fn decode(text: &[u8]) -> Result<Option<Identity>, FormatError> {
    match serde_json::from_slice(text) {
        Ok(Version { version }) if version > LAYOUT_VERSION => Err(FormatError::Version {
            what: "the data directory",
            found: version,
        }),
        _ => Ok(serde_json::from_slice(text).ok()),
    }
}

/// Excludes other processes until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// The process that has the directory open, if any. Changes nothing.
    ///
    /// # Errors
    /// The lock cannot be examined.
    pub(crate) fn holder(root: &Root) -> Result<Option<String>, Error> {
        let path = path_in(root);
        let file = match root.open_file(&path, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("open", &path))?,
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(pid_in(file))),
            Err(error) => Err(Error::io("lock", &path)(error.into())),
        }
    }

    pub(crate) fn take(root: &Root) -> Result<Self, Error> {
        let path = path_in(root);
        let file = root.open_file(&path, OFlags::RDWR | OFlags::CREATE);
        let mut file = file.map_err(Error::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::Locked {
                    path: root.path().to_owned(),
                    pid: pid_in(file),
                });
            }
            Err(error) => return Err(Error::io("lock", &path)(error.into())),
        }
        file.set_len(0).map_err(Error::io("write", &path))?;
        writeln!(file, "{}", std::process::id()).map_err(Error::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

fn path_in(root: &Root) -> PathBuf {
    Layout {
        root: root.path().to_owned(),
    }
    .lock()
}

fn pid_in(lock: File) -> String {
    let mut pid = String::new();
    let read = lock.take(32).read_to_string(&mut pid);
    read.ok().map_or("unknown", |_| pid.trim()).to_owned()
}
