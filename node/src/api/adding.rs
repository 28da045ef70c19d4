//! Cameras on their way into the cluster: what each would cost in a failure is found out before it
//! is there, and again where others were added in between.

use crate::api::backend::{NodeBackend, write_error};
use crate::api::status;
use crate::host::member::Member;
use crate::parts::headroom::forecast;
use holdfast_consensus::WriteError;
use holdfast_consensus::command::{Command, Rejection, Response};
use holdfast_consensus::model::HeadroomRule;
use holdfast_consensus::state::ClusterState;
use holdfast_control_api::backend::Result;
use holdfast_control_api::{ApiError, ErrorKind, wire};
use holdfast_storage::ids::CameraId;

/// A camera for which room was looked for in vain because others were added in between is tried
/// again so often.
const ADD_TRIES_MAX: usize = 5;

/// A camera on its way into the cluster, new or back.
pub(super) struct Adding {
    /// It costs what a new one would.
    pub(super) as_new: Command,
    pub(super) command: Command,
}

impl NodeBackend {
    /// What `command` would cost in a failure: a warning, or an error where the settings are
    /// strict.
    pub(super) async fn check_headroom(
        &self,
        member: &Member,
        command: &Command,
    ) -> Result<Option<String>> {
        let sight = member.view.whole_sight().await;
        let state = member.consensus.state();
        let is_strict = state.settings.headroom == HeadroomRule::Strict;
        if status::mode(&state) == wire::Mode::Single && !is_strict {
            // Nothing could take over, whatever is added: `status` says so, once.
            return Ok(None);
        }
        match forecast(state, sight, command.clone(), self.host.clock.now()).await {
            Some(cost) if is_strict => {
                let detail = format!(
                    "{cost}, and the settings refuse that; add nodes or capacity, or set \
                     `headroom` to `warn`"
                );
                Err(ApiError::new(ErrorKind::Conflict, detail).code("no-headroom"))
            }
            cost => Ok(cost),
        }
    }

    /// Adds a camera once it is known what it costs, again where others were added since:
    /// `adding` says how, of the state as it is and the camera after which no other may have come.
    pub(super) async fn add(
        &self,
        adding: impl Fn(&ClusterState, Option<CameraId>) -> Result<Adding> + Send + Sync,
    ) -> Result<wire::Camera> {
        let member = self.member()?;
        let mut tries = 0;
        loop {
            let state = member.consensus.state();
            // Two that each would fit alone must not be taken at once.
            let only_after =
                (state.settings.headroom == HeadroomRule::Strict).then(|| state.camera_last());
            let Adding { as_new, command } = adding(&state, only_after)?;
            let warning = self.check_headroom(member, &as_new).await?;
            tries += 1;
            match self.submit(member, command).await {
                Ok(Response::Camera { camera, .. }) => {
                    let view = self.camera_view(member, camera).await?;
                    return Ok(wire::Camera {
                        warnings: warning.into_iter().collect(),
                        ..view
                    });
                }
                Ok(other) => {
                    return Err(ApiError::internal(format!(
                        "adding a camera was answered with {other:?}"
                    )));
                }
                Err(WriteError::Rejected(
                    Rejection::CamerasChanged(_) | Rejection::HeadroomUnchecked,
                )) if tries < ADD_TRIES_MAX => {}
                Err(error) => return Err(write_error(error)),
            }
        }
    }
}
