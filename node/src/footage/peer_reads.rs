//! What a node reports to its peers of its own recordings: `/read/*` on the peer port. Messages
//! have types and versions of their own, apart from the API's JSON.

use crate::footage::scrub;
use crate::volumes::report::Recorded;
use crate::volumes::{ReadError, Volumes};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use holdfast_consensus::codec::{self, Finalized, Format};
use holdfast_consensus::first_version;
use holdfast_consensus::observe::heartbeat::Progress;
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_control_api::limits::TIMELINES_AT_ONCE;
use holdfast_control_api::ports::{Lost, Payload};
use holdfast_storage::Range;
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, InitId};
use holdfast_storage::ids::{CameraId, NodeId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

/// Requests are a few numbers.
const REQUEST_BYTES_MAX: usize = 4096;

/// Of which ranges.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SpansRequest(pub(crate) Vec<Range>);

/// In the order of the ranges.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SpansAnswer(pub(crate) Vec<Recorded>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EntriesRequest(pub(crate) Range);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EntriesAnswer {
    pub(crate) entries: Vec<ChunkEntry>,
    /// A volume that may list more of them in a moment.
    pub(crate) late: Option<u16>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChunkRequest(pub(crate) ChunkLocation);

/// A request that needs no parameters.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Question;

/// It is done.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done;

/// The latest report of each recorder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SightAnswer(pub(crate) Vec<(NodeId, Progress)>);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScrubAnswer(pub(crate) Vec<scrub::Status>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumesAnswer(pub(crate) Vec<VolumeReport>);

first_version!(
    SpansRequest => "the question for recordings",
    SpansAnswer => "recordings",
    EntriesRequest => "the question for chunks",
    EntriesAnswer => "a list of chunks",
    InitRequest => "the question for an init segment",
    ChunkRequest => "the question for a chunk",
    Question => "a question",
    Done => "an acknowledgement",
    SightAnswer => "reports of recorders",
    ScrubAnswer => "the state of the scrub",
    VolumesAnswer => "the state of volumes",
);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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

/// How this node's volumes are scrubbed, and which damage was found.
pub(crate) const SCRUB_PATH: &str = "/read/scrub";
pub(crate) const START_SCRUB_PATH: &str = "/scrub/start";

/// The requested data is stored but damaged: another request gives the same.
pub(crate) const DAMAGED: StatusCode = StatusCode::GONE;

/// The requested chunk is not stored any more: retention deleted it.
pub(crate) const DELETED: StatusCode = StatusCode::NOT_FOUND;

/// The volumes whose contents are reported, and in which versions.
pub(crate) type Source = State<(Volumes, Finalized)>;

pub(crate) fn read_routes(volumes: Volumes, finalized: Finalized) -> Router {
    Router::new()
        .route(SPANS_PATH, post(spans))
        .route(ENTRIES_PATH, post(entries))
        .route(INIT_PATH, post(init))
        .route(CHUNK_PATH, post(chunk))
        .route(SCRUB_PATH, post(scrub))
        .route(START_SCRUB_PATH, post(start_scrub))
        .route(VOLUMES_PATH, post(standing))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state((volumes, finalized))
}

/// The reports of all recorders that this node, a voter, has: other nodes get only some of them.
pub(crate) fn sight_route(sight: watch::Receiver<Arc<Sight>>, finalized: Finalized) -> Router {
    Router::new()
        .route(SIGHT_PATH, post(progress))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state((sight, finalized))
}

async fn progress(
    State((sight, finalized)): State<(watch::Receiver<Arc<Sight>>, Finalized)>,
) -> Response {
    let sight = Arc::clone(&sight.borrow());
    let reports = sight.progress.iter();
    let reports = reports.map(|(node, progress)| (node, progress.clone()));
    encode(&SightAnswer(reports.collect()), &finalized)
}

pub(crate) fn decode<T: Format>(body: &Bytes) -> Result<T, Box<Response>> {
    codec::decode(body)
        .map_err(|error| Box::new((StatusCode::BAD_REQUEST, error.to_string()).into_response()))
}

pub(crate) fn encode<T: Format>(value: &T, finalized: &Finalized) -> Response {
    match codec::encode(value, finalized) {
        Ok(bytes) => bytes.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn reply<T: Format, E: std::fmt::Display>(result: Result<T, E>, finalized: &Finalized) -> Response {
    match result {
        Ok(value) => encode(&value, finalized),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn spans(State((volumes, finalized)): Source, body: Bytes) -> Response {
    match decode::<SpansRequest>(&body) {
        Ok(SpansRequest(ranges)) if ranges.len() > TIMELINES_AT_ONCE => (
            StatusCode::BAD_REQUEST,
            format!("at most {TIMELINES_AT_ONCE} ranges at once"),
        )
            .into_response(),
        Ok(SpansRequest(ranges)) => {
            let recorded = volumes.recorded_of(&ranges).await;
            reply(recorded.map(SpansAnswer), &finalized)
        }
        Err(rejection) => *rejection,
    }
}

async fn entries(State((volumes, finalized)): Source, body: Bytes) -> Response {
    match decode::<EntriesRequest>(&body) {
        Ok(EntriesRequest(range)) => {
            let answer = |(entries, late)| EntriesAnswer { entries, late };
            reply(volumes.entries(range).await.map(answer), &finalized)
        }
        Err(rejection) => *rejection,
    }
}

async fn init(State((volumes, _)): Source, body: Bytes) -> Response {
    match decode::<InitRequest>(&body) {
        Ok(request) => bytes(volumes.init(request.camera, request.init).await),
        Err(rejection) => *rejection,
    }
}

async fn chunk(State((volumes, _)): Source, body: Bytes) -> Response {
    match decode::<ChunkRequest>(&body) {
        Ok(ChunkRequest(location)) => match volumes.read(location.volume, vec![location]).await {
            Ok(mut payloads) => payload(payloads.pop()),
            Err(error) => bytes(Err(error)),
        },
        Err(rejection) => *rejection,
    }
}

async fn scrub(State((volumes, finalized)): Source) -> Response {
    encode(&ScrubAnswer(scrub::status(&volumes)), &finalized)
}

async fn start_scrub(State((volumes, finalized)): Source) -> Response {
    scrub::start(&volumes);
    encode(&Done, &finalized)
}

async fn standing(State((volumes, finalized)): Source) -> Response {
    encode(&VolumesAnswer(volumes.reports()), &finalized)
}

fn payload(payload: Option<Payload>) -> Response {
    match payload {
        Some(Ok(bytes)) => bytes.into_response(),
        Some(Err(Lost::Damaged(detail))) => (DAMAGED, detail).into_response(),
        Some(Err(Lost::Deleted)) | None => {
            (DELETED, "retention deleted this chunk").into_response()
        }
    }
}

fn bytes(result: Result<Bytes, ReadError>) -> Response {
    match result {
        Ok(bytes) => bytes.into_response(),
        Err(error) if error.is_damage() => (DAMAGED, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests;
