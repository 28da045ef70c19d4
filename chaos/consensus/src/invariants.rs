//! What must hold of consensus, one invariant a file. Each is shown what nodes do and says what is
//! wrong as soon as it can tell.
//!
//! Not among them: one leader a term. openraft orders votes by term and node, and a term may have
//! several leaders, one after the other.

mod acknowledged;
mod epochs;
mod fences;
mod numbers;
mod one_log;
mod votes;

use holdfast_consensus::simulation::SavedVote;
use holdfast_storage::ids::{CameraId, Epoch};

/// An entry of the log, and the state with it; long things as digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) command: u64,
    /// Which of the clients' writes it is, where it is one.
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
    /// A client was told that its write was carried out.
    Acknowledged {
        number: u64,
    },
    /// A client was told that its write changed nothing.
    Refused {
        number: u64,
    },
    /// The node's data directory is as it was before.
    PutBack {
        node: u64,
    },
    /// The node takes no part any more: it says that its directory is old, or a copy.
    Fenced {
        node: u64,
    },
    /// Faults have ended, and the nodes had time to agree.
    Settled {
        nodes: Vec<u64>,
    },
}

pub(super) trait Invariant: Send {
    fn name(&self) -> &'static str;

    /// # Errors
    /// What does not hold, in words.
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
