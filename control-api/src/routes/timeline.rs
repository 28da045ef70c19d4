//! `/api/v1/cameras/{id}/timeline`: when a camera was recorded, and when and why it was not.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::{Params, Segment};
use crate::limits::TIMELINE_RANGE_MAX;
use crate::range::Range;
use crate::wire::Timeline;
use axum::Json;
use axum::extract::State;
use holdfast_storage::ids::CameraId;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    from: Option<String>,
    to: Option<String>,
}

pub(super) async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<Query>,
) -> Result<Json<Timeline>> {
    let range = Range::parse(
        query.from.as_deref(),
        query.to.as_deref(),
        TIMELINE_RANGE_MAX,
    )?;
    app.backend
        .timeline(id, range.from, range.to)
        .await
        .map(Json)
}
