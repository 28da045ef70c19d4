//! `/api/v1/status`: the state of the cluster in one answer.

use super::App;
use crate::backend::{Backend, Result};
use crate::wire::Status;
use axum::Json;
use axum::extract::State;

/// The state of the cluster in one answer. Always 200; `state` is the verdict.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    operation_id = "show_status",
    responses((status = 200, body = Status)),
)]
pub(super) async fn show<B: Backend>(State(app): State<App<B>>) -> Result<Json<Status>> {
    app.backend.status().await.map(Json)
}
