//! A node's vote never goes back, even after a power cut.

use super::{Invariant, Seen};
use holdfast_consensus::simulation::SavedVote;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Votes {
    saved: BTreeMap<u64, SavedVote>,
}

impl Invariant for Votes {
    fn name(&self) -> &'static str {
        "votes never go back"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::VoteSaved { node, vote } => match self.saved.insert(*node, *vote) {
                Some(before) if before > *vote => {
                    Err(format!("node {node} saved {vote:?} after {before:?}"))
                }
                _ => Ok(()),
            },
            Seen::VoteFound { node, vote } => match self.saved.get(node) {
                saved @ Some(_) if vote.as_ref() < saved => Err(format!(
                    "node {node} saved {saved:?}, and starts with {vote:?}"
                )),
                _ => Ok(()),
            },
            // It has forgotten its votes: that the node takes no part is visible in what the
            // cluster does.
            Seen::PutBack { node } => {
                self.saved.remove(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
