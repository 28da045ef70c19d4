//! The state of one node becomes the beginning of the cluster's next generation, with that node as
//! its only member.
//!
//! The lost members may have decided more than this node knows: they may have assigned numbers and
//! epochs, and may record with them as long as they run. So all numbers that are assigned here skip
//! ahead of those that they can have assigned.

use super::ClusterState;
use crate::command::Rejection;
use crate::generation::ClusterGeneration;
use crate::model::{Duty, Node};
use holdfast_storage::ids::{CameraId, DrillId, Epoch, ExportId, HoldId, NodeId};
use holdfast_storage::time::Timestamp;

/// More cameras, holds, exports and drills than the lost members will have added without this node.
pub const NUMBERS_LEAP: u32 = 10_000;
/// More members than will have joined without it.
pub const NODES_LEAP: u64 = 100;
/// More changes of a camera's owner than the lost members will have made without it, or will make
/// before they learn of the recovery.
pub const EPOCHS_LEAP: u64 = 10_000;

impl ClusterState {
    /// The generation that this state belongs to; `None` before the first entry of the log.
    #[must_use]
    pub fn generation(&self) -> Option<ClusterGeneration> {
        self.recovery
            .or_else(|| self.cluster.map(ClusterGeneration::first))
    }

    /// Begins `generation` with `survivor` as its only member; returns the removed members.
    ///
    /// # Errors
    /// `survivor` is no member.
    pub fn recover(
        &mut self,
        survivor: NodeId,
        generation: ClusterGeneration,
        at: Timestamp,
    ) -> Result<Vec<Node>, Rejection> {
        self.nodes
            .get(survivor)
            .ok_or(Rejection::UnknownNode(survivor))?;
        let dropped: Vec<Node> = self
            .nodes
            .values()
            .filter(|node| node.id != survivor)
            .cloned()
            .collect();
        for node in &dropped {
            self.remove_node(node.id, true, at)?;
        }
        self.leap();
        self.renew_all(at);
        // No other node could record.
        if let Some(node) = self.nodes.get_mut(survivor) {
            node.duty = Duty::Active;
        }
        self.rebalancing_since = None;
        self.recovery = Some(generation);
        Ok(dropped)
    }

    fn leap(&mut self) {
        self.node_last = NodeId(self.node_last.0 + NODES_LEAP);
        self.camera_last =
            CameraId(self.camera_last.0.saturating_add(NUMBERS_LEAP)).min(super::CAMERA_NUMBER_MAX);
        self.hold_last = HoldId(self.hold_last.0 + u64::from(NUMBERS_LEAP));
        self.drills.last = DrillId(self.drills.last.0 + u64::from(NUMBERS_LEAP));
        self.export_last = ExportId(self.export_last.0 + u64::from(NUMBERS_LEAP));
        let cameras: Vec<CameraId> = self.histories.keys().collect();
        for camera in cameras {
            if let Some(history) = self.histories.get_mut(camera) {
                history.epoch_last = Epoch(history.epoch_last.0 + EPOCHS_LEAP);
            }
        }
    }
}
