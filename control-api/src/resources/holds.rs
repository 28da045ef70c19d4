//! `/api/v1/holds`: footage that retention may not delete.

use crate::extract::{Body, Segment};
use crate::problems::NotFound;
use crate::resources::app::App;
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_storage::ids::{CameraId, HoldId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

/// Body of `POST /holds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    #[schema(value_type = schema::HoldReason)]
    pub reason: String,
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    /// Absent or `null`: all future footage, until the hold is removed.
    #[serde(default)]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub to: Option<Timestamp>,
}

/// Footage that no retention may delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    #[schema(value_type = schema::HoldId)]
    pub id: HoldId,
    pub reason: String,
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = Option<schema::Timestamp>)]
    pub to: Option<Timestamp>,
    #[schema(value_type = schema::Timestamp)]
    pub created_at: Timestamp,
}

#[derive(OpenApi)]
#[openapi(paths(list, show, create, remove))]
pub(super) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/api/v1/holds", get(list::<B>).post(create::<B>))
        .route("/api/v1/holds/{id}", get(show::<B>).delete(remove::<B>))
}

/// All holds.
#[utoipa::path(
    get,
    path = "/api/v1/holds",
    operation_id = "list_holds",
    responses((status = 200, body = Vec<Hold>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Hold>>> {
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
async fn show<B: Backend>(
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
async fn create<B: Backend>(
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
async fn remove<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<HoldId>,
) -> Result<StatusCode> {
    app.backend
        .delete_hold(id)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}
