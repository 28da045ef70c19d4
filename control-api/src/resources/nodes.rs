//! `/api/v1/nodes`: the members; draining and removing them.

use crate::error::ApiError;
use crate::extract::{Params, Segment};
use crate::problems::NotFound;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Overview, Result};
use crate::schema;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use holdfast_consensus::command::Command;
use holdfast_consensus::model::{Duty, Role};
use holdfast_consensus::observe::bitrate::Bitrates;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// An element of `GET /nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    #[schema(value_type = schema::NodeId)]
    pub id: NodeId,
    pub name: String,
    #[schema(value_type = schema::Role)]
    pub role: Role,
    #[schema(value_type = schema::Duty)]
    pub duty: Duty,
    pub voter: bool,
    /// Whether it may become a voter, as it was invited.
    #[serde(default)]
    pub may_vote: bool,
    /// As seen by the answering node.
    pub alive: bool,
    pub peer_addr: String,
    pub api_addr: String,
    pub failure_domain: String,
    pub camera_capacity: u32,
    /// The most bits per second of all cameras that it may record; `null`: no limit except
    /// `camera_capacity`.
    #[serde(default)]
    pub bitrate_capacity_bps: Option<u64>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many cameras it owns.
    pub cameras: usize,
    /// How many of them it records, or is beginning to: a drain waits until there are none.
    #[serde(default)]
    pub cameras_recorded: usize,
    /// How far its clock is ahead of the answering node's, in milliseconds; `null` for that node
    /// itself, and while it is not known.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// Bits per second of the cameras that it owns; those without a measurement count as 4 Mbit/s.
    #[serde(default)]
    pub bitrate_bps: u64,
    /// The newest version of the cluster's commands that it understands.
    #[serde(default)]
    pub version: u16,
    /// Why the answering node refuses a process of this node: its data directory is old, or exists
    /// twice.
    #[serde(default)]
    pub refused: Option<String>,
}

/// A node, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NodeRef {
    Id(NodeId),
    Name(String),
}

/// An element of `GET /nodes/{id}/volumes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// The volume's number on its node, constant while the volume exists.
    pub index: u16,
    pub path: String,
    /// `active`, `slow`, `retiring`, `retired`, `full`, `hung`, `failed`, `away`, `opening` or
    /// `adopted`.
    pub state: String,
    /// The problem, as text for the operator.
    pub error: Option<String>,
    /// How many cameras are recorded to it now.
    pub cameras: u64,
    /// How long records wait until they are durable.
    pub lag_seconds: f64,
    /// Free space and size of the filesystem, in bytes.
    pub free_bytes: u64,
    pub size_bytes: u64,
    /// How often it failed, hung or could not be opened, and how often it was used again, since the
    /// node started.
    pub failures: u64,
    pub reattachments: u64,
    /// The volume's own id, wherever its disk is; `null` while it is not open.
    #[serde(default)]
    pub id: Option<String>,
}

impl Node {
    /// All nodes of the cluster.
    pub(super) fn all(overview: &Overview) -> Vec<Self> {
        let Overview {
            state,
            sight,
            membership,
            ..
        } = overview;
        let bitrates = Bitrates::of_reports(&sight.progress);
        let nodes = state.nodes.values().map(|node| Self {
            id: node.id,
            name: node.spec.name.to_string(),
            role: node.spec.role,
            duty: node.duty,
            voter: membership.voters.contains(&node.id),
            may_vote: node.may_vote,
            alive: sight.is_alive(node.id),
            peer_addr: membership
                .peer_addrs
                .get(&node.id)
                .cloned()
                .unwrap_or_else(|| node.spec.peer_addr.to_string()),
            api_addr: node.spec.api_addr.to_string(),
            failure_domain: node.spec.failure_domain.to_string(),
            camera_capacity: node.spec.camera_capacity,
            bitrate_capacity_bps: node.spec.bitrate_capacity_bps,
            labels: node.spec.labels.as_map().clone(),
            cameras: state.owned_by(node.id).count(),
            cameras_recorded: state
                .owned_by(node.id)
                .filter(|camera| is_recorded_by(node.id, *camera, sight))
                .count(),
            clock_offset_ms: sight
                .clocks
                .get(&node.id)
                .filter(|_| sight.is_alive(node.id))
                .map(|offset| offset.micros / 1000),
            bitrate_bps: state
                .owned_by(node.id)
                .map(|camera| bitrates.of(camera))
                .sum(),
            version: node.spec.version,
            refused: membership.refused.get(&node.id).cloned(),
        });
        nodes.collect()
    }
}

/// Whether the node is alive, has a recorder for the camera, and does not report it as failing.
fn is_recorded_by(node: NodeId, camera: CameraId, sight: &Sight) -> bool {
    let report = sight
        .progress
        .main(node, camera)
        .filter(|_| sight.is_alive(node));
    report.is_some_and(|report| report.state != RecorderState::Failing)
}

impl Volume {
    fn of(report: VolumeReport) -> Self {
        Self {
            index: report.index,
            path: report.path,
            state: report.state,
            error: report.error,
            cameras: report.cameras,
            lag_seconds: report.lag_seconds,
            free_bytes: report.free_bytes,
            size_bytes: report.size_bytes,
            failures: report.failures,
            reattachments: report.reattachments,
            id: report.id.map(|id| id.to_string()),
        }
    }
}

impl NodeRef {
    /// # Errors
    /// The cluster has no such node.
    pub(super) fn find(&self, state: &ClusterState) -> Result<NodeId> {
        match self {
            Self::Id(id) if state.nodes.contains(*id) => Ok(*id),
            Self::Id(id) => Err(ApiError::no_node(*id)),
            Self::Name(name) => {
                let detail =
                    format!("there is no node named {name:?}; GET /api/v1/nodes lists them");
                let found = state
                    .node_named(name)
                    .ok_or_else(|| ApiError::not_found(detail).code("unknown-node"));
                found.map(|node| node.id)
            }
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// Also if it still owns cameras: other nodes record them from then on.
    #[serde(default)]
    force: bool,
}

#[derive(OpenApi)]
#[openapi(paths(list, volumes, drain, undrain, remove))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/nodes", get(list::<B>))
        .route("/api/v1/nodes/{id}", delete(remove::<B>))
        .route("/api/v1/nodes/{id}/volumes", get(volumes::<B>))
        .route(
            "/api/v1/nodes/{id}/drain",
            post(drain::<B>).delete(undrain::<B>),
        )
}

/// The nodes of the cluster.
#[utoipa::path(
    get,
    path = "/api/v1/nodes",
    operation_id = "list_nodes",
    responses((status = 200, body = Vec<Node>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Node>>> {
    Ok(Json(Node::all(&app.overview().await?)))
}

/// The state of a node's volumes, as the node reports it.
#[utoipa::path(
    get,
    path = "/api/v1/nodes/{id}/volumes",
    operation_id = "list_volumes",
    params(("id" = schema::NodeId, Path)),
    responses((status = 200, body = Vec<Volume>), NotFound),
)]
async fn volumes<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<Json<Vec<Volume>>> {
    if !app.state()?.nodes.contains(id) {
        return Err(ApiError::no_node(id));
    }
    let reports = app.backend.volumes(id).await?;
    Ok(Json(reports.into_iter().map(Volume::of).collect()))
}

/// Begins a drain, after which the node owns no camera.
#[utoipa::path(
    post,
    path = "/api/v1/nodes/{id}/drain",
    operation_id = "drain_node",
    params(("id" = schema::NodeId, Path)),
    responses((status = 200, body = Node), NotFound),
)]
async fn drain<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<Json<Node>> {
    set_duty(&app, id, Duty::Draining).await
}

/// Undoes a drain.
#[utoipa::path(
    delete,
    path = "/api/v1/nodes/{id}/drain",
    operation_id = "undrain_node",
    params(("id" = schema::NodeId, Path)),
    responses((status = 200, body = Node), NotFound),
)]
async fn undrain<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<Json<Node>> {
    set_duty(&app, id, Duty::Active).await
}

/// Removes a member from the cluster for good.
#[utoipa::path(
    delete,
    path = "/api/v1/nodes/{id}",
    operation_id = "remove_node",
    params(("id" = schema::NodeId, Path), Removal),
    responses((status = 204), NotFound),
)]
async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
    Params(removal): Params<Removal>,
) -> Result<StatusCode> {
    let force = removal.force;
    app.change(Command::RemoveNode { node: id, force }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_duty<B: Backend>(app: &App<B>, node: NodeId, duty: Duty) -> Result<Json<Node>> {
    app.change(Command::SetDuty { node, duty }).await?;
    let nodes = Node::all(&app.overview().await?);
    let changed = nodes.into_iter().find(|other| other.id == node);
    changed.map(Json).ok_or_else(|| ApiError::no_node(node))
}
