//! `/api/v1/cameras/{id}/timeline`: when a camera was recorded, and when and why it was not.

use crate::error::ApiError;
use crate::extract::{Params, Segment};
use crate::limits::TIMELINE_RANGE_MAX;
use crate::problems::{Invalid, NotFound};
use crate::range::Range;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

/// `GET /cameras/{id}/timeline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    pub spans: Vec<Span>,
    pub gaps: Vec<Gap>,
    /// Members that did not answer: what they hold is included as far as other nodes know it.
    #[serde(default)]
    #[schema(value_type = Vec<schema::NodeId>)]
    pub nodes_left_out: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    #[schema(value_type = schema::Epoch)]
    pub epoch: Epoch,
    #[schema(value_type = schema::Rank)]
    pub rank: Rank,
    /// Whether it can be played now; `false` while its node is down.
    pub available: bool,
    /// Its pictures refer to missing frames; players conceal what is missing.
    #[serde(default)]
    pub damaged: bool,
    /// Its times are in the future: it was recorded while a clock was ahead.
    #[serde(default)]
    pub in_future: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    #[schema(value_type = schema::GapCause)]
    pub cause: GapCause,
    /// The node that did not record; `null` if no node was assigned.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    /// How many frames are missing, if that is known: packets were lost, or frames that had arrived
    /// were not stored.
    pub frames_missing: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    #[param(value_type = schema::Timestamp, required = true)]
    from: Option<String>,
    #[param(value_type = schema::Timestamp, required = true)]
    to: Option<String>,
}

#[derive(OpenApi)]
#[openapi(paths(show))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new().route("/api/v1/cameras/{id}/timeline", get(show::<B>))
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
async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<Query>,
) -> Result<Json<Timeline>> {
    let range = Range::parse(
        query.from.as_deref(),
        query.to.as_deref(),
        TIMELINE_RANGE_MAX,
    )?;
    one(&app, id, range).await.map(Json)
}

/// # Errors
/// The camera never existed, as far as the state and the footage show.
pub(super) async fn one<B: Backend>(
    app: &App<B>,
    camera: CameraId,
    range: Range,
) -> Result<Timeline> {
    let asked = [camera];
    let timelines = app.backend.timelines(&asked, range.from, range.to);
    let found = timelines.await?.pop();
    let state = app.state()?;
    let is_known = state.cameras.contains(camera) || state.former.contains(camera);
    found
        .filter(|timeline| is_known || !timeline.spans.is_empty())
        .ok_or_else(|| ApiError::no_camera(camera))
}
