//! The invariants, one a file. Each watches all events, and reports a violation as soon as it can
//! detect it.

mod acknowledged;
mod called_back;
mod causes;
mod deadly;
mod deletions;
mod drains;
mod drills;
mod gapless;
mod ledger;
mod make_before_break;
mod moves;
mod numbers;
mod owners;
mod received;
mod recorded_again;
mod times;
mod true_time;
mod watermark;

use super::certainty::Deleted;
use super::recorder::{Recorder, Tried};
use super::world::World;
use holdfast_consensus::command::LogEntry;
use holdfast_consensus::observe::heartbeat::Progress;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::chunk::ChunkMeta;
use holdfast_storage::ids::{CameraId, NodeId};
use std::time::Duration;

/// An event that is shown to invariants.
pub(super) enum Seen<'a> {
    /// An entry of the log was applied for the first time anywhere.
    Decided {
        before: &'a ClusterState,
        after: &'a ClusterState,
    },
    /// A node published the state up to this entry to its parts.
    Published {
        node: NodeId,
        index: u64,
        state: &'a ClusterState,
    },
    /// A client that requested a change got the answer that it was made.
    Acknowledged { index: u64, entry: &'a LogEntry },
    /// The progress of its recorders that a node's process reports.
    Reported {
        node: NodeId,
        progress: &'a [Progress],
    },
    /// A segment was deleted for its age.
    Deleted { node: NodeId, deleted: Deleted },
    /// A chunk is durable.
    Stored { node: NodeId, meta: &'a ChunkMeta },
    /// A deadly camera ended a process of this node, which had tried it like this.
    Killed {
        camera: CameraId,
        node: NodeId,
        tried: Option<Tried>,
    },
    /// A camera sent a frame, and these nodes record it.
    Sent {
        camera: CameraId,
        number: u64,
        recording: &'a [NodeId],
    },
    /// Faults have ended, and the budget for recovery is used up.
    Settled,
}

/// The world as it is at that moment.
pub(super) struct Site<'a> {
    pub(super) world: &'a World,
}

impl Site<'_> {
    fn now(&self) -> Duration {
        self.world.queue.now()
    }

    /// Whether a node has left the camera, or delays it, because it may be deadly.
    fn is_held_back(&self, camera: CameraId) -> bool {
        let processes = self
            .world
            .machines
            .values()
            .filter_map(|machine| machine.process.as_ref());
        processes
            .filter_map(|process| process.recorders.get(&camera))
            .any(Recorder::is_held_back)
    }
}

pub(super) trait Invariant {
    fn name(&self) -> &'static str;

    /// # Errors
    /// The violation, in words.
    fn see(&mut self, site: &Site<'_>, seen: &Seen<'_>) -> Result<(), String>;
}

pub(super) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(owners::Owners::default()),
        Box::new(numbers::Numbers::default()),
        Box::new(acknowledged::Acknowledged),
        Box::new(recorded_again::RecordedAgain),
        Box::new(moves::Moves::default()),
        Box::new(gapless::Gapless::default()),
        Box::new(received::Received::default()),
        Box::new(make_before_break::MakeBeforeBreak::default()),
        Box::new(called_back::CalledBack),
        Box::new(drills::Drills),
        Box::new(watermark::Watermark::default()),
        Box::new(ledger::Ledger::default()),
        Box::new(causes::Causes::default()),
        Box::new(deletions::Deletions),
        Box::new(deadly::DeadlyCameras::default()),
        Box::new(drains::Drains::default()),
        Box::new(times::Times::default()),
        Box::new(true_time::TrueTime),
    ]
}
