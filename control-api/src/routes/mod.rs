//! The router: the routes of all resources and of footage, and the layers that they share.

mod openapi;
mod queries;

use crate::error::{ApiError, ErrorKind};
use crate::limits::{
    BODY_BYTES_MAX, EXPORT_UNITS_MAX, READY_REQUESTS_MAX, REQUEST_DEADLINE, REQUESTS_MAX,
    WAITING_FOR_FIRST_ENTRY_MAX,
};
use crate::lost::LostChunks;
use crate::metrics::{self, Page, RequestMetrics};
use crate::resources::app::App;
use crate::resources::ports::Backend;
use crate::resources::{self, health};
use crate::{auth, media};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
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
        .merge(resources::routes())
        .merge(media::routes())
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
