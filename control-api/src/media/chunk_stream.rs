//! Sends chunks in order, patched into their places, with a few fetched ahead: memory use does not
//! depend on the length of the answer.
//!
//! A chunk that is damaged, or that retention deleted, is replaced by a `free` box of its length.
//! Known lost chunks are part of the layout ([`super::footage`]); a chunk that is found lost when
//! it is read is logged, and remembered for the next answer. A chunk that cannot be fetched ends
//! the transfer, so that the client sees that it is incomplete.

use crate::error::ApiError;
use crate::limits::{PLAYED_MAX, READ_DEADLINE, RUNS_AHEAD};
use crate::lost::LostChunks;
use crate::playback::gate::needs_earlier;
use crate::playback::layout::{Cut, Slot, free_box};
use crate::playback::runs::Runs;
use crate::playback::schedule::Placer;
use crate::playback::tear::{Absent, Tear};
use crate::playback::{LOOKAHEAD, LOOKBACK, Tracks};
use crate::range::Range;
use crate::resources::ports::{Backend, Listed, Lost, Payload, Result};
use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use holdfast_storage::chunk::{ChunkEntry, ChunkMeta, InitId};
use holdfast_storage::cmaf::merge::{INITS_MAX, MergeError, MergedInit, merge_inits};
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::time::Timestamp;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::collections::VecDeque;
use std::vec::IntoIter;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

type Read = (ChunkEntry, Payload);

/// A chunk to be sent to a client.
enum Piece {
    Media(Bytes),
    /// Left out: this many bytes take its place.
    Free(u64),
}

/// What to do when more footage turns out to be lost after the answer has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    IsPassedOver,
    BreaksOff,
}

/// Why an answer has no body.
#[derive(Debug)]
pub(super) enum Unsent {
    Failed(ApiError),
    /// Some of the laid-out footage is lost: it has to be laid out again.
    OfOtherFootage,
}

impl From<ApiError> for Unsent {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// The chunks of an answer.
pub(super) struct ChunkStream {
    runs: BoxStream<'static, Result<Vec<Read>>>,
    /// The rest of the run that is being sent.
    run: IntoIter<Read>,
    slots: IntoIter<Slot>,
    placer: Placer,
    tear: Tear,
    lost: LostChunks,
    found: Found,
    /// How many were found lost when they were read.
    found_lost: u64,
    /// How many are damaged, including known ones.
    damaged: u64,
    /// Sent before the chunks.
    head: Option<Bytes>,
    /// Chunks that were read before the answer began.
    begun: VecDeque<Piece>,
    /// How many bytes of chunks to skip, and then how many to send.
    skip: u64,
    left: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

/// How often entries are requested again from further back: usually once, more often if the
/// recordings of the longer time are merged differently.
const LOOKBACKS_MAX: usize = 4;

/// The entries of a range, from the access point before it if there is one, and some beyond it:
/// recordings are merged equally for a playlist and for each of its segments only if the ends of
/// the merged time are further away than a GOP. Callers take the entries that begin within the
/// range. Also returns who may have more of them in a moment ([`Listed::late`]).
pub(super) async fn playable<B: Backend>(
    backend: &B,
    (camera, stream): (CameraId, StreamKind),
    range: Range,
    strict: bool,
) -> Result<(Tracks, Option<String>)> {
    let mut from = range.from.plus_micros(-(LOOKBACK.as_micros() as i64));
    let to = range.to.plus(LOOKAHEAD);
    let Listed { chunks, mut late } = backend.entries(camera, stream, from, to).await?;
    let mut tracks = Tracks::of(chunks);
    for _ in 0..LOOKBACKS_MAX {
        let earlier =
            needs_earlier(&tracks.video, range.from, strict).filter(|earlier| *earlier < from);
        let Some(earlier) = earlier else { break };
        if range.to.micros_since(earlier) > PLAYED_MAX.as_micros() as i64 {
            return Err(too_far(camera, range, earlier));
        }
        from = earlier;
        let listing = backend.entries(camera, stream, from, to).await?;
        (tracks, late) = (Tracks::of(listing.chunks), listing.late.or(late));
    }
    Ok((tracks, late))
}

fn too_far(camera: CameraId, range: Range, keyframe: Timestamp) -> ApiError {
    let hours = PLAYED_MAX.as_secs() / 3600;
    let detail = format!(
        "footage of camera {camera} at {} is decoded from its keyframe on, which is at {keyframe}: \
         ask for a range that ends within {hours} h of it",
        range.from
    );
    ApiError::invalid(detail).code("keyframe-too-far")
}

/// Why nothing of a range can be played.
pub(super) fn unplayable(camera: CameraId, range: Range, tracks: &Tracks) -> ApiError {
    let mut within = tracks
        .video
        .iter()
        .filter(|entry| entry.meta.end() > range.from && entry.meta.start < range.to);
    let Some(keyframe) = within.find_map(|entry| entry.meta.access_start()) else {
        return no_footage(camera, range);
    };
    let detail = format!(
        "footage of camera {camera} from {} to {} cannot be decoded: its keyframe is at \
         {keyframe}, and is not there any more (retention deleted it, or it is damaged)",
        range.from, range.to
    );
    ApiError::not_found(detail).code("keyframe-gone")
}

pub(super) fn no_footage(camera: CameraId, range: Range) -> ApiError {
    let detail = format!(
        "camera {camera} has nothing that can be played from {} to {}; its timeline shows what \
         there is",
        range.from, range.to
    );
    ApiError::not_found(detail).code("no-footage")
}

/// Fetches and merges the inits of a presentation, for video and audio. `first_use` contains when
/// each init is first used, for error messages.
pub(super) async fn merged_init<B: Backend>(
    backend: &B,
    camera: CameraId,
    (video, audio): (&[InitId], &[InitId]),
    first_use: impl Fn(InitId) -> Option<Timestamp>,
) -> Result<MergedInit> {
    let (video, audio) = (
        fetch_inits(backend, camera, video).await?,
        fetch_inits(backend, camera, audio).await?,
    );
    merge_inits(&video, &audio).map_err(|error| merge_error(&error, first_use))
}

async fn fetch_inits<B: Backend>(
    backend: &B,
    camera: CameraId,
    ids: &[InitId],
) -> Result<Vec<(InitId, Bytes)>> {
    let mut inits = Vec::with_capacity(ids.len().min(INITS_MAX));
    // One more than the limit makes the merge fail with an error.
    for id in ids.iter().take(INITS_MAX + 1) {
        inits.push((*id, backend.init(camera, *id).await?));
    }
    Ok(inits)
}

fn merge_error(error: &MergeError, first_use: impl Fn(InitId) -> Option<Timestamp>) -> ApiError {
    match error {
        MergeError::CodecChanged { init, .. } => {
            let at = first_use(*init).map(|at| {
                format!(" at {at}; export the ranges before and after that time each on its own")
            });
            ApiError::invalid(format!("{error}{}", at.unwrap_or_default())).code("codec-change")
        }
        MergeError::TooMany { .. } => {
            ApiError::invalid(format!("{error}; ask for a shorter range"))
                .code("too-many-parameter-changes")
        }
        MergeError::Unreadable { .. } | MergeError::Unbuildable(_) => {
            ApiError::damaged(error.to_string())
        }
    }
}

impl ChunkStream {
    pub(super) fn new<B: Backend>(
        backend: B,
        mut cut: Cut,
        (lost, found): (LostChunks, Found),
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let read = move |run: Vec<ChunkEntry>| read_apart(backend.clone(), run);
        let mut slots = cut.slots.iter();
        cut.chunks
            .retain(|_| slots.next().is_none_or(|slot| slot.absent.is_none()));
        Self {
            runs: stream::iter(Runs::of(cut.chunks))
                .map(read)
                .buffered(RUNS_AHEAD)
                .boxed(),
            run: Vec::new().into_iter(),
            slots: cut.slots.into_iter(),
            placer: cut.placer,
            tear: cut.tear,
            lost,
            found,
            found_lost: 0,
            damaged: 0,
            head: Some(cut.head),
            begun: VecDeque::new(),
            skip: cut.skip,
            left: cut.bytes,
            _permit: permit,
        }
    }

    /// The body, once it is certain that there is one: an error before the first sent chunk becomes
    /// an error response, and a chunk found lost before that makes it another version. If `all` of
    /// a presentation is sent, there has to be at least one chunk that can be sent.
    pub(super) async fn into_body(
        mut self,
        all: bool,
        (camera, range): (CameraId, Range),
    ) -> std::result::Result<Body, Unsent> {
        let mut read = 0;
        while self.left > 0 {
            let piece = self
                .next()
                .await
                .ok_or_else(|| self.nothing(camera, range))??;
            let is_enough = matches!(piece, Piece::Media(_)) || !all;
            if piece.bytes() <= self.skip {
                // It was read for what its loss would change.
                self.skip -= piece.bytes();
                continue;
            }
            read += piece.bytes();
            self.begun.push_back(piece);
            if is_enough && read > self.skip {
                break;
            }
        }
        if self.found_lost > 0 {
            return Err(Unsent::OfOtherFootage);
        }
        let frames = stream::unfold(self, |mut chunks| async move {
            chunks.next_frame().await.map(|frame| (frame, chunks))
        });
        Ok(Body::new(StreamBody::new(frames)))
    }

    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Option<Result<Piece>> {
        let slot = self.slots.next()?;
        if let Some(absent) = slot.absent {
            self.damaged += u64::from(absent == Absent::Damaged);
            return Some(Ok(Piece::Free(slot.bytes)));
        }
        loop {
            if let Some((entry, payload)) = self.run.next() {
                return Some(Ok(self.place(&entry, slot, payload)));
            }
            match self.runs.next().await? {
                Ok(run) => self.run = run.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Why nothing of a range was sent.
    fn nothing(&self, camera: CameraId, range: Range) -> ApiError {
        if self.damaged == 0 {
            return no_footage(camera, range);
        }
        ApiError::damaged(format!("all footage from {} to {}", range.from, range.to))
    }

    async fn next_frame(&mut self) -> Option<Result<Frame<Bytes>>> {
        if let Some(head) = self.head.take().filter(|head| !head.is_empty()) {
            return Some(Ok(Frame::data(head)));
        }
        while self.left > 0 {
            let next = match self.begun.pop_front() {
                Some(begun) => Some(Ok(begun)),
                None => self.next().await,
            };
            let piece = next.unwrap_or_else(|| {
                Err(ApiError::internal(
                    "chunks are shorter than they were listed",
                ))
            });
            let piece = piece.and_then(|piece| self.of_this_version(piece));
            let bytes = piece
                .and_then(Piece::content)
                .map(|bytes| self.within(&bytes));
            match bytes {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Some(Ok(Frame::data(bytes))),
                Err(error) => {
                    tracing::warn!(
                        code = error.code,
                        "a transfer of footage was broken off: {}",
                        error.detail
                    );
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// # Errors
    /// Some of the laid-out footage is lost, and the client joins this answer to what it has.
    fn of_this_version(&self, piece: Piece) -> Result<Piece> {
        if self.found == Found::BreaksOff && self.found_lost > 0 {
            return Err(ApiError::damaged(
                "some of the footage was lost since: it has another tag now",
            ));
        }
        Ok(piece)
    }

    /// The part of a piece that is sent.
    fn within(&mut self, bytes: &Bytes) -> Bytes {
        let skip = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.skip -= skip as u64;
        let sent = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len() - skip);
        self.left -= sent as u64;
        bytes.slice(skip..skip + sent)
    }

    /// The chunk in its sent form.
    fn place(&mut self, entry: &ChunkEntry, slot: Slot, payload: Payload) -> Piece {
        let meta = &entry.meta;
        let placed = payload.and_then(|bytes| {
            let placed = self.placer.place(meta, slot.place, slot.number, bytes);
            let placed = placed.map_err(|error| Lost::Damaged(error.to_string()))?;
            let is_as_long = placed.len() as u64 == slot.bytes;
            is_as_long
                .then_some(placed)
                .ok_or_else(|| Lost::Damaged("not as long as it was listed".to_owned()))
        });
        let ChunkMeta {
            camera,
            node,
            start,
            ..
        } = meta;
        let (media, lost) = match placed {
            Ok(bytes) => (bytes, None),
            Err(Lost::Damaged(detail)) => {
                tracing::warn!(%camera, %node, %start, "a damaged chunk is left out: {detail}");
                (Bytes::new(), Some(Absent::Damaged))
            }
            Err(Lost::Deleted) => {
                tracing::info!(
                    %camera, %node, %start,
                    "a chunk that retention deleted is left out"
                );
                (Bytes::new(), Some(Absent::Deleted))
            }
        };
        if let Some(why) = lost {
            self.lost.found(entry, why);
            self.found_lost += 1;
            self.damaged += u64::from(why == Absent::Damaged);
        }
        match self.tear.next(meta, lost) {
            None => Piece::Media(media),
            Some(_) => Piece::Free(slot.bytes),
        }
    }
}

impl Piece {
    fn bytes(&self) -> u64 {
        match self {
            Self::Media(bytes) => bytes.len() as u64,
            Self::Free(bytes) => *bytes,
        }
    }

    fn content(self) -> Result<Bytes> {
        match self {
            Self::Media(bytes) => Ok(bytes),
            Self::Free(bytes) => {
                let free = free_box(bytes).map(Bytes::from);
                free.ok_or_else(|| {
                    ApiError::damaged(format!("a chunk of {bytes} bytes cannot be left out"))
                })
            }
        }
    }
}

/// Reads in a separate task, which continues, and so meets its deadlines, while the client reads
/// nothing. It ends with the stream.
async fn read_apart<B: Backend>(backend: B, run: Vec<ChunkEntry>) -> Result<Vec<Read>> {
    let mut reading = JoinSet::new();
    reading.spawn(async move { read_in_time(&backend, run).await });
    match reading.join_next().await {
        Some(Ok(read)) => read,
        ended => Err(ApiError::internal(format!(
            "reading footage ended in a bug: {ended:?}"
        ))),
    }
}

async fn read_in_time<B: Backend>(backend: &B, run: Vec<ChunkEntry>) -> Result<Vec<Read>> {
    let payloads = tokio::time::timeout(READ_DEADLINE, backend.read(&run))
        .await
        .unwrap_or_else(|_| {
            let first = run.first().map(|entry| {
                format!(
                    "node {} did not deliver footage of {}",
                    entry.location.holder, entry.meta.start
                )
            });
            Err(ApiError::unavailable(format!(
                "{} within {} s",
                first.unwrap_or_default(),
                READ_DEADLINE.as_secs()
            )))
        })?;
    if payloads.len() != run.len() {
        return Err(ApiError::internal(format!(
            "{} of {} chunks were read",
            payloads.len(),
            run.len()
        )));
    }
    Ok(run.into_iter().zip(payloads).collect())
}
