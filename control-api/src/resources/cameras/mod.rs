//! `/api/v1/cameras`: the recorded cameras.

mod deleted;
mod json;

pub use deleted::{
    AdoptCamera, AdoptCameras, CameraNumber, CameraOrigin, DeletedCamera, FootageExtent,
    RestoreCamera,
};
pub use json::{
    Assignment, Camera, CameraPatch, HeldAs, HeldBack, NewCamera, NewSource, Recording, Source,
    SourcePatch,
};

use crate::extract::{Body, Segment};
use crate::problems::NotFound;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use holdfast_storage::ids::CameraId;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(list, show, create, change, remove, deleted, restore, adopt, release))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/cameras", get(list::<B>).post(create::<B>))
        .route(
            "/api/v1/cameras/{id}",
            get(show::<B>).patch(change::<B>).delete(remove::<B>),
        )
        .route("/api/v1/cameras/adopt", post(adopt::<B>))
        .route("/api/v1/cameras/deleted", get(deleted::<B>))
        .route("/api/v1/cameras/{id}/release", post(release::<B>))
        .route("/api/v1/cameras/{id}/restore", post(restore::<B>))
}

/// All cameras.
#[utoipa::path(
    get,
    path = "/api/v1/cameras",
    operation_id = "list_cameras",
    responses((status = 200, body = Vec<Camera>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Camera>>> {
    app.backend.cameras().await.map(Json)
}

/// One camera.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/{id}",
    operation_id = "show_camera",
    params(("id" = schema::CameraId, Path)),
    responses((status = 200, body = Camera), NotFound),
)]
async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
) -> Result<Json<Camera>> {
    app.backend.camera(id).await.map(Json)
}

/// Adds a camera.
#[utoipa::path(
    post,
    path = "/api/v1/cameras",
    operation_id = "add_camera",
    request_body = NewCamera,
    responses((status = 201, body = Camera), NotFound),
)]
async fn create<B: Backend>(
    State(app): State<App<B>>,
    Body(new): Body<NewCamera>,
) -> Result<impl IntoResponse> {
    let camera = app.backend.create_camera(new).await?;
    let location = format!("/api/v1/cameras/{}", camera.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(camera),
    ))
}

/// Changes a camera; absent fields stay.
#[utoipa::path(
    patch,
    path = "/api/v1/cameras/{id}",
    operation_id = "change_camera",
    params(("id" = schema::CameraId, Path)),
    request_body = CameraPatch,
    responses((status = 200, body = Camera), NotFound),
)]
async fn change<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Body(patch): Body<CameraPatch>,
) -> Result<Json<Camera>> {
    app.backend.patch_camera(id, patch).await.map(Json)
}

/// Ends the camera's recording; its footage stays until retention deletes it.
#[utoipa::path(
    delete,
    path = "/api/v1/cameras/{id}",
    operation_id = "delete_camera",
    params(("id" = schema::CameraId, Path)),
    responses((status = 204), NotFound),
)]
async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
) -> Result<StatusCode> {
    app.backend
        .delete_camera(id)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

/// Deleted cameras, as long as the cluster remembers them.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/deleted",
    operation_id = "list_deleted_cameras",
    responses((status = 200, body = Vec<DeletedCamera>)),
)]
async fn deleted<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<DeletedCamera>>> {
    app.backend.deleted_cameras().await.map(Json)
}

/// Records a deleted camera again, under its number.
#[utoipa::path(
    post,
    path = "/api/v1/cameras/{id}/restore",
    operation_id = "restore_camera",
    params(("id" = schema::CameraId, Path)),
    request_body = RestoreCamera,
    responses((status = 200, body = Camera), NotFound),
)]
async fn restore<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Body(restore): Body<RestoreCamera>,
) -> Result<Json<Camera>> {
    app.backend.restore_camera(id, restore).await.map(Json)
}

/// Assigns numbers and names to cameras of another cluster, for their footage.
#[utoipa::path(
    post,
    path = "/api/v1/cameras/adopt",
    operation_id = "adopt_cameras",
    request_body = AdoptCameras,
    responses((status = 200, body = Vec<CameraNumber>)),
)]
async fn adopt<B: Backend>(
    State(app): State<App<B>>,
    Body(adopt): Body<AdoptCameras>,
) -> Result<Json<Vec<CameraNumber>>> {
    app.backend.adopt_cameras(adopt).await.map(Json)
}

/// Clears suspicion and quarantine.
#[utoipa::path(
    post,
    path = "/api/v1/cameras/{id}/release",
    operation_id = "release_camera",
    params(("id" = schema::CameraId, Path)),
    responses((status = 200, body = Camera), NotFound),
)]
async fn release<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
) -> Result<Json<Camera>> {
    app.backend.release_camera(id).await.map(Json)
}
