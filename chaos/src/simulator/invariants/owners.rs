//! An epoch has one owner: in every state of every node, and among the nodes that stored a chunk as
//! owner. Epochs grow.

use super::{Invariant, Seen, Site};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Owners {
    owners: BTreeMap<(CameraId, Epoch), NodeId>,
    /// The last epoch of each camera that was published on each node, and at which entry.
    last: BTreeMap<(NodeId, CameraId), (u64, Epoch)>,
}

impl Invariant for Owners {
    fn name(&self) -> &'static str {
        "at most one owner per epoch, and epochs grow"
    }

    fn see(&mut self, _: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Decided { before, after } => self.decided(before, after),
            Seen::Published { node, index, state } => self.published(*node, *index, state),
            Seen::Stored { node, meta } if meta.rank == Rank::Owner => {
                self.owned(meta.camera, meta.epoch, *node)
            }
            _ => Ok(()),
        }
    }
}

impl Owners {
    fn owned(&mut self, camera: CameraId, epoch: Epoch, node: NodeId) -> Result<(), String> {
        match *self.owners.entry((camera, epoch)).or_insert(node) {
            owner if owner == node => Ok(()),
            owner => Err(format!(
                "camera {camera}, epoch {epoch}: nodes {owner} and {node} are both owner"
            )),
        }
    }

    fn decided(&mut self, before: &ClusterState, after: &ClusterState) -> Result<(), String> {
        for (camera, now) in after.assignments.iter() {
            let was = before.assignments.get(camera);
            if let Some(was) = was.filter(|was| {
                now.epoch < was.epoch
                    || (now.owner.is_some() && was.owner != now.owner && now.epoch == was.epoch)
            }) {
                return Err(format!("camera {camera}: {was:?} became {now:?}"));
            }
            if let Some(owner) = now.owner {
                self.owned(camera, now.epoch, owner)?;
            }
            if let Some(handoff) = now.handoff {
                self.owned(camera, handoff.epoch, handoff.to)?;
            }
        }
        Ok(())
    }

    fn published(&mut self, node: NodeId, index: u64, state: &ClusterState) -> Result<(), String> {
        for (camera, now) in state.assignments.iter() {
            let (at, epoch) = self
                .last
                .insert((node, camera), (index, now.epoch))
                .unwrap_or_default();
            if index >= at && now.epoch < epoch {
                return Err(format!(
                    "camera {camera}: node {node} has seen epoch {epoch}, and then {}",
                    now.epoch
                ));
            }
        }
        Ok(())
    }
}
