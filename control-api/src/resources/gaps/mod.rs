//! `/api/v1/gaps`: what was not recorded of all cameras, and why.

pub mod ledger;

use crate::extract::Params;
use crate::limits::{LEDGER_GAPS_MAX, TIMELINE_RANGE_MAX, TIMELINES_AT_ONCE};
use crate::problems::{Invalid, NotFound};
use crate::range::Range;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::resources::timeline;
use crate::schema;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use ledger::Filter;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// `GET /gaps`: what was not recorded of many cameras. The same gaps as in the cameras' timelines
/// of the same range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GapLedger {
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    /// By camera, then by start.
    pub gaps: Vec<CameraGap>,
    /// Totals of `gaps`, one for each cause among them.
    pub sums: Vec<GapSum>,
    /// Members that did not answer: what they hold is included as far as other nodes know it.
    #[schema(value_type = Vec<schema::NodeId>)]
    pub nodes_left_out: Vec<NodeId>,
    /// The last camera of this page if more follow: request the next page with `after` set to it.
    #[schema(value_type = Option<schema::CameraId>)]
    pub next_after: Option<CameraId>,
}

/// Every frame of the camera in `start..end` is missing: `start` is the end of the last existing
/// frame before it, `end` the start of the keyframe after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CameraGap {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    pub duration_us: i64,
    #[schema(value_type = schema::GapCause)]
    pub cause: GapCause,
    /// The node that did not record; `null` if no node was assigned.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    /// How many frames are missing, if that is known: packets were lost, or frames that had arrived
    /// were not stored.
    pub frames_missing: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GapSum {
    #[schema(value_type = schema::GapCause)]
    pub cause: GapCause,
    pub gaps: usize,
    pub duration_us: i64,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    #[param(value_type = schema::Timestamp, required = true)]
    from: Option<String>,
    #[param(value_type = schema::Timestamp, required = true)]
    to: Option<String>,
    /// All cameras if none is given.
    #[param(value_type = Option<schema::CameraId>)]
    camera: Option<CameraId>,
    #[param(value_type = Option<schema::GapCause>)]
    cause: Option<GapCause>,
    #[param(value_type = Option<schema::NodeId>)]
    node: Option<NodeId>,
    #[param(value_type = Option<schema::CameraId>)]
    after: Option<CameraId>,
}

#[derive(OpenApi)]
#[openapi(paths(list))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new().route("/api/v1/gaps", get(list::<B>))
}

/// What was not recorded, of all cameras or of one, with causes.
#[utoipa::path(
    get,
    path = "/api/v1/gaps",
    operation_id = "list_gaps",
    tag = "footage",
    params(Query),
    responses((status = 200, body = GapLedger), NotFound, Invalid),
)]
async fn list<B: Backend>(
    State(app): State<App<B>>,
    Params(query): Params<Query>,
) -> Result<Json<GapLedger>> {
    let range = Range::parse(
        query.from.as_deref(),
        query.to.as_deref(),
        TIMELINE_RANGE_MAX,
    )?;
    let filter = Filter {
        cause: query.cause,
        node: query.node,
    };
    if let Some(camera) = query.camera {
        let timeline = timeline::one(&app, camera, range).await?;
        let nodes_left_out = timeline.nodes_left_out.iter().copied().collect();
        return Ok(Json(answer(
            range,
            ledger::gaps_of(&timeline, filter).collect(),
            nodes_left_out,
            None,
        )));
    }
    let (cameras, more) = ledger::page(app.state()?.cameras.keys().collect(), query.after, range);
    let mut gaps = Vec::new();
    let mut nodes_left_out = BTreeSet::new();
    let mut listed = 0;
    for some in cameras.chunks(TIMELINES_AT_ONCE) {
        let timelines = app.backend.timelines(some, range.from, range.to).await?;
        for timeline in &timelines {
            gaps.extend(ledger::gaps_of(timeline, filter));
            nodes_left_out.extend(timeline.nodes_left_out.iter().copied());
        }
        listed += some.len();
        if gaps.len() >= LEDGER_GAPS_MAX {
            break;
        }
    }
    let last = listed
        .checked_sub(1)
        .and_then(|last| cameras.get(last))
        .copied();
    let next_after = last.filter(|_| more || listed < cameras.len());
    Ok(Json(answer(range, gaps, nodes_left_out, next_after)))
}

fn answer(
    range: Range,
    gaps: Vec<CameraGap>,
    nodes_left_out: BTreeSet<NodeId>,
    next_after: Option<CameraId>,
) -> GapLedger {
    let Range { from, to } = range;
    let sums = ledger::sums(&gaps);
    GapLedger {
        from,
        to,
        gaps,
        sums,
        nodes_left_out: nodes_left_out.into_iter().collect(),
        next_after,
    }
}
