//! No camera number is given twice: footage would belong to another camera.

use super::{Invariant, Seen, Site};
use holdfast_storage::ids::CameraId;
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Numbers {
    given: BTreeSet<CameraId>,
}

impl Invariant for Numbers {
    fn name(&self) -> &'static str {
        "no camera number is given twice"
    }

    fn see(&mut self, _: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Decided { before, after } = seen else {
            return Ok(());
        };
        let new = after
            .cameras
            .keys()
            .filter(|camera| !before.cameras.contains(*camera));
        match new.filter(|camera| !self.given.insert(*camera)).min() {
            Some(camera) => Err(format!("number {camera} is given to a second camera")),
            None => Ok(()),
        }
    }
}
