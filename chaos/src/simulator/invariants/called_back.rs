//! Once the site is well again, only assigned nodes record: provisional recordings are called back,
//! replaced recorders have stopped.

use super::{Invariant, Seen, Site};
use holdfast_storage::ids::{CameraId, NodeId};

pub(super) struct CalledBack;

impl Invariant for CalledBack {
    fn name(&self) -> &'static str {
        "who is not asked to records nothing"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen, Seen::Settled) || !site.world.has_majority() {
            return Ok(());
        }
        // A node that was removed while it was away does not know it.
        let members = &site.world.truth().nodes;
        let running = site
            .world
            .machines
            .values()
            .filter(|node| node.is_running() && members.contains(node.id));
        let mut recorders = running.flat_map(|machine| {
            let process = machine.process.iter();
            process
                .flat_map(|process| process.recorders.keys())
                .map(|camera| (machine.id, *camera))
        });
        match recorders.find(|(node, camera)| {
            !is_asked(site, *node, *camera) && !is_alone(site, *node, *camera)
        }) {
            Some((node, camera)) => {
                let now = site.world.truth().assignments.get(camera);
                Err(format!(
                    "node {node} still records camera {camera}: {now:?}"
                ))
            }
            None => Ok(()),
        }
    }
}

/// A node whose directory was put back does not know the current state, and records cameras that no
/// other node records.
fn is_alone(site: &Site<'_>, node: NodeId, camera: CameraId) -> bool {
    let others = site
        .world
        .machines
        .values()
        .filter(|machine| machine.id != node && machine.is_running());
    let mut processes = others.filter_map(|machine| machine.process.as_ref());
    let is_recorded = processes.any(|process| {
        process
            .recorders
            .get(&camera)
            .is_some_and(|recorder| recorder.is_recording())
    });
    site.world
        .machines
        .get(&node)
        .is_some_and(|machine| machine.is_old)
        && !is_recorded
}

fn is_asked(site: &Site<'_>, node: NodeId, camera: CameraId) -> bool {
    let now = site.world.truth().assignments.get(camera);
    now.is_some_and(|now| {
        let has_part =
            [now.owner, now.mirror, now.handoff.map(|handoff| handoff.to)].contains(&Some(node));
        // The owner may be one of those that stay dead.
        let stands_in = now.successor == Some(node)
            && now.owner.is_some_and(|owner| !site.world.is_running(owner));
        has_part || stands_in
    })
}
