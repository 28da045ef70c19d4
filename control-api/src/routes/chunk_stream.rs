//! Sends chunks in order, patched into their places, with a few fetched ahead: memory does not grow with the length of what is sent.
//!
//! A chunk that is damaged, or that retention deleted meanwhile, is left out, logged and counted,
//! and video goes on after it; at the next access point where what refers to lost frames is not
//! wanted, or where nothing was sent yet to begin with. A chunk that cannot be fetched ends the
//! transfer, so that the client sees that it is not whole.

use crate::backend::{Backend, Lost, Payload, Result};
use crate::error::ApiError;
use crate::fmp4::merge::{INITS_MAX, MergeError, MergedInit, merge_inits_from};
use crate::limits::{PLAYED_MAX, READ_DEADLINE, RUNS_AHEAD};
use crate::playback::gate::needs_earlier;
use crate::playback::rebase::Rebaser;
use crate::playback::runs::Runs;
use crate::playback::{LOOKAHEAD, LOOKBACK, Tracks};
use crate::range::Range;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use holdfast_storage::chunk::{ChunkEntry, ChunkMeta, InitId};
use holdfast_storage::ids::{CameraId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::vec::IntoIter;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

/// Trailer with the number of damaged chunks that were left out.
const DAMAGED_CHUNKS: &str = "x-holdfast-damaged-chunks";
/// Trailer with the number of chunks that were left out because retention deleted them during the transfer.
const DELETED_CHUNKS: &str = "x-holdfast-deleted-chunks";
/// Both, as they are announced.
pub(super) const TRAILERS: &str = "x-holdfast-damaged-chunks, x-holdfast-deleted-chunks";

type Read = (ChunkEntry, Payload);

/// Chunks on their way to a client.
pub(super) struct ChunkStream {
    runs: BoxStream<'static, Result<Vec<Read>>>,
    /// What is left of the run that is being sent.
    run: IntoIter<Read>,
    rebaser: Rebaser,
    /// What refers to lost frames is left out.
    strict: bool,
    /// Video is left out until an access point comes.
    torn: bool,
    /// Video was sent.
    has_begun: bool,
    damaged: u64,
    deleted: u64,
    ended: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// How often entries are asked for again from further back: once as a rule, more where recordings
/// are merged otherwise over the longer time.
const LOOKBACKS_MAX: usize = 4;

/// The entries of a range, from the access point before it on where there is one, and some beyond
/// it: recordings are merged alike for a playlist and for each of its segments only where the ends
/// of what is merged are further away than a GOP. Callers take what begins within the range.
pub(super) async fn playable_tracks<B: Backend>(
    backend: &B,
    camera: CameraId,
    stream: StreamKind,
    range: Range,
    strict: bool,
) -> Result<Tracks> {
    let mut from = range.from.plus_micros(-(LOOKBACK.as_micros() as i64));
    let to = range.to.plus(LOOKAHEAD);
    let mut tracks = Tracks::of(backend.entries(camera, stream, from, to).await?);
    for _ in 0..LOOKBACKS_MAX {
        let earlier = needs_earlier(&tracks.video, range.from, strict).filter(|earlier| *earlier < from);
        let Some(earlier) = earlier else { break };
        if range.to.micros_since(earlier) > PLAYED_MAX.as_micros() as i64 {
            return Err(too_far(camera, range, earlier));
        }
        from = earlier;
        tracks = Tracks::of(backend.entries(camera, stream, from, to).await?);
    }
    Ok(tracks)
}

fn too_far(camera: CameraId, range: Range, keyframe: Timestamp) -> ApiError {
    let hours = PLAYED_MAX.as_secs() / 3600;
    let detail = format!(
        "footage of camera {camera} at {} is decoded from its keyframe on, which is at {keyframe}: ask for a range that ends within {hours} h of it",
        range.from
    );
    ApiError::invalid(detail).code("keyframe-too-far")
}

/// Why nothing of a range can be played.
pub(super) fn unplayable(camera: CameraId, range: Range, tracks: &Tracks) -> ApiError {
    let mut within = tracks.video.iter().filter(|entry| entry.meta.end() > range.from && entry.meta.start < range.to);
    let Some(keyframe) = within.find_map(|entry| entry.meta.access_start()) else { return no_footage(camera, range) };
    let detail = format!(
        "footage of camera {camera} from {} to {} cannot be decoded: its keyframe is at {keyframe}, and is not there any more (retention deleted it, or it is damaged)",
        range.from, range.to
    );
    ApiError::not_found(detail).code("keyframe-gone")
}

pub(super) fn no_footage(camera: CameraId, range: Range) -> ApiError {
    let detail = format!(
        "camera {camera} has nothing that can be played from {} to {}; its timeline shows what there is",
        range.from, range.to
    );
    ApiError::not_found(detail).code("no-footage")
}

/// Fetches and merges the inits of a presentation that is shown from a time on, video's and
/// audio's. `first_use` tells when an init begins to be used, for the caller's eyes.
pub(super) async fn merged_init<B: Backend>(
    backend: &B,
    camera: CameraId,
    (video, audio): (&[InitId], &[InitId]),
    shown_from_us: u64,
    first_use: impl Fn(InitId) -> Option<Timestamp>,
) -> Result<MergedInit> {
    let (video, audio) = (fetch_inits(backend, camera, video).await?, fetch_inits(backend, camera, audio).await?);
    merge_inits_from(&video, &audio, shown_from_us).map_err(|error| merge_error(&error, first_use))
}

async fn fetch_inits<B: Backend>(backend: &B, camera: CameraId, ids: &[InitId]) -> Result<Vec<(InitId, Bytes)>> {
    let mut inits = Vec::with_capacity(ids.len().min(INITS_MAX));
    // One more than fits makes the merge say so.
    for id in ids.iter().take(INITS_MAX + 1) {
        inits.push((*id, backend.init(camera, *id).await?));
    }
    Ok(inits)
}

fn merge_error(error: &MergeError, first_use: impl Fn(InitId) -> Option<Timestamp>) -> ApiError {
    match error {
        MergeError::CodecChanged { init, .. } => {
            let at = first_use(*init)
                .map(|at| format!(" at {at}; export the ranges before and after that time each on its own"));
            ApiError::invalid(format!("{error}{}", at.unwrap_or_default())).code("codec-change")
        }
        MergeError::TooMany { .. } => {
            ApiError::invalid(format!("{error}; ask for a shorter range")).code("too-many-parameter-changes")
        }
        MergeError::Unreadable { .. } | MergeError::Unbuildable(_) => ApiError::damaged(error.to_string()),
    }
}

impl ChunkStream {
    pub(super) fn new<B: Backend>(
        backend: B,
        chunks: Vec<ChunkEntry>,
        rebaser: Rebaser,
        strict: bool,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let read = move |run: Vec<ChunkEntry>| read_apart(backend.clone(), run);
        let runs = stream::iter(Runs::of(chunks)).map(read).buffered(RUNS_AHEAD).boxed();
        let run = Vec::new().into_iter();
        Self {
            runs,
            run,
            rebaser,
            strict,
            torn: false,
            has_begun: false,
            damaged: 0,
            deleted: 0,
            ended: false,
            _permit: permit,
        }
    }

    /// The next chunk that can be sent; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            while let Some((entry, payload)) = self.run.next() {
                if let Some(bytes) = self.place(&entry, payload) {
                    return Some(Ok(bytes));
                }
            }
            match self.runs.next().await? {
                Ok(run) => self.run = run.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Why nothing at all was sent of a range.
    pub(super) fn nothing(&self, camera: CameraId, range: Range) -> ApiError {
        if self.damaged == 0 {
            return no_footage(camera, range);
        }
        ApiError::damaged(format!("all footage from {} to {}", range.from, range.to))
    }

    /// What is left of the stream as a body, after `head`; chunks that were left out are counted in the trailers.
    pub(super) fn into_body(self, head: Vec<Bytes>) -> Body {
        let head = stream::iter(head).map(|bytes| Ok(Frame::data(bytes)));
        let rest =
            stream::unfold(self, |mut chunks| async move { chunks.next_frame().await.map(|frame| (frame, chunks)) });
        Body::new(StreamBody::new(head.chain(rest)))
    }

    async fn next_frame(&mut self) -> Option<Result<Frame<Bytes>>> {
        if self.ended {
            return None;
        }
        let next = self.next().await;
        self.ended = !matches!(next, Some(Ok(_)));
        match next {
            Some(Ok(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Err(error)) => {
                tracing::warn!(code = error.code, "a transfer of footage was broken off: {}", error.detail);
                Some(Err(error))
            }
            None => Some(Ok(Frame::trailers(self.trailers()))),
        }
    }

    fn trailers(&self) -> HeaderMap {
        let counts = [(DAMAGED_CHUNKS, self.damaged), (DELETED_CHUNKS, self.deleted)];
        counts.map(|(name, count)| (HeaderName::from_static(name), HeaderValue::from(count))).into_iter().collect()
    }

    /// The chunk as it is sent; `None` where it is left out.
    fn place(&mut self, entry: &ChunkEntry, payload: Payload) -> Option<Bytes> {
        let meta = &entry.meta;
        let video = meta.track == TrackKind::Video;
        if video && self.torn && !meta.is_access_point() {
            return None;
        }
        let placed =
            payload.and_then(|bytes| self.rebaser.place(meta, bytes).map_err(|error| Lost::Damaged(error.to_string())));
        let ChunkMeta { camera, node, start, .. } = meta;
        match placed {
            Ok(bytes) => {
                self.torn &= !video;
                self.has_begun |= video;
                return Some(bytes);
            }
            Err(Lost::Damaged(detail)) => {
                tracing::warn!(%camera, %node, %start, "a damaged chunk is left out: {detail}");
                self.damaged += 1;
            }
            Err(Lost::Deleted) => {
                tracing::info!(%camera, %node, %start, "a chunk that retention deleted meanwhile is left out");
                self.deleted += 1;
            }
        }
        self.torn |= video && (self.strict || !self.has_begun);
        None
    }
}

/// In a task of its own, which goes on, and so meets its deadlines, also while the client takes nothing. It ends with the stream.
async fn read_apart<B: Backend>(backend: B, run: Vec<ChunkEntry>) -> Result<Vec<Read>> {
    let mut reading = JoinSet::new();
    reading.spawn(async move { read_in_time(&backend, run).await });
    match reading.join_next().await {
        Some(Ok(read)) => read,
        ended => Err(ApiError::internal(format!("reading footage ended in a bug: {ended:?}"))),
    }
}

async fn read_in_time<B: Backend>(backend: &B, run: Vec<ChunkEntry>) -> Result<Vec<Read>> {
    let payloads = tokio::time::timeout(READ_DEADLINE, backend.read(&run)).await.unwrap_or_else(|_| {
        let first = run
            .first()
            .map(|entry| format!("node {} did not deliver footage of {}", entry.location.holder, entry.meta.start));
        Err(ApiError::unavailable(format!("{} within {} s", first.unwrap_or_default(), READ_DEADLINE.as_secs())))
    })?;
    if payloads.len() != run.len() {
        return Err(ApiError::internal(format!("{} of {} chunks were read", payloads.len(), run.len())));
    }
    Ok(run.into_iter().zip(payloads).collect())
}
