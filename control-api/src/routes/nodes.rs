//! `/api/v1/nodes`: the members; draining and removing them.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::{Params, Segment};
use crate::problems::NotFound;
use crate::schema;
use crate::wire::{Node, Volume};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use holdfast_storage::ids::NodeId;
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// Also if it still owns cameras: other nodes record them from then on.
    #[serde(default)]
    force: bool,
}

/// The nodes of the cluster.
#[utoipa::path(
    get,
    path = "/api/v1/nodes",
    operation_id = "list_nodes",
    responses((status = 200, body = Vec<Node>)),
)]
pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Node>>> {
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
pub(super) async fn volumes<B: Backend>(
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
pub(super) async fn drain<B: Backend>(
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
pub(super) async fn undrain<B: Backend>(
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
pub(super) async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
    Params(removal): Params<Removal>,
) -> Result<StatusCode> {
    app.backend
        .remove_node(id, removal.force)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}
