//! The one place where a request from another member is authorised.

use crate::model::Secret;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

/// `routes`, answered only to who knows the cluster's `secret` (`authorization: Bearer ...`); others get 401.
pub fn peer_auth(secret: Secret, routes: Router) -> Router {
    routes.layer(from_fn_with_state(secret, check))
}

async fn check(State(secret): State<Secret>, request: Request, next: Next) -> Response {
    if is_authorised(&secret, request.headers()) {
        return next.run(request).await;
    }
    let message = "the cluster secret is missing or wrong: all nodes of a cluster share one";
    (StatusCode::UNAUTHORIZED, message).into_response()
}

/// An empty secret authorises nobody.
fn is_authorised(secret: &Secret, headers: &HeaderMap) -> bool {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    !secret.0.is_empty() && token.is_some_and(|token| equal_in_constant_time(token, secret.0.as_bytes()))
}

/// Takes as long for the first wrong byte as for the last, so that time tells nothing but the length.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(secret: &str, header: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        header.into_iter().for_each(|value| _ = headers.insert(AUTHORIZATION, value.parse().unwrap()));
        is_authorised(&Secret(secret.into()), &headers)
    }

    #[test]
    fn only_the_whole_secret_opens() {
        assert!(allowed("s3cret", Some("Bearer s3cret")));
        for header in
            [None, Some("Bearer "), Some("Bearer s3cre"), Some("Bearer s3cret!"), Some("Basic s3cret"), Some("s3cret")]
        {
            assert!(!allowed("s3cret", header), "{header:?}");
        }
        assert!(!allowed("", Some("Bearer ")));
    }
}
