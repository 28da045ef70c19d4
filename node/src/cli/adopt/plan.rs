//! Which camera here each camera of another cluster becomes. Pure.

use crate::terminal::error::{CliError, ExitKind};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// A camera on the disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Theirs {
    pub(super) camera: CameraId,
    /// Oldest first; empty if none are kept.
    pub(super) names: Vec<String>,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) bytes: u64,
}

/// A camera here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: CameraId,
    pub(super) name: String,
    /// If not, it was deleted.
    pub(super) is_recorded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// Its footage goes to this camera.
    Ours { id: CameraId, name: String },
    /// A deleted camera with a number of its own.
    OfItsOwn,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) theirs: Theirs,
    pub(super) name: String,
    pub(super) becomes: Becomes,
    /// A mapping that the operator may have meant.
    pub(super) hint: Option<String>,
}

impl fmt::Display for Becomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours { id, name } => write!(f, "camera {id} ({name})"),
            Self::OfItsOwn => f.write_str("a deleted camera of its own"),
        }
    }
}

/// # Errors
/// A mapping names no camera, several, or one twice.
pub(super) fn plan(
    theirs: &[Theirs],
    maps: &[(String, String)],
    known: &[Known],
) -> Result<Vec<Planned>, CliError> {
    let mut mapped: BTreeMap<CameraId, &Known> = BTreeMap::new();
    for (from, to) in maps {
        let (from, to) = (their(theirs, from)?, our(known, to)?);
        if let Some((other, _)) = mapped.iter().find(|(_, known)| known.id == to.id) {
            let message = format!(
                "camera {} ({}) cannot be both their cameras {other} and {}",
                to.id, to.name, from.camera
            );
            return Err(CliError::usage(message).hint("leave one of them a camera of its own"));
        }
        if mapped.insert(from.camera, to).is_some() {
            return Err(CliError::usage(format!(
                "their camera {} is mapped twice",
                from.camera
            )));
        }
    }
    let planned = theirs.iter().map(|theirs| {
        let name = theirs
            .names
            .last()
            .cloned()
            .unwrap_or_else(|| format!("camera {}", theirs.camera));
        let becomes = match mapped.get(&theirs.camera) {
            Some(known) => Becomes::Ours {
                id: known.id,
                name: known.name.clone(),
            },
            None => Becomes::OfItsOwn,
        };
        let is_taken = |known: &Known| mapped.values().any(|mapped| mapped.id == known.id);
        let same = known
            .iter()
            .find(|known| known.is_recorded && known.name == name && !is_taken(known));
        let hint = same.filter(|_| becomes == Becomes::OfItsOwn).map(|known| {
            format!(
                "their camera {0} has the name of camera {1} here: --map {0}={1} shows its footage \
                 as that camera's",
                theirs.camera, known.id
            )
        });
        Planned {
            theirs: theirs.clone(),
            name,
            becomes,
            hint,
        }
    });
    Ok(planned.collect())
}

fn their<'a>(theirs: &'a [Theirs], text: &str) -> Result<&'a Theirs, CliError> {
    let number = text.parse().ok();
    let by_number = theirs.iter().filter(|theirs| Some(theirs.camera) == number);
    let newest = theirs
        .iter()
        .filter(|theirs| theirs.names.last().is_some_and(|name| name == text));
    let any = theirs
        .iter()
        .filter(|theirs| theirs.names.iter().any(|name| name == text));
    one(
        "on the disks",
        text,
        [by_number.collect(), newest.collect(), any.collect()],
        |theirs| theirs.camera,
    )
}

fn our<'a>(known: &'a [Known], text: &str) -> Result<&'a Known, CliError> {
    let number = text.parse().ok();
    let by_number = known.iter().filter(|known| Some(known.id) == number);
    let recorded = known
        .iter()
        .filter(|known| known.is_recorded && known.name == text);
    let deleted = known.iter().filter(|known| known.name == text);
    one(
        "here",
        text,
        [by_number.collect(), recorded.collect(), deleted.collect()],
        |known| known.id,
    )
}

/// Picks from the first list that has any.
fn one<'a, T>(
    place: &str,
    text: &str,
    lists: [Vec<&'a T>; 3],
    id: impl Fn(&T) -> CameraId,
) -> Result<&'a T, CliError> {
    let found = lists
        .into_iter()
        .find(|list| !list.is_empty())
        .unwrap_or_default();
    match found[..] {
        [one] => Ok(one),
        [] => Err(CliError::new(
            ExitKind::NotFound,
            format!("--map: there is no camera `{text}` {place}"),
        )),
        _ => {
            let numbers: Vec<String> = found.iter().map(|found| id(found).to_string()).collect();
            let message = format!(
                "--map: `{text}` {place} is the name of several: {}",
                numbers.join(", ")
            );
            Err(CliError::usage(message).hint("give a number"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(camera: u32, names: &[&str]) -> Theirs {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Theirs {
            camera: CameraId(camera),
            names,
            from: Timestamp(1),
            to: Timestamp(2),
            bytes: 3,
        }
    }

    fn known(id: u32, name: &str, is_recorded: bool) -> Known {
        Known {
            id: CameraId(id),
            name: name.to_owned(),
            is_recorded,
        }
    }

    fn made(maps: &[(&str, &str)]) -> Result<Vec<(u32, String)>, CliError> {
        let maps: Vec<_> = maps
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        let disks = [
            theirs(1, &["gate"]),
            theirs(3, &["lift", "yard"]),
            theirs(4, &[]),
        ];
        let here = [
            known(1, "yard", true),
            known(2, "door", true),
            known(7, "attic", false),
            known(8, "door", false),
        ];
        let planned = plan(&disks, &maps, &here)?;
        Ok(planned
            .into_iter()
            .map(|planned| (planned.theirs.camera.0, planned.becomes.to_string()))
            .collect())
    }

    #[test]
    fn a_camera_is_mapped_by_name_or_number_and_the_rest_are_their_own() {
        let own = "a deleted camera of its own";
        assert_eq!(
            made(&[])
                .unwrap()
                .iter()
                .filter(|(_, becomes)| becomes == own)
                .count(),
            3
        );
        let mapped = made(&[("yard", "yard"), ("4", "attic")]).unwrap();
        assert_eq!(mapped[1], (3, "camera 1 (yard)".to_owned()));
        assert_eq!(mapped[2], (4, "camera 7 (attic)".to_owned()));
        assert_eq!(
            made(&[("lift", "2")]).unwrap()[1].1,
            "camera 2 (door)",
            "its name before"
        );
        assert_eq!(
            made(&[("1", "door")]).unwrap()[0].1,
            "camera 2 (door)",
            "the one that is recorded"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let message = |maps: &[(&str, &str)]| made(maps).unwrap_err().message;
        assert!(message(&[("cellar", "1")]).contains("`cellar` on the disks"));
        assert!(message(&[("gate", "9")]).contains("`9` here"));
        assert!(message(&[("gate", "1"), ("yard", "1")]).contains("cannot be both"));
        assert!(message(&[("gate", "1"), ("1", "2")]).contains("mapped twice"));
    }

    #[test]
    fn a_camera_of_the_same_name_is_pointed_out() {
        let here = [known(12, "yard", true)];
        let planned = plan(&[theirs(3, &["yard"])], &[], &here).unwrap();
        assert!(
            planned[0].hint.as_ref().unwrap().contains("--map 3=12"),
            "{planned:?}"
        );
        let maps = [("yard".to_owned(), "12".to_owned())];
        assert_eq!(
            plan(&[theirs(3, &["yard"])], &maps, &here).unwrap()[0].hint,
            None
        );
    }
}
