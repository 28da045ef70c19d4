//! `/api/v1/cameras/{id}/hls/growing.m3u8` and `cell.m4s`: a presentation that grows, or is live
//! ([`crate::playback::growing`]). Stateless, like `hls`.

use super::asked::{Asked, init_pair, main_stream};
use super::byte_ranges::Conditions;
use super::chunk_stream::{Unsent, merged_init, no_footage, playable};
use super::footage::{Footage, Looks};
use super::hls::{NEVER, PLAYLIST_TYPE, nothing_here};
use super::iframes::send_picture;
use crate::extract::{Params, Segment};
use crate::limits::{FIRST_ENTRY_DEADLINE, PLAYBACK_RANGE_MAX};
use crate::playback::Tracks;
use crate::playback::growing::{
    CellLength, Cells, LIVE_WINDOW, SETTLED_AFTER, cell_chunks, cell_picture, is_about_to_begin,
    newest_inits, plan_growing, write_growing, write_multivariant,
};
use crate::playback::hls::InitPair;
use crate::playback::iframes::{is_picture, peak_bits_per_second, write_with_pictures};
use crate::playback::layout::Layout;
use crate::playback::playlist::{GapDisplay, Request, query};
use crate::playback::schedule::Placer;
use crate::problems::{Invalid, MediaAnswers, NotFound};
use crate::range::{Range, time};
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::time::Timestamp;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use utoipa::IntoParams;

/// The time over which a bit rate is estimated.
const MEASURED: Duration = Duration::from_secs(30);

/// Interval between two checks for a first entry.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CellQuery {
    number: i64,
    /// In microseconds since the Unix epoch.
    base: i64,
    /// `None` if nothing was known when the cell was listed.
    #[param(value_type = Option<schema::InitName>)]
    video: Option<String>,
    #[param(value_type = Option<schema::InitName>)]
    audio: Option<String>,
    #[serde(default = "main_stream")]
    #[param(value_type = schema::StreamKind)]
    stream: StreamKind,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    strict: bool,
    /// Only the first picture of the cell.
    #[serde(default)]
    picture: bool,
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// The contents of the playlist that players open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    Media,
    WithPictures,
}

/// The playlist that players open: it directs them to [`playlist`], with the presentation's
/// beginning in its URI. If a first entry is about to exist, the answer waits for it: hls.js treats
/// a list without entries as an error, and other players lack a duration to use (RFC 8216, 6.3.4).
/// Refusing would be no better: VLC and GStreamer stop at 503, whatever its `Retry-After` says.
pub(super) async fn open<B: Backend>(
    app: &App<B>,
    id: CameraId,
    range: Option<Range>,
    of: &Request<'_>,
    shows: Shows,
) -> Result<Response> {
    let (tracks, from) = wait_for_first_entry(app, id, range, of).await?;
    let uri = presentation_uri(from, range, &tracks, of);
    let bits = bits_per_second(&tracks);
    let text = match shows {
        Shows::Media => write_multivariant(bits, &uri),
        Shows::WithPictures => {
            let pictures =
                peak_bits_per_second(tracks.video.iter().filter(|entry| is_picture(entry)));
            write_with_pictures((&uri, bits), (&format!("{uri}&pictures=true"), pictures))
        }
    };
    Ok((
        [
            (header::CONTENT_TYPE, PLAYLIST_TYPE),
            (header::CACHE_CONTROL, NEVER),
        ],
        text,
    )
        .into_response())
}

/// The footage of the last [`MEASURED`], and the beginning of the presentation. Waits for its first
/// entry if that is about to exist.
#[expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, within a deadline"
)]
async fn wait_for_first_entry<B: Backend>(
    app: &App<B>,
    id: CameraId,
    range: Option<Range>,
    of: &Request<'_>,
) -> Result<(Tracks, Timestamp)> {
    let cells = Cells::new(if range.is_some() {
        CellLength::Range
    } else {
        CellLength::Live
    });
    let began = Instant::now();
    let mut place = None;
    loop {
        let now = (app.now)();
        let measured = app
            .backend
            .entries(
                id,
                of.stream,
                now.plus_micros(-(MEASURED.as_micros() as i64)),
                now,
            )
            .await?;
        let tracks = Tracks::of(measured.chunks);
        let from = range.map_or_else(|| live_from(&tracks, now), |range| range.from);
        if !is_about_to_begin(&tracks, cells, from, now, of.strict) {
            return Ok((tracks, from));
        }
        // A look takes time, too, if nodes are slow.
        place = place.or_else(|| app.opening.try_acquire().ok());
        if place.is_none() || began.elapsed() >= FIRST_ENTRY_DEADLINE {
            return Ok((tracks, from));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// The beginning of a live presentation. hls.js never begins if the list begins with gaps and it
/// would begin in one.
fn live_from(tracks: &Tracks, now: Timestamp) -> Timestamp {
    let recorded = tracks
        .video
        .first()
        .map_or(Timestamp::MIN, |first| first.meta.start);
    now.plus_micros(-(LIVE_WINDOW.as_micros() as i64))
        .max(recorded)
}

/// The URI of [`playlist`] for a presentation that begins at `from`.
fn presentation_uri(
    from: Timestamp,
    range: Option<Range>,
    tracks: &Tracks,
    of: &Request<'_>,
) -> String {
    let to = range
        .map(|range| format!("&to={}", range.to))
        .unwrap_or_default();
    let strict = if of.strict { "&strict=true" } else { "" };
    let inits = query(newest_inits(tracks).as_ref(), of);
    let inits = if inits.is_empty() {
        inits
    } else {
        format!("&{inits}")
    };
    format!("growing.m3u8?from={from}{to}{strict}{inits}")
}

/// The bit rate over the last [`MEASURED`].
fn bits_per_second(tracks: &Tracks) -> u64 {
    let chunks = [&tracks.video, &tracks.audio].into_iter().flatten();
    let bytes: u64 = chunks
        .map(|entry| u64::from(entry.location.payload_bytes))
        .sum();
    (bytes * 8 / MEASURED.as_secs()).max(1)
}

/// A playlist that grows, or is live; players get its URI from `index.m3u8`.
///
/// `from` is the beginning of the presentation; without `to` it is live.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/growing.m3u8",
    operation_id = "get_growing_playlist",
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
) -> Result<impl IntoResponse> {
    let opened_with = asked.inits()?;
    let from = time("from", asked.from.as_deref())?;
    let now = (app.now)();
    // Live footage may be slightly ahead of this node's clock.
    let latest = now.plus(Duration::from_secs(1));
    let (cells, range) = match &asked.to {
        Some(to) => {
            let range = Range {
                from,
                to: time("to", Some(to))?,
            }
            .check(PLAYBACK_RANGE_MAX)?;
            (Cells::new(CellLength::Range), range)
        }
        None => {
            let shown = from.max(now.plus_micros(-(LIVE_WINDOW.as_micros() as i64)));
            (
                Cells::new(CellLength::Live),
                Range {
                    from: shown,
                    to: Timestamp::MAX,
                },
            )
        }
    };
    let last = asked
        .to
        .is_some()
        .then(|| cells.number_at(range.to.plus_micros(-1)));
    // Future times have no entries.
    let reach = Range {
        from: range.from.min(now),
        to: latest.min(range.to.plus(SETTLED_AFTER)),
    };
    let (tracks, late) = playable(&app.backend, (id, asked.stream), reach, asked.strict).await?;
    let shown = (cells.number_at(from), cells.number_at(range.from), last);
    let mut listing = plan_growing(&tracks, cells, shown, now, asked.strict);
    // Who has the end of the list does not ask for more.
    listing.is_whole &= late.is_none();
    let listing = if asked.pictures {
        listing.of_pictures(&tracks)
    } else {
        listing
    };
    let request = Request {
        gaps: GapDisplay::Entries,
        ..asked.request(reach)
    };
    let headers = [
        (header::CONTENT_TYPE, PLAYLIST_TYPE),
        (header::CACHE_CONTROL, NEVER),
    ];
    Ok((
        headers,
        write_growing(&listing, cells, &request, opened_with),
    ))
}

/// An entry of a growing playlist; its URI is the playlist's.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/hls/cell.m4s",
    operation_id = "get_cell",
    tag = "footage",
    params(("id" = schema::CameraId, Path), CellQuery),
    responses(MediaAnswers),
)]
pub(super) async fn cell<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<CellQuery>,
    conditions: Conditions,
) -> Result<Response> {
    let cells = Cells::new(if query.live {
        CellLength::Live
    } else {
        CellLength::Range
    });
    let reach = cells.reach(query.number).check(PLAYBACK_RANGE_MAX)?;
    let Some(video) = &query.video else {
        return nothing_here(&conditions).await;
    };
    let inits = init_pair(video, query.audio.as_deref())?;
    // A listed cell may be on a node that is away now: players continue after an entry without
    // media, as for a gap.
    let playable = playable(&app.backend, (id, query.stream), reach, query.strict).await?;
    let mut looks = Looks::default();
    loop {
        match looks.settle(look(&app, &query, (&playable, inits), (id, reach), &conditions).await) {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(_)) => return nothing_here(&conditions).await,
            None => {}
        }
    }
}

async fn look<B: Backend>(
    app: &App<B>,
    query: &CellQuery,
    ((tracks, late), inits): (&(Tracks, Option<String>), InitPair),
    (camera, reach): (CameraId, Range),
    conditions: &Conditions,
) -> std::result::Result<Response, Unsent> {
    let CellQuery {
        number,
        base,
        live,
        strict,
        ..
    } = *query;
    let cells = Cells::new(if live {
        CellLength::Live
    } else {
        CellLength::Range
    });
    if query.picture {
        let picture = cell_picture(tracks, cells, number, inits.video, strict);
        let picture = picture.ok_or_else(|| no_footage(camera, reach))?;
        return Ok(
            send_picture(app, (camera, picture), (Timestamp(base), NEVER), conditions).await?,
        );
    }
    let chunks = cell_chunks(tracks, cells, number, inits, strict);
    if chunks.is_empty() {
        return Err(no_footage(camera, reach).into());
    }
    let init = merged_init(
        &app.backend,
        camera,
        (&[inits.video], inits.audio.as_slice()),
        |_| None,
    )
    .await?;
    let layout = Layout::of_segment(chunks, Placer::new(Timestamp(base), init));
    let (headers, permit) = (Vec::new(), None);
    Footage {
        layout,
        strict,
        cache: NEVER,
        headers,
        permit,
        late: late.clone(),
        of: (camera, reach),
    }
    .answer(app, conditions)
    .await
}
