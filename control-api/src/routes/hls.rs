//! `/api/v1/cameras/{id}/hls/…`: a range as an HLS presentation. Stateless: each URI says all that a node needs to answer it.

use super::App;
use super::caching::{A_WHILE, tag_of, unchanged};
use super::chunk_stream::{ChunkStream, merged_init, no_footage, playable_tracks, unplayable};
use super::growing;
use crate::backend::{Backend, Result};
use crate::error::ApiError;
use crate::extract::{Params, Segment};
use crate::limits::{PLAYBACK_RANGE_MAX, PLAYED_MAX};
use crate::playback::growing::SETTLED_AFTER;
use crate::playback::hls::{InitPair, Wanted, plan_playlist, segment_chunks};
use crate::playback::playlist::{GapDisplay, Request, init_of_name, write_playlist};
use crate::playback::rebase::Rebaser;
use crate::range::Range;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use holdfast_storage::chunk::InitId;
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::time::Timestamp;
use serde::Deserialize;

pub(super) const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
pub(super) const MEDIA_TYPE: &str = "video/mp4";

/// Init segments are named by their content.
const FOREVER: &str = "private, max-age=31536000, immutable";
/// What is played of a range may change while nodes come back with what they recorded.
pub(super) const NEVER: &str = "no-store";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaylistQuery {
    from: Option<String>,
    to: Option<String>,
    #[serde(default = "main_stream")]
    stream: StreamKind,
    /// Leaves out what refers to lost frames.
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    gaps: GapDisplay,
    /// What is recorded now, instead of a range.
    #[serde(default)]
    live: bool,
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InitQuery {
    video: String,
    audio: Option<String>,
    #[serde(rename = "stream")]
    _stream: Option<StreamKind>,
    #[serde(rename = "token")]
    _token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentQuery {
    /// In microseconds since the Unix epoch, as `to` and `base`.
    from: i64,
    to: i64,
    base: i64,
    video: String,
    audio: Option<String>,
    #[serde(default = "main_stream")]
    stream: StreamKind,
    /// The segment goes on the one before.
    #[serde(default)]
    within_gop: bool,
    #[serde(default)]
    strict: bool,
    #[serde(rename = "token")]
    _token: Option<String>,
}

pub(super) fn main_stream() -> StreamKind {
    StreamKind::Main
}

pub(super) async fn playlist<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<PlaylistQuery>,
) -> Result<Response> {
    let PlaylistQuery { from, to, stream, strict, gaps, live, token } = query;
    if live && (from.is_some() || to.is_some()) {
        let detail = "`live=true` shows what is recorded now; leave `from` and `to` out, or `live`";
        return Err(ApiError::malformed(detail).code("live-range"));
    }
    let range = if live { None } else { Some(Range::parse(from.as_deref(), to.as_deref(), PLAYBACK_RANGE_MAX)?) };
    let now = (app.now)();
    let ended = range.filter(|range| range.to.plus(SETTLED_AFTER) <= now);
    let request = |range| Request { range, stream, token: token.as_deref(), strict, gaps };
    let Some(range) = ended else {
        let asked = request(range.unwrap_or(Range { from: now, to: now }));
        return growing::open(&app, id, range, &asked).await;
    };
    let tracks = playable_tracks(&app.backend, id, stream, range, strict).await?;
    let known = match gaps {
        GapDisplay::Skip => Vec::new(),
        GapDisplay::Entries => app.backend.gaps(id, range.from, range.to).await?,
    };
    let items = plan_playlist(&tracks, &known, range, strict);
    if items.is_empty() {
        return Err(unplayable(id, range, &tracks));
    }
    let headers = [(header::CONTENT_TYPE, PLAYLIST_TYPE), (header::CACHE_CONTROL, NEVER)];
    Ok((headers, write_playlist(&items, &request(range))).into_response())
}

pub(super) async fn init<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<InitQuery>,
) -> Result<impl IntoResponse> {
    let inits = init_pair(&query.video, query.audio.as_deref())?;
    let merged = merged_init(&app.backend, id, (&[inits.video], inits.audio.as_slice()), 0, |_| None).await?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, FOREVER)], merged.bytes))
}

pub(super) async fn segment<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<SegmentQuery>,
    request: HeaderMap,
) -> Result<Response> {
    let range = Range { from: Timestamp(query.from), to: Timestamp(query.to) }.check(PLAYED_MAX)?;
    let inits = init_pair(&query.video, query.audio.as_deref())?;
    let SegmentQuery { stream, within_gop, strict, .. } = query;
    let tracks = playable_tracks(&app.backend, id, stream, range, strict).await?;
    let chunks = segment_chunks(&tracks, &Wanted { range, inits, within_gop, strict });
    if chunks.is_empty() {
        return Err(no_footage(id, range));
    }
    let base = Timestamp(query.base);
    let tag = tag_of(&chunks, base, inits);
    if let Some(answer) = unchanged(&request, &tag) {
        return Ok(answer);
    }
    let init = merged_init(&app.backend, id, (&[inits.video], inits.audio.as_slice()), 0, |_| None).await?;
    let mut stream = ChunkStream::new(app.backend, chunks, Rebaser::new(base, init), strict, None);
    let first = stream.next().await.ok_or_else(|| stream.nothing(id, range))??;
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, A_WHILE), (header::ETAG, &tag)];
    Ok((headers, stream.into_body(vec![first])).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GapQuery {
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// What `EXT-X-GAP` entries point at. Players that know these do not ask for it; VLC and GStreamer do not, and go on only
/// after an answer that is media, if only a segment type box (ISO/IEC 14496-12, 8.16.2).
pub(super) async fn gap(Params(_): Params<GapQuery>) -> impl IntoResponse {
    nothing_here()
}

pub(super) fn nothing_here() -> impl IntoResponse {
    const SEGMENT_TYPE: &[u8] = b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix";
    ([(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, NEVER)], SEGMENT_TYPE)
}

pub(super) fn init_pair(video: &str, audio: Option<&str>) -> Result<InitPair> {
    Ok(InitPair { video: init_id("video", video)?, audio: audio.map(|audio| init_id("audio", audio)).transpose()? })
}

fn init_id(field: &str, name: &str) -> Result<InitId> {
    init_of_name(name)
        .ok_or_else(|| ApiError::malformed(format!("`{field}` is {name:?}; take the URIs of the playlist as they are")))
}
