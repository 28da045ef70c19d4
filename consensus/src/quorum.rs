//! Whether there is a leader with a majority behind it now. Pure; the same rule for health, status,
//! metrics and refusals.
//!
//! Raft names a leader until another one is elected, even if its followers are dead and it can
//! decide nothing. Here a leader counts while a majority of the voters has answered it within an
//! election timeout, and on any other node while that node has heard from it within the same time:
//! openraft refuses changes by the same measure.

use holdfast_storage::ids::NodeId;
use std::time::Duration;

/// A node's knowledge at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) me: NodeId,
    /// The leader that Raft names.
    pub(crate) named: Option<NodeId>,
    /// This node is the only voter: it needs no answers.
    pub(crate) is_only_voter: bool,
    /// For a leader: the age of the last message that a majority has answered; `None` before the
    /// first.
    pub(crate) majority: Option<Duration>,
    /// For a follower: the leader that this node last followed, and how long ago.
    pub(crate) followed: Option<(NodeId, Duration)>,
}

/// The leader with a majority behind it, as far as this node knows.
pub(crate) fn leader(evidence: &Evidence, lease: Duration) -> Option<NodeId> {
    let leader = evidence.named?;
    let is_fresh = if leader == evidence.me {
        evidence.is_only_voter || evidence.majority.is_some_and(|age| age < lease)
    } else {
        evidence
            .followed
            .is_some_and(|(followed, age)| followed == leader && age < lease)
    };
    is_fresh.then_some(leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(1_200);
    const FRESH: Option<Duration> = Some(Duration::from_millis(300));
    const STALE: Option<Duration> = Some(Duration::from_millis(1_200));

    fn evidence(named: u64) -> Evidence {
        Evidence {
            me: NodeId(1),
            named: Some(NodeId(named)),
            is_only_voter: false,
            majority: None,
            followed: None,
        }
    }

    #[test]
    fn a_leader_counts_while_a_majority_has_answered_it() {
        let leads = |majority| {
            leader(
                &Evidence {
                    majority,
                    ..evidence(1)
                },
                LEASE,
            )
        };
        assert_eq!(leads(FRESH), Some(NodeId(1)));
        assert_eq!(leads(STALE), None, "its followers are dead");
        assert_eq!(leads(None), None, "it was just elected");
    }

    #[test]
    fn the_only_voter_leads_by_itself() {
        assert_eq!(
            leader(
                &Evidence {
                    is_only_voter: true,
                    ..evidence(1)
                },
                LEASE
            ),
            Some(NodeId(1))
        );
        let alone = Evidence {
            is_only_voter: true,
            named: None,
            ..evidence(1)
        };
        assert_eq!(leader(&alone, LEASE), None, "it has not started to lead");
    }

    #[test]
    fn a_follower_has_a_leader_while_it_hears_from_the_one_that_raft_names() {
        let follows = |from, age: Option<Duration>| {
            leader(
                &Evidence {
                    followed: age.map(|age| (NodeId(from), age)),
                    ..evidence(2)
                },
                LEASE,
            )
        };
        assert_eq!(follows(2, FRESH), Some(NodeId(2)));
        assert_eq!(follows(2, STALE), None);
        assert_eq!(follows(3, FRESH), None, "that one led before");
        assert_eq!(follows(2, None), None);
        // That a majority answered this node once, when it was the leader itself, proves nothing
        // about another leader.
        assert_eq!(
            leader(
                &Evidence {
                    majority: FRESH,
                    is_only_voter: true,
                    ..evidence(2)
                },
                LEASE
            ),
            None
        );
    }
}
