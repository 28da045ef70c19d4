//! `/api/v1/retention`: what is announced for deletion and why nothing is deleted; an operator's
//! decision about it.

use super::nodes::NodeRef;
use super::timeline::Span;
use crate::error::{ApiError, ErrorKind};
use crate::extract::Body;
use crate::limits::TIMELINES_AT_ONCE;
use crate::problems::NotFound;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::retention::{RetentionAction, RetentionOrder, Subject};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{OpenApi, ToSchema};

/// An element of `GET /retention`: one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeRetention {
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    /// Its number on the node.
    pub volume: u16,
    pub path: String,
    /// Whether the node's wall clock may decide what is old.
    pub time_is_certain: bool,
    /// Why nothing is deleted for its age; `null` if footage is.
    pub paused: Option<RetentionPause>,
    pub announced: Vec<AnnouncedDeletion>,
    /// What stays free if `free_bytes_min` is more than half of the volume.
    pub clamped_free_bytes_min: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetentionPause {
    /// `settling`, `peers_awaited`, `peers_disagree`, `ahead`, `behind`.
    pub reason: String,
    /// A description, with what to do.
    pub detail: String,
}

/// A deletion that is larger than usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnnouncedDeletion {
    /// The retention class; `null`: free space that has to be kept.
    pub class: Option<String>,
    pub bytes: u64,
    /// The stored bytes of the class, or of the volume, when it was announced.
    pub stored_bytes: u64,
    /// `waiting`, `running`, `cancelled`.
    pub state: String,
    /// 0 while it runs, `null` if it was cancelled.
    pub begins_in_s: Option<u64>,
}

/// An element of `GET /retention/future`: footage with times in the future.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FutureFootage {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[serde(flatten)]
    pub span: Span,
}

/// The body of `POST /retention/release` and `/retention/cancel`; an absent field means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionTarget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::NodeRef>)]
    pub node: Option<NodeRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 65_535)]
    pub volume: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// The furthest into the future that footage is searched for: 80 years.
const FAR: Duration = Duration::from_secs(80 * 365 * 24 * 3600);

/// The most spans in one answer; more follow once these are removed.
const SPANS_MAX: usize = 10_000;

#[derive(OpenApi)]
#[openapi(paths(list, future, release, cancel, remove_future))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/retention", get(list::<B>))
        .route("/api/v1/retention/release", post(release::<B>))
        .route("/api/v1/retention/cancel", post(cancel::<B>))
        .route("/api/v1/retention/future", get(future::<B>))
        .route("/api/v1/retention/remove-future", post(remove_future::<B>))
}

/// What the volumes of the cluster delete, and what they hold back.
#[utoipa::path(
    get,
    path = "/api/v1/retention",
    operation_id = "list_retention",
    responses((status = 200, body = Vec<VolumeRetention>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<VolumeRetention>>> {
    app.backend.retention().await.map(Json)
}

/// Footage of every camera that was recorded while a clock was ahead.
#[utoipa::path(
    get,
    path = "/api/v1/retention/future",
    operation_id = "list_future_footage",
    responses((status = 200, body = Vec<FutureFootage>)),
)]
async fn future<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<FutureFootage>>> {
    let now = app.now();
    let cameras: Vec<CameraId> = app.state()?.cameras.keys().collect();
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
async fn release<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    order(&app, target, RetentionAction::Release).await
}

/// Announced deletions are cancelled, for as long as their limits stay the same.
#[utoipa::path(
    post,
    path = "/api/v1/retention/cancel",
    operation_id = "cancel_deletions",
    request_body = RetentionTarget,
    responses((status = 202), NotFound),
)]
async fn cancel<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    order(&app, target, RetentionAction::Cancel).await
}

/// Deletes footage with times in the future.
#[utoipa::path(
    post,
    path = "/api/v1/retention/remove-future",
    operation_id = "remove_future_footage",
    request_body = RetentionTarget,
    responses((status = 202), NotFound),
)]
async fn remove_future<B: Backend>(
    State(app): State<App<B>>,
    Body(target): Body<RetentionTarget>,
) -> Result<StatusCode> {
    order(&app, target, RetentionAction::RemoveFuture).await
}

/// Passes an operator's decision on to the nodes that it concerns.
///
/// # Errors
/// There is no such node. If one is away the request has to be repeated: the others have the
/// decision by then.
async fn order<B: Backend>(
    app: &App<B>,
    target: RetentionTarget,
    action: RetentionAction,
) -> Result<StatusCode> {
    let state = app.state()?;
    let nodes: Vec<NodeId> = match &target.node {
        Some(node) => vec![node.find(&state)?],
        None => state.nodes.keys().collect(),
    };
    if action == RetentionAction::RemoveFuture {
        check_times(&app.backend.retention().await?, &nodes, target.volume)?;
    }
    let order = RetentionOrder {
        action,
        subject: target.class.map(Subject::Class),
    };
    let passed = nodes.into_iter().map(|node| {
        app.backend
            .order_retention(node, target.volume, order.clone())
    });
    let passed = futures::future::join_all(passed).await;
    passed.into_iter().collect::<Result<()>>()?;
    Ok(StatusCode::ACCEPTED)
}

/// Whether footage lies in the future can be decided only if the time is certain.
///
/// # Errors
/// The time is not certain, on a volume that is meant.
fn check_times(volumes: &[VolumeRetention], nodes: &[NodeId], volume: Option<u16>) -> Result<()> {
    let is_meant = |one: &&VolumeRetention| {
        nodes.contains(&one.node)
            && volume.is_none_or(|volume| volume == one.volume)
            && !one.time_is_certain
    };
    let Some(one) = volumes.iter().find(is_meant) else {
        return Ok(());
    };
    let why = one
        .paused
        .as_ref()
        .map_or("its clock has not settled yet", |paused| &paused.detail);
    let detail = format!(
        "nothing was removed: volume {} of node {} is not certain of the time ({why}), so it \
         cannot know which footage lies in the future",
        one.volume, one.node
    );
    Err(ApiError::new(ErrorKind::Conflict, detail).code("time-not-certain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footage_is_called_future_only_where_the_time_is_certain() {
        let volume = |node, volume, is_certain: bool| VolumeRetention {
            node: NodeId(node),
            volume,
            path: "/d".to_owned(),
            time_is_certain: is_certain,
            paused: (!is_certain).then(|| RetentionPause {
                reason: "unproven".to_owned(),
                detail: "it is certain in 60 s".to_owned(),
            }),
            announced: Vec::new(),
            clamped_free_bytes_min: None,
        };
        let volumes = [volume(1, 0, true), volume(1, 1, false), volume(2, 0, true)];
        let check = |nodes: &[u64], volume| {
            check_times(
                &volumes,
                &nodes.iter().map(|node| NodeId(*node)).collect::<Vec<_>>(),
                volume,
            )
        };
        assert!(check(&[2], None).is_ok() && check(&[1, 2], Some(0)).is_ok());
        let problem = check(&[1, 2], None).unwrap_err().problem();
        assert_eq!((problem.status, &*problem.code), (409, "time-not-certain"));
        assert!(
            problem.detail.contains("volume 1 of node 1") && problem.detail.contains("in 60 s"),
            "{problem:?}"
        );
    }
}
