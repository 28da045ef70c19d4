//! Camera names, stored with the segments in `cameras.json`: segments identify cameras by number
//! only, and people who find a disk without its cluster do not know the numbers. Nothing depends on
//! it.

use crate::Error;
use crate::disk::Disk;
use crate::format::FormatError;
use crate::ids::CameraId;
use crate::layout::Layout;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use uuid::Uuid;

const FILE_VERSION: u16 = 1;

/// The most names per camera; the oldest are dropped first.
pub const NAMES_KEPT_MAX: usize = 4;

/// The most cameras; of those that the cluster no longer knows, the lowest numbers are dropped
/// first.
pub const NAMED_CAMERAS_MAX: usize = 12_000;

/// The longest name in bytes of JSON: 128 characters of four bytes, with quotes.
const NAME_BYTES_MAX: usize = 128 * 4 + 2;

/// Size of the other fields of a camera or a name.
const FIELDS_BYTES_MAX: usize = 128;

/// A longer file was not written by Holdfast.
const FILE_BYTES_MAX: usize = 4096
    + NAMED_CAMERAS_MAX * (FIELDS_BYTES_MAX + NAMES_KEPT_MAX * (NAME_BYTES_MAX + FIELDS_BYTES_MAX));

/// A name, and since when it has been known on this volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownName {
    pub name: String,
    pub since: Timestamp,
}

/// A camera with its names from its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCamera {
    pub camera: CameraId,
    /// Oldest first; never empty.
    pub names: Vec<KnownName>,
    /// When the cluster had stopped recording it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
}

impl NamedCamera {
    /// The newest name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.last().map_or("", |known| &known.name)
    }
}

/// A camera as its cluster knows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentName {
    pub camera: CameraId,
    pub name: String,
    /// When it was deleted, for a deleted camera that the cluster still knows.
    pub deleted: Option<Timestamp>,
}

/// `cameras.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraNames {
    version: u16,
    pub cluster: Uuid,
    /// By number.
    pub cameras: Vec<NamedCamera>,
}

/// The fields that every version has.
#[derive(Deserialize)]
struct Version {
    version: u16,
}

impl CameraNames {
    #[must_use]
    pub fn none(cluster: Uuid) -> Self {
        Self {
            version: FILE_VERSION,
            cluster,
            cameras: Vec::new(),
        }
    }

    #[must_use]
    pub fn of(&self, camera: CameraId) -> Option<&NamedCamera> {
        let at = self
            .cameras
            .binary_search_by_key(&camera, |named| named.camera)
            .ok()?;
        self.cameras.get(at)
    }

    /// The names updated with what the cluster knows at `now`; `None` if nothing changes. Cameras
    /// that the cluster no longer knows keep their names: their footage may still be there.
    #[must_use]
    pub fn updated(&self, current: &[CurrentName], now: Timestamp) -> Option<Self> {
        let mut cameras: BTreeMap<CameraId, NamedCamera> = self
            .cameras
            .iter()
            .map(|named| (named.camera, named.clone()))
            .collect();
        for CurrentName {
            camera,
            name,
            deleted,
        } in current
        {
            let none = || NamedCamera {
                camera: *camera,
                names: Vec::new(),
                deleted: None,
            };
            let named = cameras.entry(*camera).or_insert_with(none);
            named.deleted = *deleted;
            if named.names.last().is_none_or(|known| known.name != *name) {
                named.names.push(KnownName {
                    name: name.clone(),
                    since: now,
                });
            }
            named
                .names
                .drain(..named.names.len().saturating_sub(NAMES_KEPT_MAX));
        }
        let known: BTreeSet<CameraId> = current.iter().map(|current| current.camera).collect();
        let gone: Vec<CameraId> = cameras
            .keys()
            .filter(|camera| !known.contains(camera))
            .copied()
            .collect();
        for camera in &gone {
            cameras
                .entry(*camera)
                .and_modify(|named| _ = named.deleted.get_or_insert(now));
        }
        for camera in gone
            .iter()
            .take(cameras.len().saturating_sub(NAMED_CAMERAS_MAX))
        {
            cameras.remove(camera);
        }
        let updated = Self {
            cameras: cameras.into_values().take(NAMED_CAMERAS_MAX).collect(),
            ..self.clone()
        };
        (updated != *self).then_some(updated)
    }

    /// One camera per line, so that people can read it.
    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let lines: serde_json::Result<Vec<String>> =
            self.cameras.iter().map(serde_json::to_string).collect();
        let (version, cluster, lines) = (self.version, self.cluster, lines?.join(",\n"));
        Ok(format!(
            "{{\"version\":{version},\"cluster\":\"{cluster}\",\"cameras\":[\n{lines}\n]}}\n"
        )
        .into_bytes())
    }
}

/// The stored camera names; `None` if there are none, or they cannot be understood.
///
/// # Errors
/// The file cannot be read, or is of a newer version, which must not be changed.
pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<CameraNames>, Error> {
    let path = layout.names();
    let file = match disk.open_read(&path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        opened => opened.map_err(Error::io("open", &path))?,
    };
    let bytes = file.bytes().map_err(Error::io("read", &path))?;
    if bytes > FILE_BYTES_MAX as u64 {
        return Ok(None);
    }
    let mut text = vec![0; bytes as usize];
    file.read_exact_at(&mut text, 0)
        .map_err(Error::io("read", &path))?;
    decode(&text, &path)
}

fn decode(text: &[u8], path: &Path) -> Result<Option<CameraNames>, Error> {
    match serde_json::from_slice(text) {
        Ok(Version { version }) if version > FILE_VERSION => {
            Err(Error::format(path)(FormatError::Version {
                what: "the names of cameras",
                found: version,
            }))
        }
        _ => Ok(serde_json::from_slice::<CameraNames>(text)
            .ok()
            .map(|mut names| {
                names.cameras.sort_by_key(|named| named.camera);
                names.cameras.dedup_by_key(|named| named.camera);
                names.cameras.retain(|named| !named.names.is_empty());
                names
            })),
    }
}

/// Stores what the cluster knows at `now`, if it is new. `false` if it was stored already.
///
/// # Errors
/// The file cannot be read or written, or is of a newer version.
pub(crate) fn keep(
    disk: &dyn Disk,
    layout: &Layout,
    cluster: Uuid,
    current: &[CurrentName],
    now: Timestamp,
) -> Result<bool, Error> {
    let path = layout.names();
    let kept = read(disk, layout)?.filter(|kept| kept.cluster == cluster);
    let Some(updated) = kept
        .unwrap_or_else(|| CameraNames::none(cluster))
        .updated(current, now)
    else {
        return Ok(false);
    };
    let text = updated
        .encode()
        .map_err(|error| Error::io("encode", &path)(io::Error::other(error)))?;
    disk.replace(&path, &text)
        .map_err(Error::io("write", &path))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{IoChoice, RealDisk};

    const CLUSTER: Uuid = Uuid::from_u128(7);

    fn current(camera: u32, name: &str) -> CurrentName {
        CurrentName {
            camera: CameraId(camera),
            name: name.to_owned(),
            deleted: None,
        }
    }

    fn names_of(names: &CameraNames, camera: u32) -> Vec<&str> {
        names
            .of(CameraId(camera))
            .into_iter()
            .flat_map(|named| &named.names)
            .map(|known| &*known.name)
            .collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    #[test]
    fn names_are_added_with_their_time_and_old_ones_are_kept() {
        let first = CameraNames::none(CLUSTER)
            .updated(&[current(3, "yard"), current(1, "gate")], at(1))
            .unwrap();
        assert_eq!(
            first.updated(&[current(1, "gate"), current(3, "yard")], at(2)),
            None,
            "nothing is new"
        );
        let second = first.updated(&[current(3, "back yard")], at(5)).unwrap();
        assert_eq!(
            (names_of(&second, 3), names_of(&second, 1)),
            (vec!["yard", "back yard"], vec!["gate"])
        );
        let (yard, gate) = (
            second.of(CameraId(3)).unwrap(),
            second.of(CameraId(1)).unwrap(),
        );
        assert_eq!(
            (yard.name(), yard.names[1].since, yard.deleted),
            ("back yard", at(5), None)
        );
        assert_eq!(
            gate.deleted,
            Some(at(5)),
            "the cluster does not know it any more"
        );
        let third = second.updated(&[current(1, "gate")], at(9)).unwrap();
        assert_eq!(
            third.of(CameraId(1)).unwrap().deleted,
            None,
            "it was restored"
        );
    }

    #[test]
    fn both_names_and_cameras_are_bounded() {
        let renamed = (0..9).try_fold(CameraNames::none(CLUSTER), |names, n| {
            names.updated(&[current(1, &format!("name {n}"))], at(n))
        });
        assert_eq!(
            names_of(&renamed.unwrap(), 1),
            ["name 5", "name 6", "name 7", "name 8"]
        );
        let long = "\"".repeat(128);
        let many: Vec<CurrentName> = (1..=NAMED_CAMERAS_MAX as u32)
            .map(|id| current(id, &long))
            .collect();
        let full = CameraNames::none(CLUSTER).updated(&many, at(1)).unwrap();
        let next = full
            .updated(&[current(NAMED_CAMERAS_MAX as u32 + 1, "new")], at(2))
            .unwrap();
        assert_eq!(next.cameras.len(), NAMED_CAMERAS_MAX);
        assert!(
            next.of(CameraId(1)).is_none()
                && next.of(CameraId(NAMED_CAMERAS_MAX as u32 + 1)).is_some()
        );
        assert!(full.encode().unwrap().len() < FILE_BYTES_MAX);
    }

    #[test]
    fn the_file_comes_back_and_is_written_only_for_news() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, layout) = (
            RealDisk::new(IoChoice::Plain, dir.path()).unwrap(),
            Layout {
                root: dir.path().into(),
            },
        );
        assert_eq!(read(&disk, &layout).unwrap(), None);
        let keep = |name: &str, cluster| keep(&disk, &layout, cluster, &[current(1, name)], at(1));
        assert_eq!(
            (
                keep("gate \"A\"", CLUSTER).unwrap(),
                keep("gate \"A\"", CLUSTER).unwrap()
            ),
            (true, false)
        );
        assert_eq!(
            names_of(&read(&disk, &layout).unwrap().unwrap(), 1),
            ["gate \"A\""]
        );
        std::fs::write(layout.names(), "{").unwrap();
        assert!(
            read(&disk, &layout).unwrap().is_none() && keep("gate", CLUSTER).unwrap(),
            "damaged: made again"
        );
        assert!(keep("other", Uuid::from_u128(8)).unwrap());
        assert_eq!(
            names_of(&read(&disk, &layout).unwrap().unwrap(), 1),
            ["other"],
            "of another cluster"
        );
        std::fs::write(layout.names(), "{\"version\":9}").unwrap();
        assert!(
            keep("gate", CLUSTER).is_err(),
            "a newer version is left alone"
        );
        assert_eq!(
            std::fs::read_to_string(layout.names()).unwrap(),
            "{\"version\":9}"
        );
    }
}
