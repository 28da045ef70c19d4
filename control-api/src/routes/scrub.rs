//! `/api/v1/scrub`: the progress of rereading the stored footage, the damage found, and starting a
//! pass.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Segment;
use crate::wire::VolumeScrub;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use holdfast_storage::ids::NodeId;

pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<VolumeScrub>>> {
    app.backend.scrub().await.map(Json)
}

pub(super) async fn start<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<StatusCode> {
    app.backend
        .start_scrub(id)
        .await
        .map(|()| StatusCode::ACCEPTED)
}
