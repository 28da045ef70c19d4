//! Whether this node is a member still. One that was removed while it was away comes back with an
//! old state in which it is one, and no member speaks to it: it asks.

use super::reads::{Done, Question};
use super::view::View;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use holdfast_consensus::codec;
use holdfast_consensus::peer::PeerError;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

const STANDING_PATH: &str = "/standing";
/// Of the answer to "am I a member?".
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// How often to ask while no leader is known.
const ASK_INTERVAL: Duration = Duration::from_secs(3);
/// A node that has just joined is not known to every member yet: only what is said so often in a
/// row counts.
const DENIALS_MIN: u32 = 3;

/// What the node says of itself then.
pub(crate) const REMOVED: &str = "this node was removed from the cluster while it was away, and records nothing for it: to use it again, stop it, move its data_dir aside (its volumes may stay), start it and let it join";

/// Answers whether a node is a member, as far as this one knows.
pub(crate) fn standing_route(state: watch::Receiver<Arc<ClusterState>>) -> Router {
    Router::new().route(&format!("{STANDING_PATH}/{{node}}"), post(standing)).with_state(state)
}

async fn standing(State(state): State<watch::Receiver<Arc<ClusterState>>>, Path(node): Path<u64>) -> Response {
    let state = Arc::clone(&state.borrow());
    if state.cluster.is_some() && state.nodes.get(NodeId(node)).is_none() {
        return (StatusCode::GONE, format!("node {node} is not a member of this cluster")).into_response();
    }
    match codec::encode(&Done) {
        Ok(answer) => answer.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Asks the others while no leader is known, and says in `removed` when they say no. Runs as long
/// as the node.
pub(crate) async fn watch_standing(view: View, removed: watch::Sender<bool>) {
    let mut denials = 0;
    loop {
        sleep(ASK_INTERVAL).await;
        if view.leadership.borrow().leader.is_some_and(|leader| view.sight.borrow().is_alive(leader)) {
            denials = 0;
            removed.send_if_modified(|removed| std::mem::replace(removed, false));
            continue;
        }
        denials = match ask(&view).await {
            Some(true) => 0,
            Some(false) => denials + 1,
            None => denials,
        };
        let is_removed = denials >= DENIALS_MIN;
        let is_news = removed.send_if_modified(|removed| std::mem::replace(removed, is_removed) != is_removed);
        if is_news && is_removed {
            tracing::error!("{REMOVED}");
        }
    }
}

/// Whether any other member says that this node is one; `None` where none answers.
async fn ask(view: &View) -> Option<bool> {
    let mut said = None;
    for (_, addr) in view.peers() {
        let path = format!("{STANDING_PATH}/{}", view.me);
        match view.client.call::<_, Done>(&addr, &path, &Question, ANSWER_DEADLINE).await {
            Ok(Done) => return Some(true),
            Err(PeerError::Rejected { status, .. }) if status == StatusCode::GONE.as_u16() => said = Some(false),
            Err(error) => tracing::debug!(%addr, %error, "no answer whether this node is a member"),
        }
    }
    said
}
