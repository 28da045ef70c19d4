//! Times of a recording only grow: within an epoch a node never stamps a chunk before one that it
//! has stored, also across its processes and whatever its clock says. Otherwise readers could not
//! order the chunks.

use super::{Invariant, Seen, Site};
use holdfast_storage::chunk::ChunkMeta;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Times {
    ends: BTreeMap<(NodeId, CameraId, Epoch, Rank), Timestamp>,
}

impl Invariant for Times {
    fn name(&self) -> &'static str {
        "times of a recording grow"
    }

    fn see(&mut self, _: &Site<'_>, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Stored { node, meta } => self.stored(*node, meta),
            _ => Ok(()),
        }
    }
}

impl Times {
    fn stored(&mut self, node: NodeId, meta: &ChunkMeta) -> Result<(), String> {
        let ChunkMeta {
            camera,
            epoch,
            rank,
            start,
            ..
        } = *meta;
        match self.ends.insert((node, camera, epoch, rank), meta.end()) {
            Some(end) if start < end => Err(format!(
                "node {node} stored camera {camera}, epoch {epoch}, {rank:?}, until {end}, and \
                 then from {start} on"
            )),
            _ => Ok(()),
        }
    }
}
