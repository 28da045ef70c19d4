//! The API's own metrics (request durations, by route template and class of status), and the page
//! of all metrics.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use prometheus::{Encoder, HistogramOpts, HistogramVec, Registry, TextEncoder};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::sleep_until;

/// Upper bounds of the histogram, in seconds.
const BUCKETS_S: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// The minimum time between two collections of all metrics: each takes milliseconds, and any client
/// may request it.
const PAGE_INTERVAL: Duration = Duration::from_millis(100);

/// The page of all metrics. It is generated at most ten times a second for any number of requests,
/// and a request never gets a page whose generation began before it arrived.
#[derive(Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Option<Made>>>);

struct Made {
    began: Instant,
    text: Bytes,
}

impl Page {
    /// # Errors
    /// A metric cannot be written as text.
    pub(crate) async fn of(&self, registry: &Registry) -> Result<Bytes, prometheus::Error> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(last) = &*last {
            if last.began >= asked {
                return Ok(last.text.clone());
            }
            sleep_until((last.began + PAGE_INTERVAL).into()).await;
        }
        let (began, mut text) = (Instant::now(), Vec::new());
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
        let text = Bytes::from(text);
        *last = Some(Made {
            began,
            text: text.clone(),
        });
        Ok(text)
    }
}

#[derive(Clone)]
pub(crate) struct RequestMetrics {
    duration: HistogramVec,
}

impl RequestMetrics {
    /// # Errors
    /// A metric of that name is registered already: the API was built twice with one registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help =
            "Time from a request's head to its answer's head, by route, method and class of status";
        let options = HistogramOpts::new("holdfast_api_request_duration_seconds", help)
            .buckets(BUCKETS_S.to_vec());
        let duration = HistogramVec::new(options, &["route", "method", "status"])?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { duration })
    }
}

/// Measures and logs each request. The log names the route's template, never the URI: queries may
/// contain tokens.
pub(crate) async fn observe(
    State(metrics): State<RequestMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = method_name(request.method());
    let began = Instant::now();
    let response = next.run(request).await;
    let took = began.elapsed();
    let status = response.status();
    metrics
        .duration
        .with_label_values(&[route, method, class(status)])
        .observe(took.as_secs_f64());
    tracing::debug!(
        route,
        method,
        status = status.as_u16(),
        took_ms = took.as_millis() as u64,
        "request"
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use prometheus::core::{Collector, Desc};
    use prometheus::proto::MetricFamily;
    use prometheus::{IntCounter, Opts};

    /// Counts how often it is collected.
    struct Looks(IntCounter);

    impl Collector for Looks {
        fn desc(&self) -> Vec<&Desc> {
            self.0.desc()
        }

        fn collect(&self) -> Vec<MetricFamily> {
            self.0.inc();
            self.0.collect()
        }
    }

    #[tokio::test]
    async fn many_that_ask_at_once_share_a_page_and_none_gets_one_of_before() {
        let registry = Registry::new();
        let looks =
            IntCounter::with_opts(Opts::new("holdfast_accepted_connections_total", "Looks."))
                .unwrap();
        registry.register(Box::new(Looks(looks.clone()))).unwrap();
        let page = Page::default();
        let pages = join_all((0..50).map(|_| page.of(&registry))).await;
        assert!(pages.iter().all(Result::is_ok));
        assert!(looks.get() <= 3, "{}", looks.get());
        for _ in 0..3 {
            let before = looks.get();
            let text = page.of(&registry).await.unwrap();
            assert!(
                text.ends_with(
                    format!("holdfast_accepted_connections_total {}\n", before + 1).as_bytes()
                ),
                "{text:?}"
            );
        }
    }
}
