//! No move storms: but for drills, and owners that died, were in trouble of their own or were
//! drained, a camera changes its owner at most once a minute.

use super::{Invariant, Seen, Site};
use holdfast_consensus::model::Duty;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(60);
/// The time within which a node's trouble has its effects.
const ECHO: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Moves {
    last: BTreeMap<CameraId, (Duration, NodeId)>,
    /// When nodes were last drained.
    off_duty: BTreeMap<NodeId, Duration>,
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
    fn decided(
        &mut self,
        site: &Site<'_>,
        before: &ClusterState,
        after: &ClusterState,
    ) -> Result<(), String> {
        let off_duty = before
            .nodes
            .values()
            .filter(|node| node.duty != Duty::Active);
        self.off_duty
            .extend(off_duty.map(|node| (node.id, site.now())));
        for (camera, now) in after.assignments.iter() {
            let owner = before.assignments.get(camera).and_then(|was| was.owner);
            if let Some((from, to)) = owner.zip(now.owner).filter(|(from, to)| from != to) {
                if [before, after]
                    .iter()
                    .any(|state| state.drills.running.contains(camera))
                {
                    continue;
                }
                self.moved(site, camera, from, to)?;
            }
        }
        Ok(())
    }

    fn moved(
        &mut self,
        site: &Site<'_>,
        camera: CameraId,
        from: NodeId,
        to: NodeId,
    ) -> Result<(), String> {
        let now = site.now();
        let since = now.saturating_sub(ECHO);
        let was_drained = self.off_duty.get(&from).is_some_and(|at| *at >= since);
        if was_drained || site.world.trouble.of_node(from, since) {
            return Ok(());
        }
        let last = self.last.insert(camera, (now, from));
        let Some((at, first)) = last.filter(|(at, _)| now.saturating_sub(*at) < INTERVAL) else {
            return Ok(());
        };
        let after_ms = now.saturating_sub(at).as_millis();
        Err(format!(
            "camera {camera} left node {first}, and {after_ms} ms later node {from} for {to}, \
             though nothing was wrong with either node"
        ))
    }
}
