//! The router: every route once, and the layers that they share. One file per resource.

mod asked;
mod backup;
mod cameras;
mod chunk_stream;
mod cluster;
mod drills;
mod export;
mod exports;
mod footage;
mod gaps;
mod growing;
mod health;
mod hls;
mod holds;
mod iframes;
mod nodes;
mod openapi;
mod parts;
mod queries;
mod retention;
mod scrub;
mod settings;
mod status;
mod timeline;

use crate::auth;
use crate::backend::Backend;
use crate::error::{ApiError, ErrorKind};
use crate::limits::{
    BODY_BYTES_MAX, EXPORT_UNITS_MAX, READY_REQUESTS_MAX, REQUEST_DEADLINE, REQUESTS_MAX,
    RESTORE_BODY_BYTES_MAX, WAITING_FOR_FIRST_ENTRY_MAX,
};
use crate::lost::LostChunks;
use crate::metrics::{self, Page, RequestMetrics};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use holdfast_consensus::model::Secret;
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The API's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The token for everything under `/api/v1`.
    pub admin_token: Secret,
    /// The wall clock; decides whether a playlist's range has ended.
    pub now: fn() -> Timestamp,
}

/// Why the API cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the admin token is empty; set one, it opens the whole API")]
    EmptyToken,
    #[error("the API's metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The state that handlers share.
#[derive(Clone)]
pub(crate) struct App<B> {
    pub(crate) backend: B,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) lost: LostChunks,
    /// Limits players that wait for a first entry.
    pub(crate) opening: Arc<Semaphore>,
    pub(crate) page: Page,
}

/// Every route of a node.
///
/// # Errors
/// See [`SetupError`].
pub fn router<B: Backend>(backend: B, options: Options) -> Result<Router, SetupError> {
    if options.admin_token.0.is_empty() {
        return Err(SetupError::EmptyToken);
    }
    let request_metrics = RequestMetrics::register(&backend.metrics())?;
    let app = App {
        backend,
        now: options.now,
        exports: Arc::new(Semaphore::new(EXPORT_UNITS_MAX as usize)),
        lost: LostChunks::new(options.now),
        opening: Arc::new(Semaphore::new(WAITING_FOR_FIRST_ENTRY_MAX)),
        page: Page::default(),
    };
    let ready = Router::new()
        .route("/readyz", get(health::ready::<B>))
        .route_layer(from_fn_with_state(
            Arc::new(Semaphore::new(READY_REQUESTS_MAX)),
            bound,
        ));
    let open = Router::new()
        // All simultaneous requests share one page: their number is bounded by that of connections.
        .route("/metrics", get(health::metrics::<B>))
        .route("/healthz", get(health::alive))
        .merge(ready)
        .route_layer(from_fn(queries::refuse_unknown));
    // Limited after authorisation: strangers take no client's place, and clients do not take the
    // place of health and metrics.
    let guarded = api::<B>()
        .route_layer(from_fn(queries::refuse_unknown))
        .route_layer(from_fn_with_state(
            Arc::new(Semaphore::new(REQUESTS_MAX)),
            bound,
        ))
        .route_layer(from_fn_with_state(options.admin_token, auth::authorise));
    Ok(open
        .merge(guarded)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(request_metrics, metrics::observe))
        .with_state(app))
}

fn api<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/openapi.json", get(openapi::show))
        .route("/api/v1/status", get(status::show::<B>))
        .route("/api/v1/cluster", get(cluster::show::<B>))
        .route("/api/v1/cluster/init", post(cluster::init::<B>))
        .route("/api/v1/cluster/join", post(cluster::join::<B>))
        .route("/api/v1/cluster/rebalance", post(cluster::rebalance::<B>))
        .route("/api/v1/cluster/finalize", post(cluster::finalize::<B>))
        .route("/api/v1/backup", post(backup::make::<B>))
        .route(
            "/api/v1/restore",
            post(backup::restore::<B>).layer(DefaultBodyLimit::max(RESTORE_BODY_BYTES_MAX)),
        )
        .route(
            "/api/v1/settings",
            get(settings::show::<B>).patch(settings::change::<B>),
        )
        .route("/api/v1/nodes", get(nodes::list::<B>))
        .route("/api/v1/nodes/{id}", delete(nodes::remove::<B>))
        .route("/api/v1/nodes/{id}/volumes", get(nodes::volumes::<B>))
        .route(
            "/api/v1/nodes/{id}/drain",
            post(nodes::drain::<B>).delete(nodes::undrain::<B>),
        )
        .route("/api/v1/nodes/{id}/scrub", post(scrub::start::<B>))
        .route("/api/v1/scrub", get(scrub::list::<B>))
        .route("/api/v1/retention", get(retention::list::<B>))
        .route("/api/v1/retention/release", post(retention::release::<B>))
        .route("/api/v1/retention/cancel", post(retention::cancel::<B>))
        .route("/api/v1/retention/future", get(retention::future::<B>))
        .route(
            "/api/v1/retention/remove-future",
            post(retention::remove_future::<B>),
        )
        .route(
            "/api/v1/cameras",
            get(cameras::list::<B>).post(cameras::create::<B>),
        )
        .route(
            "/api/v1/cameras/{id}",
            get(cameras::show::<B>)
                .patch(cameras::change::<B>)
                .delete(cameras::remove::<B>),
        )
        .route("/api/v1/cameras/adopt", post(cameras::adopt::<B>))
        .route("/api/v1/cameras/deleted", get(cameras::deleted::<B>))
        .route("/api/v1/cameras/{id}/release", post(cameras::release::<B>))
        .route("/api/v1/cameras/{id}/restore", post(cameras::restore::<B>))
        .route(
            "/api/v1/holds",
            get(holds::list::<B>).post(holds::create::<B>),
        )
        .route(
            "/api/v1/holds/{id}",
            get(holds::show::<B>).delete(holds::remove::<B>),
        )
        .route(
            "/api/v1/exports",
            get(exports::list::<B>).post(exports::create::<B>),
        )
        .route(
            "/api/v1/exports/{id}",
            get(exports::show::<B>).delete(exports::remove::<B>),
        )
        .route(
            "/api/v1/exports/{id}/manifest.json",
            get(exports::manifest::<B>),
        )
        .route("/api/v1/exports/{id}/{file}", get(exports::file::<B>))
        .route(
            "/api/v1/drills",
            get(drills::list::<B>).post(drills::begin::<B>),
        )
        .route("/api/v1/drills/{id}", get(drills::show::<B>))
        .route("/api/v1/gaps", get(gaps::list::<B>))
        .route("/api/v1/cameras/{id}/timeline", get(timeline::show::<B>))
        .route(
            "/api/v1/cameras/{id}/hls/index.m3u8",
            get(hls::playlist::<B>),
        )
        .route(
            "/api/v1/cameras/{id}/hls/growing.m3u8",
            get(growing::playlist::<B>),
        )
        .route("/api/v1/cameras/{id}/hls/cell.m4s", get(growing::cell::<B>))
        .route(
            "/api/v1/cameras/{id}/hls/main.m3u8",
            get(iframes::main::<B>),
        )
        .route(
            "/api/v1/cameras/{id}/hls/pictures.m3u8",
            get(iframes::playlist::<B>),
        )
        .route(
            "/api/v1/cameras/{id}/hls/picture.m4s",
            get(iframes::picture::<B>),
        )
        .route("/api/v1/cameras/{id}/hls/init.mp4", get(hls::init::<B>))
        .route(
            "/api/v1/cameras/{id}/hls/segment.m4s",
            get(hls::segment::<B>),
        )
        .route("/api/v1/cameras/{id}/hls/gap.m4s", get(hls::gap))
        .route(
            "/api/v1/cameras/{id}/export.mp4",
            get(export::download::<B>),
        )
}

/// Limits the number of requests being answered and the time that each may take.
async fn bound(State(requests): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = requests.try_acquire() else {
        let detail =
            "this node is answering as many requests as it may; try again, or ask another node";
        return ApiError::unavailable(detail)
            .code("overloaded")
            .into_response();
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    tokio::time::timeout(REQUEST_DEADLINE, next.run(request))
        .await
        .unwrap_or_else(|_| late(reads).into_response())
}

fn late(reads: bool) -> ApiError {
    let seconds = REQUEST_DEADLINE.as_secs();
    if reads {
        return ApiError::unavailable(format!(
            "no answer within {seconds} s; try again, or ask another node"
        ));
    }
    let detail = format!(
        "no answer within {seconds} s; read the resource to see whether the change happened before \
         trying again"
    );
    ApiError::new(ErrorKind::OutcomeUnknown, detail)
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::not_found(format!(
        "there is no {}; docs/api.md lists every route",
        uri.path()
    ))
    .code("unknown-route")
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        ErrorKind::MethodNotAllowed,
        format!(
            "{} does not have {method}; the Allow header lists what it has",
            uri.path()
        ),
    )
}
