//! The addresses of the members: those in the replicated state, unless a member's newest process
//! has reported another one since.
//!
//! Addresses of a majority may change at once, and then nothing new can be replicated. So each
//! heartbeat and each introduction contains its sender's address. It is used until the address in
//! the state changes after it was received.

use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many nodes' addresses are kept beyond those in the state: a newcomer's peers.
const LEARNT_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learnt(String);

impl Learnt {
    pub(crate) fn new(addr: String) -> Self {
        Self(addr)
    }
}

#[derive(Clone, Debug)]
struct Known {
    addr: String,
    /// The address in the state at that time.
    replicated: Option<String>,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Addresses {
    state: watch::Receiver<Arc<ClusterState>>,
    learnt: Arc<Mutex<BTreeMap<NodeId, Known>>>,
    /// Counts changes.
    changes: Arc<watch::Sender<u64>>,
}

impl Addresses {
    pub(crate) fn new(state: watch::Receiver<Arc<ClusterState>>) -> Self {
        Self {
            state,
            learnt: Arc::default(),
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Known>> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replicated(&self, node: NodeId) -> Option<String> {
        self.state
            .borrow()
            .nodes
            .get(node)
            .map(|node| node.spec.peer_addr.to_string())
    }

    /// `host:port` at which `node` accepts messages of other members.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Option<String> {
        let replicated = self.replicated(node);
        let learnt = self
            .lock()
            .get(&node)
            .filter(|known| known.replicated == replicated)
            .cloned();
        learnt.map(|known| known.addr).or(replicated)
    }

    /// Changes with each address that is learnt; addresses in the state change with the state.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn learn(&self, node: NodeId, Learnt(addr): Learnt) {
        if self.of(node).as_ref() == Some(&addr) || self.state.borrow().has_left(node) {
            return;
        }
        let replicated = self.replicated(node);
        let mut learnt = self.lock();
        if learnt.len() < LEARNT_MAX || learnt.contains_key(&node) {
            tracing::info!(%node, addr, "a node is at another address than before");
            learnt.insert(node, Known { addr, replicated });
            drop(learnt);
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Every node whose address is known.
    pub(crate) fn all(&self) -> BTreeMap<NodeId, String> {
        let nodes: Vec<NodeId> = self
            .state
            .borrow()
            .nodes
            .keys()
            .chain(self.lock().keys().copied())
            .collect();
        nodes
            .into_iter()
            .filter_map(|node| Some((node, self.of(node)?)))
            .collect()
    }

    /// The addresses in use that differ from the state's.
    pub(crate) fn moved(&self) -> Vec<(NodeId, String)> {
        let nodes: Vec<NodeId> = self.lock().keys().copied().collect();
        let moved = nodes
            .into_iter()
            .filter(|node| self.of(*node) != self.replicated(*node));
        moved
            .filter_map(|node| Some((node, self.of(node)?)))
            .collect()
    }

    pub(crate) fn keep(&self, is_kept: impl Fn(NodeId) -> bool) {
        self.lock().retain(|node, _| is_kept(*node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::model::{Actor, KeyHash, NodeSpec};
    use holdfast_storage::time::Timestamp;

    #[test]
    fn what_a_process_says_counts_until_the_state_says_something_new() {
        let spec = |addr: &str| NodeSpec::new("n1", addr, "10.0.0.1:8480").unwrap();
        let mut state = ClusterState::default();
        let initialize = Command::Initialize {
            cluster: uuid::Uuid::nil(),
            node: spec("10.0.0.1:8481"),
            key: KeyHash::default(),
        };
        state
            .apply(initialize.by(Actor::System, Timestamp(0)))
            .unwrap();
        let (published, seen) = watch::channel(Arc::new(state.clone()));
        let addresses = Addresses::new(seen);
        let node = NodeId(1);
        assert_eq!(addresses.of(node).as_deref(), Some("10.0.0.1:8481"));

        addresses.learn(node, Learnt::new("10.9.0.1:8481".to_owned()));
        assert_eq!(addresses.of(node).as_deref(), Some("10.9.0.1:8481"));
        assert_eq!(*addresses.changes().borrow(), 1);
        addresses.learn(node, Learnt::new("10.9.0.1:8481".to_owned()));
        assert_eq!(*addresses.changes().borrow(), 1, "no news");

        let report = Command::ReportForDuty {
            node,
            spec: spec("10.7.0.1:8481"),
        };
        state
            .apply(report.by(Actor::Node(node), Timestamp(0)))
            .unwrap();
        published.send_replace(Arc::new(state));
        assert_eq!(
            addresses.of(node).as_deref(),
            Some("10.7.0.1:8481"),
            "a later process reported that"
        );
        assert_eq!(addresses.of(NodeId(2)), None);
    }
}
