//! What of a camera was recorded when. Pure: merges what several nodes recorded into one continuous view.

use crate::ids::{Epoch, NodeId, Rank};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// An interval that one node recorded without interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
    pub node: NodeId,
    pub epoch: Epoch,
    pub rank: Rank,
}
