//! Generations of a cluster: one begins when the cluster is founded, and one with each recovery
//! from the loss of a majority.
//!
//! What one generation decided after the last that a recovered node knew is not known to the next,
//! so the two must never count each other's votes: everything that members send each other names
//! its sender's generation, and one of another is refused.

use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// One generation of a cluster. Two are the same where their ids are: two nodes that were recovered
/// apart from each other began two generations of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterGeneration {
    /// From 1; one more with each recovery.
    pub number: u64,
    /// The first one's is the cluster's.
    pub id: Uuid,
    /// How it began; `None`: the cluster was founded.
    pub recovered: Option<Recovered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The node whose knowledge it began with, as the generation before numbers nodes.
    pub by: NodeId,
    /// By that node's wall clock.
    pub at: Timestamp,
}

impl ClusterGeneration {
    /// The one that a cluster is founded with.
    #[must_use]
    pub fn first(cluster: Uuid) -> Self {
        Self {
            number: 1,
            id: cluster,
            recovered: None,
        }
    }

    /// The one after this, that `recovered` begins. `id`: random.
    #[must_use]
    pub fn next(&self, id: Uuid, recovered: Recovered) -> Self {
        Self {
            number: self.number + 1,
            id,
            recovered: Some(recovered),
        }
    }

    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl fmt::Display for ClusterGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}", self.number)?;
        match self.recovered {
            Some(Recovered { by, at }) => write!(f, " (recovered by node {by} at {at})"),
            None => Ok(()),
        }
    }
}
