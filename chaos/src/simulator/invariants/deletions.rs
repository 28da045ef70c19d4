//! Nothing is deleted for its age before its time: all footage of a run is minutes old, whatever
//! the clocks say.
//!
//! Where no process on the volume was certain of its clock before, a stamp is all there is of a
//! segment's age: one that was written by a clock that was behind goes as soon as another process
//! is certain. That does not count.

use super::{Invariant, Seen, Site};
use crate::simulator::EPOCH;
use holdfast_storage::retention::TOLERANCE;

pub(super) struct Deletions;

impl Invariant for Deletions {
    fn name(&self) -> &'static str {
        "nothing is deleted before its time"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Deleted { node, deleted } = seen else {
            return Ok(());
        };
        let true_now = EPOCH.plus(site.now());
        if !deleted.is_marked
            && deleted.now.micros_since(true_now).unsigned_abs() < TOLERANCE.as_micros() as u64
        {
            return Ok(());
        }
        Err(format!(
            "node {node} deletes a segment of {}, because it takes the time for {}, and it is \
             {true_now}",
            deleted.stamped, deleted.now
        ))
    }
}
