//! `/healthz`, `/readyz` and `/metrics`: for machines on the site's network, open to all of them.
//! They reveal nothing of cameras' contents.

use crate::error::ApiError;
use crate::limits::READY_DEADLINE;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(alive, ready, metrics))]
pub(super) struct Paths;

/// The process is alive and answers.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "check_alive",
    security(()),
    responses((status = 200, content_type = "text/plain", body = String)),
)]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the node can work now; `ready`, and then what an operator should know.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "check_ready",
    security(()),
    responses((status = 200, content_type = "text/plain", body = String)),
)]
pub(crate) async fn ready<B: Backend>(State(app): State<App<B>>) -> Result<String> {
    let late = Err(format!("no answer within {} s", READY_DEADLINE.as_secs()));
    match tokio::time::timeout(READY_DEADLINE, app.backend.ready())
        .await
        .unwrap_or(late)
    {
        Ok(()) => Ok(ready_page(&app.backend.notes())),
        Err(why) => Err(ApiError::unavailable(why).code("not-ready")),
    }
}

/// The word that probes look for, followed by what an operator should know.
fn ready_page(notes: &[String]) -> String {
    std::iter::once("ready")
        .chain(notes.iter().map(String::as_str))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Prometheus text format, version 0.0.4.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    security(()),
    responses((status = 200, content_type = "text/plain", body = String)),
)]
pub(crate) async fn metrics<B: Backend>(State(app): State<App<B>>) -> Result<impl IntoResponse> {
    let page = app.page.of(&app.backend.metrics()).await;
    let page = page
        .map_err(|error| ApiError::internal(format!("the metrics cannot be written: {error}")))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], page))
}
