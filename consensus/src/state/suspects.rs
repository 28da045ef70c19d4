//! Cameras whose recorders' processes ended, and processes whose ends were recorded.

use super::ClusterState;
use crate::command::{Rejection, Response};
use crate::model::{ProcessEnd, Suspicion};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;

impl ClusterState {
    /// Whether this end has already been processed.
    #[must_use]
    pub fn is_noted(&self, end: &ProcessEnd) -> bool {
        self.noted_ends.get(end.node) == Some(&end.boot)
    }

    pub(super) fn note_end(
        &mut self,
        at: Timestamp,
        end: ProcessEnd,
    ) -> Result<Response, Rejection> {
        if !self.nodes.contains(end.node) {
            return Err(Rejection::UnknownNode(end.node));
        }
        // Two leaders, one after the other, may both have seen it.
        if self.is_noted(&end) {
            return Ok(Response::Done);
        }
        self.noted_ends.insert(end.node, end.boot);
        for camera in end.blamed {
            if self.cameras.contains(camera) {
                let before = self.suspicions.get(camera).copied();
                self.suspicions
                    .insert(camera, Suspicion::after(before, end.node, end.on_trial, at));
            }
        }
        Ok(Response::Done)
    }

    /// Clears all suspicion of these cameras.
    pub(super) fn clear(&mut self, cameras: &[CameraId]) -> Result<Response, Rejection> {
        if let Some(unknown) = cameras
            .iter()
            .find(|camera| !self.cameras.contains(**camera))
        {
            return Err(Rejection::UnknownCamera(*unknown));
        }
        cameras.iter().for_each(|camera| self.forgive(*camera));
        Ok(Response::Done)
    }

    pub(super) fn forgive(&mut self, camera: CameraId) {
        if self.suspicions.contains(camera) {
            self.suspicions.remove(camera);
        }
    }

    /// `node` stops in order: its sessions ended well. Suspect cameras remain suspects.
    pub(super) fn forgive_once(&mut self, node: NodeId) {
        let owned: Vec<CameraId> = self.owned_by(node).collect();
        for camera in owned {
            if matches!(self.suspicions.get(camera), Some(Suspicion::Once { .. })) {
                self.suspicions.remove(camera);
            }
        }
    }
}
