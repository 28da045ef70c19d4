//! The only place where a request from another member is authorised.

use super::trust::Trust;
use super::trust::roster::Caller;
use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use holdfast_storage::ids::NodeId;
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

/// Serves `routes` only to members, by the [`Caller`] that the connection's handshake has shown and
/// the server has added to the request's extensions. `trust` is asked for each request whether the
/// caller still is a member; without it (in simulations) it is what the handshake has shown.
pub fn members_only(trust: Option<Trust>, routes: Router) -> Router {
    routes.layer(from_fn_with_state((trust, Door::Members), check))
}

/// The same, for invited newcomers.
pub(crate) fn invited_only(trust: Option<Trust>, routes: Router) -> Router {
    routes.layer(from_fn_with_state((trust, Door::Invited), check))
}

/// The same, for members and for nodes that were members.
pub(crate) fn known_only(trust: Option<Trust>, routes: Router) -> Router {
    routes.layer(from_fn_with_state((trust, Door::Known), check))
}

/// The same for Raft's messages, which also come from nodes of which this one has not heard yet.
pub(crate) fn raft_only(trust: Option<Trust>, routes: Router) -> Router {
    routes.layer(from_fn_with_state((trust, Door::Raft), check))
}

#[derive(Clone, Copy)]
enum Door {
    Members,
    Raft,
    Known,
    Invited,
}

impl Door {
    /// # Errors
    /// The answer to a caller that may not enter.
    fn admits(self, caller: Option<Caller>) -> Result<(), (StatusCode, &'static str)> {
        let forbidden = |message| Err((StatusCode::FORBIDDEN, message));
        match (caller, self) {
            (Some(Caller::Member(_)), Self::Members | Self::Raft | Self::Known)
            | (Some(Caller::Newer(_)), Self::Raft | Self::Known)
            | (Some(Caller::Former(_)), Self::Known)
            | (Some(Caller::Invited(_)), Self::Invited) => Ok(()),
            (None, _) => Err((StatusCode::UNAUTHORIZED, "this node may not speak here")),
            (Some(Caller::Newer(_)), _) => forbidden("this node has not heard of that member yet"),
            (Some(Caller::Former(_)), _) => forbidden("this node is no member any more"),
            (Some(Caller::Invited(_)), _) => forbidden("only members may ask this"),
            (Some(Caller::Member(_)), _) => forbidden("only invited newcomers may ask this"),
        }
    }
}

async fn check(
    State((trust, door)): State<(Option<Trust>, Door)>,
    mut request: Request,
    next: Next,
) -> Response {
    let presented = request.extensions().get::<Caller>().copied();
    let caller = presented.and_then(|caller| match &trust {
        Some(trust) => trust.roster().now(caller),
        None => Some(caller),
    });
    if let Err((status, message)) = door.admits(caller) {
        return refusal(status, message);
    }
    // Only members have places that are kept for them.
    let is_member = matches!(caller, Some(Caller::Member(_) | Caller::Newer(_)));
    if is_member && !OnAuthorised::has_room(&request) {
        let message =
            "all connections for members are taken: raise listen.peer_connections_max of this node";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, message);
    }
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

/// The connection is closed with it: its client has nothing more to ask.
fn refusal(status: StatusCode, message: &'static str) -> Response {
    (status, [(CONNECTION, "close")], message).into_response()
}

/// The member, or former member, that sent a request.
#[derive(Clone, Copy, Debug)]
pub struct SentBy(pub NodeId);

impl<S: Sync> FromRequestParts<S> for SentBy {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        match parts.extensions.get::<Caller>() {
            Some(Caller::Member(node) | Caller::Newer(node) | Caller::Former(node)) => {
                Ok(Self(*node))
            }
            _ => Err((StatusCode::FORBIDDEN, "only members may ask this")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyHash;
    use axum::body::Body;
    use axum::routing::get;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tower::ServiceExt;

    #[tokio::test]
    async fn the_server_hears_of_authorised_requests_only_and_may_refuse_them() {
        let routes = members_only(None, Router::new().route("/", get(async || "well")));
        let member = Some(Caller::Member(NodeId(2)));
        let invited = Some(Caller::Invited(KeyHash::default()));
        for (caller, has_room, status, heard) in [
            (member, true, StatusCode::OK, 1),
            (member, false, StatusCode::SERVICE_UNAVAILABLE, 1),
            (invited, true, StatusCode::FORBIDDEN, 0),
            (
                Some(Caller::Former(NodeId(2))),
                true,
                StatusCode::FORBIDDEN,
                0,
            ),
            (None, true, StatusCode::UNAUTHORIZED, 0),
        ] {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            let on_authorised = OnAuthorised::new(move || {
                counted.fetch_add(1, Relaxed);
                has_room
            });
            let mut request = Request::get("/").extension(on_authorised);
            if let Some(caller) = caller {
                request = request.extension(caller);
            }
            let answer = routes
                .clone()
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(
                (answer.status(), count.load(Relaxed)),
                (status, heard),
                "{caller:?}"
            );
        }
    }
}
