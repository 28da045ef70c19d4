//! One rule decides who leads: a leader without a majority does not count.

use super::*;

/// The duration of a lease, plus some time for a busy machine.
const LEASE_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Longer than an answer takes on a busy machine.
const ON_ITS_WAY: Duration = Duration::from_millis(700);

async fn knows(node: &TestNode, leader: Option<NodeId>) {
    let asked = Instant::now();
    while node.consensus.leader() != leader {
        assert!(
            asked.elapsed() < LEASE_ENDS_WITHIN,
            "it knows {:?}, not {leader:?}",
            node.consensus.leader()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// A message that was in transit when the others died may still renew a lease.
async fn stays_without(node: &TestNode) {
    let mut since = Instant::now();
    let asked = since;
    while since.elapsed() < ON_ITS_WAY {
        assert!(
            asked.elapsed() < LEASE_ENDS_WITHIN,
            "it knows {:?}",
            node.consensus.leader()
        );
        if node.consensus.leader().is_some() {
            since = Instant::now();
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_followers_are_dead_is_none_and_refuses_as_it_says() {
    let mut nodes = three().await;
    let at = nodes.iter().position(TestNode::is_leader).unwrap();
    let leader = nodes.remove(at);
    knows(&leader, Some(leader.consensus.node())).await;
    for node in &nodes {
        knows(node, Some(leader.consensus.node())).await;
    }
    for node in nodes {
        node.kill().await;
    }
    stays_without(&leader).await;
    assert!(
        leader.is_leader(),
        "Raft names it still: that is what must not count"
    );
    assert_eq!(
        leader.consensus.write(camera("late")).await,
        Err(WriteError::NoLeader)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_leader_is_dead_has_none_until_another_leads() {
    let mut nodes = three().await;
    let at = nodes.iter().position(TestNode::is_leader).unwrap();
    nodes.remove(at).kill().await;
    nodes.remove(0).kill().await;
    knows(&nodes[0], None).await;
    let error = nodes[0].consensus.write(camera("late")).await.unwrap_err();
    assert_eq!(error, WriteError::NoLeader);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_leads_by_itself_and_of_two_neither_does() {
    let first = TestNode::first().await;
    knows(&first, Some(NodeId(1))).await;
    let first = first.kill().await.restart().await;
    knows(&first, Some(NodeId(1))).await;

    let second = TestNode::joining("n2", &first).await;
    second.voters(2).await;
    knows(&second, Some(NodeId(1))).await;
    second.kill().await;
    knows(&first, None).await;
}
