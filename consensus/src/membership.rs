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
use tokio::time::{Instant, interval, timeout};

/// Five voters survive two deaths; more would slow every write.
pub const VOTERS_MAX: usize = 5;
const STEP_INTERVAL: Duration = Duration::from_millis(250);
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// A learner this close to the end of the log may vote.
const LAG_ENTRIES_MAX: u64 = 100;
/// Raft's heartbeats are answered several times in this time by any member that runs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// One change of Raft's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    AddLearner {
        node: NodeId,
        addr: String,
    },
    Promote(NodeId),
    /// A learner votes instead of a voter that is long gone.
    Replace {
        lost: NodeId,
        by: NodeId,
    },
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
    /// Who answers.
    heard: BTreeSet<NodeId>,
    /// Who answers, and whose log is (nearly) complete.
    caught_up: BTreeSet<NodeId>,
}

/// Voters that do not answer, and since when; kept by a leader.
#[derive(Debug, Default)]
struct Absences {
    since: BTreeMap<NodeId, Instant>,
}

impl Absences {
    /// Takes in who answers now; answers who has been absent for `absent_max`.
    fn observe(&mut self, now: Instant, members: &Members, absent_max: Duration) -> BTreeSet<NodeId> {
        let absent = members.voters.difference(&members.heard);
        self.since = absent.map(|node| (*node, self.since.get(node).copied().unwrap_or(now))).collect();
        let is_lost = |since: Instant| now.duration_since(since) >= absent_max;
        self.since.iter().filter(|(_, since)| is_lost(**since)).map(|(node, _)| *node).collect()
    }
}

/// Runs on every node, acts on the leader; ends with Raft. A voter that answered nothing for `voter_absent_max` gives its vote to a
/// learner, if all votes are given out and one is ready; back again, it learns.
pub(crate) async fn run(raft: Raft, state: watch::Receiver<Arc<ClusterState>>, voter_absent_max: Duration) {
    let mut ticks = interval(STEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut absences = Absences::default();
    loop {
        let now = ticks.tick().await;
        if !raft.is_leader() {
            absences = Absences::default();
            continue;
        }
        let lost = absences.observe(now, &members(&raft), voter_absent_max);
        match timeout(STEP_DEADLINE, step(&raft, &state, &lost)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!(%why, "membership step failed, will be repeated"),
            Err(_) => tracing::warn!("membership step took longer than {STEP_DEADLINE:?}, will be repeated"),
        }
    }
}

async fn step(raft: &Raft, state: &watch::Receiver<Arc<ClusterState>>, lost: &BTreeSet<NodeId>) -> Result<(), String> {
    let planned = plan(&state.borrow(), &members(raft), lost);
    if planned.is_none() {
        return Ok(());
    }
    // A new leader may not have applied the entries that made its members: look again once it has.
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await.map_err(|error| error.to_string())?;
    let before = members(raft);
    let Some(step) = plan(&state.borrow(), &before, lost) else { return Ok(()) };
    tracing::info!(?step, "membership changes");
    let done = match step {
        Step::AddLearner { node, addr } => raft.add_learner(node.0, BasicNode::new(addr), false).await,
        Step::Promote(node) => raft.change_membership(ChangeMembers::AddVoterIds([node.0].into()), true).await,
        Step::Replace { lost, by } => {
            let voters = before.voters.iter().filter(|node| **node != lost).chain([&by]).map(|node| node.0);
            raft.change_membership(ChangeMembers::ReplaceAllVoters(voters.collect()), true).await
        }
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
    use openraft::async_runtime::Instant as _;
    use openraft::async_runtime::watch::WatchReceiver as _;
    let metrics: RaftMetrics<TypeConfig> = raft.metrics().borrow_watched().clone();
    let membership = metrics.membership_config.membership();
    let last = metrics.last_log_index.unwrap_or(0);
    let replicated: BTreeMap<u64, _> = metrics.replication.unwrap_or_default();
    let answered: BTreeMap<u64, _> = metrics.heartbeat.unwrap_or_default();
    let answers = answered.into_iter().filter(|(_, at)| at.is_some_and(|at| at.elapsed() < ANSWERS_WITHIN));
    let heard: BTreeSet<NodeId> = answers.map(|(node, _)| NodeId(node)).chain([NodeId(metrics.id)]).collect();
    let is_close = |index: u64| last.saturating_sub(index) <= LAG_ENTRIES_MAX;
    let caught_up = replicated.into_iter().filter(|(_, matched)| matched.is_some_and(|id| is_close(id.index)));
    Members {
        voters: membership.voter_ids().map(NodeId).collect(),
        learners: membership.learner_ids().map(NodeId).collect(),
        caught_up: caught_up.map(|(node, _)| NodeId(node)).filter(|node| heard.contains(node)).collect(),
        heard,
    }
}

/// The next step: first who left goes, then who came is added, then who is ready votes, instead of the `lost` if need be.
fn plan(state: &ClusterState, members: &Members, lost: &BTreeSet<NodeId>) -> Option<Step> {
    if state.nodes.is_empty() {
        return None; // not initialized yet
    }
    let gone = |node: &&NodeId| !state.nodes.contains(**node);
    let leaver = members.learners.iter().find(gone).map(|node| Step::Remove { node: *node, voter: false });
    let leaver =
        leaver.or_else(|| members.voters.iter().find(gone).map(|node| Step::Remove { node: *node, voter: true }));
    leaver
        .or_else(|| state.nodes.values().find_map(|node| newcomer(node, members)))
        .or_else(|| promotion(state, members, lost))
}

fn newcomer(node: &Node, members: &Members) -> Option<Step> {
    let known = members.voters.contains(&node.id) || members.learners.contains(&node.id);
    (!known).then(|| Step::AddLearner { node: node.id, addr: node.spec.peer_addr.clone() })
}

fn promotion(state: &ClusterState, members: &Members, lost: &BTreeSet<NodeId>) -> Option<Step> {
    let ready = |node: &NodeId| members.learners.contains(node) && members.caught_up.contains(node);
    let by = state.nodes.keys().find(ready)?;
    if members.voters.len() < VOTERS_MAX {
        return Some(Step::Promote(by));
    }
    members.voters.intersection(lost).next().map(|lost| Step::Replace { lost: *lost, by })
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
        assert!(matches!(plan(&state(2), &members, &ids(&[])), Some(Step::AddLearner { node: NodeId(2), .. })));
        members.learners = ids(&[2]);
        assert_eq!(plan(&state(2), &members, &ids(&[])), None);
        members.caught_up = ids(&[1, 2]);
        assert_eq!(plan(&state(2), &members, &ids(&[])), Some(Step::Promote(NodeId(2))));
    }

    #[test]
    fn five_vote_and_the_sixth_learns() {
        let members =
            Members { voters: ids(&[1, 2, 3, 4, 5]), learners: ids(&[6]), caught_up: ids(&[6]), ..Members::default() };
        assert_eq!(plan(&state(6), &members, &ids(&[])), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do as the first one")]
    fn a_learner_votes_instead_of_a_voter_that_was_gone_for_ten_minutes() {
        let voters = ids(&[1, 2, 3, 4, 5]);
        let members = Members { voters, learners: ids(&[6]), heard: ids(&[1, 2, 4, 5, 6]), caught_up: ids(&[6]) };
        let (mut absences, start) = (Absences::default(), Instant::now());
        let absent_max = Duration::from_secs(600);
        let mut observe = |s, members| absences.observe(start + Duration::from_secs(s), members, absent_max);
        let all = Members { heard: members.voters.clone(), ..members.clone() };
        assert_eq!(observe(0, &members), ids(&[]));
        assert_eq!(observe(590, &all), ids(&[]));
        assert_eq!(observe(600, &members), ids(&[]), "it was back in between");
        assert_eq!(observe(1_199, &members), ids(&[]));
        let lost = observe(1_200, &members);
        assert_eq!(lost, ids(&[3]));
        assert_eq!(plan(&state(6), &members, &lost), Some(Step::Replace { lost: NodeId(3), by: NodeId(6) }));
        let behind = Members { caught_up: ids(&[]), ..members };
        assert_eq!(plan(&state(6), &behind, &lost), None);
    }

    #[test]
    fn removed_nodes_leave_before_others_come() {
        let members = Members { voters: ids(&[1, 7]), learners: ids(&[8]), ..Members::default() };
        assert_eq!(plan(&state(2), &members, &ids(&[])), Some(Step::Remove { node: NodeId(8), voter: false }));
        let members = Members { learners: ids(&[]), ..members };
        assert_eq!(plan(&state(2), &members, &ids(&[])), Some(Step::Remove { node: NodeId(7), voter: true }));
    }

    #[test]
    fn nothing_is_removed_before_the_state_is_known() {
        let members = Members { voters: ids(&[1, 2, 3]), ..Members::default() };
        assert_eq!(plan(&ClusterState::default(), &members, &ids(&[])), None);
    }
}
