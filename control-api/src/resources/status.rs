//! `/api/v1/status`: the state of the cluster in one answer.

use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
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
    app.backend.status().await.map(Json)
}
