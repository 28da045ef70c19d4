//! Footage is not deleted for its age too early: all footage of a run is minutes old, whatever the
//! clocks say.

use super::{Invariant, Seen, Site};
use crate::simulator::EPOCH;

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
        Err(format!(
            "node {node} deletes a segment of {}, because it takes the time for {}, and it is \
             {true_now}",
            deleted.stamped, deleted.now
        ))
    }
}
