//! Unknown query keys are refused on every route: a filter that is not there would otherwise seem
//! to match everything.
//!
//! A route that reads a query says so here, and its own type refuses what it does not know; all
//! others take none. So a route that is added takes none until it is listed.

use crate::error::ApiError;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Routes that read a query.
const READS: [(Method, &str); 16] = [
    (Method::DELETE, "/api/v1/nodes/{id}"),
    (Method::GET, "/api/v1/drills"),
    (Method::GET, "/api/v1/gaps"),
    (Method::GET, "/api/v1/cameras/{id}/timeline"),
    (Method::GET, "/api/v1/cameras/{id}/hls/index.m3u8"),
    (Method::GET, "/api/v1/cameras/{id}/hls/main.m3u8"),
    (Method::GET, "/api/v1/cameras/{id}/hls/pictures.m3u8"),
    (Method::GET, "/api/v1/cameras/{id}/hls/picture.m4s"),
    (Method::GET, "/api/v1/cameras/{id}/hls/init.mp4"),
    (Method::GET, "/api/v1/cameras/{id}/hls/segment.m4s"),
    (Method::GET, "/api/v1/cameras/{id}/hls/gap.m4s"),
    (Method::GET, "/api/v1/cameras/{id}/hls/growing.m3u8"),
    (Method::GET, "/api/v1/cameras/{id}/hls/cell.m4s"),
    (Method::GET, "/api/v1/cameras/{id}/export.mp4"),
    (Method::GET, "/api/v1/exports/{id}/manifest.json"),
    (Method::GET, "/api/v1/exports/{id}/{file}"),
];

/// Lets a request pass whose route reads its query, or that has none.
pub(super) async fn refuse_unknown(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match unknown_key(request.method(), route, request.uri().query().unwrap_or_default()) {
        None => next.run(request).await,
        Some(key) => {
            ApiError::malformed(format!("the query: {route} takes none, and `{key}` was asked for")).into_response()
        }
    }
}

fn unknown_key(method: &Method, route: &str, query: &str) -> Option<String> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let reads = READS.iter().any(|(known, path)| known == method && *path == route);
    let mut keys = url::form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key.into_owned());
    if reads { None } else { keys.next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_a_query_only_where_it_says_so() {
        let key = |method, route| unknown_key(&method, route, "limit=1&x=2");
        assert_eq!(key(Method::GET, "/api/v1/cameras"), Some("limit".to_owned()));
        assert_eq!(key(Method::GET, "/api/v1/a-new-one"), Some("limit".to_owned()));
        assert_eq!(key(Method::POST, "/api/v1/drills"), Some("limit".to_owned()));
        assert_eq!(key(Method::HEAD, "/api/v1/gaps"), None, "its own type says what it knows");
        assert_eq!(unknown_key(&Method::GET, "/api/v1/cameras", ""), None);
    }
}
