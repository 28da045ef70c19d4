//! The state of the cluster, in one answer: the page for operators when something is wrong. Pure:
//! everything that is known comes in.
//!
//! The functions of [`LOOKS`] find what is wrong, with a file for each subject. To add a finding,
//! add a function there; its findings count for the verdict by their severity.

mod cameras;
mod mend;
mod nodes;
mod site;
#[cfg(test)]
mod tests;
mod volumes;

use holdfast_consensus::decide::headroom::{Cost, Headroom};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::state::ClusterState;
use holdfast_control_api::wire::{Disk, Finding, Mode, NextFailure, Severity, Status, StatusState};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

/// Findings that are listed at once.
const FINDINGS_MAX: usize = 1000;

/// Everything that a status is made of.
pub(crate) struct Known<'a> {
    pub(crate) now: Timestamp,
    pub(crate) state: &'a ClusterState,
    pub(crate) sight: &'a Sight,
    /// The leader, if its quorum is fresh.
    pub(crate) leader: Option<NodeId>,
    /// Why the answering node takes no part in what the cluster decides, unless only a leader is
    /// missing.
    pub(crate) no_part: Option<String>,
    /// `None` until it has been computed.
    pub(crate) headroom: Option<&'a Headroom>,
    /// Since when nodes do not answer, as this one saw it.
    pub(crate) down_since: BTreeMap<NodeId, Timestamp>,
    /// Of the nodes that answered.
    pub(crate) volumes: BTreeMap<NodeId, Vec<VolumeReport>>,
}

/// Looks for one kind of finding.
type Look = fn(&Known<'_>) -> Vec<Finding>;

/// Of equal severity, the findings of an earlier one come first.
const LOOKS: [Look; 11] = [
    cameras::not_recorded,
    site::takes_no_part,
    nodes::down,
    site::no_leader,
    volumes::bad,
    volumes::unknown,
    cameras::one_copy,
    site::too_little_headroom,
    nodes::clocks,
    nodes::out_of_duty,
    site::worth_knowing,
];

impl Known<'_> {
    pub(crate) fn mode(&self) -> Mode {
        mode(self.state)
    }

    pub(crate) fn node_name(&self, node: NodeId) -> String {
        self.state
            .nodes
            .get(node)
            .map_or_else(|| format!("node {node}"), |node| node.spec.name.to_string())
    }

    pub(crate) fn camera_name(&self, camera: CameraId) -> String {
        self.state.cameras.get(camera).map_or_else(
            || format!("camera {camera}"),
            |camera| camera.spec.name.to_string(),
        )
    }
}

/// A single node is a mode of its own: nothing can take over from it, and no finding assumes
/// otherwise.
pub(crate) fn mode(state: &ClusterState) -> Mode {
    match state.nodes.len() {
        0 => Mode::None,
        1 => Mode::Single,
        _ => Mode::Cluster,
    }
}

pub(crate) fn status(known: &Known<'_>) -> Status {
    let mut findings: Vec<Finding> = LOOKS.iter().flat_map(|look| look(known)).collect();
    findings.sort_by_key(|finding| finding.severity);
    let cameras_recorded = known
        .state
        .cameras
        .keys()
        .filter(|camera| cameras::is_recorded(known, *camera))
        .count();
    let state = state(&findings, cameras_recorded);
    let verdict = verdict(known, state, cameras_recorded, &findings);
    let findings_left_out = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    Status {
        at: known.now,
        state,
        verdict,
        mode: known.mode(),
        cameras: known.state.cameras.len(),
        cameras_recorded,
        nodes: known.state.nodes.len(),
        nodes_alive: known
            .state
            .nodes
            .keys()
            .filter(|node| known.sight.is_alive(*node))
            .count(),
        findings,
        findings_left_out,
        disks: disks(known),
        next_failure: next_failure(known),
    }
}

/// A cluster that records nothing is not well, whatever the reason.
fn state(findings: &[Finding], cameras_recorded: usize) -> StatusState {
    match findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Loss) => StatusState::FootageIsBeingLost,
        Some(Severity::Degraded) => StatusState::Degraded,
        Some(Severity::Note) | None if cameras_recorded == 0 => StatusState::Degraded,
        Some(Severity::Note) | None => StatusState::Well,
    }
}

fn verdict(
    known: &Known<'_>,
    state: StatusState,
    cameras_recorded: usize,
    findings: &[Finding],
) -> String {
    if known.mode() == Mode::None {
        return "degraded: this node belongs to no cluster and records nothing; found one with `holdfast cluster init`, \
                or join one with `holdfast cluster join`"
            .to_owned();
    }
    let cameras = known.state.cameras.len();
    let recorded = match (cameras, cameras_recorded) {
        (0, _) => "there is no camera; add one with `holdfast camera add`".to_owned(),
        (1, 1) => "the camera is recorded".to_owned(),
        (all, some) if all == some => format!("all {all} cameras are recorded"),
        (all, some) => format!("{some} of {all} cameras are recorded"),
    };
    let alone = if known.mode() == Mode::Single {
        "; a single node: nothing takes over if it fails"
    } else {
        ""
    };
    let wrong = findings
        .iter()
        .find(|finding| finding.severity == Severity::Degraded);
    let wrong = wrong
        .map(|finding| format!("; {}: {}", finding.subject, finding.what))
        .unwrap_or_default();
    match state {
        StatusState::Well => format!("well: {recorded}{alone}"),
        StatusState::Degraded => format!("degraded: {recorded}{alone}{wrong}"),
        StatusState::FootageIsBeingLost => {
            let lost = findings
                .iter()
                .filter(|finding| finding.severity == Severity::Loss)
                .count();
            let are = if lost == 1 { "is" } else { "are" };
            format!("FOOTAGE IS BEING LOST: {lost} of {cameras} cameras {are} not recorded{wrong}")
        }
    }
}

fn disks(known: &Known<'_>) -> Vec<Disk> {
    let volumes = known
        .volumes
        .iter()
        .flat_map(|(node, volumes)| volumes.iter().map(|volume| (*node, volume)));
    let disk = |(node, volume): (NodeId, &VolumeReport)| Disk {
        node,
        node_name: known.node_name(node),
        volume: volume.index,
        path: volume.path.clone(),
        state: volume.state.clone(),
        free_bytes: volume.free_bytes,
        size_bytes: volume.size_bytes,
        full_in_seconds: volume.full_in_s,
    };
    volumes.map(disk).collect()
}

fn next_failure(known: &Known<'_>) -> Vec<NextFailure> {
    let headroom = known.headroom.filter(|_| known.mode() == Mode::Cluster);
    let cost = |(node, cost): (&NodeId, &Cost)| NextFailure {
        node: *node,
        node_name: known.node_name(*node),
        cameras_lost: cost.cameras_lost,
        some: cost
            .some
            .iter()
            .map(|camera| known.camera_name(*camera))
            .collect(),
    };
    headroom
        .into_iter()
        .flat_map(|headroom| headroom.costs.iter().map(cost))
        .collect()
}
