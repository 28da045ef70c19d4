//! `/api/v1/exports`: footage of several cameras, or of many hours, that is kept for a day and
//! fetched file by file. A file is made as it is fetched.

mod files;

pub(crate) use files::file_of;

use super::timeline::{Gap, Timeline};
use crate::error::ApiError;
use crate::extract::{Body, Params, Segment, TokenQuery};
use crate::limits::{LEDGER_GAPS_MAX, TIMELINES_AT_ONCE};
use crate::problems::NotFound;
use crate::resources::app::{App, unexpected};
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use files::{status, status_with_files};
use holdfast_consensus::command::{Command, Response};
use holdfast_consensus::model::{self, ExportSpec};
use holdfast_storage::ids::{CameraId, ExportId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::{OpenApi, ToSchema};

/// Body of `POST /exports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewExport {
    #[schema(value_type = schema::ExportName)]
    pub name: String,
    #[schema(value_type = schema::ExportCameras)]
    pub cameras: Vec<CameraId>,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    /// Leaves out frames that refer to lost ones.
    #[serde(default)]
    pub strict: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Export {
    #[schema(value_type = schema::ExportId)]
    pub id: ExportId,
    pub name: String,
    #[schema(value_type = Vec<schema::CameraId>)]
    pub cameras: Vec<CameraId>,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    pub strict: bool,
    #[schema(value_type = schema::Timestamp)]
    pub created_at: Timestamp,
    /// Retention does not delete its footage before this time.
    #[schema(value_type = schema::Timestamp)]
    pub expires_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    /// Its range has not ended.
    Recording,
    /// Every file can be fetched.
    Ready,
}

/// An export and its status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExportStatus {
    #[serde(flatten)]
    pub export: Export,
    pub state: ExportState,
    /// How much of its range has passed, from 0 to 1.
    pub progress: f64,
    /// Only for a single export; lists leave them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ExportFile>,
}

/// A file of up to six hours of one camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportFile {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    pub name: String,
    /// Path on every node.
    pub url: String,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    /// Its range has ended.
    pub ready: bool,
}

/// What an export contains and what is missing from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExportManifest {
    #[serde(flatten)]
    pub status: ExportStatus,
    pub gaps: Vec<ExportGap>,
    /// How many gaps there are beyond the listed ones.
    pub gaps_left_out: usize,
    /// Members that did not answer: what they hold is not in the files either.
    #[schema(value_type = Vec<schema::NodeId>)]
    pub nodes_left_out: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportGap {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[serde(flatten)]
    pub gap: Gap,
}

#[derive(OpenApi)]
#[openapi(paths(list, show, create, remove, manifest))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/exports", get(list::<B>).post(create::<B>))
        .route("/api/v1/exports/{id}", get(show::<B>).delete(remove::<B>))
        .route("/api/v1/exports/{id}/manifest.json", get(manifest::<B>))
}

impl Export {
    fn of(export: &model::Export) -> Self {
        let spec = &export.spec;
        Self {
            id: export.id,
            name: spec.name.to_string(),
            cameras: spec.cameras.clone(),
            from: spec.from,
            to: spec.to,
            strict: spec.strict,
            created_at: export.created_at,
            expires_at: export.expires_at(),
        }
    }
}

/// Exports that have not expired, without their files.
#[utoipa::path(
    get,
    path = "/api/v1/exports",
    operation_id = "list_exports",
    responses((status = 200, body = Vec<ExportStatus>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<ExportStatus>>> {
    let (state, now) = (app.state()?, app.now());
    let kept = state
        .exports
        .values()
        .filter(|export| export.expires_at() > now);
    Ok(Json(
        kept.map(|kept| status(Export::of(kept), now)).collect(),
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
async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<ExportId>,
) -> Result<Json<ExportStatus>> {
    let (export, now) = (kept(&app, id)?, app.now());
    Ok(Json(status_with_files(export, now)))
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
async fn create<B: Backend>(
    State(app): State<App<B>>,
    Body(new): Body<NewExport>,
) -> Result<impl IntoResponse> {
    let NewExport {
        name,
        cameras,
        from,
        to,
        strict,
    } = new;
    let spec = ExportSpec {
        name: name.try_into()?,
        cameras,
        from,
        to,
        strict,
    };
    let created_at = app.now();
    let command = Command::CreateExport { spec: spec.clone() };
    let export = match app.change(command).await? {
        Response::Export(id) => {
            // This node's state may be a moment behind.
            let made = model::Export {
                id,
                spec,
                created_at,
            };
            Export::of(app.state()?.exports.get(id).unwrap_or(&made))
        }
        other => return Err(unexpected("creating an export", &other)),
    };
    let location = format!("/api/v1/exports/{}", export.id);
    let status = status_with_files(export, app.now());
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
async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<ExportId>,
) -> Result<StatusCode> {
    app.change(Command::DeleteExport { export: id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the export contains, and what is missing from it.
#[utoipa::path(
    get,
    path = "/api/v1/exports/{id}/manifest.json",
    operation_id = "show_export_manifest",
    params(("id" = schema::ExportId, Path), TokenQuery),
    responses((status = 200, body = ExportManifest), NotFound),
)]
async fn manifest<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<ExportId>,
    Params(_): Params<TokenQuery>,
) -> Result<Json<ExportManifest>> {
    let export = kept(&app, id)?;
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
    let status = status_with_files(export, app.now());
    Ok(Json(ExportManifest {
        status,
        gaps,
        gaps_left_out,
        nodes_left_out: nodes_left_out.into_iter().collect(),
    }))
}

/// # Errors
/// There is none, or it has expired.
pub(crate) fn kept<B: Backend>(app: &App<B>, id: ExportId) -> Result<Export> {
    let (state, now) = (app.state()?, app.now());
    let kept = state
        .exports
        .get(id)
        .filter(|export| export.expires_at() > now);
    let detail =
        format!("there is no export {id}, or it has expired; GET /api/v1/exports lists them");
    kept.map(Export::of)
        .ok_or_else(|| ApiError::not_found(detail).code("unknown-export"))
}

async fn timelines<B: Backend>(backend: &B, export: &Export) -> Result<Vec<Timeline>> {
    let mut timelines = Vec::with_capacity(export.cameras.len());
    for cameras in export.cameras.chunks(TIMELINES_AT_ONCE) {
        timelines.extend(backend.timelines(cameras, export.from, export.to).await?);
    }
    Ok(timelines)
}
