//! `/api/v1/nodes`: the members, and taking one out of duty.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Segment;
use crate::wire::Node;
use axum::Json;
use axum::extract::State;
use holdfast_storage::ids::NodeId;

pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Node>>> {
    app.backend.nodes().await.map(Json)
}

pub(super) async fn drain<B: Backend>(State(app): State<App<B>>, Segment(id): Segment<NodeId>) -> Result<Json<Node>> {
    app.backend.set_draining(id, true).await.map(Json)
}

pub(super) async fn undrain<B: Backend>(State(app): State<App<B>>, Segment(id): Segment<NodeId>) -> Result<Json<Node>> {
    app.backend.set_draining(id, false).await.map(Json)
}
