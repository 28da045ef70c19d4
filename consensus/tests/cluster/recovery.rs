//! A majority is lost permanently: one node begins the next generation, which ignores members of
//! the previous one.

use super::*;
use holdfast_consensus::identity::Standing;
use holdfast_consensus::recovery::{RecoveryError, Remains};

/// Recovers the data of `stopped`, and starts it as the only member of the next generation.
async fn recover(stopped: Stopped) -> TestNode {
    let remains = loop {
        match Remains::open(stopped.dir.path().to_owned(), stopped.node).await {
            Err(RecoveryError::InUse { .. }) => sleep(Duration::from_millis(20)).await,
            other => break other.unwrap(),
        }
    };
    let dir = stopped.dir.path().join("raft-2");
    let (generation, dropped) = remains
        .write(dir.clone(), Uuid::new_v4(), AT)
        .await
        .unwrap();
    assert_eq!(dropped.len(), 2);
    drop(remains);
    let options = options(
        &dir,
        stopped.node,
        stopped.cluster,
        stopped.spec.peer_addr.as_str(),
    );
    let consensus = open(Options {
        generation,
        ..options
    })
    .await;
    let listener = TcpListener::bind(stopped.spec.peer_addr.as_str())
        .await
        .unwrap();
    let server = serve(&consensus, listener);
    TestNode {
        consensus,
        dir: stopped.dir,
        spec: stopped.spec,
        server,
    }
}

fn replaced(node: &TestNode) -> bool {
    let standing = node.consensus.identity().standing().borrow().to_string();
    standing.starts_with("this node belongs to generation 1 of cluster")
        && standing.contains("by recovery at")
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_generation_before_are_refused_and_say_why() {
    let mut stopped = Vec::new();
    for node in three().await {
        write_soon(&node, camera(&format!("by-{}", node.consensus.node()))).await;
        stopped.push(node);
    }
    eventually("all have all", || {
        stopped.iter().all(|node| node.cameras().len() == 3)
    })
    .await;
    let mut dead = Vec::new();
    for node in stopped {
        dead.push(node.kill().await);
    }
    let survivor = recover(dead.remove(1)).await;
    survivor.voters(1).await;
    let written = write_soon(&survivor, camera("after")).await;
    assert!(
        matches!(written, Response::Camera { camera, .. } if camera > CameraId(4)),
        "{written:?}"
    );

    // The majority of the previous generation returns.
    let mut returned = Vec::new();
    for node in dead {
        returned.push(node.restart().await);
    }
    eventually("they say why they are refused", || {
        returned.iter().all(replaced)
    })
    .await;
    assert!(matches!(
        returned[0].consensus.write(camera("lost")).await,
        Err(WriteError::NoLeader | WriteError::Fatal(_))
    ));
    assert!(survivor.is_leader() && survivor.cameras().len() == 4);
    assert_eq!(
        *survivor.consensus.identity().standing().borrow(),
        Standing::Member
    );

    // Also after a restart, without another node to inform it.
    let first = returned.remove(0).kill().await;
    let alone = survivor.kill().await;
    let first = first.restart().await;
    eventually("it remembers", || replaced(&first)).await;
    drop(alone);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_still_runs_hears_that_it_was_replaced_and_joins_again_under_its_name() {
    let mut nodes = three().await;
    let second = nodes.remove(1).kill().await;
    let running: Vec<TestNode> = nodes.into_iter().collect();
    let survivor = recover(second).await;
    eventually("those that run say it too", || running.iter().all(replaced)).await;
    survivor.voters(1).await;

    let name = running[0].spec.name.as_str().to_owned();
    let _gone = running.into_iter().next().unwrap().kill().await;
    let again = TestNode::joining(&name, &survivor).await;
    again.voters(2).await;
    assert_eq!(
        again.consensus.identity().generation(),
        survivor.consensus.identity().generation()
    );
    write_soon(&again, camera("after")).await;
    assert_eq!(survivor.cameras().len(), 1);
}
