//! Members whose addresses change, even all at once; and one whose key is not its own.

use super::*;

/// A free address.
async fn elsewhere() -> String {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

async fn stop_and_move(nodes: Vec<TestNode>, count: usize) -> Vec<Stopped> {
    let mut stopped = Vec::new();
    for (n, node) in nodes.into_iter().enumerate() {
        let mut node = node.kill().await;
        if n < count {
            node.spec.peer_addr = elsewhere().await.parse().unwrap();
        }
        stopped.push(node);
    }
    stopped
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_change_at_once_where_the_configuration_names_one() {
    let nodes = three().await;
    write_soon(&nodes[0], camera("before")).await;
    let stopped = stop_and_move(nodes, 3).await;
    let hint = vec![stopped[0].spec.peer_addr.to_string()];
    let mut nodes = Vec::new();
    for node in stopped {
        nodes.push(node.restart_near(hint.clone()).await);
    }
    for node in &nodes {
        write_soon(node, camera(&format!("by-{}", node.consensus.node()))).await;
    }
    for node in &nodes {
        let report = Command::ReportForDuty {
            node: node.consensus.node(),
            spec: node.spec.clone(),
        };
        write_soon(node, report.by(Actor::Node(node.consensus.node()), AT)).await;
    }
    eventually("all have all", || {
        nodes.iter().all(|node| node.cameras().len() == 4)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_addresses_change_at_once() {
    let nodes = three().await;
    write_soon(&nodes[0], camera("before")).await;
    let mut nodes_again = Vec::new();
    for node in stop_and_move(nodes, 2).await {
        nodes_again.push(node.restart().await);
    }
    // They find the third, and it finds them.
    write_soon(&nodes_again[2], camera("after")).await;
    eventually("all have both", || {
        nodes_again.iter().all(|node| node.cameras().len() == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_said_with_the_name_of_the_peer() {
    let mut nodes = three().await;
    let at = nodes.iter().position(|node| !node.is_leader()).unwrap();
    let away = nodes.remove(at).kill().await;
    let right = options(
        away.dir.path(),
        away.node,
        away.cluster,
        away.spec.peer_addr.as_str(),
    );
    let stranger = loop {
        let key = keys::stranger(away.cluster, away.node);
        match Consensus::open(right.clone(), key, None).await {
            Ok(stranger) => break stranger,
            // The log's lock is released when the last task has ended.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    };
    let others: std::collections::BTreeSet<NodeId> =
        nodes.iter().map(|node| node.consensus.node()).collect();
    eventually("it names both", || {
        stranger.identity().strangers() == others
    })
    .await;
    stranger.shutdown().await;
    drop(stranger);
    let back = away.restart().await;
    write_soon(&back, camera("after")).await;
    assert!(back.consensus.identity().strangers().is_empty());
}
