//! Once faults have ended, every camera that healthy nodes reach and have room for is recorded
//! again within the budget. One that only a few of many reach is looked for from node to node,
//! which may take longer.

use super::{Invariant, Seen, Site};
use crate::simulator::recorder::FRAME_INTERVAL;
use crate::simulator::world::World;
use holdfast_consensus::model::{Duty, Role};
use holdfast_storage::ids::{CameraId, NodeId};
use std::time::Duration;

/// The newest durable frame is this old at most: a GOP, a chunk, and a flush.
const FRESH: Duration = Duration::from_secs(6);

pub(super) struct RecordedAgain;

impl Invariant for RecordedAgain {
    fn name(&self) -> &'static str {
        "cameras are recorded again"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Settled if site.world.has_majority() => every_camera(site.world),
            _ => Ok(()),
        }
    }
}

/// Nodes that could record, with their room.
fn fit(world: &World) -> Vec<(NodeId, u32)> {
    let nodes = world.truth().nodes.iter().filter(|(id, node)| {
        let machine = world.machines.get(id);
        let is_healthy = machine.is_some_and(|machine| {
            machine.is_running() && !machine.is_volume_failed && !machine.is_old
        });
        is_healthy && node.duty == Duty::Active && node.spec.role == Role::Recorder
    });
    nodes
        .map(|(id, node)| (id, node.spec.camera_capacity))
        .collect()
}

fn every_camera(world: &World) -> Result<(), String> {
    let (fit, cameras) = (fit(world), world.truth().cameras.len() as u32);
    let missing: Vec<CameraId> = world
        .truth()
        .cameras
        .keys()
        .filter(|camera| !is_recorded(world, *camera))
        .collect();
    let reaches = |node: NodeId, camera| world.network.reaches(node, camera);
    // A node with room for every camera has room for this one.
    let has_room = |camera: CameraId| {
        fit.iter()
            .any(|(node, room)| *room >= cameras * 2 && reaches(*node, camera))
    };
    let is_near = |camera: CameraId| {
        fit.iter()
            .filter(|(node, _)| reaches(*node, camera))
            .count()
            * 2
            >= fit.len()
    };
    let roomy = |camera: CameraId| has_room(camera) && is_near(camera);
    if let Some(camera) = missing.iter().find(|camera| roomy(**camera)) {
        let now = world.truth().assignments.get(*camera);
        return Err(format!("camera {camera} is not, and could be: {now:?}"));
    }
    let is_open = world
        .truth()
        .cameras
        .keys()
        .all(|camera| fit.iter().all(|(node, _)| reaches(*node, camera)));
    let room: u32 = fit.iter().map(|(_, room)| *room).sum();
    let recorded = cameras - missing.len() as u32;
    // The mirror of an important camera may outweigh the only recorder of another.
    let mirrors = world
        .truth()
        .assignments
        .values()
        .filter(|now| now.mirror.is_some())
        .count() as u32;
    if is_open && recorded + mirrors < cameras.min(room) {
        return Err(format!(
            "{recorded} of {cameras} are, with room for {room}; not: {missing:?}"
        ));
    }
    Ok(())
}

fn is_recorded(world: &World, camera: CameraId) -> bool {
    let newest = world
        .stored(camera)
        .and_then(|frames| frames.last())
        .copied()
        .unwrap_or(0);
    let sent = world.sent(camera);
    FRAME_INTERVAL * u32::try_from(sent.saturating_sub(newest)).unwrap_or(u32::MAX) <= FRESH
}
