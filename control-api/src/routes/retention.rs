//! `/api/v1/retention`: what is announced for deletion and why nothing is deleted; an operator's
//! decision about it.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Body;
use crate::limits::TIMELINES_AT_ONCE;
use crate::wire::{FutureFootage, RetentionTarget, VolumeRetention};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use holdfast_storage::retention::RetentionAction;
use std::time::Duration;

/// The furthest into the future that footage is searched for: 80 years.
const FAR: Duration = Duration::from_secs(80 * 365 * 24 * 3600);

/// The most spans in one answer; more follow once these are removed.
const SPANS_MAX: usize = 10_000;

pub(super) async fn list<B: Backend>(
    State(app): State<App<B>>,
) -> Result<Json<Vec<VolumeRetention>>> {
    app.backend.retention().await.map(Json)
}

/// Footage of every camera that was recorded while a clock was ahead.
pub(super) async fn future<B: Backend>(
    State(app): State<App<B>>,
) -> Result<Json<Vec<FutureFootage>>> {
    let now = (app.now)();
    let cameras = app.backend.camera_ids().await?;
    let mut found = Vec::new();
    for some in cameras.chunks(TIMELINES_AT_ONCE) {
        for timeline in app.backend.timelines(some, now, now.plus(FAR)).await? {
            let ahead = timeline.spans.into_iter().filter(|span| span.in_future);
            found.extend(ahead.map(|span| FutureFootage {
                camera: timeline.camera,
                span,
            }));
        }
        if found.len() >= SPANS_MAX {
            found.truncate(SPANS_MAX);
            break;
        }
    }
    Ok(Json(found))
}

pub(super) async fn release<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    app.backend
        .order_retention(target, RetentionAction::Release)
        .await
        .map(|()| StatusCode::ACCEPTED)
}

pub(super) async fn cancel<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    app.backend
        .order_retention(target, RetentionAction::Cancel)
        .await
        .map(|()| StatusCode::ACCEPTED)
}

pub(super) async fn remove_future<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    app.backend
        .order_retention(target, RetentionAction::RemoveFuture)
        .await
        .map(|()| StatusCode::ACCEPTED)
}
