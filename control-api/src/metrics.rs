//! The API's own metrics: how long requests take, by route template and class of status.

#![expect(clippy::disallowed_methods, reason = "an edge: it waits for the world, and keeps deadlines")]

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::{HistogramOpts, HistogramVec, Registry};
use std::time::Instant;

/// Upper bounds of the histogram, in seconds.
const BUCKETS_S: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

#[derive(Clone)]
pub(crate) struct RequestMetrics {
    duration: HistogramVec,
}

impl RequestMetrics {
    /// # Errors
    /// Where a metric of that name is registered already: the API is built twice upon one registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Time from a request's head to its answer's head, by route, method and class of status";
        let options = HistogramOpts::new("holdfast_api_request_duration_seconds", help).buckets(BUCKETS_S.to_vec());
        let duration = HistogramVec::new(options, &["route", "method", "status"])?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { duration })
    }
}

/// Measures and logs each request. The log names the route's template, never the URI: tokens may stand in queries.
pub(crate) async fn observe(State(metrics): State<RequestMetrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = method_name(request.method());
    let began = Instant::now();
    let response = next.run(request).await;
    let took = began.elapsed();
    let status = response.status();
    metrics.duration.with_label_values(&[route, method, class(status)]).observe(took.as_secs_f64());
    tracing::debug!(route, method, status = status.as_u16(), took_ms = took.as_millis() as u64, "request");
    response
}

/// Bounded: clients may send any method name.
fn method_name(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

fn class(status: axum::http::StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
