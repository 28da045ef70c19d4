//! `/api/v1/gaps`: what was not recorded of all cameras, and why.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Params;
use crate::ledger::{self, Filter};
use crate::limits::{LEDGER_GAPS_MAX, TIMELINE_RANGE_MAX, TIMELINES_AT_ONCE};
use crate::problems::{Invalid, NotFound};
use crate::range::Range;
use crate::schema;
use crate::wire::{CameraGap, GapLedger};
use axum::Json;
use axum::extract::State;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{CameraId, NodeId};
use serde::Deserialize;
use std::collections::BTreeSet;
use utoipa::IntoParams;

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

/// What was not recorded, of all cameras or of one, with causes.
#[utoipa::path(
    get,
    path = "/api/v1/gaps",
    operation_id = "list_gaps",
    tag = "footage",
    params(Query),
    responses((status = 200, body = GapLedger), NotFound, Invalid),
)]
pub(super) async fn list<B: Backend>(
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
        let timeline = app.backend.timeline(camera, range.from, range.to).await?;
        let nodes_left_out = timeline.nodes_left_out.iter().copied().collect();
        return Ok(Json(answer(
            range,
            ledger::gaps_of(&timeline, filter).collect(),
            nodes_left_out,
            None,
        )));
    }
    let (cameras, more) = ledger::page(app.backend.camera_ids().await?, query.after, range);
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
