//! The inputs of a simulated machine, its messages, and the effects that it requests of the world.

use super::certainty::Deleted;
use super::raft::{self, Entry};
use super::twist::Twist;
use super::volume::Stored;
use holdfast_consensus::command::{LogEntry, Rejection, Response};
use holdfast_consensus::observe::clocks::Heard;
use holdfast_consensus::observe::heartbeat::{Heartbeat, Progress};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::random::Random;
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An input of a machine.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Tick,
    /// Others have said what they have seen of this node.
    Introduced,
    /// Time to look at the clocks.
    Look,
    RaftTick,
    Beat(NodeId),
    /// The connection to a process that has died was closed.
    Closed(NodeId),
    Refused(NodeId),
    Message(NodeId, Message),
    Flush,
    Flushed,
    /// Time for a recorder to connect.
    Attempt(CameraId, u64),
    /// A suspect connects, after heartbeats have announced it.
    Dial(CameraId, u64),
    /// The outcome of the attempt.
    Dialed(CameraId, u64, bool),
    Frame {
        camera: CameraId,
        number: u64,
        keyframe: bool,
    },
    /// A camera's answer to DESCRIBE, at this revision of its specification.
    Described(CameraId, u64, bool),
    /// A client asks this node for a change.
    Ask {
        write: u64,
        entry: Box<LogEntry>,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Raft(raft::Message),
    Heartbeat(Heartbeat),
    /// The answer to a heartbeat that was sent at this time.
    Heard(Timestamp, Heard),
    /// A change for the leader, from the node that a client asked.
    Write {
        write: u64,
        entry: Box<LogEntry>,
    },
    /// Decided at this entry.
    Written {
        write: u64,
        index: u64,
        outcome: Result<Response, Rejection>,
    },
}

/// An action that a machine requests of the world, or a fact that it reports.
#[derive(Debug)]
pub(super) enum Effect {
    Send(NodeId, Message),
    /// Send the heartbeat, or find out that nothing listens there; then again.
    Beat(NodeId, Heartbeat),
    /// Find out whether anything listens there.
    Probe(NodeId),
    After(Duration, Input),
    Dial(CameraId, u64),
    /// Ask a camera to describe itself.
    Describe(CameraId, u64),
    Fact(Fact),
}

/// An event, for the invariants and the log.
#[derive(Debug)]
pub(super) enum Fact {
    Applied {
        index: u64,
        entry: Arc<Entry>,
    },
    Published {
        index: u64,
        state: Arc<ClusterState>,
    },
    Acknowledged {
        write: u64,
        index: u64,
        outcome: Result<Response, Rejection>,
    },
    Reported(Vec<Progress>),
    Stored(Stored),
    /// Footage was deleted for its age.
    Deleted(Deleted),
    Proposed(String),
}

/// The context that a machine gets with each input.
pub(super) struct Context<'a> {
    /// Time since the simulation began.
    pub(super) now: Duration,
    /// Any instant, as the simulation's beginning; only differences count.
    pub(super) origin: Instant,
    pub(super) random: &'a mut Random,
    pub(super) effects: &'a mut Vec<Effect>,
    pub(super) twist: Twist,
}
