//! A camera that its owner does not record does not delay a drain: it has nothing to lose, and is
//! given to another node at once.

use super::{Invariant, Seen, Site};
use holdfast_consensus::model::{Duty, Role};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The leader has decided by then.
const AT_ONCE: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(super) struct Drains {
    /// Since when nodes are drained.
    draining: BTreeMap<NodeId, Duration>,
    /// When cameras were recorded last.
    recorded: BTreeMap<CameraId, Duration>,
}

impl Invariant for Drains {
    fn name(&self) -> &'static str {
        "offline cameras hold up no drain"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Decided { after, .. } => {
                self.decided(site.now(), after);
                Ok(())
            }
            Seen::Sent {
                camera,
                recording: [],
                ..
            } => self.unrecorded(site, *camera),
            Seen::Sent { camera, .. } => {
                self.recorded.insert(*camera, site.now());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Drains {
    fn decided(&mut self, now: Duration, after: &ClusterState) {
        let is_drained = |node: NodeId| {
            after
                .nodes
                .get(node)
                .is_some_and(|node| node.duty == Duty::Draining)
        };
        self.draining.retain(|node, _| is_drained(*node));
        for node in after.nodes.keys().filter(|node| is_drained(*node)) {
            self.draining.entry(node).or_insert(now);
        }
    }

    fn unrecorded(&self, site: &Site<'_>, camera: CameraId) -> Result<(), String> {
        let truth = site.world.truth();
        let Some(owner) = truth.assignments.get(camera).and_then(|now| now.owner) else {
            return Ok(());
        };
        let is_long_ago = |at: Option<&Duration>| {
            site.now().saturating_sub(at.copied().unwrap_or_default()) > AT_ONCE
        };
        let Some(since) = self.draining.get(&owner) else {
            return Ok(());
        };
        if !is_long_ago(Some(since)) || !is_long_ago(self.recorded.get(&camera)) {
            return Ok(());
        }
        let since = site.now().saturating_sub(AT_ONCE);
        let is_quiet = site
            .world
            .machines
            .keys()
            .all(|node| !site.world.trouble.of_node(*node, since));
        if is_quiet && !truth.drills.running.contains(camera) && has_heir(site, owner) {
            return Err(format!(
                "camera {camera}, which no node records, still keeps node {owner}"
            ));
        }
        Ok(())
    }
}

/// Whether another node has room for every camera.
fn has_heir(site: &Site<'_>, owner: NodeId) -> bool {
    let truth = site.world.truth();
    let room = truth.cameras.len() as u32 * 2;
    truth.nodes.iter().any(|(id, node)| {
        let is_fit = site.world.machines.get(&id).is_some_and(|machine| {
            machine.is_running() && !machine.is_volume_failed && !machine.is_old
        });
        let takes = node.duty == Duty::Active
            && node.spec.role == Role::Recorder
            && node.spec.camera_capacity >= room;
        id != owner && is_fit && takes
    })
}
