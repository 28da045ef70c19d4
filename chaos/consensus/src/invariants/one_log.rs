//! There is one log, and every node applies it in order, each entry once, with the same state after
//! it.

use super::{Entry, Invariant, Seen};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct OneLog {
    entries: BTreeMap<u64, Entry>,
    /// The last entry that each node's process has applied.
    applied: BTreeMap<u64, u64>,
}

impl OneLog {
    fn apply(&mut self, node: u64, entry: &Entry) -> Result<(), String> {
        let before = self.applied.insert(node, entry.index);
        let next = before.map_or(0, |before| before + 1);
        if entry.index != next {
            return Err(format!(
                "node {node} applied entry {} where {next} was due",
                entry.index
            ));
        }
        let first = self
            .entries
            .entry(entry.index)
            .or_insert_with(|| entry.clone());
        if first != entry {
            return Err(format!(
                "node {node} applied {entry:?}, and another before it {first:?}"
            ));
        }
        match entry
            .index
            .checked_sub(1)
            .and_then(|before| self.entries.get(&before))
        {
            Some(before) if before.term > entry.term => Err(format!("terms go back at {entry:?}")),
            _ => Ok(()),
        }
    }

    fn install(&mut self, node: u64, index: u64, state: u64) -> Result<(), String> {
        let before = self.applied.insert(node, index);
        if before.is_some_and(|before| before > index) {
            return Err(format!(
                "node {node} went back from entry {before:?} to a snapshot of {index}"
            ));
        }
        match self.entries.get(&index) {
            Some(entry) if entry.state == state => Ok(()),
            known => Err(format!(
                "node {node} has a snapshot of entry {index} with state {state}, not {known:?}"
            )),
        }
    }

    fn settle(&self, nodes: &[u64]) -> Result<(), String> {
        let last = self.entries.keys().next_back();
        let behind = nodes.iter().find(|node| self.applied.get(*node) != last);
        behind.map_or(Ok(()), |node| {
            Err(format!(
                "node {node} is at {:?}, and the log ends at {last:?}",
                self.applied.get(node)
            ))
        })
    }
}

impl Invariant for OneLog {
    fn name(&self) -> &'static str {
        "one log, applied once"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Started { node } => {
                self.applied.remove(node);
                Ok(())
            }
            Seen::Applied { node, entry } => self.apply(*node, entry),
            Seen::Installed { node, index, state } => self.install(*node, *index, *state),
            Seen::Settled { nodes } => self.settle(nodes),
            _ => Ok(()),
        }
    }
}
