//! A camera that ends processes is held back as documented: a node that knows of its quarantine
//! does not try it, and a suspect ends one process in its turn (two if two nodes record it, each of
//! which has turns of its own), while a majority can record that it did.
//!
//! A node that has just started uses the state of its last process, and may try the camera once
//! more before it hears of the quarantine, as recording does not wait for a leader. Such attempts
//! do not count.

use super::{Invariant, Seen, Site};
use crate::simulator::recorder::Tried;
use holdfast_consensus::model::{Protection, Treatment};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A process that has run for this long knows the cluster's state.
const INFORMED: Duration = Duration::from_secs(5);

/// While a majority votes for so long, a process that ended is noted.
const NOTED_WITHIN: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct DeadlyCameras {
    /// Processes that ended though their nodes knew that the camera is a suspect, since it became
    /// one, and when the last of them did. One that could not be noted before the next ended does
    /// not count.
    suspected: BTreeMap<CameraId, (Vec<NodeId>, Duration)>,
    /// Since when a majority votes without a break.
    majority_since: Option<Duration>,
}

impl Invariant for DeadlyCameras {
    fn name(&self) -> &'static str {
        "deadly cameras are held back"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Decided { before, after } => {
                self.suspected
                    .retain(|camera, _| !begins_again(*camera, before, after));
                Ok(())
            }
            Seen::Sent { .. } if site.world.has_majority() => {
                self.majority_since.get_or_insert(site.now());
                Ok(())
            }
            Seen::Sent { .. } => {
                self.majority_since = None;
                Ok(())
            }
            Seen::Killed {
                camera,
                node,
                tried: Some(tried),
            } => self.killed(site, *camera, *node, *tried),
            _ => Ok(()),
        }
    }
}

/// Whether the suspicion changed: cleared, or in quarantine once more. Then counting begins again.
fn begins_again(camera: CameraId, before: &ClusterState, after: &ClusterState) -> bool {
    before.suspicions.get(camera) != after.suspicions.get(camera)
}

impl DeadlyCameras {
    fn killed(
        &mut self,
        site: &Site<'_>,
        camera: CameraId,
        node: NodeId,
        tried: Tried,
    ) -> Result<(), String> {
        match tried.knew {
            Treatment::Quarantined { until } => Err(format!(
                "node {node} tried camera {camera}, which is in quarantine until {until}"
            )),
            Treatment::Suspect if tried.uptime >= INFORMED => self.in_turn(site, camera, node),
            Treatment::Suspect | Treatment::Usual => Ok(()),
        }
    }

    fn in_turn(&mut self, site: &Site<'_>, camera: CameraId, node: NodeId) -> Result<(), String> {
        let now = site.now();
        let majority_since = self.majority_since;
        let (suspected, ended_at) = self.suspected.entry(camera).or_default();
        let could_be_noted = majority_since
            .is_some_and(|since| now.saturating_sub(since.max(*ended_at)) >= NOTED_WITHIN);
        if !could_be_noted {
            suspected.pop();
        }
        suspected.push(node);
        *ended_at = now;
        let spec = site
            .world
            .truth()
            .cameras
            .get(camera)
            .map(|camera| &camera.spec);
        let is_gapless = spec.is_some_and(|spec| spec.protection == Protection::Gapless);
        if suspected.len() <= 1 + usize::from(is_gapless) {
            return Ok(());
        }
        Err(format!(
            "camera {camera}, a suspect, ended processes of the nodes {suspected:?}, and is not in \
             quarantine"
        ))
    }
}
