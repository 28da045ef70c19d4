//! Sends chunks in order, patched into their places, with a few fetched ahead: memory does not grow with the length of what is sent.
//!
//! A damaged chunk is left out, logged and counted, and video goes on at the next keyframe. A chunk that cannot be fetched ends the
//! transfer, so that the client sees that it is not whole.

use crate::backend::{Backend, Result};
use crate::error::{ApiError, ErrorKind};
use crate::fmp4::merge::{INITS_MAX, MergeError, MergedInit, merge_inits};
use crate::limits::{READ_AHEAD_CHUNKS, READ_DEADLINE};
use crate::playback::rebase::Rebaser;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use holdfast_storage::chunk::{ChunkEntry, InitId};
use holdfast_storage::ids::{CameraId, TrackKind};
use holdfast_storage::time::Timestamp;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;

/// Trailer with the number of damaged chunks that were left out.
pub(super) const DAMAGED_CHUNKS: &str = "x-holdfast-damaged-chunks";

type Reads = BoxStream<'static, (ChunkEntry, Result<Bytes>)>;

/// Chunks on their way to a client.
pub(super) struct ChunkStream {
    reads: Reads,
    rebaser: Rebaser,
    /// Video is left out until a keyframe comes.
    torn: bool,
    damaged: u64,
    ended: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Fetches and merges the inits of a presentation, video's and audio's. `first_use` tells when an init begins to be used, for the caller's eyes.
pub(super) async fn merged_init<B: Backend>(
    backend: &B,
    camera: CameraId,
    (video, audio): (&[InitId], &[InitId]),
    first_use: impl Fn(InitId) -> Option<Timestamp>,
) -> Result<MergedInit> {
    let (video, audio) = (fetch_inits(backend, camera, video).await?, fetch_inits(backend, camera, audio).await?);
    merge_inits(&video, &audio).map_err(|error| merge_error(&error, first_use))
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
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let read = move |entry: ChunkEntry| {
            let backend = backend.clone();
            async move { (entry, read_in_time(&backend, &entry).await) }
        };
        let reads = stream::iter(chunks).map(read).buffered(READ_AHEAD_CHUNKS).boxed();
        Self { reads, rebaser, torn: false, damaged: 0, ended: false, _permit: permit }
    }

    /// The next chunk that can be sent; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes>> {
        while let Some((entry, read)) = self.reads.next().await {
            match self.place(&entry, read) {
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// What is left of the stream as a body, after `head`; damaged chunks are counted in the trailer.
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
        HeaderMap::from_iter([(HeaderName::from_static(DAMAGED_CHUNKS), HeaderValue::from(self.damaged))])
    }

    fn place(&mut self, entry: &ChunkEntry, read: Result<Bytes>) -> Result<Option<Bytes>> {
        let meta = &entry.meta;
        let video = meta.track == TrackKind::Video;
        if video && self.torn && !meta.is_keyframe() {
            return Ok(None);
        }
        let placed = read
            .and_then(|bytes| self.rebaser.place(meta, bytes).map_err(|error| ApiError::damaged(error.to_string())));
        match placed {
            Err(error) if error.kind == ErrorKind::Damaged => {
                tracing::warn!(camera = %meta.camera, node = %meta.node, start = %meta.start, "a damaged chunk is left out: {}", error.detail);
                self.damaged += 1;
                self.torn |= video;
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(bytes) => {
                self.torn &= !video;
                Ok(Some(bytes))
            }
        }
    }
}

async fn read_in_time<B: Backend>(backend: &B, entry: &ChunkEntry) -> Result<Bytes> {
    let read = tokio::time::timeout(READ_DEADLINE, backend.read(entry)).await;
    read.unwrap_or_else(|_| {
        let (node, seconds) = (entry.meta.node, READ_DEADLINE.as_secs());
        Err(ApiError::unavailable(format!(
            "node {node} did not deliver footage of {} within {seconds} s",
            entry.meta.start
        )))
    })
}
