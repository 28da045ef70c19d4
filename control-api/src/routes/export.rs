//! `/api/v1/cameras/{id}/export.mp4`: a range as one file that any player can play, across nodes, epochs and failovers.

use super::App;
use super::chunk_stream::{ChunkStream, TRAILERS, merged_init, playable_tracks};
use super::hls::{main_stream, no_footage};
use crate::backend::{Backend, Result};
use crate::error::ApiError;
use crate::extract::{Params, Segment};
use crate::limits::{EXPORTS_MAX, PLAYBACK_RANGE_MAX};
use crate::playback::export::plan_export;
use crate::playback::rebase::Rebaser;
use crate::range::Range;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::time::Timestamp;
use serde::Deserialize;

/// Intervals of the asked range that the file does not show.
const GAPS: HeaderName = HeaderName::from_static("x-holdfast-gaps");
/// All of them together, in milliseconds.
const GAP_MS: HeaderName = HeaderName::from_static("x-holdfast-gap-ms");
/// Wall time of the file's time 0.
const START: HeaderName = HeaderName::from_static("x-holdfast-start");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    from: Option<String>,
    to: Option<String>,
    #[serde(default = "main_stream")]
    stream: StreamKind,
    #[serde(rename = "token")]
    _token: Option<String>,
}

pub(super) async fn download<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<Query>,
) -> Result<impl IntoResponse> {
    let range = Range::parse(query.from.as_deref(), query.to.as_deref(), PLAYBACK_RANGE_MAX)?;
    let permit = app.exports.clone().try_acquire_owned().map_err(|_| {
        ApiError::unavailable(format!("{EXPORTS_MAX} exports are running on this node; try again, or ask another node"))
            .code("overloaded")
    })?;
    let tracks = playable_tracks(&app.backend, id, query.stream, range).await?;
    let plan = plan_export(&tracks, range).ok_or_else(|| no_footage(id, range))?;
    drop(tracks);
    let first_use =
        |init| plan.chunks.iter().map(|entry| entry.meta).find(|meta| meta.init == init).map(|meta| meta.start);
    let init = merged_init(&app.backend, id, (&plan.video_inits, &plan.audio_inits), first_use).await?;
    let headers = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", file_name(id, plan.base))),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::TRAILER, TRAILERS.to_owned()),
        (START, plan.base.to_string()),
        (GAPS, plan.gaps.to_string()),
        (GAP_MS, (plan.gap_micros / 1000).to_string()),
    ];
    let head = init.bytes.clone();
    let rebaser = Rebaser::in_frames(plan.base, init, plan.frame_interval_ns);
    let mut stream = ChunkStream::new(app.backend, plan.chunks, rebaser, Some(permit));
    let first = stream.next().await.ok_or_else(|| stream.nothing(id, range))??;
    Ok((headers, stream.into_body(vec![head, first])))
}

fn file_name(camera: CameraId, start: Timestamp) -> String {
    let time: String = start.to_string().chars().map(|c| if c == ':' { '-' } else { c }).collect();
    format!("camera-{camera}_{time}.mp4")
}
