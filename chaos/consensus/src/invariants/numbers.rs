//! No camera number is given twice along the log: otherwise footage would become another camera's.

use super::{Invariant, Seen};
use holdfast_storage::ids::CameraId;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Numbers {
    next: u64,
    given: BTreeSet<CameraId>,
    /// The cameras after the previous entry.
    there: BTreeSet<CameraId>,
}

impl Invariant for Numbers {
    fn name(&self) -> &'static str {
        "no camera number is given twice"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        // Each entry once, from the node that reports it first: [`super::one_log`] checks that the
        // others agree.
        let entry = match seen {
            Seen::Applied { entry, .. } if entry.index == self.next => entry,
            _ => return Ok(()),
        };
        self.next += 1;
        let before = std::mem::replace(&mut self.there, entry.cameras.iter().copied().collect());
        let new: Vec<CameraId> = self.there.difference(&before).copied().collect();
        match new.into_iter().find(|camera| !self.given.insert(*camera)) {
            Some(camera) => Err(format!(
                "number {camera} is given to a second camera at entry {}",
                entry.index
            )),
            None => Ok(()),
        }
    }
}
