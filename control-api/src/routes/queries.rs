//! Unknown query keys are rejected on every route: a filter that does not exist would otherwise
//! seem to match everything.
//!
//! A route that reads a query is listed here; all others accept none. So a new route accepts none
//! until it is listed. The keys that it reads are listed here too if its type has more keys
//! ([`crate::media`]); otherwise its type rejects unknown ones.

use crate::error::ApiError;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The keys that a route reads of a query.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys {
    /// Those of its type, which rejects all others.
    OfItsType,
    These(&'static [&'static str]),
}

/// The keys of routes that show a range.
const RANGE: [&str; 5] = ["from", "to", "stream", "strict", "token"];

/// Routes that read a query, and which keys.
const READS: [(Method, &str, Keys); 16] = [
    (Method::DELETE, "/api/v1/nodes/{id}", Keys::OfItsType),
    (Method::GET, "/api/v1/drills", Keys::OfItsType),
    (Method::GET, "/api/v1/gaps", Keys::OfItsType),
    (
        Method::GET,
        "/api/v1/cameras/{id}/timeline",
        Keys::OfItsType,
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/index.m3u8",
        Keys::These(&["from", "to", "stream", "strict", "gaps", "live", "token"]),
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/main.m3u8",
        Keys::These(&["from", "to", "stream", "strict", "live", "token"]),
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/pictures.m3u8",
        Keys::These(&RANGE),
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/picture.m4s",
        Keys::OfItsType,
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/init.mp4",
        Keys::OfItsType,
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/segment.m4s",
        Keys::OfItsType,
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/gap.m4s",
        Keys::OfItsType,
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/growing.m3u8",
        Keys::These(&[
            "from", "to", "stream", "strict", "pictures", "video", "audio", "token",
        ]),
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/hls/cell.m4s",
        Keys::OfItsType,
    ),
    (
        Method::GET,
        "/api/v1/cameras/{id}/export.mp4",
        Keys::These(&RANGE),
    ),
    (
        Method::GET,
        "/api/v1/exports/{id}/manifest.json",
        Keys::OfItsType,
    ),
    (Method::GET, "/api/v1/exports/{id}/{file}", Keys::OfItsType),
];

/// Passes on a request if its route reads the query, or if it has none.
pub(super) async fn refuse_unknown(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    match refusal(
        request.method(),
        route,
        request.uri().query().unwrap_or_default(),
    ) {
        None => next.run(request).await,
        Some(why) => ApiError::malformed(format!("the query: {route} {why}")).into_response(),
    }
}

/// The keys of a route; `None` if it reads no query.
pub(super) fn keys_of(method: &Method, route: &str) -> Option<Keys> {
    let mut reads = READS.iter();
    let read = reads.find(|(known, path, _)| known == method && *path == route);
    read.map(|(.., keys)| *keys)
}

/// Why a query is rejected.
fn refusal(method: &Method, route: &str, query: &str) -> Option<String> {
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut keys = url::form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key);
    match keys_of(method, route) {
        None => keys
            .next()
            .map(|key| format!("takes none, and `{key}` was asked for")),
        Some(Keys::OfItsType) => None,
        Some(Keys::These(known)) => {
            let unknown = keys.find(|key| !known.contains(&&**key))?;
            Some(format!(
                "takes `{}`, and `{unknown}` was asked for",
                known.join("`, `")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_takes_a_query_only_where_it_says_so() {
        let why = |method, route| refusal(&method, route, "limit=1&x=2");
        let none = Some("takes none, and `limit` was asked for".to_owned());
        assert_eq!(why(Method::GET, "/api/v1/cameras"), none);
        assert_eq!(why(Method::GET, "/api/v1/a-new-one"), none);
        assert_eq!(why(Method::POST, "/api/v1/drills"), none);
        assert_eq!(
            why(Method::HEAD, "/api/v1/gaps"),
            None,
            "its own type says what it knows"
        );
        assert_eq!(refusal(&Method::GET, "/api/v1/cameras", ""), None);
    }

    #[test]
    fn a_route_takes_of_a_shared_query_what_it_reads() {
        let why = |file: &str, query| {
            refusal(
                &Method::GET,
                &format!("/api/v1/cameras/{{id}}/{file}"),
                query,
            )
        };
        let live = Some(
            "takes `from`, `to`, `stream`, `strict`, `token`, and `live` was asked for".to_owned(),
        );
        assert_eq!(why("export.mp4", "from=1&live=true&x=2"), live);
        assert_eq!(
            why(
                "export.mp4",
                "from=1&to=2&stream=sub&strict=true&token=a%26b"
            ),
            None
        );
        assert_eq!(why("hls/index.m3u8", "live=true&gaps=skip"), None);
        assert!(why("hls/growing.m3u8", "gaps=skip").is_some());
    }
}
