//! `/api/v1/cameras/{id}/export.mp4`: a range as one file that any player can play, across nodes,
//! epochs and failovers.

use super::asked::Asked;
use super::byte_ranges::{Conditions, LATE, missing_or_late};
use super::chunk_stream::{Unsent, merged_init, playable, unplayable};
use super::footage::{Footage, Looks};
use crate::error::ApiError;
use crate::extract::{Params, Segment, TokenQuery};
use crate::limits::{EXPORT_UNIT, EXPORT_UNIT_CHUNKS, EXPORT_UNITS_MAX};
use crate::playback::export::{ExportPlan, plan_export};
use crate::playback::growing::SETTLED_AFTER;
use crate::playback::layout::Layout;
use crate::playback::schedule::Placer;
use crate::problems::MediaAnswers;
use crate::range::Range;
use crate::resources::app::App;
use crate::resources::exports::{file_of, kept};
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::Response;
use holdfast_storage::ids::{CameraId, ExportId, StreamKind};
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients may cache it, and must revalidate it each time.
const CHECKED: &str = "private, no-cache";
/// The number of intervals of the requested range that the file does not show.
const GAPS: HeaderName = HeaderName::from_static("x-holdfast-gaps");
/// Their total length in milliseconds.
const GAP_MS: HeaderName = HeaderName::from_static("x-holdfast-gap-ms");
/// How long pictures are incomplete, so that a decoder conceals what is missing, in milliseconds.
const DAMAGED_MS: HeaderName = HeaderName::from_static("x-holdfast-damaged-ms");
/// How long before the requested range the file begins, in milliseconds: at the access point that
/// decodes the range's beginning.
const LEAD_IN_MS: HeaderName = HeaderName::from_static("x-holdfast-lead-in-ms");
/// Wall time of the file's time 0.
const START: HeaderName = HeaderName::from_static("x-holdfast-start");

/// The range as one MP4 file.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}/export.mp4",
    operation_id = "export_range",
    tag = "footage",
    params(("id" = schema::CameraId, Path), Asked),
    responses(MediaAnswers),
)]
pub(super) async fn download<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Params(asked): Params<Asked>,
    conditions: Conditions,
) -> Result<Response> {
    let (range, Asked { stream, strict, .. }) = (asked.range()?, asked);
    send(
        app,
        Wanted {
            camera: id,
            range,
            stream,
            strict,
        },
        &conditions,
    )
    .await
}

/// The requested export.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) camera: CameraId,
    pub(super) range: Range,
    pub(super) stream: StreamKind,
    pub(super) strict: bool,
}

/// Sends an export, or the requested bytes of it. The file of a range is identical each time and on
/// each node, as long as the footage is.
pub(super) async fn send<B: Backend>(
    app: App<B>,
    wanted: Wanted,
    conditions: &Conditions,
) -> Result<Response> {
    let mut looks = Looks::default();
    loop {
        if let Some(answer) = looks.settle(look(&app, wanted, conditions).await) {
            return answer;
        }
    }
}

async fn look<B: Backend>(
    app: &App<B>,
    wanted: Wanted,
    conditions: &Conditions,
) -> std::result::Result<Response, Unsent> {
    let Wanted {
        camera,
        range,
        stream,
        strict,
    } = wanted;
    let mut permit = permits(&app.exports, units(range.to.micros_since(range.from)))?;
    let (tracks, late) = playable(&app.backend, (camera, stream), range, strict).await?;
    // Footage that has not been recorded yet is no gap.
    let settled = (app.now)().plus_micros(-(SETTLED_AFTER.as_micros() as i64));
    let recorded = tracks
        .video
        .last()
        .map_or(settled, |last| settled.max(last.meta.end()));
    let range = Range {
        to: range.to.min(recorded),
        ..range
    };
    let mut plan = plan_export(&tracks, range, strict)
        .ok_or_else(|| missing_or_late(late.as_ref(), || unplayable(camera, range, &tracks)))?;
    drop(tracks);
    let all = units(range.to.micros_since(plan.base)).max(units_of_chunks(plan.chunks.len())?);
    permit.merge(permits(
        &app.exports,
        all.saturating_sub(u32::try_from(permit.num_permits()).unwrap_or(all)),
    )?);
    let first_use = |init| {
        plan.chunks
            .iter()
            .map(|entry| entry.meta)
            .find(|meta| meta.init == init)
            .map(|meta| meta.start)
    };
    let init = merged_init(
        &app.backend,
        camera,
        (&plan.video_inits, &plan.audio_inits),
        first_use,
    )
    .await?;
    let placer = Placer::in_frames(plan.base, init, plan.frame_interval_ns);
    let layout = Layout::of_file(
        std::mem::take(&mut plan.chunks),
        placer,
        plan.shown_from_us(),
    )
    .map_err(|error| ApiError::internal(error.to_string()))?;
    let mut headers = headers(camera, &plan);
    headers.extend(late.iter().map(|late| (LATE, late.clone())));
    let permit = Some(permit);
    let footage = Footage {
        layout,
        strict,
        cache: CHECKED,
        headers,
        permit,
        late,
        of: (camera, range),
    };
    footage.answer(app, conditions).await
}

fn headers(camera: CameraId, plan: &ExportPlan) -> Vec<(HeaderName, String)> {
    vec![
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", file_name(camera, plan.base)),
        ),
        (START, plan.base.to_string()),
        (GAPS, plan.gaps.to_string()),
        (GAP_MS, (plan.gap_micros / 1000).to_string()),
        (DAMAGED_MS, (plan.damaged_micros / 1000).to_string()),
        (LEAD_IN_MS, (plan.lead_in_micros / 1000).to_string()),
    ]
}

fn permits(exports: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit> {
    exports.clone().try_acquire_many_owned(count).map_err(|_| {
        let hours = EXPORT_UNIT.as_secs() * u64::from(EXPORT_UNITS_MAX) / 3600;
        let detail = format!(
            "exports of {hours} h are running on this node; try again, or ask another node"
        );
        ApiError::unavailable(detail).code("overloaded")
    })
}

/// How many units an export of this many microseconds counts.
fn units(micros: i64) -> u32 {
    let units = micros
        .max(1)
        .unsigned_abs()
        .div_ceil(EXPORT_UNIT.as_micros() as u64);
    u32::try_from(units).map_or(EXPORT_UNITS_MAX, |units| units.min(EXPORT_UNITS_MAX))
}

/// How many units a list of this many chunks counts, regardless of the time in which they were
/// recorded.
fn units_of_chunks(chunks: usize) -> Result<u32> {
    let units = u32::try_from(chunks.div_ceil(EXPORT_UNIT_CHUNKS))
        .ok()
        .filter(|units| *units <= EXPORT_UNITS_MAX);
    units.ok_or_else(|| {
        let most = EXPORT_UNITS_MAX as usize * EXPORT_UNIT_CHUNKS;
        let detail = format!(
            "the range has {chunks} chunks, and a file at most {most}: ask for shorter ranges"
        );
        ApiError::invalid(detail).code("range-too-long")
    })
}

fn file_name(camera: CameraId, start: Timestamp) -> String {
    let time: String = start
        .to_string()
        .chars()
        .map(|c| if c == ':' { '-' } else { c })
        .collect();
    format!("camera-{camera}_{time}.mp4")
}

/// A file of the export, as its `files` name it.
#[utoipa::path(
    get,
    path = "/api/v1/exports/{id}/{file}",
    operation_id = "get_export_file",
    tag = "exports",
    params(("id" = schema::ExportId, Path), ("file" = String, Path), TokenQuery),
    responses(MediaAnswers),
)]
pub(super) async fn file<B: Backend>(
    State(app): State<App<B>>,
    Segment((id, name)): Segment<(ExportId, String)>,
    Params(_): Params<TokenQuery>,
    conditions: Conditions,
) -> Result<Response> {
    let export = kept(&app, id)?;
    let (camera, range): (CameraId, Range) = file_of(&export, &name).ok_or_else(|| {
        ApiError::not_found(format!(
            "export {id} has no file {name:?}; GET /api/v1/exports/{id} lists them"
        ))
    })?;
    send(
        app,
        Wanted {
            camera,
            range,
            stream: StreamKind::Main,
            strict: export.strict,
        },
        &conditions,
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CHUNKS_PER_SECOND;

    #[test]
    fn an_export_counts_by_what_it_holds_in_memory() {
        let hours = |hours: usize, per_second: usize| units_of_chunks(hours * 3600 * per_second);
        assert_eq!(hours(6, CHUNKS_PER_SECOND), Ok(12), "what its time counts");
        assert_eq!(hours(6, CHUNKS_PER_SECOND * 4), Ok(48));
        // A camera with 30 frames per second, each a keyframe, and audio.
        assert_eq!(hours(1, 30 + CHUNKS_PER_SECOND / 2).unwrap(), 11);
        let refused = hours(6, CHUNKS_PER_SECOND * 4 + 1).unwrap_err();
        assert_eq!(refused.code, "range-too-long");
        assert_eq!(units(EXPORT_UNIT.as_micros() as i64 + 1), 2);
    }
}
