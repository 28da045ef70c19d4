//! `/api/v1/drills`: failovers that are tried out while the cameras are well, and their results.

use super::nodes::NodeRef;
use crate::error::{ApiError, ErrorKind};
use crate::extract::{Body, Params, Segment};
use crate::problems::NotFound;
use crate::resources::app::{App, unexpected};
use crate::resources::ports::{Backend, Overview, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_consensus::command::Response;
use holdfast_consensus::decide::drill::{Drilled, begin as begin_drill};
use holdfast_consensus::model::{self, DrillResult, Outcome, Phase, RunningDrill};
use holdfast_consensus::state::ClusterState;
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

/// What is to be drilled.
enum Target {
    Camera(CameraId),
    Node(NodeRef),
}

impl TryFrom<NewDrill> for Target {
    type Error = ApiError;

    fn try_from(new: NewDrill) -> Result<Self> {
        match (new.camera, new.node) {
            (Some(camera), None) => Ok(Self::Camera(camera)),
            (None, Some(node)) => Ok(Self::Node(node)),
            _ => Err(ApiError::new(
                ErrorKind::Invalid,
                "name either a `camera` or a `node`",
            )),
        }
    }
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

impl Drill {
    /// A drill as it stands; restricted to one camera if one is named.
    fn of(drill: &model::Drill, state: &ClusterState, only: Option<CameraId>) -> Self {
        let is_asked = |camera: &CameraId| only.is_none_or(|only| only == *camera);
        let running: Vec<_> = state
            .drills
            .running_of(drill.id)
            .filter(|(camera, _)| is_asked(camera))
            .collect();
        let ended = drill
            .results
            .iter()
            .filter(|result| is_asked(&result.camera));
        let mut cameras: Vec<CameraDrill> = running
            .iter()
            .map(|(camera, running)| CameraDrill::under_way(*camera, running))
            .collect();
        cameras.extend(ended.map(CameraDrill::of));
        cameras.sort_by_key(|drilled| drilled.camera);
        let count = |outcome| {
            cameras
                .iter()
                .filter(|drilled| drilled.outcome == Some(outcome))
                .count()
        };
        let mut gaps: Vec<u64> = cameras
            .iter()
            .filter_map(|drilled| drilled.gap_us)
            .collect();
        gaps.sort_unstable();
        Self {
            id: drill.id,
            node: drill.node,
            scheduled: drill.is_scheduled,
            began_at: drill.began_at,
            running: !running.is_empty(),
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            aborted: count(Outcome::Aborted),
            median_gap_us: gaps.get(gaps.len().saturating_sub(1) / 2).copied(),
            worst_gap_us: gaps.last().copied(),
            cameras,
        }
    }
}

impl CameraDrill {
    fn under_way(camera: CameraId, running: &RunningDrill) -> Self {
        Self {
            camera,
            drill: running.drill,
            owner: Some(running.owner),
            successor: Some(running.successor),
            phase: match running.phase {
                Phase::TakingOver => DrillPhase::TakingOver,
                Phase::TakenOver { .. } => DrillPhase::TakenOver,
                Phase::HandingBack { .. } => DrillPhase::HandingBack,
            },
            began_at: running.began_at,
            ended_at: None,
            outcome: None,
            gap_us: running.phase.gap_us(),
            handed_back: false,
            reason: None,
        }
    }

    pub(super) fn of(result: &DrillResult) -> Self {
        Self {
            camera: result.camera,
            drill: result.drill,
            owner: result.owner,
            successor: result.successor,
            phase: DrillPhase::Ended,
            began_at: result.began_at,
            ended_at: Some(result.ended_at),
            outcome: Some(result.outcome),
            gap_us: result.gap_us,
            handed_back: result.is_handed_back,
            reason: result.reason.clone(),
        }
    }
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
    let state = app.state()?;
    let drills = state.drills.log.values();
    let shown = drills.map(|drill| Drill::of(drill, &state, query.camera));
    let of_camera = |drill: &Drill| query.camera.is_none() || !drill.cameras.is_empty();
    Ok(Json(shown.filter(of_camera).collect()))
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
    Ok(Json(one(&*app.state()?, id)?))
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
    let target = Target::try_from(new)?;
    let Overview {
        state,
        sight,
        membership,
        ..
    } = app.overview().await?;
    let drilled = match target {
        Target::Camera(camera) => Drilled::Camera(camera),
        Target::Node(node) => Drilled::Node(node.find(&state)?),
    };
    let command = begin_drill(drilled, false, (&state, &sight, membership.node), app.now());
    let drill = match app.change(command).await? {
        Response::Drill(id) => one(&*app.state()?, id)?,
        other => return Err(unexpected("beginning a drill", &other)),
    };
    let location = format!("/api/v1/drills/{}", drill.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(drill),
    ))
}

fn one(state: &ClusterState, id: DrillId) -> Result<Drill> {
    let drill = state.drills.log.get(id).ok_or_else(|| {
        ApiError::not_found(format!(
            "there is no drill {id}, or it was forgotten; GET /api/v1/drills lists the newest"
        ))
        .code("unknown-drill")
    })?;
    Ok(Drill::of(drill, state, None))
}
