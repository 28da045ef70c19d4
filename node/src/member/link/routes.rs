//! The receiving half: the heartbeat route of the peer port.

use super::{HEARTBEAT_PATH, LinkEvent, Now};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use holdfast_consensus::SentBy;
use holdfast_consensus::codec;
use holdfast_consensus::identity::{Identity, Unheard};
use holdfast_consensus::observe::clocks::Heard;
use tokio::sync::mpsc;

/// A heartbeat of 10,000 recorders with error texts fits.
const HEARTBEAT_BYTES_MAX: usize = 4 << 20;

/// `POST /link/heartbeat`, for members only, as every peer route; each sends its own.
pub fn heartbeat_routes(identity: Identity, events: mpsc::Sender<LinkEvent>, now: Now) -> Router {
    Router::new()
        .route(HEARTBEAT_PATH, post(receive))
        .layer(DefaultBodyLimit::max(HEARTBEAT_BYTES_MAX))
        .with_state((identity, events, now))
}

type Receiver = (Identity, mpsc::Sender<LinkEvent>, Now);

async fn receive(
    State((identity, events, now)): State<Receiver>,
    SentBy(sender): SentBy,
    body: Bytes,
) -> Response {
    let received = now();
    let heartbeat = match identity.hear(sender, &body) {
        Ok(heartbeat) => heartbeat,
        Err(error) => return (status_of(&error), error.to_string()).into_response(),
    };
    if events.send(LinkEvent::Heartbeat(heartbeat)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let heard = Heard {
        received,
        answered: now(),
    };
    match codec::encode(&heard, identity.finalized()) {
        Ok(answer) => answer.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn status_of(error: &Unheard) -> StatusCode {
    match error {
        Unheard::Unreadable(_) => StatusCode::BAD_REQUEST,
        Unheard::Forged { .. } => StatusCode::FORBIDDEN,
        Unheard::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
        Unheard::Unintroduced(_) => StatusCode::CONFLICT,
    }
}
