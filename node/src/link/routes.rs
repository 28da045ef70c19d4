//! The receiving half: the heartbeat route of the peer port.

use super::{HEARTBEAT_PATH, LinkEvent};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use holdfast_consensus::heartbeat::Heartbeat;
use tokio::sync::mpsc;

/// A heartbeat of 10,000 recorders with error texts fits.
const HEARTBEAT_BYTES_MAX: usize = 4 << 20;

/// `POST /link/heartbeat`; authorisation is the caller's, as for every peer route.
pub fn heartbeat_routes(events: mpsc::Sender<LinkEvent>) -> Router {
    Router::new()
        .route(HEARTBEAT_PATH, post(receive))
        .layer(DefaultBodyLimit::max(HEARTBEAT_BYTES_MAX))
        .with_state(events)
}

async fn receive(State(events): State<mpsc::Sender<LinkEvent>>, body: Bytes) -> StatusCode {
    let Ok(heartbeat) = postcard::from_bytes::<Heartbeat>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    match events.send(LinkEvent::Heartbeat(heartbeat)).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
