//! Data directories that were reset to an earlier state, and such that exist twice.

use super::*;
use holdfast_consensus::identity::Standing;
use holdfast_consensus::model::HoldSpec;
use std::fs;

/// How long three nodes, of which two could decide, must decide nothing.
const NOTHING_HAPPENS: Duration = Duration::from_secs(4);

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            _ = fs::copy(entry.path(), target).unwrap()
        }
    }
}

fn standing(node: &TestNode) -> Standing {
    *node.consensus.identity().standing().borrow()
}

fn is_fenced(node: &TestNode) -> bool {
    matches!(standing(node), Standing::Fenced(_))
}

impl Stopped {
    /// Restores the directory to its state when `before` was copied.
    fn put_back(&self, before: &Path) {
        fs::remove_dir_all(self.dir.path()).unwrap();
        copy(before, self.dir.path());
    }
}

/// Changes that are acknowledged while the third is away: a camera added, one removed, a hold.
async fn change_what_matters(node: &TestNode) {
    write_soon(node, camera("precious")).await;
    write_soon(
        node,
        Command::DeleteCamera {
            camera: CameraId(1),
        }
        .by(Actor::System, AT),
    )
    .await;
    let spec = HoldSpec {
        reason: "case 7".parse().unwrap(),
        camera: CameraId(2),
        from: AT,
        to: None,
    };
    write_soon(node, Command::CreateHold { spec }.by(Actor::System, AT)).await;
}

fn assert_all_there(node: &TestNode) {
    let state = node.consensus.state();
    let names: Vec<&str> = state
        .cameras
        .values()
        .map(|camera| camera.spec.name.as_str())
        .collect();
    assert_eq!(names, ["precious"]);
    assert_eq!(state.holds.len(), 1);
}

/// The third is away, and the second is reset to before the changes that it confirmed. Then the
/// first, which has them, is lost and the third returns: the two present nodes are a majority, but
/// only the first has the acknowledged changes.
async fn nothing_is_undone(puts_leader_back: bool) {
    let mut nodes = three().await;
    write_soon(&nodes[0], camera("b")).await;
    eventually("the camera is everywhere", || {
        nodes.iter().all(|node| node.cameras().len() == 1)
    })
    .await;
    let away = nodes.iter().position(|node| !node.is_leader()).unwrap();
    let away = nodes.remove(away).kill().await;
    let at = nodes
        .iter()
        .position(|node| node.is_leader() == puts_leader_back)
        .unwrap();
    let second = nodes.remove(at);
    let first = nodes.remove(0);

    let before = tempfile::tempdir().unwrap();
    copy(second.dir.path(), before.path());
    change_what_matters(&second).await;
    // Until its heartbeats have reported its position, if it leads.
    sleep(Duration::from_millis(600)).await;
    let second = second.kill().await;
    second.put_back(before.path());
    let second = second.restart().await;
    eventually("the node that was put back sees it", || is_fenced(&second)).await;
    let said = standing(&second).to_string();
    assert!(
        said.contains("older than what this node has confirmed"),
        "{said}"
    );
    assert!(
        first
            .consensus
            .identity()
            .refused()
            .contains_key(&second.consensus.node())
    );
    let refused = second.consensus.write(camera("c")).await.unwrap_err();
    assert!(
        matches!(&refused, WriteError::Fatal(why) if why.contains("restored from a backup")),
        "{refused}"
    );

    let first = first.kill().await;
    let third = away.restart().await;
    // Its next start does not forget it, even without a node that knows.
    let second = second.kill().await.restart().await;
    sleep(NOTHING_HAPPENS).await;
    assert!(is_fenced(&second));
    for node in [&second, &third] {
        assert_eq!(
            node.consensus.leader(),
            None,
            "{:?} decided without what was acknowledged",
            node.consensus.node()
        );
    }

    let first = first.restart().await;
    let Response::Camera { camera: next, .. } = write_soon(&third, camera("next")).await else {
        panic!("no camera")
    };
    assert_eq!(next, CameraId(3), "a number was given twice");
    write_soon(
        &third,
        Command::DeleteCamera { camera: next }.by(Actor::System, AT),
    )
    .await;
    for node in [&first, &third] {
        eventually("both have it", || node.cameras() == [CameraId(2)]).await;
        assert_all_there(node);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_put_back_undoes_nothing() {
    nothing_is_undone(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_put_back_undoes_nothing() {
    nothing_is_undone(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_from_before_a_restart_is_seen_also_where_nothing_was_changed() {
    let mut nodes = three().await;
    let at = nodes.iter().position(|node| !node.is_leader()).unwrap();
    let node = nodes.remove(at).kill().await;
    let before = tempfile::tempdir().unwrap();
    copy(node.dir.path(), before.path());
    let node = node.restart().await;
    eventually("it takes part", || {
        standing(&node) == Standing::Member && node.consensus.leader().is_some()
    })
    .await;
    let node = node.kill().await;
    node.put_back(before.path());
    let node = node.restart().await;
    eventually("it is fenced", || is_fenced(&node)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_identity_the_one_that_runs_stays() {
    let nodes = three().await;
    write_soon(&nodes[0], camera("b")).await;
    let original = nodes.iter().find(|node| !node.is_leader()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(original.dir.path(), dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (node, cluster) = (original.consensus.node(), original.consensus.cluster());
    let addr = listener.local_addr().unwrap().to_string();
    let consensus = open(options(dir.path(), node, cluster, &addr)).await;
    let server = serve(&consensus, listener);
    let twin = TestNode {
        consensus,
        dir,
        spec: original.spec.clone(),
        server,
    };
    eventually("the copy is fenced", || is_fenced(&twin)).await;
    assert!(standing(&twin).is_twin(), "{}", standing(&twin));

    sleep(Duration::from_secs(1)).await;
    assert_eq!(standing(original), Standing::Member);
    for node in &nodes {
        write_soon(node, camera(&format!("by-{}", node.consensus.node()))).await;
    }
    eventually("all have all", || {
        nodes.iter().all(|node| node.cameras().len() == 4)
    })
    .await;
    twin.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cold_starts_in_any_order_are_as_they_were() {
    let mut nodes = three().await;
    for round in 0..3 {
        write_soon(&nodes[round], camera(&format!("round-{round}"))).await;
        let mut stopped = Vec::new();
        for node in nodes.drain(..) {
            stopped.push(node.kill().await);
        }
        stopped.rotate_left(1);
        let late = stopped.pop().unwrap();
        for node in stopped {
            nodes.push(node.restart().await);
        }
        let began = Instant::now();
        write_soon(&nodes[0], camera(&format!("two-of-three-{round}"))).await;
        println!(
            "two of three took a change {:?} after their start",
            began.elapsed()
        );
        nodes.push(late.restart().await);
        eventually("all have all", || {
            nodes
                .iter()
                .all(|node| node.cameras().len() == 2 * (round + 1))
        })
        .await;
        assert!(nodes.iter().all(|node| standing(node) == Standing::Member));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_that_comes_back_knows_it() {
    let mut nodes = three().await;
    let at = nodes.iter().position(|node| !node.is_leader()).unwrap();
    let gone = nodes.remove(at).kill().await;
    let remove = Command::RemoveNode {
        node: gone.node,
        force: true,
    }
    .by(Actor::System, AT);
    write_soon(&nodes[0], remove).await;
    let gone = gone.restart().await;
    eventually("it knows", || {
        matches!(standing(&gone), Standing::Removed { .. })
    })
    .await;
    assert!(
        standing(&gone)
            .to_string()
            .contains("was removed from the cluster")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_which_there_is_footage_is_not_given_to_a_camera() {
    let first = TestNode::first().await;
    first.consensus.identity().holds_footage_up_to(CameraId(41));
    assert_eq!(
        write_soon(&first, camera("a")).await,
        Response::Camera {
            camera: CameraId(42),
            revision: 1
        }
    );
    first
        .consensus
        .identity()
        .holds_footage_up_to(CameraId(u32::MAX));
    assert_eq!(
        write_soon(&first, camera("b")).await,
        Response::Camera {
            camera: CameraId(43),
            revision: 1
        }
    );

    // A member's footage counts as well, once the member has reported it.
    let second = TestNode::joining("n2", &first).await;
    second
        .consensus
        .identity()
        .holds_footage_up_to(CameraId(70));
    second.voters(2).await;
    let second = second.kill().await.restart().await;
    second
        .consensus
        .identity()
        .holds_footage_up_to(CameraId(70));
    let heartbeat = holdfast_consensus::observe::heartbeat::Heartbeat {
        from: NodeId(2),
        boot: 1,
        sequence: 1,
        sent_at: AT,
        writable: true,
        recorders: Vec::new(),
        probes: Vec::new(),
        vouches: false,
    };
    let sealed = second
        .consensus
        .identity()
        .seal(NodeId(1), &heartbeat)
        .unwrap();
    eventually("its heartbeat counts", || {
        let identity = first.consensus.identity();
        identity.hear(NodeId(2), &sealed).is_ok()
    })
    .await;
    let forged = first.consensus.identity().hear(NodeId(3), &sealed);
    assert!(forged.is_err_and(|why| why.to_string().contains("may not speak for node 2")));
    assert_eq!(
        write_soon(&second, camera("c")).await,
        Response::Camera {
            camera: CameraId(71),
            revision: 1
        }
    );
}
