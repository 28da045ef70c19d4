//! Every drill ends: once the site is well again, none runs any more. That it costs no frame is
//! `make_before_break`'s.

use super::{Invariant, Seen, Site};

pub(super) struct Drills;

impl Invariant for Drills {
    fn name(&self) -> &'static str {
        "drills end"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen, Seen::Settled) || !site.world.has_majority() {
            return Ok(());
        }
        match site.world.truth().drills.running.iter().next() {
            Some((camera, running)) => Err(format!(
                "the drill of camera {camera} still runs: {running:?}"
            )),
            None => Ok(()),
        }
    }
}
