//! `/api/v1/cameras`: the recorded cameras.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::{Body, Segment};
use crate::wire::{
    AdoptCameras, Camera, CameraNumber, CameraPatch, DeletedCamera, NewCamera, RestoreCamera,
};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use holdfast_storage::ids::CameraId;

pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Camera>>> {
    app.backend.cameras().await.map(Json)
}

pub(super) async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
) -> Result<Json<Camera>> {
    app.backend.camera(id).await.map(Json)
}

pub(super) async fn create<B: Backend>(
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

pub(super) async fn change<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Body(patch): Body<CameraPatch>,
) -> Result<Json<Camera>> {
    app.backend.patch_camera(id, patch).await.map(Json)
}

/// The footage stays until retention deletes it.
pub(super) async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
) -> Result<StatusCode> {
    app.backend
        .delete_camera(id)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

pub(super) async fn deleted<B: Backend>(
    State(app): State<App<B>>,
) -> Result<Json<Vec<DeletedCamera>>> {
    app.backend.deleted_cameras().await.map(Json)
}

pub(super) async fn restore<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
    Body(restore): Body<RestoreCamera>,
) -> Result<Json<Camera>> {
    app.backend.restore_camera(id, restore).await.map(Json)
}

pub(super) async fn adopt<B: Backend>(
    State(app): State<App<B>>,
    Body(adopt): Body<AdoptCameras>,
) -> Result<Json<Vec<CameraNumber>>> {
    app.backend.adopt_cameras(adopt).await.map(Json)
}

/// Clears suspicion and quarantine.
pub(super) async fn release<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<CameraId>,
) -> Result<Json<Camera>> {
    app.backend.release_camera(id).await.map(Json)
}
