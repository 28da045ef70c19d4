//! `/api/v1/drills`: failovers that are tried out while the cameras are well, and their results.

use super::nodes::NodeRef;
use crate::error::{ApiError, ErrorKind};
use crate::extract::{Body, Params, Segment};
use crate::problems::NotFound;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_consensus::model::Outcome;
use holdfast_storage::ids::{CameraId, DrillId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

/// Body of `POST /drills`: one of the two fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDrill {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::CameraId>)]
    pub camera: Option<CameraId>,
    /// All cameras that the node owns, together, as if it died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::NodeRef>)]
    pub node: Option<NodeRef>,
}

/// What is drilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillOf {
    Camera(CameraId),
    Node(NodeRef),
}

/// A drill of failover, running or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drill {
    #[schema(value_type = schema::DrillId)]
    pub id: DrillId,
    /// `null` if a single camera was drilled.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    /// The settings' schedule began it.
    pub scheduled: bool,
    #[schema(value_type = schema::Timestamp)]
    pub began_at: Timestamp,
    pub running: bool,
    /// How many of `cameras` have passed.
    pub passed: usize,
    pub failed: usize,
    pub aborted: usize,
    /// Median of the measured gaps.
    pub median_gap_us: Option<u64>,
    pub worst_gap_us: Option<u64>,
    /// By number.
    pub cameras: Vec<CameraDrill>,
}

/// The phase of one camera's drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillPhase {
    /// The successor records alongside the owner and has no durable keyframe yet.
    TakingOver,
    /// The successor owns the camera.
    TakenOver,
    /// The first owner records alongside the successor and has no durable keyframe yet.
    HandingBack,
    Ended,
}

/// One camera's part in a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CameraDrill {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::DrillId)]
    pub drill: DrillId,
    #[schema(value_type = Option<schema::NodeId>)]
    pub owner: Option<NodeId>,
    /// The node that took it over, or was to.
    #[schema(value_type = Option<schema::NodeId>)]
    pub successor: Option<NodeId>,
    pub phase: DrillPhase,
    #[schema(value_type = schema::Timestamp)]
    pub began_at: Timestamp,
    #[schema(value_type = Option<schema::Timestamp>)]
    pub ended_at: Option<Timestamp>,
    /// `null` before it ended.
    #[schema(value_type = Option<schema::Outcome>)]
    pub outcome: Option<Outcome>,
    /// From the beginning to the successor's first durable keyframe; `null` if there was none
    /// (yet).
    pub gap_us: Option<u64>,
    pub handed_back: bool,
    /// Why it did not pass.
    pub reason: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Only this camera's drills.
    #[param(value_type = Option<schema::CameraId>)]
    camera: Option<CameraId>,
}

#[derive(OpenApi)]
#[openapi(paths(list, show, begin))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/drills", get(list::<B>).post(begin::<B>))
        .route("/api/v1/drills/{id}", get(show::<B>))
}

/// The newest 200 drills, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/drills",
    operation_id = "list_drills",
    params(Query),
    responses((status = 200, body = Vec<Drill>)),
)]
async fn list<B: Backend>(
    State(app): State<App<B>>,
    Params(query): Params<Query>,
) -> Result<Json<Vec<Drill>>> {
    app.backend.drills(query.camera).await.map(Json)
}

/// One drill.
#[utoipa::path(
    get,
    path = "/api/v1/drills/{id}",
    operation_id = "show_drill",
    params(("id" = schema::DrillId, Path)),
    responses((status = 200, body = Drill), NotFound),
)]
async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<DrillId>,
) -> Result<Json<Drill>> {
    app.backend.drill(id).await.map(Json)
}

/// Begins a drill of a camera, or of all cameras that a node owns.
#[utoipa::path(
    post,
    path = "/api/v1/drills",
    operation_id = "begin_drill",
    request_body = NewDrill,
    responses((status = 201, body = Drill), NotFound),
)]
async fn begin<B: Backend>(
    State(app): State<App<B>>,
    Body(new): Body<NewDrill>,
) -> Result<impl IntoResponse> {
    let of = match new {
        NewDrill {
            camera: Some(camera),
            node: None,
        } => DrillOf::Camera(camera),
        NewDrill {
            camera: None,
            node: Some(node),
        } => DrillOf::Node(node),
        _ => {
            return Err(ApiError::new(
                ErrorKind::Invalid,
                "name either a `camera` or a `node`",
            ));
        }
    };
    let drill = app.backend.begin_drill(of).await?;
    let location = format!("/api/v1/drills/{}", drill.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(drill),
    ))
}
