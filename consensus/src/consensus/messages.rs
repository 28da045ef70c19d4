//! A change that a node forwards to the leader, and the answer.

use crate::codec::first_version;
use crate::command::LogEntry;
use crate::raft::Outcome;
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};

pub(crate) const WRITE: &str = "/write";

#[derive(Serialize, Deserialize)]
pub(crate) struct WriteRequest {
    pub(crate) entry: LogEntry,
    /// How many milliseconds the requesting node still waits.
    pub(crate) deadline_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum WriteAnswer {
    /// Committed as entry `index`.
    Applied {
        outcome: Outcome,
        index: u64,
    },
    /// `leader`: the leader, as far as the answering node knows.
    NotLeader {
        leader: Option<NodeId>,
    },
    Unknown,
}

first_version!(
    WriteRequest => "a forwarded change",
    WriteAnswer => "the answer to a forwarded change",
);
