//! An assignment: which nodes record a camera, and which ones did.

use holdfast_storage::ids::{Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A move in progress while the old owner still records: `to` already records in `epoch` and must
/// prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    pub to: NodeId,
    pub epoch: Epoch,
    /// When the leader began it, for its deadline.
    pub since: Timestamp,
}

/// The recorders of a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The owner's epoch.
    pub epoch: Epoch,
    pub owner: Option<NodeId>,
    pub mirror: Option<NodeId>,
    pub successor: Option<NodeId>,
    pub handoff: Option<Handoff>,
    /// When the owner last changed, for the limit on moves.
    pub moved_at: Option<Timestamp>,
}

/// One owner's time with a camera, kept so that the timeline can name footage on a node that is
/// down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    pub epoch: Epoch,
    pub node: NodeId,
    pub from: Timestamp,
    /// Last known durable watermark of the owner when it lost the camera; `None` while it owns it.
    pub until: Option<Timestamp>,
}
