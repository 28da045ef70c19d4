//! `/api/v1/exports`: footage of several cameras, or of many hours, that is kept for a day and
//! fetched file by file. A file is made as it is fetched.

use super::App;
use super::asked::TokenQuery;
use super::export::{Wanted, send};
use super::parts::Conditions;
use crate::backend::{Backend, Result};
use crate::error::ApiError;
use crate::exports::{file_of, status, status_with_files};
use crate::extract::{Body, Params, Segment};
use crate::limits::{LEDGER_GAPS_MAX, TIMELINES_AT_ONCE};
use crate::problems::{MediaAnswers, NotFound};
use crate::range::Range;
use crate::schema;
use crate::wire::{Export, ExportGap, ExportManifest, ExportStatus, NewExport, Timeline};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_storage::ids::{CameraId, ExportId, NodeId, StreamKind};
use std::collections::BTreeSet;

/// Exports that have not expired, without their files.
#[utoipa::path(
    get,
    path = "/api/v1/exports",
    operation_id = "list_exports",
    responses((status = 200, body = Vec<ExportStatus>)),
)]
pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<ExportStatus>>> {
    let (exports, now) = (app.backend.exports().await?, (app.now)());
    Ok(Json(
        exports
            .into_iter()
            .map(|export| status(export, now))
            .collect(),
    ))
}

/// One export, with its files.
#[utoipa::path(
    get,
    path = "/api/v1/exports/{id}",
    operation_id = "show_export",
    params(("id" = schema::ExportId, Path)),
    responses((status = 200, body = ExportStatus), NotFound),
)]
pub(super) async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<ExportId>,
) -> Result<Json<ExportStatus>> {
    Ok(Json(status_with_files(
        app.backend.export(id).await?,
        (app.now)(),
    )))
}

// The replicated state checks the request; there is no check here.
/// Exports footage of several cameras, or of many hours.
#[utoipa::path(
    post,
    path = "/api/v1/exports",
    operation_id = "add_export",
    request_body = NewExport,
    responses((status = 201, body = ExportStatus), NotFound),
)]
pub(super) async fn create<B: Backend>(
    State(app): State<App<B>>,
    Body(new): Body<NewExport>,
) -> Result<impl IntoResponse> {
    let export = app.backend.create_export(new).await?;
    let location = format!("/api/v1/exports/{}", export.id);
    let status = status_with_files(export, (app.now)());
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(status),
    ))
}

/// Ends an export; its footage is no longer held.
#[utoipa::path(
    delete,
    path = "/api/v1/exports/{id}",
    operation_id = "delete_export",
    params(("id" = schema::ExportId, Path)),
    responses((status = 204), NotFound),
)]
pub(super) async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<ExportId>,
) -> Result<StatusCode> {
    app.backend
        .delete_export(id)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

/// What the export contains, and what is missing from it.
#[utoipa::path(
    get,
    path = "/api/v1/exports/{id}/manifest.json",
    operation_id = "show_export_manifest",
    params(("id" = schema::ExportId, Path), TokenQuery),
    responses((status = 200, body = ExportManifest), NotFound),
)]
pub(super) async fn manifest<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<ExportId>,
    Params(_): Params<TokenQuery>,
) -> Result<Json<ExportManifest>> {
    let export = app.backend.export(id).await?;
    let timelines = timelines(&app.backend, &export).await?;
    let nodes_left_out: BTreeSet<NodeId> = timelines
        .iter()
        .flat_map(|one| one.nodes_left_out.clone())
        .collect();
    let of_camera = |one: Timeline| {
        one.gaps.into_iter().map(move |gap| ExportGap {
            camera: one.camera,
            gap,
        })
    };
    let mut gaps: Vec<ExportGap> = timelines.into_iter().flat_map(of_camera).collect();
    let gaps_left_out = gaps.len().saturating_sub(LEDGER_GAPS_MAX);
    gaps.truncate(LEDGER_GAPS_MAX);
    let status = status_with_files(export, (app.now)());
    Ok(Json(ExportManifest {
        status,
        gaps,
        gaps_left_out,
        nodes_left_out: nodes_left_out.into_iter().collect(),
    }))
}

async fn timelines<B: Backend>(backend: &B, export: &Export) -> Result<Vec<Timeline>> {
    let mut timelines = Vec::with_capacity(export.cameras.len());
    for cameras in export.cameras.chunks(TIMELINES_AT_ONCE) {
        timelines.extend(backend.timelines(cameras, export.from, export.to).await?);
    }
    Ok(timelines)
}

/// A file of the export, as its `files` name it.
#[utoipa::path(
    get,
    path = "/api/v1/exports/{id}/{file}",
    operation_id = "get_export_file",
    params(("id" = schema::ExportId, Path), ("file" = String, Path), TokenQuery),
    responses(MediaAnswers),
)]
pub(super) async fn file<B: Backend>(
    State(app): State<App<B>>,
    Segment((id, name)): Segment<(ExportId, String)>,
    Params(_): Params<TokenQuery>,
    conditions: Conditions,
) -> Result<Response> {
    let export = app.backend.export(id).await?;
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
