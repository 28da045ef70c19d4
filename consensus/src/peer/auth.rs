//! The only place where a request from another member is authorised.

use crate::model::Secret;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::sync::Arc;

/// A server adds this to the extensions of each request, to learn which connections carry
/// authorised ones: those are kept when it is full.
#[derive(Clone)]
pub struct OnAuthorised(Arc<dyn Fn() -> bool + Send + Sync>);

impl OnAuthorised {
    /// `heard` returns whether the server has room for one more connection of this kind.
    pub fn new(heard: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(heard))
    }

    /// For the code that authorises a request. `false`: the server has no room, and the request
    /// must be refused. A request that did not come through such a server is never refused.
    #[must_use]
    pub fn has_room(request: &Request) -> bool {
        request
            .extensions()
            .get::<Self>()
            .is_none_or(|on_authorised| (on_authorised.0)())
    }
}

impl fmt::Debug for OnAuthorised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnAuthorised")
    }
}

/// Serves `routes` only to clients that know the cluster's `secret` (`authorization: Bearer ...`);
/// others get 401.
pub fn peer_auth(secret: Secret, routes: Router) -> Router {
    routes.layer(from_fn_with_state(secret, check))
}

async fn check(State(secret): State<Secret>, request: Request, next: Next) -> Response {
    if !is_authorised(&secret, request.headers()) {
        let message = "the cluster secret is missing or wrong: all nodes of a cluster share one";
        return (StatusCode::UNAUTHORIZED, message).into_response();
    }
    if !OnAuthorised::has_room(&request) {
        let message =
            "all connections for members are taken: raise listen.peer_connections_max of this node";
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    }
    next.run(request).await
}

/// An empty secret authorises no client.
fn is_authorised(secret: &Secret, headers: &HeaderMap) -> bool {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    !secret.0.is_empty()
        && token.is_some_and(|token| equal_in_constant_time(token, secret.0.as_bytes()))
}

/// Takes equally long whichever byte is wrong, so that timing reveals only the length.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| {
        std::hint::black_box(difference | (a ^ b))
    });
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tower::ServiceExt;

    fn allowed(secret: &str, header: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        header
            .into_iter()
            .for_each(|value| _ = headers.insert(AUTHORIZATION, value.parse().unwrap()));
        is_authorised(&Secret(secret.into()), &headers)
    }

    #[test]
    fn only_the_whole_secret_opens() {
        assert!(allowed("s3cret", Some("Bearer s3cret")));
        for header in [
            None,
            Some("Bearer "),
            Some("Bearer s3cre"),
            Some("Bearer s3cret!"),
            Some("Basic s3cret"),
            Some("s3cret"),
        ] {
            assert!(!allowed("s3cret", header), "{header:?}");
        }
        assert!(!allowed("", Some("Bearer ")));
    }

    #[tokio::test]
    async fn the_server_hears_of_authorised_requests_only_and_may_refuse_them() {
        let routes = peer_auth(
            Secret("s3cret".into()),
            Router::new().route("/", get(async || "well")),
        );
        for (token, has_room, status, heard) in [
            ("Bearer s3cret", true, StatusCode::OK, 1),
            ("Bearer s3cret", false, StatusCode::SERVICE_UNAVAILABLE, 1),
            ("Bearer s3cre", true, StatusCode::UNAUTHORIZED, 0),
        ] {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            let on_authorised = OnAuthorised::new(move || {
                counted.fetch_add(1, Relaxed);
                has_room
            });
            let request = Request::get("/")
                .header(AUTHORIZATION, token)
                .extension(on_authorised);
            let answer = routes
                .clone()
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(
                (answer.status(), count.load(Relaxed)),
                (status, heard),
                "{token}"
            );
        }
    }
}
