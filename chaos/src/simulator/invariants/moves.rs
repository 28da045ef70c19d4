//! No move storms: a camera changes its owner at most once a minute, unless that owner died or was in trouble of its own.

use super::{Invariant, Seen, Site};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(60);
/// What a node's trouble may bring about comes within this time.
const ECHO: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Moves {
    last: BTreeMap<CameraId, (Duration, NodeId, NodeId)>,
}

impl Invariant for Moves {
    fn name(&self) -> &'static str {
        "no move storms"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Decided { before, after } => self.decided(site, before, after),
            _ => Ok(()),
        }
    }
}

impl Moves {
    fn decided(&mut self, site: &Site<'_>, before: &ClusterState, after: &ClusterState) -> Result<(), String> {
        for (camera, now) in after.assignments.iter() {
            let owner = before.assignments.get(camera).and_then(|was| was.owner);
            let Some((from, to)) = owner.zip(now.owner).filter(|(from, to)| from != to) else { continue };
            self.moved(site, camera, from, to)?;
        }
        Ok(())
    }

    fn moved(&mut self, site: &Site<'_>, camera: CameraId, from: NodeId, to: NodeId) -> Result<(), String> {
        let now = site.now();
        let last = self.last.insert(camera, (now, from, to));
        let Some((at, first, _)) = last.filter(|(at, ..)| now.saturating_sub(*at) < INTERVAL) else { return Ok(()) };
        if site.world.trouble.of_node(from, now.saturating_sub(ECHO)) {
            return Ok(());
        }
        let since = now.saturating_sub(at).as_millis();
        Err(format!(
            "camera {camera} went from node {first} to {from}, and {since} ms later on to {to}, though nothing was wrong with node {from}"
        ))
    }
}
