//! `/api/v1/holds`: footage that retention may not delete.

use crate::error::ApiError;
use crate::extract::{Body, Segment};
use crate::problems::NotFound;
use crate::resources::app::{App, unexpected};
use crate::resources::ports::{Backend, Result};
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use holdfast_consensus::command::{Command, Response};
use holdfast_consensus::model::{self, HoldSpec};
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

impl Hold {
    fn of(hold: &model::Hold) -> Self {
        let spec = &hold.spec;
        Self {
            id: hold.id,
            reason: spec.reason.to_string(),
            camera: spec.camera,
            from: spec.from,
            to: spec.to,
            created_at: hold.created_at,
        }
    }
}

/// All holds.
#[utoipa::path(
    get,
    path = "/api/v1/holds",
    operation_id = "list_holds",
    responses((status = 200, body = Vec<Hold>)),
)]
async fn list<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<Hold>>> {
    Ok(Json(app.state()?.holds.values().map(Hold::of).collect()))
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
    let state = app.state()?;
    let hold = state.holds.get(id).ok_or_else(|| {
        ApiError::not_found(format!(
            "there is no hold {id}; GET /api/v1/holds lists them"
        ))
        .code("unknown-hold")
    })?;
    Ok(Json(Hold::of(hold)))
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
    let NewHold {
        reason,
        camera,
        from,
        to,
    } = new;
    let spec = HoldSpec {
        reason: reason.try_into()?,
        camera,
        from,
        to,
    };
    let created_at = app.now();
    let command = Command::CreateHold { spec: spec.clone() };
    let hold = match app.change(command).await? {
        // This node's state may be a moment behind.
        Response::Hold(id) => Hold::of(&model::Hold {
            id,
            spec,
            created_at,
        }),
        other => return Err(unexpected("creating a hold", &other)),
    };
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
    app.change(Command::DeleteHold { hold: id }).await?;
    Ok(StatusCode::NO_CONTENT)
}
