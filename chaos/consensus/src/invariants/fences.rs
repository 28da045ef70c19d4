//! A node is fenced only if its data directory was put back, or is a copy: power cuts, partitions
//! and restarts do not look like that.

use super::{Invariant, Seen};
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Fences {
    /// Nodes whose directory was put back or is a copy.
    old: BTreeSet<u64>,
}

impl Invariant for Fences {
    fn name(&self) -> &'static str {
        "no whole directory is taken for an old one"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::PutBack { node } => {
                self.old.insert(*node);
                Ok(())
            }
            Seen::Fenced { node } if !self.old.contains(node) => {
                Err(format!("node {node} is fenced"))
            }
            _ => Ok(()),
        }
    }
}
