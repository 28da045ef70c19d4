//! Cameras on their way into the cluster: what each would cost in a failure is computed before it
//! is added, and again if others were added in between.

use super::Camera;
use crate::error::{ApiError, ErrorKind};
use crate::resources::app::{App, unexpected};
use crate::resources::ports::{Backend, Overview, Result};
use holdfast_consensus::WriteError;
use holdfast_consensus::command::{Command, Rejection, Response};
use holdfast_consensus::decide::headroom;
use holdfast_consensus::model::HeadroomRule;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// The attempts for a camera whose headroom check became invalid because other cameras were added
/// in between.
const ADD_TRIES_MAX: usize = 5;

/// A camera on its way into the cluster, new or back.
pub(super) struct Adding {
    /// A command with the cost of a new camera.
    pub(super) as_new: Command,
    pub(super) command: Command,
}

/// What `command` would cost in a failure: a warning, or an error if the settings are strict.
pub(super) async fn check_headroom(
    overview: &Overview,
    command: &Command,
    now: Timestamp,
) -> Result<Option<String>> {
    let (state, sight) = (Arc::clone(&overview.state), Arc::clone(&overview.sight));
    let is_strict = state.settings.headroom == HeadroomRule::Strict;
    if state.nodes.len() == 1 && !is_strict {
        // Nothing could take over, whatever is added: `status` reports that once.
        return Ok(None);
    }
    let command = command.clone();
    let cost = spawn_blocking(move || headroom::cost_of(&state, &sight, command, now)).await;
    let cost = cost.unwrap_or_else(|error| {
        tracing::error!(%error, "computing the failover headroom of a change failed");
        None
    });
    match cost {
        Some(cost) if is_strict => {
            let detail = format!(
                "{cost}, and the settings refuse that; add nodes or capacity, or set `headroom` \
                 to `warn`"
            );
            Err(ApiError::new(ErrorKind::Conflict, detail).code("no-headroom"))
        }
        cost => Ok(cost),
    }
}

/// Adds a camera once its cost is known, and tries again if others were added since: `adding` makes
/// the commands from the current state and the camera that must still be the last one.
pub(super) async fn add<B: Backend>(
    app: &App<B>,
    adding: impl Fn(&ClusterState, Option<CameraId>) -> Result<Adding> + Send + Sync,
) -> Result<Camera> {
    let mut tries = 0;
    loop {
        let overview = app.overview().await?;
        let state = &overview.state;
        // Two cameras that would each fit alone must not both be taken.
        let only_after =
            (state.settings.headroom == HeadroomRule::Strict).then(|| state.camera_last());
        let Adding { as_new, command } = adding(state, only_after)?;
        let warning = check_headroom(&overview, &as_new, app.now()).await?;
        tries += 1;
        match app.submit(command).await {
            Ok(Response::Camera { camera, .. }) => {
                return super::changed(app, camera, warning).await;
            }
            Ok(other) => return Err(unexpected("adding a camera", &other)),
            Err(WriteError::Rejected(
                Rejection::CamerasChanged(_) | Rejection::HeadroomUnchecked,
            )) if tries < ADD_TRIES_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
}
