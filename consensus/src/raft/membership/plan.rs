//! Which nodes should vote, and the next step towards that. Pure.
//!
//! The number of voters is odd: one more voter than an odd number survives no more deaths and slows
//! down every write. There is one voter, three from three nodes on, and five from five. Two nodes
//! are the exception: both vote, so that acknowledged changes are on both. The loss of either stops
//! changes (not recording) until it is back; a third node, for instance a witness, avoids that.
//! Candidates are chosen first to spread over failure domains, then witnesses before recorders,
//! whose disks are busy; among equals, present voters keep their votes.

use crate::decide::placement::{Domain, domain};
use crate::model::{Node, Role};
use crate::state::ClusterState;
use holdfast_storage::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Five voters survive two deaths; more would slow down every write.
pub const VOTERS_MAX: usize = 5;

/// One change of Raft's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    AddLearner {
        node: NodeId,
        addr: String,
    },
    /// These become the voters, and all other present voters become learners.
    SetVoters(BTreeSet<NodeId>),
    /// Removes a learner completely.
    Remove(NodeId),
}

/// The leader's view of Raft, reduced to what the plan needs.
#[derive(Clone, Debug)]
pub(super) struct Members {
    pub(super) leader: NodeId,
    /// Of the old and the new set while voters change.
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
    /// Members that answer.
    pub(super) heard: BTreeSet<NodeId>,
    /// Members that answer and whose log is (nearly) complete.
    pub(super) caught_up: BTreeSet<NodeId>,
    /// A change of voters is incomplete: a leader died during it.
    pub(super) is_changing: bool,
}

/// The next step: first a node that left loses its vote and is removed, then a new node is added,
/// then votes are moved where they should be. `lost`: voters that have been absent for long.
pub(super) fn plan(
    state: &ClusterState,
    members: &Members,
    lost: &BTreeSet<NodeId>,
) -> Option<Step> {
    if state.nodes.is_empty() {
        return None; // not initialized yet
    }
    if !members.voters.contains(&members.leader) && !members.learners.contains(&members.leader) {
        return None; // it has removed itself, and leads only until the others have that entry
    }
    let gone = |node: &NodeId| !state.nodes.contains(*node);
    if let Some(leaver) = members.learners.iter().copied().find(gone) {
        return Some(Step::Remove(leaver));
    }
    let voters = voters(state, members, lost);
    let differs = members.is_changing || voters != members.voters;
    let change = (differs && !voters.is_empty()).then_some(Step::SetVoters(voters));
    if members.voters.iter().any(gone) {
        return change;
    }
    state
        .nodes
        .values()
        .find_map(|node| newcomer(node, members))
        .or(change)
}

fn newcomer(node: &Node, members: &Members) -> Option<Step> {
    let known = members.voters.contains(&node.id) || members.learners.contains(&node.id);
    (!known).then(|| Step::AddLearner {
        node: node.id,
        addr: node.spec.peer_addr.to_string(),
    })
}

/// The nodes that should vote. A voter that is `lost` keeps its vote only if no other node can have
/// it and the others would not survive more deaths without it.
fn voters(state: &ClusterState, members: &Members, lost: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let ready = members.learners.intersection(&members.caught_up);
    let could: BTreeSet<NodeId> = members
        .voters
        .iter()
        .chain(ready)
        .copied()
        .filter(|node| state.nodes.get(*node).is_some_and(|node| node.may_vote))
        .collect();
    let count = count(could.len(), could.difference(lost).count());
    let mut chosen = BTreeSet::new();
    let mut in_domain: BTreeMap<Domain<'_>, usize> = BTreeMap::new();
    while chosen.len() < count {
        let key = |node: &NodeId| {
            let crowd = in_domain.get(&domain(state, *node)).copied().unwrap_or(0);
            let is_witness = state
                .nodes
                .get(*node)
                .is_some_and(|node| node.spec.role == Role::Witness);
            let votes = members.voters.contains(node);
            (
                lost.contains(node),
                crowd,
                !is_witness,
                !votes,
                *node != members.leader,
                *node,
            )
        };
        let Some(best) = could.difference(&chosen).copied().min_by_key(key) else {
            break;
        };
        *in_domain.entry(domain(state, best)).or_default() += 1;
        chosen.insert(best);
    }
    chosen
}

/// How many of `could` should vote if `alive` of them are not lost: the number that survives the
/// most further deaths.
fn count(could: usize, alive: usize) -> usize {
    if could <= 2 {
        return could;
    }
    let survives = |count: usize| alive.min(count).checked_sub(count / 2 + 1);
    (1..=could.min(VOTERS_MAX))
        .step_by(2)
        .max_by_key(|count| (survives(*count), *count))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, admission};
    use crate::model::{Actor, KeyHash, NodeSpec};
    use holdfast_storage::time::Timestamp;
    use uuid::Uuid;

    /// A recorder that fails alone; with `"w"` a witness, else a recorder in that failure domain.
    fn spec(n: usize, domain: &str) -> NodeSpec {
        let (peer, api) = (format!("10.0.0.{n}:7001"), format!("10.0.0.{n}:7000"));
        NodeSpec {
            role: if domain == "w" {
                Role::Witness
            } else {
                Role::Recorder
            },
            failure_domain: domain.replace('w', "").parse().unwrap(),
            ..NodeSpec::new(&format!("n{n}"), &peer, &api).unwrap()
        }
    }

    fn state(domains: &[&str]) -> ClusterState {
        let mut state = ClusterState::default();
        state
            .apply(
                Command::Initialize {
                    cluster: Uuid::nil(),
                    node: spec(1, domains[0]),
                    key: KeyHash::default(),
                }
                .by(Actor::System, Timestamp(0)),
            )
            .unwrap();
        for (n, domain) in domains.iter().enumerate().skip(1) {
            for command in admission(spec(n + 1, domain), Timestamp(0)) {
                state
                    .apply(command.by(Actor::System, Timestamp(0)))
                    .unwrap();
            }
        }
        state
    }

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// A membership in which all members answer.
    fn members(voters: &[u64], learners: &[u64]) -> Members {
        let all = ids(&[voters, learners].concat());
        let (voters, learners) = (ids(voters), ids(learners));
        Members {
            leader: NodeId(1),
            voters,
            learners,
            heard: all.clone(),
            caught_up: all,
            is_changing: false,
        }
    }

    fn votes(domains: &[&str], voters: &[u64], learners: &[u64], lost: &[u64]) -> Vec<u64> {
        let members = members(voters, learners);
        super::voters(&state(domains), &members, &ids(lost))
            .into_iter()
            .map(|node| node.0)
            .collect()
    }

    #[test]
    fn newcomers_learn_first_and_vote_once_caught_up() {
        let state = state(&["", ""]);
        let alone = members(&[1], &[]);
        assert!(matches!(
            plan(&state, &alone, &ids(&[])),
            Some(Step::AddLearner {
                node: NodeId(2),
                ..
            })
        ));
        let behind = Members {
            caught_up: ids(&[1]),
            ..members(&[1], &[2])
        };
        assert_eq!(plan(&state, &behind, &ids(&[])), None);
        assert_eq!(
            plan(&state, &members(&[1], &[2]), &ids(&[])),
            Some(Step::SetVoters(ids(&[1, 2])))
        );
    }

    #[test]
    fn one_two_three_or_five_vote() {
        assert_eq!(votes(&["", ""], &[1], &[2], &[]), [1, 2]);
        assert_eq!(votes(&["", "", ""], &[1, 2], &[3], &[]), [1, 2, 3]);
        assert_eq!(
            votes(&[""; 4], &[1, 2, 3], &[4], &[]),
            [1, 2, 3],
            "a fourth voter would survive no more"
        );
        assert_eq!(votes(&[""; 5], &[1, 2, 3], &[4, 5], &[]), [1, 2, 3, 4, 5]);
        let many = ["", "", "", "", "", "", ""];
        assert_eq!(
            votes(&many, &[1, 2, 3, 4, 5], &[6, 7], &[]),
            [1, 2, 3, 4, 5]
        );
        let hundred = [""; 100];
        let learners: Vec<u64> = (6..=100).collect();
        assert_eq!(
            votes(&hundred, &[1, 2, 3, 4, 5], &learners, &[]),
            [1, 2, 3, 4, 5]
        );
    }

    #[test]
    fn a_removed_voter_leaves_an_odd_number() {
        let four = {
            let mut state = state(&[""; 5]);
            state
                .apply(
                    Command::RemoveNode {
                        node: NodeId(5),
                        force: false,
                    }
                    .by(Actor::System, Timestamp(0)),
                )
                .unwrap();
            state
        };
        let five = members(&[1, 2, 3, 4, 5], &[]);
        assert_eq!(
            plan(&four, &five, &ids(&[])),
            Some(Step::SetVoters(ids(&[1, 2, 3])))
        );
        let after = members(&[1, 2, 3], &[4, 5]);
        assert_eq!(
            plan(&four, &after, &ids(&[])),
            Some(Step::Remove(NodeId(5)))
        );
        assert_eq!(plan(&four, &members(&[1, 2, 3], &[4]), &ids(&[])), None);
    }

    #[test]
    fn a_leader_that_is_no_member_any_more_changes_nothing() {
        let mut state = state(&["", "", ""]);
        state
            .apply(
                Command::RemoveNode {
                    node: NodeId(1),
                    force: true,
                }
                .by(Actor::System, Timestamp(0)),
            )
            .unwrap();
        let demoted = members(&[2], &[1, 3]);
        assert_eq!(
            plan(&state, &demoted, &ids(&[])),
            Some(Step::Remove(NodeId(1)))
        );
        let out = members(&[2], &[3]);
        assert_eq!(plan(&state, &out, &ids(&[])), None);
        let led_by_2 = Members {
            leader: NodeId(2),
            ..out
        };
        assert_eq!(
            plan(&state, &led_by_2, &ids(&[])),
            Some(Step::SetVoters(ids(&[2, 3])))
        );
    }

    #[test]
    fn votes_spread_over_failure_domains() {
        assert_eq!(
            votes(&["a", "a", "b", "c"], &[1, 2, 3], &[4], &[]),
            [1, 3, 4]
        );
        let led_by_2 = Members {
            leader: NodeId(2),
            ..members(&[1, 2, 3], &[4])
        };
        assert_eq!(
            super::voters(&state(&["a", "a", "b", "c"]), &led_by_2, &ids(&[])),
            ids(&[2, 3, 4])
        );
        assert_eq!(
            votes(&["a", "a", "a", "b", "b", "b"], &[1, 2, 3], &[4, 5, 6], &[]),
            [1, 2, 3, 4, 5]
        );
        assert_eq!(
            votes(&["a", "b", "c", "a"], &[1, 2, 3], &[4], &[]),
            [1, 2, 3],
            "no change without a gain"
        );
    }

    #[test]
    fn witnesses_go_before_recorders() {
        assert_eq!(votes(&["", "", "w"], &[1, 2], &[3], &[]), [1, 2, 3]);
        assert_eq!(votes(&["", "", "", "w"], &[1, 2, 3], &[4], &[]), [1, 2, 4]);
    }

    #[test]
    fn a_voter_that_stays_away_is_replaced_where_somebody_can() {
        assert_eq!(
            votes(&[""; 6], &[1, 2, 3, 4, 5], &[6], &[3]),
            [1, 2, 4, 5, 6]
        );
        let behind = Members {
            caught_up: ids(&[]),
            ..members(&[1, 2, 3, 4, 5], &[6])
        };
        let five = super::voters(&state(&[""; 6]), &behind, &ids(&[3]));
        assert_eq!(
            five,
            ids(&[1, 2, 3, 4, 5]),
            "four would survive no more deaths than these"
        );
        assert_eq!(votes(&[""; 4], &[1, 2, 3], &[4], &[2]), [1, 3, 4]);
        assert_eq!(votes(&[""; 3], &[1, 2, 3], &[], &[2]), [1, 2, 3]);
        assert_eq!(
            votes(&[""; 5], &[1, 2, 3, 4, 5], &[], &[2, 3]),
            [1, 4, 5],
            "of five, three alive survive no death"
        );
        assert_eq!(votes(&["", ""], &[1, 2], &[], &[2]), [1, 2]);
    }

    #[test]
    fn removed_nodes_leave_before_others_come() {
        let state = state(&["", ""]);
        assert_eq!(
            plan(&state, &members(&[1, 7], &[8]), &ids(&[])),
            Some(Step::Remove(NodeId(8)))
        );
        assert_eq!(
            plan(&state, &members(&[1, 7], &[]), &ids(&[])),
            Some(Step::SetVoters(ids(&[1])))
        );
    }

    #[test]
    fn a_change_that_a_leader_left_half_done_is_finished() {
        let halfway = Members {
            is_changing: true,
            ..members(&[1, 2, 3], &[])
        };
        assert_eq!(
            plan(&state(&[""; 3]), &halfway, &ids(&[])),
            Some(Step::SetVoters(ids(&[1, 2, 3])))
        );
    }

    #[test]
    fn nothing_is_removed_before_the_state_is_known() {
        assert_eq!(
            plan(
                &ClusterState::default(),
                &members(&[1, 2, 3], &[]),
                &ids(&[])
            ),
            None
        );
    }
}
