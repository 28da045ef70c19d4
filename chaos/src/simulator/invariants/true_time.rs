//! A recorder whose recorded time ran ahead comes back to true time, once its node's clock has been
//! certain for a while.

use super::{Invariant, Seen, Site};
use crate::simulator::EPOCH;
use holdfast_node::capture::ingest::wall::AHEAD_US_MAX;
use holdfast_storage::ids::{CameraId, NodeId};
use std::time::Duration;

/// To ask for a new epoch, to be given one, and to get the keyframe that it begins with.
const WITHIN: Duration = Duration::from_secs(25);

pub(super) struct TrueTime;

impl Invariant for TrueTime {
    fn name(&self) -> &'static str {
        "recorded time comes back to true time"
    }

    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        if !matches!(seen, Seen::Settled) || !site.world.has_majority() {
            return Ok(());
        }
        match ahead(site) {
            Some((node, camera, by_s)) => Err(format!(
                "node {node} records camera {camera} {by_s} s ahead, though its clock is certain"
            )),
            None => Ok(()),
        }
    }
}

fn ahead(site: &Site<'_>) -> Option<(NodeId, CameraId, i64)> {
    let now = EPOCH.plus(site.now());
    let is_certain =
        |since: Option<Duration>| since.is_some_and(|since| site.now() >= since + WITHIN);
    let running = site
        .world
        .machines
        .values()
        .filter(|machine| machine.is_running());
    let certain = running.filter_map(|machine| Some((machine.id, machine.process.as_ref()?)));
    let mut recorders = certain
        .filter(|(_, process)| is_certain(process.known.certain_since))
        .flat_map(|(node, process)| {
            process
                .recorders
                .iter()
                .map(move |(camera, recorder)| (node, *camera, recorder))
        });
    recorders.find_map(|(node, camera, recorder)| {
        let assignment = site.world.truth().assignments.get(camera)?;
        let is_its_own = [assignment.owner, assignment.mirror].contains(&Some(node))
            && assignment.handoff.is_none();
        let ahead_us = recorder.status().received_until?.micros_since(now);
        (is_its_own && recorder.is_recording() && ahead_us > AHEAD_US_MAX).then_some((
            node,
            camera,
            ahead_us / 1_000_000,
        ))
    })
}
