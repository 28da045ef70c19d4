//! `/api/v1/nodes`: the members; draining and removing them.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::{Params, Segment};
use crate::wire::{Node, Volume};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use holdfast_storage::ids::NodeId;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// Also if it still owns cameras: other nodes record them from then on.
    #[serde(default)]
    force: bool,
}

pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Node>>> {
    app.backend.nodes().await.map(Json)
}

pub(super) async fn volumes<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<Json<Vec<Volume>>> {
    app.backend.volumes(id).await.map(Json)
}

pub(super) async fn drain<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<Json<Node>> {
    app.backend.set_draining(id, true).await.map(Json)
}

pub(super) async fn undrain<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<Json<Node>> {
    app.backend.set_draining(id, false).await.map(Json)
}

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
