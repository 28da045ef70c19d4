//! Cameras: added, changed, deleted.

use super::recover::EPOCHS_LEAP;
use super::{ClusterState, History};
use crate::command::{Rejection, Response};
use crate::model::{Actor, Assignment, CAMERAS_MAX, Camera, CameraSpec, Invalid};
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;

/// Higher numbers are considered damage: no site has had so many cameras.
pub(crate) const CAMERA_NUMBER_MAX: CameraId = CameraId(u32::MAX / 2);

impl ClusterState {
    /// Whether `node` has every label that `camera` requires.
    #[must_use]
    pub fn reaches(&self, node: NodeId, camera: CameraId) -> bool {
        let Some(camera) = self.cameras.get(camera) else {
            return true;
        };
        let asked = &camera.spec.node_labels;
        asked.as_map().is_empty()
            || self
                .nodes
                .get(node)
                .is_some_and(|node| node.spec.labels.have(asked))
    }

    /// The preferred node of `camera`, used whenever it is able to record it.
    #[must_use]
    pub fn preferred_node(&self, camera: CameraId) -> Option<NodeId> {
        self.cameras.get(camera)?.spec.preferred_node
    }

    /// The camera that was added last, including deleted ones.
    #[must_use]
    pub fn camera_last(&self) -> CameraId {
        self.camera_last
    }

    pub(super) fn create_camera(
        &mut self,
        spec: CameraSpec,
        only_after: Option<CameraId>,
    ) -> Result<Response, Rejection> {
        self.check_adding(only_after)?;
        self.check_camera(&spec, None)?;
        if self.cameras.len() >= CAMERAS_MAX {
            return Err(Rejection::too_many("cameras", CAMERAS_MAX));
        }
        self.camera_last = CameraId(self.camera_last.0 + 1);
        let id = self.camera_last;
        self.cameras.insert(
            id,
            Camera {
                id,
                spec,
                revision: 1,
            },
        );
        self.assignments.insert(id, Assignment::default());
        self.histories.insert(id, History::default());
        Ok(Response::Camera {
            camera: id,
            revision: 1,
        })
    }

    /// If its number was in use before, so were its epochs: there may be footage with them.
    pub(super) fn reinstate_camera(
        &mut self,
        camera: Option<CameraId>,
        spec: CameraSpec,
        at: Timestamp,
    ) -> Result<Response, Rejection> {
        self.check_camera(&spec, None)?;
        if self.cameras.len() >= CAMERAS_MAX {
            return Err(Rejection::too_many("cameras", CAMERAS_MAX));
        }
        let id = camera.unwrap_or(CameraId(self.camera_last.0 + 1));
        if id == CameraId(0) || id > CAMERA_NUMBER_MAX {
            let why = format!("is {id}; numbers begin at 1 and end at {CAMERA_NUMBER_MAX}");
            return Err(Invalid::new("camera", why).into());
        }
        if let Some(other) = self.cameras.get(id) {
            return Err(Invalid::new(
                "camera",
                format!("is {id}, which is \"{}\" now", other.spec.name),
            )
            .into());
        }
        self.camera_last = self.camera_last.max(id);
        let revision = self.restorable(id).map_or(1, |(_, revision)| revision + 1);
        self.end_pause(id, at);
        self.cameras.insert(id, Camera { id, spec, revision });
        self.assignments.insert(id, Assignment::default());
        let mut history = self.histories.get(id).cloned().unwrap_or_default();
        if camera.is_some() {
            let generations = self.generation().map_or(1, |generation| generation.number);
            history.epoch_last = history
                .epoch_last
                .max(Epoch(EPOCHS_LEAP.saturating_mul(generations)));
        }
        self.histories.insert(id, history);
        Ok(Response::Camera {
            camera: id,
            revision,
        })
    }

    /// These numbers are not assigned any more.
    pub(super) fn reserve_cameras(&mut self, upto: CameraId) -> Result<Response, Rejection> {
        if upto > CAMERA_NUMBER_MAX {
            return Err(Invalid::new(
                "upto",
                format!("is {upto}; numbers end at {CAMERA_NUMBER_MAX}"),
            )
            .into());
        }
        self.camera_last = self.camera_last.max(upto);
        Ok(Response::Done)
    }

    pub(super) fn check_camera(
        &self,
        spec: &CameraSpec,
        but: Option<CameraId>,
    ) -> Result<(), Rejection> {
        spec.check()?;
        if self
            .cameras
            .values()
            .any(|other| other.spec.name == spec.name && Some(other.id) != but)
        {
            return Err(Rejection::DuplicateCameraName(spec.name.clone()));
        }
        if self
            .settings
            .retention_classes
            .get(&spec.retention_class)
            .is_none()
        {
            return Err(Rejection::UnknownRetentionClass(
                spec.retention_class.clone(),
            ));
        }
        match spec.preferred_node {
            Some(node) if !self.nodes.contains(node) => Err(Rejection::UnknownNode(node)),
            _ => Ok(()),
        }
    }

    pub(super) fn update_camera(
        &mut self,
        id: CameraId,
        spec: CameraSpec,
        expect_revision: u64,
    ) -> Result<Response, Rejection> {
        let camera = self.cameras.get(id).ok_or(Rejection::UnknownCamera(id))?;
        let revision = camera.revision;
        if expect_revision != revision {
            return Err(Rejection::StaleRevision {
                camera: id,
                expected: expect_revision,
                actual: revision,
            });
        }
        let is_other_source = camera.spec.source != spec.source;
        if camera.spec == spec {
            return Ok(Response::Camera {
                camera: id,
                revision,
            });
        }
        self.check_camera(&spec, Some(id))?;
        // Another source, or other parameters for it, may be harmless.
        if is_other_source {
            self.forgive(id);
        }
        self.set_spec(id, spec);
        Ok(Response::Camera {
            camera: id,
            revision: revision + 1,
        })
    }

    pub(super) fn set_spec(&mut self, id: CameraId, spec: CameraSpec) {
        if let Some(camera) = self.cameras.get_mut(id) {
            camera.spec = spec;
            camera.revision += 1;
        }
    }

    /// Its settings and its owners are kept in `former`.
    pub(super) fn delete_camera(
        &mut self,
        id: CameraId,
        at: Timestamp,
        by: Actor,
    ) -> Result<Response, Rejection> {
        let camera = self
            .cameras
            .get(id)
            .ok_or(Rejection::UnknownCamera(id))?
            .clone();
        self.close_tenure(id, at, None);
        self.cameras.remove(id);
        self.assignments.remove(id);
        self.remember(camera, at, by);
        self.forget_drills_of(id);
        self.forgive(id);
        Ok(Response::Done)
    }
}
