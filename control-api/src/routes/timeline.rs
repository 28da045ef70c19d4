//! `/api/v1/cameras/{id}/timeline`: when a camera was recorded, and when and why it was not.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::{Params, Segment};
use crate::limits::TIMELINE_RANGE_MAX;
use crate::problems::{Invalid, NotFound};
use crate::range::Range;
use crate::schema;
use crate::wire::Timeline;
use axum::Json;
use axum::extract::State;
use holdfast_storage::ids::CameraId;
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    #[param(value_type = schema::Timestamp, required = true)]
    from: Option<String>,
    #[param(value_type = schema::Timestamp, required = true)]
    to: Option<String>,
}

/// What was recorded when, and what was not and why.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/timeline",
    operation_id = "show_timeline",
    tag = "footage",
    params(("id" = schema::CameraId, Path), Query),
    responses((status = 200, body = Timeline), NotFound, Invalid),
)]
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
