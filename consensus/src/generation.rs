//! Generations of a cluster: one begins when the cluster is founded, and one with each recovery
//! from the loss of a majority.
//!
//! A generation does not know what the previous one decided after the last entry that the recovered
//! node had, so the two must never count each other's votes. Every message between members names
//! its sender's generation, and a message of another generation is refused.

use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// One generation of a cluster. Two are equal if their ids are: two nodes that were recovered
/// independently began two generations with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterGeneration {
    /// Starts at 1; grows by one with each recovery.
    pub number: u64,
    /// The first generation's id is the cluster's.
    pub id: Uuid,
    /// How it began; `None`: the cluster was founded.
    pub recovered: Option<Recovered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The node whose state it began with, by its number in the previous generation.
    pub by: NodeId,
    /// By that node's wall clock.
    pub at: Timestamp,
}

impl ClusterGeneration {
    /// The first generation of a cluster.
    #[must_use]
    pub fn first(cluster: Uuid) -> Self {
        Self {
            number: 1,
            id: cluster,
            recovered: None,
        }
    }

    /// The next generation, which `recovered` begins. `id`: random.
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
