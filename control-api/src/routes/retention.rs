//! `/api/v1/retention`: what is announced for deletion and why nothing is deleted; an operator's
//! decision about it.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::Body;
use crate::limits::TIMELINES_AT_ONCE;
use crate::problems::NotFound;
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

/// What the volumes of the cluster delete, and what they hold back.
#[utoipa::path(
    get,
    path = "/api/v1/retention",
    operation_id = "list_retention",
    responses((status = 200, body = Vec<VolumeRetention>)),
)]
pub(super) async fn list<B: Backend>(
    State(app): State<App<B>>,
) -> Result<Json<Vec<VolumeRetention>>> {
    app.backend.retention().await.map(Json)
}

/// Footage of every camera that was recorded while a clock was ahead.
#[utoipa::path(
    get,
    path = "/api/v1/retention/future",
    operation_id = "list_future_footage",
    responses((status = 200, body = Vec<FutureFootage>)),
)]
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

/// Announced deletions begin now.
#[utoipa::path(
    post,
    path = "/api/v1/retention/release",
    operation_id = "release_deletions",
    request_body = RetentionTarget,
    responses((status = 202), NotFound),
)]
pub(super) async fn release<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    app.backend
        .order_retention(target, RetentionAction::Release)
        .await
        .map(|()| StatusCode::ACCEPTED)
}

/// Announced deletions are cancelled, for as long as their limits stay the same.
#[utoipa::path(
    post,
    path = "/api/v1/retention/cancel",
    operation_id = "cancel_deletions",
    request_body = RetentionTarget,
    responses((status = 202), NotFound),
)]
pub(super) async fn cancel<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    app.backend
        .order_retention(target, RetentionAction::Cancel)
        .await
        .map(|()| StatusCode::ACCEPTED)
}

/// Deletes footage with times in the future.
#[utoipa::path(
    post,
    path = "/api/v1/retention/remove-future",
    operation_id = "remove_future_footage",
    request_body = RetentionTarget,
    responses((status = 202), NotFound),
)]
pub(super) async fn remove_future<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    app.backend
        .order_retention(target, RetentionAction::RemoveFuture)
        .await
        .map(|()| StatusCode::ACCEPTED)
}
