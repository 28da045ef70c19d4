//! The only place where a request is authorised. At present there is one admin token; users and
//! roles belong here.
//!
//! The token is sent as `Authorization: Bearer …`. Players cannot send headers, so playback (`GET`
//! of HLS and exports) also accepts `?token=…`. Queries are never logged, and their answers forbid
//! the browser to send a referrer.

use crate::error::{ApiError, ErrorKind};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use holdfast_consensus::OnAuthorised;
use holdfast_consensus::model::Secret;

/// Routes that accept the token in the query.
const PLAYBACK_ROUTES: [&str; 3] = [
    "/api/v1/cameras/{id}/hls/",
    "/api/v1/cameras/{id}/export.mp4",
    "/api/v1/exports/{id}/",
];

/// Passes on a request that carries the admin token.
pub(crate) async fn authorise(
    State(token): State<Secret>,
    request: Request,
    next: Next,
) -> Response {
    match check(&token, &request) {
        Ok(_) if !OnAuthorised::has_room(&request) => no_room().into_response(),
        Ok(Carrier::Header) => next.run(request).await,
        Ok(Carrier::Query) => without_referrer(next.run(request).await),
        Err(error) => error.into_response(),
    }
}

/// How the token was sent.
enum Carrier {
    Header,
    Query,
}

fn check(token: &Secret, request: &Request) -> Result<Carrier, ApiError> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let presented = value.to_str().ok().and_then(bearer);
        let presented =
            presented.ok_or_else(|| refused("the Authorization header is not `Bearer <token>`"))?;
        return same(presented, &token.0)
            .then_some(Carrier::Header)
            .ok_or_else(|| refused("the token is not the admin token"));
    }
    if takes_query_token(request) {
        let query = request.uri().query().unwrap_or_default();
        if let Some((_, presented)) =
            url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "token")
        {
            return same(&presented, &token.0)
                .then_some(Carrier::Query)
                .ok_or_else(|| refused("the token is not the admin token"));
        }
    }
    Err(refused(
        "the request carries no token; send `Authorization: Bearer <admin token>`",
    ))
}

fn refused(why: &str) -> ApiError {
    ApiError::new(ErrorKind::Unauthorised, why)
}

fn no_room() -> ApiError {
    let detail = "all of this node's connections for clients with the token are taken; close some, \
                  ask another node, or raise listen.api_connections_max";
    ApiError::unavailable(detail).code("overloaded")
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

fn takes_query_token(request: &Request) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    reads && is_playback(route)
}

/// Whether `GET` of the route accepts the token in the query.
pub(crate) fn is_playback(route: &str) -> bool {
    PLAYBACK_ROUTES
        .iter()
        .any(|playback| route.starts_with(playback))
}

/// Compares in a time that depends only on the presented text's length.
fn same(presented: &str, expected: &str) -> bool {
    let (presented, expected) = (presented.as_bytes(), expected.as_bytes());
    let byte = |index: usize| {
        expected
            .get(index % expected.len().max(1))
            .copied()
            .unwrap_or(0)
    };
    let difference = presented.iter().enumerate().fold(0, |sum, (index, own)| {
        std::hint::black_box(sum | (own ^ byte(index)))
    });
    difference == 0 && presented.len() == expected.len() && !expected.is_empty()
}

fn without_referrer(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_same() {
        assert!(same("secret", "secret"));
        for other in ["", "secre", "secret1", "Secret", "secretsecret"] {
            assert!(!same(other, "secret"), "{other}");
        }
        assert!(!same("", ""), "an empty token never opens anything");
    }

    #[test]
    fn the_scheme_is_case_insensitive() {
        assert_eq!(bearer("bearer x"), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("Bearer"), None);
    }
}
