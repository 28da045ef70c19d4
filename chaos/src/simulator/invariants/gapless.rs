//! A gapless camera that two nodes record loses no frame to the trouble of one: it takes two nodes
//! in trouble within [`AT_ONCE`] to lose both. Not checked while the camera is held back: in
//! quarantine both leave it.

use super::{Invariant, Seen, Site};
use holdfast_consensus::model::Protection;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The time in which a camera that lost one of its recorders may not have another yet.
const AT_ONCE: Duration = Duration::from_secs(25);
/// The time within which a node's trouble has its effects.
const ECHO: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Gapless {
    /// When two nodes last recorded a camera.
    both_at: BTreeMap<CameraId, Duration>,
}

impl Invariant for Gapless {
    fn name(&self) -> &'static str {
        "gapless cameras never lose both recorders"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Sent {
                camera, recording, ..
            } => self.sent(site, *camera, recording),
            Seen::Decided { before, after } => {
                self.both_at
                    .retain(|camera, _| !gave_way(site, *camera, before, after));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// It lost its mirror to a more important camera, or because owner and mirror came to be in one
/// failure domain and there is no other: from then on it has one recorder only. Whether it should
/// have two again is checked by `recorded_again`.
fn gave_way(
    site: &Site<'_>,
    camera: CameraId,
    before: &ClusterState,
    after: &ClusterState,
) -> bool {
    let mirror = |state: &ClusterState| state.assignments.get(camera).and_then(|now| now.mirror);
    let is_well = |node| {
        !site
            .world
            .trouble
            .of_node(node, site.now().saturating_sub(ECHO))
    };
    mirror(after).is_none() && mirror(before).is_some_and(is_well)
}

impl Gapless {
    fn sent(
        &mut self,
        site: &Site<'_>,
        camera: CameraId,
        recording: &[NodeId],
    ) -> Result<(), String> {
        let spec = site
            .world
            .truth()
            .cameras
            .get(camera)
            .map(|camera| &camera.spec);
        if spec.is_none_or(|spec| spec.protection != Protection::Gapless) {
            return Ok(());
        }
        if site.is_held_back(camera) {
            self.both_at.remove(&camera);
            return Ok(());
        }
        // A mirror that has lost its place records for a moment longer.
        let has_mirror = site
            .world
            .truth()
            .assignments
            .get(camera)
            .is_some_and(|now| now.mirror.is_some());
        if recording.len() >= 2 && has_mirror {
            self.both_at.insert(camera, site.now());
        }
        let both_at = self.both_at.get(&camera).copied();
        let Some(both_at) =
            both_at.filter(|at| recording.is_empty() && site.now().saturating_sub(*at) <= AT_ONCE)
        else {
            return Ok(());
        };
        let since = both_at.saturating_sub(ECHO);
        let in_trouble: Vec<NodeId> = site
            .world
            .machines
            .keys()
            .copied()
            .filter(|node| {
                site.world.trouble.of_node(*node, since)
                    || site.world.trouble.of_sight(*node, camera, since)
            })
            .collect();
        if in_trouble.len() >= 2 {
            return Ok(());
        }
        Err(format!(
            "no node records camera {camera}; two nodes did at {:.3} s, and only {in_trouble:?} \
             had trouble",
            both_at.as_secs_f64()
        ))
    }
}
