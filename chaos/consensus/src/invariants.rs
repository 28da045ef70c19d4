//! The invariants of consensus, one in each file. Each sees what nodes do and reports a violation
//! as soon as it can detect it.
//!
//! One leader for each term is not among them: openraft orders votes by term and node, so a term
//! may have several leaders, one after the other.

mod acknowledged;
mod epochs;
mod fences;
mod numbers;
mod one_log;
mod votes;

use holdfast_consensus::simulation::SavedVote;
use holdfast_storage::ids::{CameraId, Epoch};

/// An entry of the log, with the state after it; long values as digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) command: u64,
    /// The number of the clients' write, if the entry is one.
    pub(super) number: Option<u64>,
    pub(super) state: u64,
    pub(super) epochs: Vec<(CameraId, Epoch)>,
    pub(super) cameras: Vec<CameraId>,
}

#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A process starts.
    Started {
        node: u64,
    },
    Applied {
        node: u64,
        entry: Entry,
    },
    /// The node's state is that of a snapshot up to `index`.
    Installed {
        node: u64,
        index: u64,
        state: u64,
    },
    VoteSaved {
        node: u64,
        vote: SavedVote,
    },
    VoteFound {
        node: u64,
        vote: Option<SavedVote>,
    },
    /// A client's write was acknowledged.
    Acknowledged {
        number: u64,
    },
    /// A client's write was refused: it changed nothing.
    Refused {
        number: u64,
    },
    /// The node's data directory was put back to an earlier state.
    PutBack {
        node: u64,
    },
    /// The node takes no part any more, because it found its directory to be old, or a copy.
    Fenced {
        node: u64,
    },
    /// Faults have ended, and the nodes have had time to agree.
    Settled {
        nodes: Vec<u64>,
    },
}

pub(super) trait Invariant: Send {
    fn name(&self) -> &'static str;

    /// # Errors
    /// The violation, in words.
    fn see(&mut self, seen: &Seen) -> Result<(), String>;
}

pub(super) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(one_log::OneLog::default()),
        Box::new(acknowledged::Acknowledged::default()),
        Box::new(votes::Votes::default()),
        Box::new(epochs::Epochs::default()),
        Box::new(numbers::Numbers::default()),
        Box::new(fences::Fences::default()),
    ]
}
