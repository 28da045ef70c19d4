//! `/api/v1/cameras`: the recorded cameras.

mod adding;
mod deleted;
mod json;
mod recording;

pub use deleted::{
    AdoptCamera, AdoptCameras, CameraNumber, CameraOrigin, DeletedCamera, FootageExtent,
    RestoreCamera,
};
pub use json::{
    Assignment, Camera, CameraPatch, HeldAs, HeldBack, NewCamera, NewSource, Recording, Source,
    SourcePatch,
};

use crate::error::ApiError;
use crate::extract::{Body, Segment};
use crate::problems::NotFound;
use crate::resources::app::{App, unexpected};
use crate::resources::nodes::NodeRef;
use crate::resources::ports::{Backend, Remains, Result};
use crate::schema;
use adding::{Adding, add, check_headroom};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use holdfast_consensus::command::{AdoptedCamera, Command, Response};
use holdfast_consensus::model::{CameraName, Invalid};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
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
    let overview = app.overview().await?;
    let cameras = overview.state.cameras.values();
    Ok(Json(
        cameras
            .map(|camera| Camera::of(camera, &overview))
            .collect(),
    ))
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
    shown(&app, id).await.map(Json)
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
    let camera = add(&app, |state, only_after| {
        let preferred_node = preferred_node(state, new.preferred_node.as_ref())?;
        let spec = new.clone().into_spec(preferred_node)?;
        let command = Command::CreateCamera { spec, only_after };
        Ok(Adding {
            as_new: command.clone(),
            command,
        })
    });
    let camera = camera.await?;
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
    let overview = app.overview().await?;
    let state = &overview.state;
    let camera = state
        .cameras
        .get(id)
        .ok_or_else(|| ApiError::no_camera(id))?;
    let preferred_node = match &patch.preferred_node {
        None => camera.spec.preferred_node,
        named => preferred_node(state, named.as_ref())?,
    };
    let command = Command::UpdateCamera {
        camera: id,
        spec: patch.onto(camera.spec.clone(), preferred_node)?,
        expect_revision: camera.revision,
    };
    let warning = check_headroom(&overview, &command, app.now()).await?;
    app.change(command).await?;
    changed(&app, id, warning).await.map(Json)
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
    app.change(Command::DeleteCamera { camera: id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deleted cameras, as long as the cluster remembers them.
#[utoipa::path(
    get,
    path = "/api/v1/cameras/deleted",
    operation_id = "list_deleted_cameras",
    responses((status = 200, body = Vec<DeletedCamera>)),
)]
async fn deleted<B: Backend>(State(app): State<App<B>>) -> Result<Json<Vec<DeletedCamera>>> {
    let state = app.state()?;
    let cameras: Vec<CameraId> = state.former.keys().collect();
    let remains = app.backend.remains(&cameras).await?;
    let view = |(former, remains): (_, Remains)| {
        DeletedCamera::of(former, remains.extent, remains.is_complete)
    };
    Ok(Json(state.former.values().zip(remains).map(view).collect()))
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
    let name = restore.name.map(CameraName::try_from).transpose()?;
    let restored = add(&app, |state, only_after| {
        let (spec, _) = state.restorable(id)?;
        let command = Command::RestoreCamera {
            camera: id,
            name: name.clone(),
            only_after,
        };
        Ok(Adding {
            as_new: Command::CreateCamera { spec, only_after },
            command,
        })
    });
    restored.await.map(Json)
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
    let cluster = adopt.cluster.parse().map_err(|_| {
        ApiError::invalid(format!("cluster: {:?} is no cluster's id", adopt.cluster))
            .code("invalid")
    })?;
    let theirs: Vec<CameraId> = adopt.cameras.iter().map(|adopted| adopted.camera).collect();
    let named = adopt
        .cameras
        .into_iter()
        .map(|AdoptCamera { camera, name }| {
            Ok(AdoptedCamera {
                camera,
                name: name.try_into()?,
            })
        });
    let cameras = named.collect::<std::result::Result<_, Invalid>>()?;
    match app
        .change(Command::AdoptCameras { cluster, cameras })
        .await?
    {
        Response::Cameras(ours) => {
            let number = |(camera, id)| CameraNumber { camera, id };
            Ok(Json(theirs.into_iter().zip(ours).map(number).collect()))
        }
        other => Err(unexpected("adopting cameras", &other)),
    }
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
    let cameras = vec![id];
    app.change(Command::ClearCameras { cameras }).await?;
    shown(&app, id).await.map(Json)
}

async fn shown<B: Backend>(app: &App<B>, id: CameraId) -> Result<Camera> {
    let overview = app.overview().await?;
    let camera = overview.state.cameras.get(id);
    let camera = camera.ok_or_else(|| ApiError::no_camera(id))?;
    Ok(Camera::of(camera, &overview))
}

/// The answer to a change, with what it would cost in a failure.
async fn changed<B: Backend>(
    app: &App<B>,
    id: CameraId,
    warning: Option<String>,
) -> Result<Camera> {
    Ok(Camera {
        warnings: warning.into_iter().collect(),
        ..shown(app, id).await?
    })
}

/// # Errors
/// The cluster has no such node.
fn preferred_node(state: &ClusterState, node: Option<&NodeRef>) -> Result<Option<NodeId>> {
    match node {
        None => Ok(None),
        Some(NodeRef::Name(name)) if name.is_empty() => Ok(None),
        Some(node) => node.find(state).map(Some),
    }
}
