//! `/api/v1/cameras/{id}/hls/…`: a range as an HLS presentation. Stateless: each URI contains
//! everything that a node needs to answer it.

use super::asked::{Asked, init_pair, main_stream};
use super::byte_ranges::{Conditions, LATE, Representation, missing_or_late, tag_of};
use super::chunk_stream::{Unsent, merged_init, no_footage, playable, unplayable};
use super::footage::{Footage, Looks};
use super::growing::{self, Shows};
use crate::extract::{Params, Segment, TokenQuery};
use crate::limits::PLAYED_MAX;
use crate::playback::growing::SETTLED_AFTER;
use crate::playback::hls::{Wanted, plan_playlist, segment_chunks};
use crate::playback::layout::Layout;
use crate::playback::playlist::{GapDisplay, write_playlist};
use crate::playback::schedule::Placer;
use crate::problems::{Invalid, MediaAnswers, NotFound};
use crate::range::Range;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::time::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

pub(super) const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
pub(super) const MEDIA_TYPE: &str = "video/mp4";

/// Init segments are named by their content.
const FOREVER: &str = "private, max-age=31536000, immutable";
/// Footage changes only while nodes return with what they recorded; its tag changes with it.
pub(super) const A_WHILE: &str = "private, max-age=300";
/// The playable footage of a range may change while nodes return with what they recorded.
pub(super) const NEVER: &str = "no-store";

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InitQuery {
    #[param(value_type = schema::InitName)]
    video: String,
    #[param(value_type = Option<schema::InitName>)]
    audio: Option<String>,
    #[serde(rename = "stream")]
    #[param(value_type = Option<schema::StreamKind>)]
    _stream: Option<StreamKind>,
    #[serde(rename = "token")]
    _token: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SegmentQuery {
    /// In microseconds since the Unix epoch, as `to` and `base`.
    from: i64,
    to: i64,
    base: i64,
    #[param(value_type = schema::InitName)]
    video: String,
    #[param(value_type = Option<schema::InitName>)]
    audio: Option<String>,
    #[serde(default = "main_stream")]
    #[param(value_type = schema::StreamKind)]
    stream: StreamKind,
    /// The segment continues the previous one.
    #[serde(default)]
    within_gop: bool,
    #[serde(default)]
    strict: bool,
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// A range as HLS, or live footage.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/index.m3u8",
    operation_id = "get_playlist",
    tag = "footage",
    params(("id" = schema::CameraId, Path), Asked),
    responses(
        (status = 200, content_type = "application/vnd.apple.mpegurl", body = String),
        NotFound,
        Invalid,
    ),
)]
pub(super) async fn playlist<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(asked): Params<Asked>,
) -> Result<Response> {
    let (range, strict) = (asked.range_or_live()?, asked.strict);
    let now = (app.now)();
    let ended = range.filter(|range| range.to.plus(SETTLED_AFTER) <= now);
    let Some(range) = ended else {
        let request = asked.request(range.unwrap_or(Range { from: now, to: now }));
        return growing::open(&app, id, range, &request, Shows::Media).await;
    };
    let (tracks, late) = playable(&app.backend, (id, asked.stream), range, strict).await?;
    let known = match asked.gaps {
        GapDisplay::Skip => Vec::new(),
        GapDisplay::Entries => app.backend.gaps(id, range.from, range.to).await?,
    };
    let items = plan_playlist(&tracks, &known, range, strict);
    if items.is_empty() {
        return Err(missing_or_late(late.as_ref(), || {
            unplayable(id, range, &tracks)
        }));
    }
    let headers = [
        (header::CONTENT_TYPE, PLAYLIST_TYPE),
        (header::CACHE_CONTROL, NEVER),
    ];
    let late = late.map(|late| [(LATE, late)]);
    let text = write_playlist(&items, &asked.request(range));
    Ok((headers, late, text).into_response())
}

/// The init segment of a playlist; its URI is the playlist's.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/init.mp4",
    operation_id = "get_init_segment",
    tag = "footage",
    params(("id" = schema::CameraId, Path), InitQuery),
    responses(MediaAnswers),
)]
pub(super) async fn init<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<InitQuery>,
    conditions: Conditions,
) -> Result<Response> {
    let inits = init_pair(&query.video, query.audio.as_deref())?;
    let merged = merged_init(
        &app.backend,
        id,
        (&[inits.video], inits.audio.as_slice()),
        |_| None,
    )
    .await?;
    media_of(&merged.bytes, FOREVER)
        .answer_of(&conditions, merged.bytes)
        .await
}

/// A segment of a playlist; its URI is the playlist's.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/segment.m4s",
    operation_id = "get_segment",
    tag = "footage",
    params(("id" = schema::CameraId, Path), SegmentQuery),
    responses(MediaAnswers),
)]
pub(super) async fn segment<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<SegmentQuery>,
    conditions: Conditions,
) -> Result<Response> {
    let range = Range {
        from: Timestamp(query.from),
        to: Timestamp(query.to),
    }
    .check(PLAYED_MAX)?;
    let inits = init_pair(&query.video, query.audio.as_deref())?;
    let SegmentQuery {
        stream,
        within_gop,
        strict,
        ..
    } = query;
    let wanted = Wanted {
        range,
        inits,
        within_gop,
        strict,
    };
    let mut looks = Looks::default();
    loop {
        if let Some(answer) = looks.settle(
            look(
                &app,
                (id, stream),
                (&wanted, Timestamp(query.base)),
                &conditions,
            )
            .await,
        ) {
            return answer;
        }
    }
}

async fn look<B: Backend>(
    app: &App<B>,
    (camera, stream): (CameraId, StreamKind),
    (wanted, base): (&Wanted, Timestamp),
    conditions: &Conditions,
) -> std::result::Result<Response, Unsent> {
    let Wanted {
        range,
        inits,
        strict,
        ..
    } = *wanted;
    let (tracks, late) = playable(&app.backend, (camera, stream), range, strict).await?;
    let chunks = segment_chunks(&tracks, wanted);
    if chunks.is_empty() {
        return Err(missing_or_late(late.as_ref(), || no_footage(camera, range)).into());
    }
    let init = merged_init(
        &app.backend,
        camera,
        (&[inits.video], inits.audio.as_slice()),
        |_| None,
    )
    .await?;
    let layout = Layout::of_segment(chunks, Placer::new(base, init));
    let (headers, permit) = (Vec::new(), None);
    Footage {
        layout,
        strict,
        // The next answer may have more.
        cache: if late.is_some() { NEVER } else { A_WHILE },
        headers,
        permit,
        late,
        of: (camera, range),
    }
    .answer(app, conditions)
    .await
}

pub(super) fn media_of(bytes: &[u8], cache: &'static str) -> Representation {
    let (bytes, tag) = (bytes.len() as u64, tag_of(bytes));
    Representation {
        bytes,
        tag,
        content_type: MEDIA_TYPE,
        cache,
        headers: Vec::new(),
        late: None,
    }
}

/// Media without frames: the target of a playlist's `EXT-X-GAP` entries.
///
/// Players that know these do not request it; VLC and GStreamer do not know them, and only continue
/// after an answer that is media, even if it is only a segment type box (ISO/IEC 14496-12, 8.16.2).
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/gap.m4s",
    operation_id = "get_gap",
    tag = "footage",
    params(("id" = schema::CameraId, Path), TokenQuery),
    responses(MediaAnswers),
)]
pub(super) async fn gap(
    Segment(_): Segment<CameraId>,
    Params(_): Params<TokenQuery>,
    conditions: Conditions,
) -> Result<Response> {
    nothing_here(&conditions).await
}

pub(super) async fn nothing_here(conditions: &Conditions) -> Result<Response> {
    const SEGMENT_TYPE: &[u8] = b"\0\0\0\x18stypmsdh\0\0\0\0msdhmsix";
    media_of(SEGMENT_TYPE, NEVER)
        .answer_of(conditions, Bytes::from_static(SEGMENT_TYPE))
        .await
}
