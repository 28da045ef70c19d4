//! `/api/v1/holds`: footage that retention may not delete.

use super::App;
use crate::backend::{Backend, Result};
use crate::extract::{Body, Segment};
use crate::problems::NotFound;
use crate::schema;
use crate::wire::{Hold, NewHold};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use holdfast_storage::ids::HoldId;

/// All holds.
#[utoipa::path(
    get,
    path = "/api/v1/holds",
    operation_id = "list_holds",
    responses((status = 200, body = Vec<Hold>)),
)]
pub(super) async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Hold>>> {
    app.backend.holds().await.map(Json)
}

/// One hold.
#[utoipa::path(
    get,
    path = "/api/v1/holds/{id}",
    operation_id = "show_hold",
    params(("id" = schema::HoldId, Path)),
    responses((status = 200, body = Hold), NotFound),
)]
pub(super) async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<HoldId>,
) -> Result<Json<Hold>> {
    app.backend.hold(id).await.map(Json)
}

// The replicated state checks the request; there is no check here.
/// Holds footage of a camera: retention does not delete it.
#[utoipa::path(
    post,
    path = "/api/v1/holds",
    operation_id = "add_hold",
    request_body = NewHold,
    responses((status = 201, body = Hold), NotFound),
)]
pub(super) async fn create<B: Backend>(
    State(app): State<App<B>>,
    Body(new): Body<NewHold>,
) -> Result<impl IntoResponse> {
    let hold = app.backend.create_hold(new).await?;
    let location = format!("/api/v1/holds/{}", hold.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(hold),
    ))
}

/// Ends a hold.
#[utoipa::path(
    delete,
    path = "/api/v1/holds/{id}",
    operation_id = "delete_hold",
    params(("id" = schema::HoldId, Path)),
    responses((status = 204), NotFound),
)]
pub(super) async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<HoldId>,
) -> Result<StatusCode> {
    app.backend
        .delete_hold(id)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}
