//! `/api/v1/scrub`: the progress of rereading the stored footage, the damage found, and starting a
//! pass.

use crate::error::ApiError;
use crate::extract::Segment;
use crate::problems::NotFound;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use holdfast_storage::ids::{CameraId, NodeId, SegmentId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// An element of `GET /scrub`: the scrub of one volume, and the damage found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeScrub {
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    /// Its index in the node's configuration.
    pub volume: u16,
    /// 0: the scrub is off.
    pub bytes_per_second_max: u64,
    /// It pauses because the disk is behind with recording.
    pub is_held_back: bool,
    /// `null` between passes.
    pub pass: Option<ScrubPass>,
    /// Start of the last complete pass; `null` before the first.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub last_started_at: Option<Timestamp>,
    #[schema(value_type = Option<schema::Timestamp>)]
    pub last_ended_at: Option<Timestamp>,
    /// Segments that could not be read, since the node started.
    pub failed_segments: u64,
    /// Segments whose header, footer or init segments are damaged, since the node started.
    pub damaged_segments: u64,
    /// Stored, but not served; a gap in the timeline unless another node recorded the same.
    pub damaged: Vec<DamagedChunk>,
    /// How many chunks the list has no room for.
    pub damaged_left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubPass {
    #[schema(value_type = schema::Timestamp)]
    pub started_at: Timestamp,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub done_segments: u64,
    pub total_segments: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamagedChunk {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::StreamKind)]
    pub stream: StreamKind,
    #[schema(value_type = schema::TrackKind)]
    pub track: TrackKind,
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    /// Number of the segment, and offset of the record in it.
    #[schema(value_type = schema::SegmentId)]
    pub segment: SegmentId,
    pub offset: u64,
}

#[derive(OpenApi)]
#[openapi(paths(list, start))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/nodes/{id}/scrub", post(start::<B>))
        .route("/api/v1/scrub", get(list::<B>))
}

/// The progress of the scrub on every volume, and the chunks that were found damaged.
#[utoipa::path(
    get,
    path = "/api/v1/scrub",
    operation_id = "list_scrubs",
    responses((status = 200, body = Vec<VolumeScrub>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<VolumeScrub>>> {
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
async fn start<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<NodeId>,
) -> Result<StatusCode> {
    if !app.state()?.nodes.contains(id) {
        return Err(ApiError::no_node(id));
    }
    app.backend.start_scrub(id).await?;
    Ok(StatusCode::ACCEPTED)
}
