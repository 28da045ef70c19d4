//! A node takes no part any more only where its data directory was put back, or is a copy: no power
//! cut, partition or restart looks like that.

use super::{Invariant, Seen};
use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Fences {
    /// Put back, or a copy.
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
