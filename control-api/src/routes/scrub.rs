//! `/api/v1/scrub`: the progress of rereading the stored footage, the damage found, and starting a
//! pass.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Segment;
use crate::problems::NotFound;
use crate::schema;
use crate::wire::VolumeScrub;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use holdfast_storage::ids::NodeId;

/// The progress of the scrub on every volume, and the chunks that were found damaged.
#[utoipa::path(
    get,
    path = "/api/v1/scrub",
    operation_id = "list_scrubs",
    responses((status = 200, body = Vec<VolumeScrub>)),
)]
pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<VolumeScrub>>> {
    app.backend.scrub().await.map(Json)
}

/// Starts a scrub of all volumes of the node.
#[utoipa::path(
    post,
    path = "/api/v1/nodes/{id}/scrub",
    operation_id = "start_scrub",
    params(("id" = schema::NodeId, Path)),
    responses((status = 202), NotFound),
)]
pub(super) async fn start<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<StatusCode> {
    app.backend
        .start_scrub(id)
        .await
        .map(|()| StatusCode::ACCEPTED)
}
