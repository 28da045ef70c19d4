//! `/api/v1/cameras/{id}/export.mp4`: a range as one file that any player can play, across nodes, epochs and failovers.

use super::App;
use super::chunk_stream::{ChunkStream, TRAILERS, merged_init, playable_tracks, unplayable};
use super::hls::main_stream;
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
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Intervals of the asked range that the file does not show.
const GAPS: HeaderName = HeaderName::from_static("x-holdfast-gaps");
/// All of them together, in milliseconds.
const GAP_MS: HeaderName = HeaderName::from_static("x-holdfast-gap-ms");
/// How long pictures lack something that a decoder conceals, in milliseconds.
const DAMAGED_MS: HeaderName = HeaderName::from_static("x-holdfast-damaged-ms");
/// How long before the asked range the file begins, in milliseconds: with the access point that
/// decodes the range's beginning.
const LEAD_IN_MS: HeaderName = HeaderName::from_static("x-holdfast-lead-in-ms");
/// Wall time of the file's time 0.
const START: HeaderName = HeaderName::from_static("x-holdfast-start");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    from: Option<String>,
    to: Option<String>,
    #[serde(default = "main_stream")]
    stream: StreamKind,
    /// Leaves out what refers to lost frames.
    #[serde(default)]
    strict: bool,
    #[serde(rename = "token")]
    _token: Option<String>,
}

pub(super) async fn download<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(query): Params<Query>,
) -> Result<impl IntoResponse> {
    let range = Range::parse(query.from.as_deref(), query.to.as_deref(), PLAYBACK_RANGE_MAX)?;
    let mut permit = permits(&app.exports, 1)?;
    let Query { stream, strict, .. } = query;
    let tracks = playable_tracks(&app.backend, id, stream, range, strict).await?;
    let plan = plan_export(&tracks, range, strict).ok_or_else(|| unplayable(id, range, &tracks))?;
    drop(tracks);
    permit.merge(permits(&app.exports, further_permits(range.to.micros_since(plan.base)))?);
    let first_use =
        |init| plan.chunks.iter().map(|entry| entry.meta).find(|meta| meta.init == init).map(|meta| meta.start);
    let init =
        merged_init(&app.backend, id, (&plan.video_inits, &plan.audio_inits), plan.shown_from_us(), first_use).await?;
    let headers = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", file_name(id, plan.base))),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::TRAILER, TRAILERS.to_owned()),
        (START, plan.base.to_string()),
        (GAPS, plan.gaps.to_string()),
        (GAP_MS, (plan.gap_micros / 1000).to_string()),
        (DAMAGED_MS, (plan.damaged_micros / 1000).to_string()),
        (LEAD_IN_MS, (plan.lead_in_micros / 1000).to_string()),
    ];
    let head = init.bytes.clone();
    let rebaser = Rebaser::in_frames(plan.base, init, plan.frame_interval_ns);
    let mut stream = ChunkStream::new(app.backend, plan.chunks, rebaser, strict, Some(permit));
    let first = stream.next().await.ok_or_else(|| stream.nothing(id, range))??;
    Ok((headers, stream.into_body(vec![head, first])))
}

fn permits(exports: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit> {
    exports.clone().try_acquire_many_owned(count).map_err(|_| {
        ApiError::unavailable(format!("{EXPORTS_MAX} exports are running on this node; try again, or ask another node"))
            .code("overloaded")
    })
}

/// An export whose list of chunks is longer than a range may be counts as so many more.
fn further_permits(listed_micros: i64) -> u32 {
    u32::try_from(listed_micros / PLAYBACK_RANGE_MAX.as_micros() as i64)
        .map_or(0, |count| count.min(EXPORTS_MAX as u32 - 1))
}

fn file_name(camera: CameraId, start: Timestamp) -> String {
    let time: String = start.to_string().chars().map(|c| if c == ':' { '-' } else { c }).collect();
    format!("camera-{camera}_{time}.mp4")
}
