//! A limit that was mistyped between two lives, so that almost nothing may stay: no more is deleted
//! than usual, which is the amount that arrived, a tenth of what is stored, and a segment or two.

use crate::removed::Gone;
use holdfast_storage::simulation::{SimulatedDisk, segment_of};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Of one class, in bytes.
#[derive(Default)]
struct Class {
    stored: u64,
    came: u64,
    went: u64,
    largest: u64,
}

/// The segments that existed when the limit was mistyped.
pub(crate) struct Before(BTreeMap<PathBuf, u64>);

impl Before {
    pub(crate) fn of(disk: &SimulatedDisk) -> Self {
        Self(segments(disk).into_iter().collect())
    }

    /// Checks what is left at the end of a life in which the segments in `gone` were deleted.
    ///
    /// # Errors
    /// More was deleted than usual.
    pub(crate) fn check(&self, disk: &SimulatedDisk, gone: &[Gone]) -> Result<(), String> {
        let mut classes: BTreeMap<PathBuf, Class> = BTreeMap::new();
        let mut add = |path: &Path, bytes: u64, count: fn(&mut Class) -> &mut u64| {
            let class = classes
                .entry(path.parent().unwrap_or(path).to_owned())
                .or_default();
            *count(class) += bytes;
            class.largest = class.largest.max(bytes);
        };
        self.0
            .iter()
            .for_each(|(path, bytes)| add(path, *bytes, |class| &mut class.stored));
        let new = |path: &Path| !self.0.contains_key(path);
        segments(disk)
            .into_iter()
            .filter(|(path, _)| new(path))
            .for_each(|(path, bytes)| add(&path, bytes, |class| &mut class.came));
        for Gone { path, bytes } in gone {
            add(path, *bytes, |class| &mut class.went);
            if new(path) {
                add(path, *bytes, |class| &mut class.came);
            }
        }
        let is_much = |class: &(&PathBuf, &Class)| {
            let Class {
                stored,
                came,
                went,
                largest,
            } = *class.1;
            went > came + (stored + came) / 10 + 2 * largest
        };
        match classes.iter().find(|class| is_much(class)) {
            None => Ok(()),
            Some((
                path,
                Class {
                    stored, came, went, ..
                },
            )) => Err(format!(
                "{went} of {stored} bytes in {} were deleted at once, and {came} came in",
                path.display()
            )),
        }
    }
}

/// Each segment with the bytes written to it: more is reserved for an open one.
fn segments(disk: &SimulatedDisk) -> Vec<(PathBuf, u64)> {
    let paths = disk
        .files()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| segment_of(path).is_some());
    paths
        .map(|path| {
            (
                path.clone(),
                disk.contents(&path).map_or(0, |bytes| written(&bytes)),
            )
        })
        .collect()
}

pub(crate) fn written(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1)
}
