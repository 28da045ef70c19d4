//! `/api/v1/status`: the state of the cluster, in one answer: the page for operators when something
//! is wrong. Times are those of the answering node.
//!
//! The functions of [`LOOKS`] find what is wrong, with a file for each subject; they are pure. To
//! add a finding, add a function there; its findings count for the verdict by their severity.

mod cameras;
mod mend;
mod nodes;
mod site;
#[cfg(test)]
mod tests;
mod volumes;

pub use mend::camera as mend_of_camera;

use crate::resources::app::App;
use crate::resources::ports::{Backend, Overview, Result};
use crate::schema;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_consensus::decide::headroom::{Cost, Headroom};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::{OpenApi, ToSchema};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    #[schema(value_type = schema::Timestamp)]
    pub at: Timestamp,
    pub state: StatusState,
    /// One sentence.
    pub verdict: String,
    pub mode: Mode,
    pub cameras: usize,
    pub cameras_recorded: usize,
    pub nodes: usize,
    pub nodes_alive: usize,
    /// Problems, the worst first, then notes.
    pub findings: Vec<Finding>,
    /// How many findings the list has no room for.
    pub findings_left_out: usize,
    /// Disks of the nodes that answered.
    pub disks: Vec<Disk>,
    /// For each recorder that is present; empty on a single node, and until it is computed.
    pub next_failure: Vec<NextFailure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    Well,
    /// Nothing is lost now, but something is wrong.
    Degraded,
    /// A camera that should be recorded is not.
    FootageIsBeingLost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The node belongs to no cluster.
    None,
    /// One node records, and nothing takes over if it fails.
    Single,
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Footage is being lost.
    Loss,
    Degraded,
    /// Nothing is wrong.
    Note,
}

/// One thing that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    pub severity: Severity,
    /// Stable; docs/operations.md lists them.
    pub code: String,
    /// What it is about: a camera, a node, a volume.
    pub subject: String,
    /// `null` if that is not known, or if it was always so.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub since: Option<Timestamp>,
    pub what: String,
    /// The command that solves it, or what to do.
    pub mend: Option<String>,
    #[schema(value_type = Option<schema::CameraId>)]
    pub camera: Option<CameraId>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    pub node_name: String,
    pub volume: u16,
    pub path: String,
    /// As in `GET /nodes/{id}/volumes`.
    pub state: String,
    pub free_bytes: u64,
    pub size_bytes: u64,
    /// How long free and deletable space lasts at the present rate of writing; `null` while nothing
    /// is written.
    pub full_in_seconds: Option<u64>,
}

/// What the death of a node would cost now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextFailure {
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    pub node_name: String,
    /// How many cameras would no longer be recorded.
    pub cameras_lost: usize,
    /// Some of their names.
    pub some: Vec<String>,
}

#[derive(OpenApi)]
#[openapi(paths(show))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new().route("/api/v1/status", get(show::<B>))
}

/// The state of the cluster in one answer. Always 200; `state` is the verdict.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    operation_id = "show_status",
    responses((status = 200, body = Status)),
)]
async fn show<B: Backend>(State(app): State<App<B>>) -> Result<Json<Status>> {
    let now = app.now();
    let (overview, volumes) = tokio::join!(app.backend.overview(), app.backend.all_volumes());
    let status = match &overview {
        None => status(&Known::nothing(now)),
        Some(overview) => status(&Known::of(overview, volumes?, now)),
    };
    Ok(Json(status))
}

/// Findings that are listed at once.
const FINDINGS_MAX: usize = 1000;

/// Everything that a status is made of.
pub(super) struct Known<'a> {
    pub(super) now: Timestamp,
    pub(super) state: &'a ClusterState,
    pub(super) sight: &'a Sight,
    /// The leader, if its quorum is fresh.
    pub(super) leader: Option<NodeId>,
    /// Why the answering node takes no part in what the cluster decides, unless only a leader is
    /// missing.
    pub(super) stands_apart: Option<String>,
    /// `None` until it has been computed.
    pub(super) headroom: Option<&'a Headroom>,
    /// Since when nodes do not answer, as this one saw it.
    pub(super) down_since: BTreeMap<NodeId, Timestamp>,
    /// Of the nodes that answered.
    pub(super) volumes: BTreeMap<NodeId, Vec<VolumeReport>>,
}

/// Looks for one kind of finding.
type Look = fn(&Known<'_>) -> Vec<Finding>;

/// Of equal severity, the findings of an earlier one come first.
const LOOKS: [Look; 12] = [
    cameras::not_recorded,
    site::takes_no_part,
    nodes::down,
    site::no_leader,
    volumes::bad,
    volumes::unknown,
    cameras::one_copy,
    cameras::sub_not_recorded,
    site::too_little_headroom,
    nodes::clocks,
    nodes::out_of_duty,
    site::worth_knowing,
];

impl<'a> Known<'a> {
    /// What a node knows that belongs to no cluster.
    fn nothing(now: Timestamp) -> Known<'static> {
        static STATE: LazyLock<ClusterState> = LazyLock::new(ClusterState::default);
        static SIGHT: LazyLock<Sight> = LazyLock::new(Sight::default);
        Known {
            now,
            state: &STATE,
            sight: &SIGHT,
            leader: None,
            stands_apart: None,
            headroom: None,
            down_since: BTreeMap::new(),
            volumes: BTreeMap::new(),
        }
    }

    fn of(
        overview: &'a Overview,
        volumes: BTreeMap<NodeId, Vec<VolumeReport>>,
        now: Timestamp,
    ) -> Self {
        Self {
            now,
            state: &overview.state,
            sight: &overview.sight,
            leader: overview.membership.leader,
            stands_apart: overview.membership.stands_apart.clone(),
            headroom: overview.headroom.as_deref(),
            down_since: overview.down_since.clone(),
            volumes,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        mode(self.state)
    }

    pub(super) fn node_name(&self, node: NodeId) -> String {
        self.state
            .nodes
            .get(node)
            .map_or_else(|| format!("node {node}"), |node| node.spec.name.to_string())
    }

    pub(super) fn camera_name(&self, camera: CameraId) -> String {
        self.state.cameras.get(camera).map_or_else(
            || format!("camera {camera}"),
            |camera| camera.spec.name.to_string(),
        )
    }
}

/// A single node is a mode of its own: nothing can take over from it, and no finding assumes
/// otherwise.
fn mode(state: &ClusterState) -> Mode {
    match state.nodes.len() {
        0 => Mode::None,
        1 => Mode::Single,
        _ => Mode::Cluster,
    }
}

fn status(known: &Known<'_>) -> Status {
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
        return "degraded: this node belongs to no cluster and records nothing; found one with \
                `holdfast cluster init`, or join one with `holdfast cluster join`"
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
