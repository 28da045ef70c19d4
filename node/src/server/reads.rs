//! What a node tells its peers of its own recordings: `/read/*` on the peer port, postcard in and out.

use super::pilot::Sight;
use super::scrub;
use super::volumes::{ReadError, Volumes};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use holdfast_control_api::backend::{Lost, Payload};
use holdfast_control_api::limits::TIMELINES_AT_ONCE;
use holdfast_storage::Range;
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, Gap, InitId};
use holdfast_storage::ids::CameraId;
use holdfast_storage::timeline::Span;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;
use tokio::sync::watch;

/// Requests are a few numbers.
const REQUEST_BYTES_MAX: usize = 4096;

/// Spans and ledger entries of one node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) spans: Vec<Span>,
    pub(crate) gaps: Vec<Gap>,
    /// Whether this is all that the node holds: no volume is away, and all segments of former processes are listed. Where it is false, a hole in
    /// the spans is not known to be a gap.
    pub(crate) complete: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct InitRequest {
    pub(crate) camera: CameraId,
    pub(crate) init: InitId,
}

pub(crate) const SPANS_PATH: &str = "/read/spans";
pub(crate) const ENTRIES_PATH: &str = "/read/entries";
pub(crate) const INIT_PATH: &str = "/read/init";
pub(crate) const CHUNK_PATH: &str = "/read/chunk";
pub(crate) const SIGHT_PATH: &str = "/read/sight";
pub(crate) const VOLUMES_PATH: &str = "/read/volumes";

/// How this node's volumes are scrubbed, and what was found damaged.
pub(crate) const SCRUB_PATH: &str = "/read/scrub";
pub(crate) const START_SCRUB_PATH: &str = "/scrub/start";

/// What was asked for is stored, and damaged: asking again gives the same.
pub(crate) const DAMAGED: StatusCode = StatusCode::GONE;

/// The chunk that was asked for is not stored any more: retention deleted it.
pub(crate) const DELETED: StatusCode = StatusCode::NOT_FOUND;

pub(crate) fn read_routes(volumes: Volumes) -> Router {
    Router::new()
        .route(SPANS_PATH, post(spans))
        .route(ENTRIES_PATH, post(entries))
        .route(INIT_PATH, post(init))
        .route(CHUNK_PATH, post(chunk))
        .route(SCRUB_PATH, post(scrub))
        .route(START_SCRUB_PATH, post(start_scrub))
        .route(VOLUMES_PATH, post(standing))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(volumes)
}

/// What this node, a voter, was told of all recorders: other nodes are told of some only.
pub(crate) fn sight_route(sight: watch::Receiver<Arc<Sight>>) -> Router {
    Router::new().route(SIGHT_PATH, post(progress)).layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX)).with_state(sight)
}

async fn progress(State(sight): State<watch::Receiver<Arc<Sight>>>) -> Response {
    let sight = Arc::clone(&sight.borrow());
    encode(&sight.progress.iter().collect::<Vec<_>>())
}

fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<T, Box<Response>> {
    postcard::from_bytes(body).map_err(|error| Box::new((StatusCode::BAD_REQUEST, error.to_string()).into_response()))
}

fn encode<T: Serialize>(value: &T) -> Response {
    match postcard::to_allocvec(value) {
        Ok(bytes) => bytes.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn reply<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Response {
    match result {
        Ok(value) => encode(&value),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn spans(State(volumes): State<Volumes>, body: Bytes) -> Response {
    match decode::<Vec<Range>>(&body) {
        Ok(ranges) if ranges.len() > TIMELINES_AT_ONCE => {
            (StatusCode::BAD_REQUEST, format!("at most {TIMELINES_AT_ONCE} ranges at once")).into_response()
        }
        Ok(ranges) => reply(volumes.recorded_of(&ranges).await),
        Err(rejection) => *rejection,
    }
}

async fn entries(State(volumes): State<Volumes>, body: Bytes) -> Response {
    match decode::<Range>(&body) {
        Ok(range) => reply::<Vec<ChunkEntry>, _>(volumes.entries(range).await),
        Err(rejection) => *rejection,
    }
}

async fn init(State(volumes): State<Volumes>, body: Bytes) -> Response {
    match decode::<InitRequest>(&body) {
        Ok(request) => bytes(volumes.init(request.camera, request.init).await),
        Err(rejection) => *rejection,
    }
}

async fn chunk(State(volumes): State<Volumes>, body: Bytes) -> Response {
    match decode::<ChunkLocation>(&body) {
        Ok(location) => match volumes.read(location.volume, vec![location]).await {
            Ok(mut payloads) => payload(payloads.pop()),
            Err(error) => bytes(Err(error)),
        },
        Err(rejection) => *rejection,
    }
}

async fn scrub(State(volumes): State<Volumes>) -> Response {
    encode(&scrub::status(&volumes))
}

async fn start_scrub(State(volumes): State<Volumes>) -> Response {
    scrub::start(&volumes);
    encode(&())
}

async fn standing(State(volumes): State<Volumes>) -> Response {
    encode(&volumes.wire())
}

fn payload(payload: Option<Payload>) -> Response {
    match payload {
        Some(Ok(bytes)) => bytes.into_response(),
        Some(Err(Lost::Damaged(detail))) => (DAMAGED, detail).into_response(),
        Some(Err(Lost::Deleted)) | None => (DELETED, "retention deleted this chunk").into_response(),
    }
}

fn bytes(result: Result<Bytes, ReadError>) -> Response {
    match result {
        Ok(bytes) => bytes.into_response(),
        Err(error) if error.is_damage() => (DAMAGED, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
