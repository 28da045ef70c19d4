//! Who votes: the leader brings Raft's membership in line with the replicated nodes, one step at a time. Idempotent, so a new leader just goes on.

use crate::model::Node;
use crate::raft::{Raft, TypeConfig};
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use openraft::metrics::RaftMetrics;
use openraft::{BasicNode, ChangeMembers, ReadPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

/// Five voters survive two deaths; more would slow every write.
pub const VOTERS_MAX: usize = 5;
const STEP_INTERVAL: Duration = Duration::from_millis(250);
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// A learner this close to the end of the log may vote.
const LAG_ENTRIES_MAX: u64 = 100;

/// One change of Raft's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    AddLearner {
        node: NodeId,
        addr: String,
    },
    Promote(NodeId),
    /// Out altogether.
    Remove {
        node: NodeId,
        voter: bool,
    },
}

/// Raft's view, reduced to what the plan needs.
#[derive(Clone, Debug, Default)]
struct Members {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    /// Learners whose log is (nearly) complete.
    caught_up: BTreeSet<NodeId>,
}

/// Runs on every node, acts on the leader; ends with Raft.
pub(crate) async fn run(raft: Raft, state: watch::Receiver<Arc<ClusterState>>) {
    let mut ticks = interval(STEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !raft.is_leader() {
            continue;
        }
        match timeout(STEP_DEADLINE, step(&raft, &state)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!(%why, "membership step failed, will be repeated"),
            Err(_) => tracing::warn!("membership step took longer than {STEP_DEADLINE:?}, will be repeated"),
        }
    }
}

async fn step(raft: &Raft, state: &watch::Receiver<Arc<ClusterState>>) -> Result<(), String> {
    let planned = plan(&state.borrow(), &members(raft));
    if planned.is_none() {
        return Ok(());
    }
    // A new leader may not have applied the entries that made its members: look again once it has.
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(|error| error.to_string())?;
    let Some(step) = plan(&state.borrow(), &members(raft)) else { return Ok(()) };
    tracing::info!(?step, "membership changes");
    let done = match step {
        Step::AddLearner { node, addr } => raft.add_learner(node.0, BasicNode::new(addr), false).await,
        Step::Promote(node) => raft.change_membership(ChangeMembers::AddVoterIds([node.0].into()), true).await,
        Step::Remove { node, voter: true } => {
            raft.change_membership(ChangeMembers::RemoveVoters([node.0].into()), false).await
        }
        Step::Remove { node, voter: false } => {
            raft.change_membership(ChangeMembers::RemoveNodes([node.0].into()), false).await
        }
    };
    done.map(drop).map_err(|error| error.to_string())
}

fn members(raft: &Raft) -> Members {
    use openraft::async_runtime::watch::WatchReceiver as _;
    let metrics: RaftMetrics<TypeConfig> = raft.metrics().borrow_watched().clone();
    let membership = metrics.membership_config.membership();
    let last = metrics.last_log_index.unwrap_or(0);
    let replicated: BTreeMap<u64, _> = metrics.replication.unwrap_or_default();
    let is_close = |index: u64| last.saturating_sub(index) <= LAG_ENTRIES_MAX;
    let caught_up = replicated.into_iter().filter(|(_, matched)| matched.is_some_and(|id| is_close(id.index)));
    Members {
        voters: membership.voter_ids().map(NodeId).collect(),
        learners: membership.learner_ids().map(NodeId).collect(),
        caught_up: caught_up.map(|(node, _)| NodeId(node)).collect(),
    }
}

/// The next step: first who left goes, then who came is added, then who is ready votes.
fn plan(state: &ClusterState, members: &Members) -> Option<Step> {
    if state.nodes.is_empty() {
        return None; // not initialized yet
    }
    let gone = |node: &&NodeId| !state.nodes.contains(**node);
    let leaver = members.learners.iter().find(gone).map(|node| Step::Remove { node: *node, voter: false });
    let leaver =
        leaver.or_else(|| members.voters.iter().find(gone).map(|node| Step::Remove { node: *node, voter: true }));
    leaver
        .or_else(|| state.nodes.values().find_map(|node| newcomer(node, members)))
        .or_else(|| promotion(state, members))
}

fn newcomer(node: &Node, members: &Members) -> Option<Step> {
    let known = members.voters.contains(&node.id) || members.learners.contains(&node.id);
    (!known).then(|| Step::AddLearner { node: node.id, addr: node.spec.peer_addr.clone() })
}

fn promotion(state: &ClusterState, members: &Members) -> Option<Step> {
    if members.voters.len() >= VOTERS_MAX {
        return None;
    }
    let ready = |node: &NodeId| members.learners.contains(node) && members.caught_up.contains(node);
    state.nodes.keys().find(ready).map(Step::Promote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::model::{NodeSpec, Role};
    use uuid::Uuid;

    fn spec(n: u64) -> NodeSpec {
        NodeSpec {
            name: format!("n{n}"),
            peer_addr: format!("10.0.0.{n}:7001"),
            api_addr: format!("10.0.0.{n}:7000"),
            role: Role::Recorder,
            failure_domain: String::new(),
            camera_capacity: 10,
        }
    }

    fn state(nodes: u64) -> ClusterState {
        let mut state = ClusterState::default();
        state.apply(Command::Initialize { cluster: Uuid::nil(), node: spec(1) }).unwrap();
        (2..=nodes).for_each(|n| {
            state.apply(Command::JoinNode { spec: spec(n), attempt: Uuid::from_u128(n.into()) }).unwrap();
        });
        state
    }

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn newcomers_learn_first_and_vote_once_caught_up() {
        let mut members = Members { voters: ids(&[1]), ..Members::default() };
        assert!(matches!(plan(&state(2), &members), Some(Step::AddLearner { node: NodeId(2), .. })));
        members.learners = ids(&[2]);
        assert_eq!(plan(&state(2), &members), None);
        members.caught_up = ids(&[1, 2]);
        assert_eq!(plan(&state(2), &members), Some(Step::Promote(NodeId(2))));
    }

    #[test]
    fn five_vote_and_the_sixth_learns() {
        let members = Members { voters: ids(&[1, 2, 3, 4, 5]), learners: ids(&[6]), caught_up: ids(&[6]) };
        assert_eq!(plan(&state(6), &members), None);
    }

    #[test]
    fn removed_nodes_leave_before_others_come() {
        let members = Members { voters: ids(&[1, 7]), learners: ids(&[8]), ..Members::default() };
        assert_eq!(plan(&state(2), &members), Some(Step::Remove { node: NodeId(8), voter: false }));
        let members = Members { learners: ids(&[]), ..members };
        assert_eq!(plan(&state(2), &members), Some(Step::Remove { node: NodeId(7), voter: true }));
    }

    #[test]
    fn nothing_is_removed_before_the_state_is_known() {
        let members = Members { voters: ids(&[1, 2, 3]), ..Members::default() };
        assert_eq!(plan(&ClusterState::default(), &members), None);
    }
}
