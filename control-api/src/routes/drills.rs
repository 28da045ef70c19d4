//! `/api/v1/drills`: failovers that are tried out while the cameras are well, and their results.

use super::App;
use crate::backend::{Backend, Result};
use crate::error::{ApiError, ErrorKind};
use crate::extract::{Body, Params, Segment};
use crate::problems::NotFound;
use crate::schema;
use crate::wire::{Drill, DrillOf, NewDrill};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use holdfast_storage::ids::{CameraId, DrillId};
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// Only this camera's drills.
    #[param(value_type = Option<schema::CameraId>)]
    camera: Option<CameraId>,
}

/// The newest 200 drills, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/drills",
    operation_id = "list_drills",
    params(Query),
    responses((status = 200, body = Vec<Drill>)),
)]
pub(super) async fn list<B: Backend>(
    State(app): State<App<B>>,
    Params(query): Params<Query>,
) -> Result<Json<Vec<Drill>>> {
    app.backend.drills(query.camera).await.map(Json)
}

/// One drill.
#[utoipa::path(
    get,
    path = "/api/v1/drills/{id}",
    operation_id = "show_drill",
    params(("id" = schema::DrillId, Path)),
    responses((status = 200, body = Drill), NotFound),
)]
pub(super) async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<DrillId>,
) -> Result<Json<Drill>> {
    app.backend.drill(id).await.map(Json)
}

/// Begins a drill of a camera, or of all cameras that a node owns.
#[utoipa::path(
    post,
    path = "/api/v1/drills",
    operation_id = "begin_drill",
    request_body = NewDrill,
    responses((status = 201, body = Drill), NotFound),
)]
pub(super) async fn begin<B: Backend>(
    State(app): State<App<B>>,
    Body(new): Body<NewDrill>,
) -> Result<impl IntoResponse> {
    let of = match new {
        NewDrill {
            camera: Some(camera),
            node: None,
        } => DrillOf::Camera(camera),
        NewDrill {
            camera: None,
            node: Some(node),
        } => DrillOf::Node(node),
        _ => {
            return Err(ApiError::new(
                ErrorKind::Invalid,
                "name either a `camera` or a `node`",
            ));
        }
    };
    let drill = app.backend.begin_drill(of).await?;
    let location = format!("/api/v1/drills/{}", drill.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(drill),
    ))
}
