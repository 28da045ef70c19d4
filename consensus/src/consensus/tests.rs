//! A single process: how it ends, and what it does alone.

mod upgrade;

use super::*;
use crate::command::LogEntry;
use crate::model::SettingsChange;
use std::sync::atomic::Ordering;

fn change() -> LogEntry {
    Command::ChangeSettings(SettingsChange::default()).by(Actor::System, Timestamp(0))
}

async fn open(dir: &tempfile::TempDir) -> Consensus {
    let cluster = Uuid::new_v4();
    let options = Options {
        node: NodeId(1),
        cluster,
        generation: ClusterGeneration::first(cluster),
        dir: dir.path().into(),
        timing: Timing::default(),
        peer_addr: "127.0.0.1:9".to_owned(),
        peers: Vec::new(),
        boot: Uuid::new_v4(),
        now: || Timestamp(0),
    };
    let (trust, authority) = Trust::alone(cluster, NodeId(1));
    Consensus::open(options, trust, Some(authority))
        .await
        .unwrap()
}

#[test]
fn what_others_undid_is_no_bad_disk() {
    let said = storage_failed(
        "Truncation would remove committed logs: committed ((1, 1), 27), attempted to keep upto 20",
    );
    assert!(
        said.starts_with("the other members decided without") && said.contains("((1, 1), 27)"),
        "{said}"
    );
    assert_eq!(
        storage_failed("no space"),
        "Raft's storage failed: no space"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn that_raft_ends_is_fatal_unless_it_was_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = open(&dir).await;
    let fatal = consensus.fatal();
    consensus.shutdown().await;
    assert_eq!(*fatal.borrow(), None);

    let dir = tempfile::tempdir().unwrap();
    let consensus = open(&dir).await;
    let mut fatal = consensus.fatal();
    // As when its core ends by itself.
    consensus.raft().shutdown().await.unwrap();
    timeout(Duration::from_secs(10), fatal.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sole_member_leads_on_without_ticks_and_has_them_again_with_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = open(&dir).await;
    let spec = NodeSpec::new("n1", "127.0.0.1:9", "127.0.0.1:9").unwrap();
    consensus
        .initialize(spec, KeyHash::default(), Timestamp(0))
        .await
        .unwrap();
    let metrics = consensus.raft().metrics();
    let alone = || leads_alone(&metrics.borrow_watched());
    while !alone() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Longer than a lease, and than any election timeout.
    tokio::time::sleep(Duration::from_millis(
        2 * Timing::default().election_timeout_max_ms,
    ))
    .await;
    consensus.write(change()).await.unwrap();
    consensus
        .raft()
        .ensure_linearizable(openraft::ReadPolicy::ReadIndex)
        .await
        .unwrap();
    assert!(consensus.leadership().borrow().is_leader);
    consensus
        .raft()
        .add_learner(2, openraft::BasicNode::new("127.0.0.1:9"), false)
        .await
        .unwrap();
    timeout(Duration::from_secs(10), async {
        while alone() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_stops_the_node_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = open(&dir).await;
    let spec = NodeSpec::new("n1", "127.0.0.1:9", "127.0.0.1:9").unwrap();
    consensus
        .initialize(spec, KeyHash::default(), Timestamp(0))
        .await
        .unwrap();
    let mut fatal = consensus.fatal();
    assert_eq!(*fatal.borrow(), None);
    consensus.fault().armed.store(true, Ordering::SeqCst);
    let lost = consensus.write(change()).await.unwrap_err();
    assert!(
        matches!(lost, WriteError::Fatal(_) | WriteError::Unknown),
        "{lost}"
    );
    timeout(Duration::from_secs(10), fatal.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();
    let after = consensus.write(change()).await.unwrap_err();
    assert!(
        matches!(&after, WriteError::Fatal(why) if why.contains("fsync failed")),
        "{after}"
    );
}
