//! A recorder without trouble does not release its camera before another node records it, whatever
//! others believe of its node, unless the camera is held back because it may be deadly.

use super::{Invariant, Seen, Site};
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The time within which a node's trouble has its effects.
const ECHO: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct MakeBeforeBreak {
    /// Which nodes recorded the last recorded frame of each camera.
    last: BTreeMap<CameraId, Vec<NodeId>>,
}

impl Invariant for MakeBeforeBreak {
    fn name(&self) -> &'static str {
        "make before break"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            // Released for lack of room: its next recorder begins again.
            Seen::Decided { after, .. } => {
                self.last.retain(|camera, _| {
                    after
                        .assignments
                        .get(*camera)
                        .is_some_and(|now| now.owner.is_some())
                });
                Ok(())
            }
            Seen::Sent {
                camera,
                recording: [],
                ..
            } => self.unrecorded(site, *camera),
            Seen::Sent {
                camera, recording, ..
            } => {
                let recording = recording
                    .iter()
                    .copied()
                    .filter(|node| has_had_part(site, *camera, *node))
                    .collect();
                self.last.insert(*camera, recording);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl MakeBeforeBreak {
    fn unrecorded(&mut self, site: &Site<'_>, camera: CameraId) -> Result<(), String> {
        if site.is_held_back(camera) {
            self.last.remove(&camera);
        }
        let Some(last) = self.last.get(&camera) else {
            return Ok(());
        };
        let since = site.now().saturating_sub(ECHO);
        let is_well = |node: &&NodeId| {
            let had_trouble = site.world.trouble.of_node(**node, since)
                || site.world.trouble.of_sight(**node, camera, since);
            !had_trouble && has_room(site, **node) && !is_excused(site, camera, **node, since)
        };
        match last.iter().find(is_well) {
            Some(node) => Err(format!(
                "no node records camera {camera} any more, and node {node}, which did, had no \
                 trouble"
            )),
            // A recorder that begins again later has not released anything now.
            None => {
                self.last.remove(&camera);
                Ok(())
            }
        }
    }
}

/// It released the camera to an owner that had proved itself, and that fell into trouble right
/// after.
fn is_excused(site: &Site<'_>, camera: CameraId, node: NodeId, since: Duration) -> bool {
    let Some(now) = site.world.truth().assignments.get(camera) else {
        return true;
    };
    let has_part =
        [now.owner, now.mirror, now.handoff.map(|handoff| handoff.to)].contains(&Some(node));
    !has_part
        && now
            .owner
            .is_some_and(|owner| site.world.trouble.of_node(owner, since))
}

/// A camera that it was given in the meantime may have taken the place.
fn has_room(site: &Site<'_>, node: NodeId) -> bool {
    let truth = site.world.truth();
    let taken = truth
        .assignments
        .values()
        .filter(|now| [now.owner, now.mirror].contains(&Some(node)))
        .count();
    truth
        .nodes
        .get(node)
        .is_some_and(|node| taken < node.spec.camera_capacity as usize)
}

/// Not a node that only stands in: it stops once the owner is back for a while (`CALL_BACK_AFTER`),
/// with or without proof.
fn has_had_part(site: &Site<'_>, camera: CameraId, node: NodeId) -> bool {
    let truth = site.world.truth();
    let now = truth
        .assignments
        .get(camera)
        .filter(|now| now.owner.is_some());
    // The owner, or the previous one, which records until the owner proves itself.
    let has_owned = truth
        .tenures(camera)
        .iter()
        .rev()
        .take(2)
        .any(|tenure| tenure.node == node);
    now.is_some_and(|now| has_owned || now.mirror == Some(node))
}
