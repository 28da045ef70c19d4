//! A volume that another cluster recorded and this one has adopted: `adopted.json` maps the number
//! that each of its cameras has here to the one in its segments. Segments keep the numbers that
//! they were written with; [`crate::VolumeHandle`] translates them in both directions, and nothing
//! below it is aware of it. The file is created atomically: without it the volume belongs to the
//! other cluster.

use crate::Error;
use crate::disk::{Disk, RealDisk, Root};
use crate::format::FormatError;
use crate::hold::{Hold, Holds};
use crate::identity::{self, Lock};
use crate::ids::{CameraId, NodeId};
use crate::layout::Layout;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const FILE_VERSION: u16 = 1;

/// A longer file was not written by Holdfast.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Nodes of another cluster are shown as this plus their number: no node of this cluster has such a
/// number, so they cannot be confused.
const NODES_ELSEWHERE: u64 = 1_000_000;

const WHAT: &str = "the list of cameras that were taken over";

/// One camera's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedNumber {
    /// The number in the volume's segments.
    pub theirs: CameraId,
    pub ours: CameraId,
}

/// `adopted.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    version: u16,
    pub volume: Uuid,
    /// The cluster that recorded the footage, and the one that adopted it.
    pub from: Uuid,
    pub into: Uuid,
    pub at: Timestamp,
    cameras: Vec<AdoptedNumber>,
}

/// The fields that every version has.
#[derive(Deserialize)]
struct Version {
    version: u16,
}

impl Adoption {
    /// # Errors
    /// A number stands for two cameras; the error says which.
    pub fn new(
        volume: Uuid,
        (from, into): (Uuid, Uuid),
        at: Timestamp,
        mut cameras: Vec<AdoptedNumber>,
    ) -> Result<Self, String> {
        cameras.sort_by_key(|camera| camera.theirs);
        let adoption = Self {
            version: FILE_VERSION,
            volume,
            from,
            into,
            at,
            cameras,
        };
        adoption.check().map(|()| adoption)
    }

    fn check(&self) -> Result<(), String> {
        let mut theirs = BTreeMap::new();
        let mut ours = BTreeMap::new();
        for camera in &self.cameras {
            if theirs.insert(camera.theirs, camera.ours).is_some() {
                return Err(format!("their camera {} is named twice", camera.theirs));
            }
            if ours.insert(camera.ours, camera.theirs).is_some() {
                return Err(format!("camera {} would be two of theirs", camera.ours));
            }
        }
        Ok(())
    }

    /// By the numbers of this cluster.
    #[must_use]
    pub fn cameras(&self) -> &[AdoptedNumber] {
        &self.cameras
    }

    pub(crate) fn ours(&self, theirs: CameraId) -> Option<CameraId> {
        let at = self
            .cameras
            .binary_search_by_key(&theirs, |camera| camera.theirs)
            .ok()?;
        self.cameras.get(at).map(|camera| camera.ours)
    }

    pub(crate) fn theirs(&self, ours: CameraId) -> Option<CameraId> {
        self.cameras
            .iter()
            .find(|camera| camera.ours == ours)
            .map(|camera| camera.theirs)
    }

    pub(crate) fn node(node: NodeId) -> NodeId {
        NodeId(node.0.saturating_add(NODES_ELSEWHERE))
    }

    /// The holds on this volume's cameras, with the segments' numbers. The lead is included
    /// already.
    pub(crate) fn holds(&self, holds: &Holds) -> Holds {
        let translated = holds.intervals().filter_map(|hold| {
            Some(Hold {
                camera: self.theirs(hold.camera)?,
                ..hold
            })
        });
        Holds::of_intervals(translated)
    }

    /// The last line is the checksum of the line before it.
    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let line = serde_json::to_string(self)?;
        let crc = crc32fast::hash(line.as_bytes());
        Ok(format!("{line}\n{crc:08x}\n").into_bytes())
    }
}

fn decode(text: &[u8]) -> Result<Adoption, FormatError> {
    let damaged = || FormatError::Checksum { what: WHAT };
    let text = std::str::from_utf8(text).map_err(|_| damaged())?;
    let (line, crc) = text.trim_end().split_once('\n').ok_or_else(damaged)?;
    if u32::from_str_radix(crc, 16).ok() != Some(crc32fast::hash(line.as_bytes())) {
        return Err(damaged());
    }
    match serde_json::from_str(line) {
        Ok(Version { version }) if version > FILE_VERSION => {
            return Err(FormatError::Version {
                what: WHAT,
                found: version,
            });
        }
        _ => {}
    }
    let adoption: Adoption = serde_json::from_str(line).map_err(|_| damaged())?;
    let is_sorted = adoption.cameras.is_sorted_by_key(|camera| camera.theirs);
    if is_sorted && adoption.check().is_ok() {
        Ok(adoption)
    } else {
        Err(FormatError::Invalid { what: WHAT })
    }
}

/// `None` if the volume was not adopted.
///
/// # Errors
/// It cannot be read, is damaged, or of a newer version.
pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Adoption>, Error> {
    let path = layout.adoption();
    let file = match disk.open_read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Error::io("open", &path))?,
    };
    let bytes = file.bytes().map_err(Error::io("read", &path))?;
    if bytes > FILE_BYTES_MAX {
        return Err(Error::format(&path)(FormatError::Invalid { what: WHAT }));
    }
    let mut text = vec![0; bytes as usize];
    file.read_exact_at(&mut text, 0)
        .map_err(Error::io("read", &path))?;
    decode(&text).map(Some).map_err(Error::format(&path))
}

/// How a volume was adopted, without opening it; `None` if it was not.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn adoption_in(root: &Arc<Root>) -> Result<Option<Adoption>, Error> {
    let (disk, layout) = (
        RealDisk::reading(Arc::clone(root)),
        Layout {
            root: root.path().to_owned(),
        },
    );
    read(&disk, &layout)
}

/// Adopts a volume, or changes its cameras' numbers. No process may have it open. The change is
/// durable when this returns; if the machine stops earlier, it either happened completely or not at
/// all.
///
/// # Errors
/// It is in use, is another volume or another cluster's than `adoption` says, or cannot be written.
pub fn adopt(dir: &Path, adoption: &Adoption) -> Result<(), Error> {
    let root = Arc::new(Root::open(dir).map_err(Error::io("open", dir))?);
    let _lock = Lock::take(&root)?;
    let (disk, layout) = (
        RealDisk::reading(Arc::clone(&root)),
        Layout {
            root: dir.to_owned(),
        },
    );
    let identity = identity::known(&disk, &layout)?.ok_or_else(|| Error::NoVolume {
        path: dir.to_owned(),
    })?;
    if (identity.volume, identity.cluster) != (adoption.volume, adoption.from) {
        return Err(Error::ForeignVolume {
            path: dir.to_owned(),
            found: identity.cluster,
            expected: adoption.from,
        });
    }
    // The volume may have lost the file that names its cluster: what was read from its segments
    // stays true.
    if identity::read(&disk, &layout)?.is_none() {
        let path = layout.identity();
        disk.replace(&path, &identity.encode())
            .map_err(Error::io("write", &path))?;
    }
    let path = layout.adoption();
    let text = adoption
        .encode()
        .map_err(|error| Error::io("encode", &path)(io::Error::other(error)))?;
    disk.replace(&path, &text)
        .map_err(Error::io("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(theirs: u32, ours: u32) -> AdoptedNumber {
        AdoptedNumber {
            theirs: CameraId(theirs),
            ours: CameraId(ours),
        }
    }

    fn adoption(cameras: &[AdoptedNumber]) -> Result<Adoption, String> {
        let [volume, from, into] = [1, 2, 3].map(Uuid::from_u128);
        Adoption::new(volume, (from, into), Timestamp(5), cameras.to_vec())
    }

    #[test]
    fn numbers_stand_for_one_camera_each_way() {
        let adopted = adoption(&[number(7, 1), number(1, 12)]).unwrap();
        assert_eq!(
            (adopted.ours(CameraId(1)), adopted.theirs(CameraId(1))),
            (Some(CameraId(12)), Some(CameraId(7)))
        );
        assert_eq!(
            (adopted.ours(CameraId(12)), adopted.theirs(CameraId(7))),
            (None, None)
        );
        assert!(
            adoption(&[number(1, 2), number(3, 2)])
                .unwrap_err()
                .contains("camera 2 would be two")
        );
        assert!(
            adoption(&[number(1, 2), number(1, 3)])
                .unwrap_err()
                .contains("named twice")
        );
    }

    #[test]
    fn holds_go_by_their_numbers() {
        let at = |second: i64| Timestamp(second * 1_000_000);
        let hold = |camera| Hold {
            camera: CameraId(camera),
            from: at(100),
            to: at(200),
        };
        let adopted = adoption(&[number(7, 1)]).unwrap();
        let holds: Holds = [hold(1), hold(7)].into_iter().collect();
        let theirs: Holds = [hold(7)].into_iter().collect();
        assert_eq!(
            adopted.holds(&holds),
            theirs,
            "ours of number 7 is another camera"
        );
    }

    #[test]
    fn a_flipped_bit_or_a_newer_version_is_noticed() {
        let whole = adoption(&[number(7, 1)]).unwrap();
        let text = whole.encode().unwrap();
        assert_eq!(decode(&text).unwrap(), whole);
        for at in 0..text.len() - 1 {
            let mut flipped = text.clone();
            flipped[at] ^= 4;
            assert!(decode(&flipped).is_err(), "byte {at}");
        }
        assert!(decode(&text[..text.len() / 2]).is_err());
        let newer = Adoption {
            version: 9,
            ..whole
        };
        assert!(matches!(
            decode(&newer.encode().unwrap()),
            Err(FormatError::Version { found: 9, .. })
        ));
    }
}
