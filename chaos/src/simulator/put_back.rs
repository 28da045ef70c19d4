//! Data directories that are put back to an earlier state while other nodes run and can detect it.
//! The simulation of consensus, which has the real account of confirmations, tests the detection;
//! here it happens a moment after the start. Then the node takes no part in Raft, reports that it
//! can record nothing, and records only cameras that no other node records.

use super::faults::Fault;
use super::world::World;
use holdfast_storage::ids::NodeId;
use std::time::Duration;

impl World {
    /// Keeps a copy of the directory, or puts back the one that there is.
    pub(super) fn put_back(&mut self, node: NodeId) {
        let has_old = self.machines.values().any(|machine| machine.is_old);
        if has_old {
            return;
        }
        // The nodes that could detect it have to be present.
        let numbers: Vec<u64> = self.faults.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.mend(number));
        if !self.is_running(node) {
            return;
        }
        if self.machine(node).backup.is_none() {
            self.say(format!("a copy of node {node}'s directory is made"));
            return self.machine(node).back_up();
        }
        let voters = self.voters();
        let others = voters
            .iter()
            .filter(|other| **other != node && self.is_running(**other))
            .count();
        if others * 2 <= voters.len() {
            return;
        }
        let down = Duration::from_millis(self.random.within(300..3_000));
        self.machine(node).has_power = false;
        self.begin_for(Fault::Down(node), false, Some(down));
        let is_old = self.machine(node).put_back();
        self.say(format!(
            "node {node}'s directory is put back; it is older: {is_old}"
        ));
        if is_old {
            self.outcome.put_back += 1;
            self.trouble.begin(node);
        }
    }

    /// Whether a node takes part in the cluster's decisions.
    pub(super) fn is_voting(&self, node: NodeId) -> bool {
        self.is_running(node)
            && self
                .machines
                .get(&node)
                .is_some_and(|machine| !machine.is_old)
    }
}
