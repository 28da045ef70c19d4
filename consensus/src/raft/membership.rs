//! Which nodes vote: the leader adapts Raft's membership to the replicated nodes, one step at a
//! time. Idempotent, so a new leader simply continues.

mod plan;

pub use plan::VOTERS_MAX;

use crate::raft::{Raft, TypeConfig};
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use openraft::metrics::RaftMetrics;
use openraft::{BasicNode, ChangeMembers, ReadPolicy};
use plan::{Members, Step, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};

const STEP_INTERVAL: Duration = Duration::from_millis(250);
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// A learner this close to the end of the log may vote.
const LAG_ENTRIES_MAX: u64 = 100;
/// Any running member answers several of Raft's heartbeats in this time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Voters that do not answer, and since when; kept by a leader.
#[derive(Debug, Default)]
struct Absences {
    since: BTreeMap<NodeId, Instant>,
}

impl Absences {
    /// Notes which members answer now; returns those that have been absent for `absent_max`.
    fn observe(
        &mut self,
        now: Instant,
        members: &Members,
        absent_max: Duration,
    ) -> BTreeSet<NodeId> {
        let absent = members.voters.difference(&members.heard);
        self.since = absent
            .map(|node| (*node, self.since.get(node).copied().unwrap_or(now)))
            .collect();
        let is_lost = |since: Instant| now.duration_since(since) >= absent_max;
        self.since
            .iter()
            .filter(|(_, since)| is_lost(**since))
            .map(|(node, _)| *node)
            .collect()
    }
}

/// Runs on every node, acts on the leader; ends with Raft. A voter without an answer for
/// `voter_absent_max` counts as lost: its vote goes to a learner that is ready; when it returns, it
/// is a learner.
pub(crate) async fn run(
    raft: Raft,
    state: watch::Receiver<Arc<ClusterState>>,
    voter_absent_max: Duration,
) {
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
            Err(_) => tracing::warn!(
                "membership step took longer than {STEP_DEADLINE:?}, will be repeated"
            ),
        }
    }
}

async fn step(
    raft: &Raft,
    state: &watch::Receiver<Arc<ClusterState>>,
    lost: &BTreeSet<NodeId>,
) -> Result<(), String> {
    let planned = plan(&state.borrow(), &members(raft), lost);
    if planned.is_none() {
        return Ok(());
    }
    // A new leader may not have applied the entries that added its members: look again once it has.
    raft.ensure_linearizable(ReadPolicy::ReadIndex)
        .await
        .map_err(|error| error.to_string())?;
    let Some(step) = plan(&state.borrow(), &members(raft), lost) else {
        return Ok(());
    };
    tracing::info!(?step, "membership changes");
    let done = match step {
        Step::AddLearner { node, addr } => {
            raft.add_learner(node.0, BasicNode::new(addr), false).await
        }
        Step::SetVoters(voters) => {
            let voters = voters.into_iter().map(|node| node.0).collect();
            raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true)
                .await
        }
        Step::Remove(node) => {
            raft.change_membership(ChangeMembers::RemoveNodes([node.0].into()), false)
                .await
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
    let answers = answered
        .into_iter()
        .filter(|(_, at)| at.is_some_and(|at| at.elapsed() < ANSWERS_WITHIN));
    let heard: BTreeSet<NodeId> = answers
        .map(|(node, _)| NodeId(node))
        .chain([NodeId(metrics.id)])
        .collect();
    let is_close = |index: u64| last.saturating_sub(index) <= LAG_ENTRIES_MAX;
    let caught_up = replicated
        .into_iter()
        .filter(|(_, matched)| matched.is_some_and(|id| is_close(id.index)));
    Members {
        leader: NodeId(metrics.id),
        voters: membership.voter_ids().map(NodeId).collect(),
        learners: membership.learner_ids().map(NodeId).collect(),
        caught_up: caught_up
            .map(|(node, _)| NodeId(node))
            .filter(|node| heard.contains(node))
            .collect(),
        heard,
        is_changing: membership.get_joint_config().len() > 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the first one"
    )]
    fn a_voter_is_lost_once_it_was_silent_for_ten_minutes_on_end() {
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let members = |heard| Members {
            leader: NodeId(1),
            voters: ids(&[1, 2, 3]),
            learners: ids(&[]),
            heard: ids(heard),
            caught_up: ids(heard),
            is_changing: false,
        };
        let (mut absences, start) = (Absences::default(), Instant::now());
        let absent_max = Duration::from_secs(600);
        let mut observe =
            |s, members| absences.observe(start + Duration::from_secs(s), &members, absent_max);
        assert_eq!(observe(0, members(&[1, 2])), ids(&[]));
        assert_eq!(observe(590, members(&[1, 2, 3])), ids(&[]));
        assert_eq!(
            observe(600, members(&[1, 2])),
            ids(&[]),
            "it was back in between"
        );
        assert_eq!(observe(1_199, members(&[1, 2])), ids(&[]));
        assert_eq!(observe(1_200, members(&[1, 2])), ids(&[3]));
    }
}
