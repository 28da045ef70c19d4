//! `/api/v1/parts`: what the answering node does in the background.

use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// A part of the answering node, which works in the background until the node stops. A turn is what
/// it does on a thread at once; it should take milliseconds at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// Stable; docs/operations.md lists them.
    pub name: String,
    pub state: PartState,
    pub turns: u64,
    /// How long all its turns took that have ended.
    pub busy_seconds: f64,
    /// The present turn included.
    pub longest_turn_seconds: f64,
    /// Since the end of the last turn; `null` before the first.
    pub idle_seconds: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    Running,
    /// With the node, which is about to end.
    Stopped,
    /// It ended by itself: the node stops.
    Ended,
    /// By a bug: the node stops.
    Failed,
}

#[derive(OpenApi)]
#[openapi(paths(list))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new().route("/api/v1/parts", get(list::<B>))
}

/// The parts of the answering node; empty while it belongs to no cluster.
#[utoipa::path(
    get,
    path = "/api/v1/parts",
    operation_id = "list_parts",
    responses((status = 200, body = Vec<Part>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Part>>> {
    Ok(Json(app.backend.parts()))
}
