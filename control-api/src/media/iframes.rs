//! `/api/v1/cameras/{id}/hls/main.m3u8`, `pictures.m3u8` and `picture.m4s`: a range with pictures
//! for fast search. Stateless, like `hls`. The pictures of a growing presentation are those of its
//! cells (`growing`).

use super::asked::{Asked, init_pair, main_stream};
use super::byte_ranges::{Conditions, missing_or_late};
use super::chunk_stream::{merged_init, no_footage, playable, unplayable};
use super::growing::{self, Shows};
use super::hls::{A_WHILE, NEVER, PLAYLIST_TYPE, media_of};
use crate::error::ApiError;
use crate::extract::{Params, Segment};
use crate::limits::PLAYBACK_RANGE_MAX;
use crate::playback::Tracks;
use crate::playback::growing::SETTLED_AFTER;
use crate::playback::hls::{Item, plan_playlist};
use crate::playback::iframes::{
    is_picture, peak_bits_per_second, plan_pictures, write_pictures, write_with_pictures,
};
use crate::playback::playlist::query;
use crate::playback::schedule::Placer;
use crate::problems::{Invalid, MediaAnswers, NotFound};
use crate::range::Range;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Lost, Result};
use crate::schema;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::cmaf::chunk::first_frame;
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::time::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PictureQuery {
    /// In microseconds since the Unix epoch, as `base`.
    at: i64,
    base: i64,
    #[param(value_type = schema::InitName)]
    video: String,
    #[serde(default = "main_stream")]
    #[param(value_type = schema::StreamKind)]
    stream: StreamKind,
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// The playlist and the one of its pictures, for a range or live.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/main.m3u8",
    operation_id = "get_main_playlist",
    tag = "footage",
    params(("id" = schema::CameraId, Path), Asked),
    responses(
        (status = 200, content_type = "application/vnd.apple.mpegurl", body = String),
        NotFound,
        Invalid,
    ),
)]
pub(super) async fn main<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(asked): Params<Asked>,
) -> Result<Response> {
    let (range, now) = (asked.range_or_live()?, (app.now)());
    let Some(range) = range.filter(|range| range.to.plus(SETTLED_AFTER) <= now) else {
        let request = asked.request(range.unwrap_or(Range { from: now, to: now }));
        return growing::open(&app, id, range, &request, Shows::WithPictures).await;
    };
    let (tracks, _) = planned(&app, id, range, &asked).await?;
    let peak = [&tracks.video, &tracks.audio].map(|track| peak_bits_per_second(track.iter()));
    let pictures = peak_bits_per_second(tracks.video.iter().filter(|entry| is_picture(entry)));
    let strict = if asked.strict { "&strict=true" } else { "" };
    let more = query(None, &asked.request(range));
    let more = if more.is_empty() {
        more
    } else {
        format!("&{more}")
    };
    let uri = |name: &str| format!("{name}?from={}&to={}{strict}{more}", range.from, range.to);
    let text = write_with_pictures(
        (&uri("index.m3u8"), peak[0] + peak[1]),
        (&uri("pictures.m3u8"), pictures),
    );
    Ok((
        [
            (header::CONTENT_TYPE, PLAYLIST_TYPE),
            (header::CACHE_CONTROL, NEVER),
        ],
        text,
    )
        .into_response())
}

/// The pictures of a range that has ended, for fast search.
///
/// Footage of a later time is not listed.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/pictures.m3u8",
    operation_id = "get_pictures_playlist",
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
    let range = asked.range()?;
    let settled = (app.now)().plus_micros(-(SETTLED_AFTER.as_micros() as i64));
    let range = Range {
        to: range.to.min(settled),
        ..range
    };
    if range.from >= range.to {
        return Err(no_footage(id, range));
    }
    let (tracks, items) = planned(&app, id, range, &asked).await?;
    let text = write_pictures(&plan_pictures(&tracks, &items), &asked.request(range));
    Ok((
        [
            (header::CONTENT_TYPE, PLAYLIST_TYPE),
            (header::CACHE_CONTROL, NEVER),
        ],
        text,
    )
        .into_response())
}

async fn planned<B: Backend>(
    app: &App<B>,
    id: CameraId,
    range: Range,
    asked: &Asked,
) -> Result<(Tracks, Vec<Item>)> {
    let (tracks, late) = playable(&app.backend, (id, asked.stream), range, asked.strict).await?;
    let items = plan_playlist(&tracks, &[], range, asked.strict);
    if items.is_empty() {
        Err(missing_or_late(late.as_ref(), || {
            unplayable(id, range, &tracks)
        }))
    } else {
        Ok((tracks, items))
    }
}

/// A picture; its URI is the playlist's.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/picture.m4s",
    operation_id = "get_picture",
    tag = "footage",
    params(("id" = schema::CameraId, Path), PictureQuery),
    responses(MediaAnswers),
)]
pub(super) async fn picture<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(asked): Params<PictureQuery>,
    conditions: Conditions,
) -> Result<Response> {
    let inits = init_pair(&asked.video, None)?;
    let at = Timestamp(asked.at);
    let range = Range {
        from: at,
        to: at.plus_micros(1),
    }
    .check(PLAYBACK_RANGE_MAX)?;
    let (tracks, late) = playable(&app.backend, (id, asked.stream), range, false).await?;
    let is_it =
        |entry: &&_| is_picture(entry) && entry.meta.start == at && entry.meta.init == inits.video;
    let entry = *tracks
        .video
        .iter()
        .find(is_it)
        .ok_or_else(|| missing_or_late(late.as_ref(), || no_footage(id, range)))?;
    send_picture(
        &app,
        (id, entry),
        (Timestamp(asked.base), A_WHILE),
        &conditions,
    )
    .await
}

/// The first picture of a chunk, with times from `base`.
pub(super) async fn send_picture<B: Backend>(
    app: &App<B>,
    (camera, entry): (CameraId, ChunkEntry),
    (base, cache): (Timestamp, &'static str),
    conditions: &Conditions,
) -> Result<Response> {
    let init = merged_init(&app.backend, camera, (&[entry.meta.init], &[]), |_| None).await?;
    let range = Range {
        from: entry.meta.start,
        to: entry.meta.end(),
    };
    let chunk = match app.backend.read(&[entry]).await?.pop() {
        Some(Ok(bytes)) => bytes,
        Some(Err(Lost::Damaged(detail))) => return Err(ApiError::damaged(detail)),
        Some(Err(Lost::Deleted)) | None => return Err(no_footage(camera, range)),
    };
    let damaged = |error: holdfast_storage::cmaf::Error| ApiError::damaged(error.to_string());
    let picture = first_frame(&chunk, entry.meta.start).map_err(damaged)?;
    let placer = Placer::new(base, init);
    let place = placer.schedule(&[entry]).pop().unwrap_or_default();
    let picture = placer
        .place(&entry.meta, place, 1, picture)
        .map_err(damaged)?;
    media_of(&picture, cache)
        .answer_of(conditions, picture)
        .await
}
