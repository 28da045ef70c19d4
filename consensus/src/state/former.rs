//! Cameras that are no longer recorded: deleted ones are kept with their settings, so that they can
//! be restored; cameras of another cluster's disks have a number and a name here.

use super::cameras::CAMERA_NUMBER_MAX;
use super::{ClusterState, PAUSES_MAX};
use crate::command::{AdoptedCamera, Rejection, Response};
use crate::model::{
    Actor, Assignment, CAMERAS_MAX, Camera, CameraName, CameraSpec, FORMER_CAMERAS_MAX,
    FormerCamera, HeadroomRule, Invalid, Origin, Pause, Was,
};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeSet;
use uuid::Uuid;

impl ClusterState {
    /// Its epochs are remembered, so that everything recorded before stays below what a restored
    /// camera records.
    pub(super) fn remember(&mut self, camera: Camera, at: Timestamp, by: Actor) {
        let Camera { id, spec, revision } = camera;
        self.make_room(1, &BTreeSet::new());
        let name = spec.name.clone();
        self.former.insert(
            id,
            FormerCamera {
                id,
                name,
                since: at,
                by,
                was: Was::Recorded {
                    spec: Box::new(spec),
                    revision,
                },
            },
        );
    }

    pub(super) fn restore_camera(
        &mut self,
        id: CameraId,
        name: Option<CameraName>,
        only_after: Option<CameraId>,
        at: Timestamp,
    ) -> Result<Response, Rejection> {
        let (mut spec, revision) = self.restorable(id)?;
        self.check_adding(only_after)?;
        spec.name = name.unwrap_or(spec.name);
        // If that node has left, any node may record it.
        spec.preferred_node = spec
            .preferred_node
            .filter(|node| self.nodes.contains(*node));
        self.check_camera(&spec, None)?;
        if self.cameras.len() >= CAMERAS_MAX {
            return Err(Rejection::too_many("cameras", CAMERAS_MAX));
        }
        let revision = revision + 1;
        if only_after.is_some() {
            // Another client whose headroom check is outdated by this has to repeat it.
            self.camera_last =
                CameraId(self.camera_last.0.saturating_add(1)).min(CAMERA_NUMBER_MAX);
        }
        self.end_pause(id, at);
        self.cameras.insert(id, Camera { id, spec, revision });
        self.assignments.insert(id, Assignment::default());
        Ok(Response::Camera {
            camera: id,
            revision,
        })
    }

    /// The deleted camera is recorded again from `at` on; if it was not deleted, nothing changes.
    pub(super) fn end_pause(&mut self, id: CameraId, at: Timestamp) {
        let Some(since) = self.former.get(id).map(|former| former.since) else {
            return;
        };
        let mut history = self.histories.get(id).cloned().unwrap_or_default();
        history.pauses.push(Pause {
            from: since,
            to: at,
        });
        history
            .pauses
            .drain(..history.pauses.len().saturating_sub(PAUSES_MAX));
        self.histories.insert(id, history);
        self.former.remove(id);
    }

    /// The settings of a deleted camera.
    ///
    /// # Errors
    /// There is no such camera, or its settings are not known.
    pub fn restorable(&self, id: CameraId) -> Result<(CameraSpec, u64), Rejection> {
        match self.former.get(id).map(|former| &former.was) {
            Some(Was::Recorded { spec, revision }) => Ok((CameraSpec::clone(spec), *revision)),
            Some(Was::Elsewhere(_)) => Err(Rejection::NotRestorable(id)),
            None => Err(Rejection::NotDeleted(id)),
        }
    }

    /// A repeated request returns the same numbers, so that several disks of one cluster agree.
    pub(super) fn adopt_cameras(
        &mut self,
        cluster: Uuid,
        cameras: Vec<AdoptedCamera>,
        at: Timestamp,
        by: &Actor,
    ) -> Result<Response, Rejection> {
        if cameras.len() > FORMER_CAMERAS_MAX {
            return Err(Rejection::too_many(
                "cameras of another cluster",
                FORMER_CAMERAS_MAX,
            ));
        }
        if self.cluster == Some(cluster) {
            let why = "is this cluster: its footage needs no taking over".to_owned();
            return Err(Invalid::new("cluster", why).into());
        }
        let origins = origins_of(cluster, &cameras)?;
        let new = origins
            .iter()
            .filter(|origin| self.adopted(**origin).is_none())
            .count();
        self.check_numbers_left(new)?;
        self.check_room_for(&origins)?;
        self.make_room(new, &origins);
        let mut numbers = Vec::new();
        for AdoptedCamera { camera, name } in cameras {
            let origin = Origin { cluster, camera };
            let id = self
                .adopted(origin)
                .unwrap_or_else(|| self.adopt(origin, name, at, by));
            numbers.push(id);
        }
        Ok(Response::Cameras(numbers))
    }

    /// The number of another cluster's camera here, if it has one.
    fn adopted(&self, origin: Origin) -> Option<CameraId> {
        self.former
            .values()
            .find(|former| former.origin() == Some(origin))
            .map(|former| former.id)
    }

    fn check_numbers_left(&self, new: usize) -> Result<(), Rejection> {
        let last = self
            .camera_last
            .0
            .saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
        if CameraId(last) > CAMERA_NUMBER_MAX {
            return Err(Invalid::new(
                "cameras",
                format!("need numbers up to {last}, beyond {CAMERA_NUMBER_MAX}"),
            )
            .into());
        }
        Ok(())
    }

    /// A camera that can be restored is not removed for one of another cluster.
    fn check_room_for(&self, origins: &BTreeSet<Origin>) -> Result<(), Rejection> {
        let deleted = self
            .former
            .values()
            .filter(|former| former.origin().is_none())
            .count();
        if deleted + origins.len() > FORMER_CAMERAS_MAX {
            return Err(Rejection::too_many(
                "deleted cameras and cameras of another cluster",
                FORMER_CAMERAS_MAX,
            ));
        }
        Ok(())
    }

    /// Gives another cluster's camera the next number.
    fn adopt(&mut self, origin: Origin, name: CameraName, at: Timestamp, by: &Actor) -> CameraId {
        self.camera_last = CameraId(self.camera_last.0 + 1);
        let id = self.camera_last;
        let (by, was) = (by.clone(), Was::Elsewhere(origin));
        self.former.insert(
            id,
            FormerCamera {
                id,
                name,
                since: at,
                by,
                was,
            },
        );
        id
    }

    /// Cameras that are recorded, or were never known, are ignored.
    pub(super) fn forget_cameras(&mut self, cameras: &[(CameraId, Timestamp)]) -> Response {
        for (camera, since) in cameras {
            // If it was restored and deleted again in the meantime, it has other footage.
            if self
                .former
                .get(*camera)
                .is_some_and(|former| former.since == *since)
            {
                self.forget(*camera);
            }
        }
        Response::Done
    }

    /// Makes room for `count` more: cameras of other clusters are removed first, then those that
    /// were deleted first, but none of `spared`.
    fn make_room(&mut self, count: usize, spared: &BTreeSet<Origin>) {
        let surplus = (self.former.len() + count).saturating_sub(FORMER_CAMERAS_MAX);
        let is_spared = |former: &&FormerCamera| {
            former
                .origin()
                .is_some_and(|origin| spared.contains(&origin))
        };
        let mut oldest: Vec<(bool, Timestamp, CameraId)> = Vec::new();
        if surplus > 0 {
            let rest = self.former.values().filter(|former| !is_spared(former));
            oldest.extend(rest.map(|former| (former.origin().is_none(), former.since, former.id)));
            oldest.sort_unstable();
        }
        oldest
            .iter()
            .take(surplus)
            .for_each(|(.., id)| self.forget(*id));
    }

    fn forget(&mut self, id: CameraId) {
        if self.former.contains(id) {
            self.former.remove(id);
            self.histories.remove(id);
        }
    }

    /// Whether a camera may be added: see [`crate::command::Command::CreateCamera`].
    pub(super) fn check_adding(&self, only_after: Option<CameraId>) -> Result<(), Rejection> {
        match only_after {
            Some(last) if last != self.camera_last => Err(Rejection::CamerasChanged(last)),
            // The requesting node did not know of the rule yet.
            None if self.settings.headroom == HeadroomRule::Strict => {
                Err(Rejection::HeadroomUnchecked)
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn origins_of(cluster: Uuid, cameras: &[AdoptedCamera]) -> Result<BTreeSet<Origin>, Rejection> {
    let origins: BTreeSet<Origin> = cameras
        .iter()
        .map(|adopted| Origin {
            cluster,
            camera: adopted.camera,
        })
        .collect();
    if origins.len() != cameras.len() {
        return Err(Invalid::new("cameras", "has a number twice".to_owned()).into());
    }
    Ok(origins)
}

#[cfg(test)]
mod tests;
