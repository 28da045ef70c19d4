//! Deleted cameras of the fake node, and those of other clusters.

use super::fake::State;
use holdfast_consensus::model::Invalid;
use holdfast_control_api::ports::Result;
use holdfast_control_api::{ApiError, wire};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;

/// As if all had been deleted at one moment, with all of their footage.
pub(super) fn listed(state: &State) -> Vec<wire::DeletedCamera> {
    let deleted = state.former.iter().map(|(id, spec)| wire::DeletedCamera {
        id: *id,
        name: spec.name.to_string(),
        deleted_at: Timestamp(0),
        by: "operator \"admin\"".to_owned(),
        origin: None,
        restorable: true,
        footage: None,
        complete: true,
    });
    deleted.collect()
}

pub(super) fn restore(state: &mut State, id: CameraId, restore: wire::RestoreCamera) -> Result<()> {
    let mut spec = state
        .former
        .remove(&id)
        .ok_or_else(|| ApiError::not_found(format!("camera {id}")))?;
    if let Some(name) = restore.name {
        spec.name = name
            .parse()
            .map_err(|error: Invalid| ApiError::invalid(error.to_string()))?;
    }
    state.cameras.insert(id, spec);
    Ok(())
}

/// Their numbers plus a hundred.
pub(super) fn numbers(adopt: &wire::AdoptCameras) -> Vec<wire::CameraNumber> {
    let number = |camera: CameraId| wire::CameraNumber {
        camera,
        id: CameraId(camera.0 + 100),
    };
    adopt
        .cameras
        .iter()
        .map(|adopted| number(adopted.camera))
        .collect()
}
