//! `/api/v1/nodes`: the members; draining and removing them.

use crate::extract::{Params, Segment};
use crate::problems::NotFound;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use holdfast_consensus::model::{Duty, Role};
use holdfast_storage::ids::NodeId;
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
    app.backend.nodes().await.map(Json)
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
    app.backend.volumes(id).await.map(Json)
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
    app.backend.set_draining(id, true).await.map(Json)
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
    app.backend.set_draining(id, false).await.map(Json)
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
    app.backend
        .remove_node(id, removal.force)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}
