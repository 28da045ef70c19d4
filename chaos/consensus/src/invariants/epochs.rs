//! Epochs of a camera only grow along the log.

use super::{Invariant, Seen};
use holdfast_storage::ids::{CameraId, Epoch};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Epochs {
    next: u64,
    last: BTreeMap<CameraId, Epoch>,
}

impl Invariant for Epochs {
    fn name(&self) -> &'static str {
        "epochs grow"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        // Each entry once, from the node that reports it first: [`super::one_log`] checks that the
        // others agree.
        let entry = match seen {
            Seen::Applied { entry, .. } if entry.index == self.next => entry,
            _ => return Ok(()),
        };
        self.next += 1;
        for (camera, epoch) in &entry.epochs {
            match self.last.insert(*camera, *epoch) {
                Some(before) if before > *epoch => {
                    return Err(format!(
                        "camera {camera} went from epoch {before} to {epoch} at entry {}",
                        entry.index
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
