//! Whether this node takes part in the cluster's decisions, and if not, why; with text for its
//! operator.

use crate::generation::{ClusterGeneration, Recovered};
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Why a node no longer takes part; stored in its data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The node that detected it.
    pub by: NodeId,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The other node has seen more of this node than its directory contains.
    Older,
    /// Another process with this node's identity runs.
    Twin,
    /// Its cluster continues without it, in a later generation.
    Replaced(Replaced),
}

/// A generation that ended, and the one that replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    pub cluster: Uuid,
    /// The number of the generation that ended.
    pub was: u64,
    pub now: ClusterGeneration,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, was, now } = self;
        write!(
            f,
            "this node belongs to generation {was} of cluster {cluster}, which "
        )?;
        match now.recovered {
            Some(Recovered { by, at }) => write!(f, "node {by} replaced by recovery at {at}")?,
            None => write!(f, "was replaced")?,
        }
        write!(
            f,
            ": the cluster is in generation {} now, and this node takes no part in it. To use it \
             again, stop it, remove identity.json, raft* and pki from its data_dir, start \
             it, and have it join; its volumes can stay where they are: their footage is kept",
            now.number
        )
    }
}

impl Fence {
    pub(crate) fn is_twin(&self) -> bool {
        self.why == Why::Twin
    }

    /// The text about a node other than the reporting one.
    pub(crate) fn of_another(&self) -> String {
        match self.why {
            Why::Older => "its data_dir is older than what it has confirmed: restored from a \
                           backup or a copy? It neither votes nor acknowledges; put the newest \
                           data_dir back, or remove the node and have it join with an empty \
                           data_dir"
                .to_owned(),
            Why::Twin => "a copy of its data_dir runs too; the copy neither votes nor records: \
                          stop it"
                .to_owned(),
            Why::Replaced(Replaced { was, now, .. }) => format!(
                "it belongs to generation {was} of this cluster, and the cluster is in {now}. Stop \
                 it, remove identity.json, raft* and pki from its data_dir, and have it \
                 join; its volumes can stay where they are"
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has just started, and asks its peers what they have seen of it.
    Asking,
    /// It votes, or is a learner, like any other.
    Member,
    Fenced(Fence),
    Removed {
        by: NodeId,
    },
}

impl Standing {
    /// Whether this is final while the process runs.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Fenced(_) | Self::Removed { .. })
    }

    /// Whether another process with this node's identity runs, and records this node's cameras.
    #[must_use]
    pub fn is_twin(&self) -> bool {
        matches!(self, Self::Fenced(fence) if fence.is_twin())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking => write!(
                f,
                "this node has started and asks its peers what they have seen of it"
            ),
            Self::Member => write!(f, "this node takes part"),
            Self::Fenced(Fence {
                by,
                why: Why::Older,
            }) => write!(
                f,
                "this data_dir is older than what this node has confirmed, as node {by} has seen: \
                 restored from a backup or a copy? The node neither votes nor acknowledges, and \
                 records only what no other node records. Put the newest data_dir back if it is \
                 still there; else remove this node on another one, and have it join with an empty \
                 data_dir"
            ),
            Self::Fenced(Fence { by, why: Why::Twin }) => write!(
                f,
                "another process with this node's identity runs, as node {by} has seen: this \
                 data_dir is a copy. This process neither votes nor records: stop it, and give it \
                 an empty data_dir to join as a node of its own"
            ),
            Self::Fenced(Fence {
                why: Why::Replaced(replaced),
                ..
            }) => write!(f, "{replaced}"),
            Self::Removed { by } => write!(
                f,
                "this node was removed from the cluster, as node {by} says; it records only what \
                 no other node records. To use it again, have it join with an empty data_dir"
            ),
        }
    }
}
