//! `/api/v1/drills`: failovers that are tried out while the cameras are well, and their results.

use super::App;
use crate::backend::{Backend, Result};
use crate::error::{ApiError, ErrorKind};
use crate::extract::{Body, Params, Segment};
use crate::wire::{Drill, DrillOf, NewDrill};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use holdfast_storage::ids::{CameraId, DrillId};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// Only this camera's drills.
    camera: Option<CameraId>,
}

pub(super) async fn list<B: Backend>(
    State(app): State<App<B>>,
    Params(query): Params<Query>,
) -> Result<Json<Vec<Drill>>> {
    app.backend.drills(query.camera).await.map(Json)
}

pub(super) async fn show<B: Backend>(
    State(app): State<App<B>>,
    Segment(id): Segment<DrillId>,
) -> Result<Json<Drill>> {
    app.backend.drill(id).await.map(Json)
}

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
