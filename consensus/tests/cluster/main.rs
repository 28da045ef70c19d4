//! Three nodes in one process on loopback: join, write through any node, lose the leader, lose the
//! quorum, restart.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of test functions"
)]

use holdfast_consensus::codec::Finalized;
use holdfast_consensus::command::{Command, LogEntry, Rejection, Response};
use holdfast_consensus::first_version;
use holdfast_consensus::generation::ClusterGeneration;
use holdfast_consensus::model::{Actor, CameraSpec, NodeSpec, SettingsChange};
use holdfast_consensus::peer::client::{Member, PeerClient, PeerError};
use holdfast_consensus::peer::connection::Dialer;
use holdfast_consensus::peer::trust::keys::Key;
use holdfast_consensus::{
    Consensus, JoinError, JoinToken, Joined, Newcomer, OpenError, Options, Timing, VOTERS_MAX,
    WRITE_DEADLINE, WriteError,
};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

mod addresses;
mod data_directories;
mod keys;
mod leader;
mod recovery;

/// Far longer than any step takes: a failing test ends, and a slow machine does not make it fail.
const PATIENCE: Duration = Duration::from_secs(30);

struct TestNode {
    consensus: Consensus,
    dir: TempDir,
    spec: NodeSpec,
    server: JoinHandle<()>,
}

const AT: Timestamp = Timestamp(1_795_341_600_000_000);

fn node_spec(name: &str, addr: &str) -> NodeSpec {
    NodeSpec {
        failure_domain: name.parse().unwrap(),
        ..NodeSpec::new(name, addr, addr).unwrap()
    }
}

fn camera(name: &str) -> LogEntry {
    let spec = CameraSpec::new(name, &format!("rtsp://10.0.0.1/{name}")).unwrap();
    Command::CreateCamera {
        spec,
        only_after: None,
    }
    .by(Actor::System, AT)
}

fn options(dir: &Path, node: NodeId, cluster: Uuid, peer_addr: &str) -> Options {
    let timing = Timing {
        voter_absent_max_ms: 4_000,
        ..Timing::default()
    };
    let (dir, peer_addr, peers, boot) = (
        dir.to_owned(),
        peer_addr.to_owned(),
        Vec::new(),
        Uuid::new_v4(),
    );
    let generation = ClusterGeneration::first(cluster);
    Options {
        node,
        cluster,
        generation,
        dir,
        timing,
        peer_addr,
        peers,
        boot,
        now: keys::now,
    }
}

async fn open(options: Options) -> Consensus {
    let opened = Instant::now();
    loop {
        // The log's lock is released when the last task of a stopped node has ended.
        let trust = keys::trust(options.cluster, options.node);
        let authority = keys::authority(options.cluster);
        match Consensus::open(options.clone(), trust, Some(authority)).await {
            Ok(consensus) => return consensus,
            Err(error) if opened.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

fn serve(consensus: &Consensus, listener: TcpListener) -> JoinHandle<()> {
    let trust = consensus.trust().expect("it has keys");
    keys::serve(consensus, trust, listener)
}

/// Joins with an invitation, and keeps what the node was given.
async fn join(token: &JoinToken, spec: NodeSpec, key: &Key) -> Result<Joined, JoinError> {
    let newcomer = Newcomer::new(token)?;
    let joined = newcomer.join(spec, key.public()).await?;
    assert_eq!(newcomer.cluster().await?, joined.cluster);
    keys::keep(
        joined.cluster,
        joined.node,
        key,
        joined.issued.chain.clone(),
    );
    Ok(joined)
}

impl TestNode {
    async fn first() -> Self {
        let (dir, listener) = (
            tempfile::tempdir().unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let spec = node_spec("n1", &listener.local_addr().unwrap().to_string());
        let consensus = open(options(
            dir.path(),
            NodeId(1),
            Uuid::new_v4(),
            spec.peer_addr.as_str(),
        ))
        .await;
        let server = serve(&consensus, listener);
        let key = keys::key(consensus.cluster(), NodeId(1)).hash();
        consensus.initialize(spec.clone(), key, AT).await.unwrap();
        Self {
            consensus,
            dir,
            spec,
            server,
        }
    }

    async fn joining(name: &str, through: &Self) -> Self {
        let (dir, listener) = (
            tempfile::tempdir().unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let spec = node_spec(name, &listener.local_addr().unwrap().to_string());
        let token = through.invites(&spec).await;
        let key = Key::generate().unwrap();
        let joined = join(&token, spec.clone(), &key).await.unwrap();
        assert_eq!(joined.cluster, through.consensus.cluster());
        let options = options(
            dir.path(),
            joined.node,
            joined.cluster,
            spec.peer_addr.as_str(),
        );
        let consensus = open(Options {
            generation: joined.generation,
            ..options
        })
        .await;
        let server = serve(&consensus, listener);
        Self {
            consensus,
            dir,
            spec,
            server,
        }
    }

    async fn invites(&self, spec: &NodeSpec) -> JoinToken {
        keys::invite(&self.consensus, self.spec.peer_addr.as_str(), spec).await
    }

    /// Killed without a goodbye: its port is closed first, so that no node hears of it.
    async fn kill(self) -> Stopped {
        self.server.abort();
        drop(self.server.await);
        self.consensus.shutdown().await;
        let (node, cluster) = (self.consensus.node(), self.consensus.cluster());
        Stopped {
            node,
            cluster,
            dir: self.dir,
            spec: self.spec,
        }
    }

    async fn voters(&self, count: usize) {
        let mut leadership = self.consensus.leadership();
        let enough = leadership.wait_for(|now| now.voters.len() == count && now.leader.is_some());
        tokio::time::timeout(PATIENCE, enough)
            .await
            .expect("the voters never came together")
            .unwrap();
    }

    fn is_leader(&self) -> bool {
        self.consensus.leadership().borrow().is_leader
    }

    fn cameras(&self) -> Vec<CameraId> {
        self.consensus.state().cameras.keys().collect()
    }
}

struct Stopped {
    node: NodeId,
    cluster: Uuid,
    dir: TempDir,
    spec: NodeSpec,
}

impl Stopped {
    async fn restart(self) -> TestNode {
        self.restart_near(Vec::new()).await
    }

    /// With addresses of others in its configuration.
    async fn restart_near(self, peers: Vec<String>) -> TestNode {
        let as_before = options(
            self.dir.path(),
            self.node,
            self.cluster,
            self.spec.peer_addr.as_str(),
        );
        let consensus = open(Options { peers, ..as_before }).await;
        let listener = TcpListener::bind(self.spec.peer_addr.as_str())
            .await
            .unwrap();
        let server = serve(&consensus, listener);
        TestNode {
            consensus,
            dir: self.dir,
            spec: self.spec,
            server,
        }
    }
}

async fn three() -> Vec<TestNode> {
    let first = TestNode::first().await;
    let second = TestNode::joining("n2", &first).await;
    let third = TestNode::joining("n3", &second).await;
    let nodes = vec![first, second, third];
    for node in &nodes {
        node.voters(3).await;
    }
    nodes
}

/// Writes until it is accepted: a new leader may need an election first. A rejection after a write
/// without an answer says that the entry was applied then.
async fn write_soon(node: &TestNode, entry: LogEntry) -> Response {
    let started = Instant::now();
    let mut was_tried = false;
    loop {
        match node.consensus.write(entry.clone()).await {
            Ok(response) => return response,
            Err(WriteError::Rejected(_)) if was_tried => return Response::Done,
            Err(error) if started.elapsed() > PATIENCE => panic!("{error}"),
            Err(WriteError::Rejected(rejection)) => panic!("{rejection}"),
            Err(WriteError::Unknown) => was_tried = true,
            Err(_) => {}
        }
    }
}

/// Retries: a follower that has not answered for a moment, because its disk is slow, is no heir.
async fn transfer_leadership(leader: &TestNode) {
    let started = Instant::now();
    while !leader.consensus.transfer_leadership().await {
        assert!(started.elapsed() < PATIENCE, "no follower took over");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_through_any_node_and_outlive_the_leader() {
    let mut nodes = three().await;
    let follower = nodes.iter().find(|node| !node.is_leader()).unwrap();
    let written = follower.consensus.write(camera("front")).await.unwrap();
    assert_eq!(
        written,
        Response::Camera {
            camera: CameraId(1),
            revision: 1
        }
    );
    assert_eq!(
        follower.cameras(),
        [CameraId(1)],
        "what was written through a node can be read from it"
    );
    let again = follower.consensus.write(camera("front")).await;
    assert_eq!(
        again,
        Err(WriteError::Rejected(Rejection::DuplicateCameraName(
            "front".parse().unwrap()
        )))
    );

    let at = nodes.iter().position(TestNode::is_leader).unwrap();
    for (n, node) in nodes.iter().enumerate() {
        let proposed = node
            .consensus
            .propose_as_leader(
                Command::ChangeSettings(SettingsChange::default()).by(Actor::System, AT),
            )
            .await;
        assert_eq!(
            proposed,
            if n == at {
                Ok(Response::Done)
            } else {
                Err(WriteError::NoLeader)
            }
        );
    }
    let dead = nodes.remove(at).kill().await;
    write_soon(&nodes[0], camera("back")).await;
    eventually("both survivors have both cameras", || {
        nodes.iter().all(|node| node.cameras().len() == 2)
    })
    .await;
    assert!(nodes.iter().any(TestNode::is_leader));

    let returned = dead.restart().await;
    assert!(
        returned.cameras().contains(&CameraId(1)),
        "the state of before is there at once"
    );
    eventually("the returned node catches up", || {
        returned.cameras().len() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_writes_fail_in_time_and_the_state_stays() {
    let mut nodes = three().await;
    nodes[0].consensus.write(camera("front")).await.unwrap();
    let alone = nodes.remove(0);
    eventually("the camera is everywhere", || {
        nodes.iter().all(|node| node.cameras().len() == 1)
    })
    .await;
    for node in nodes {
        node.kill().await;
    }
    for attempt in 0..3 {
        let asked = Instant::now();
        let error = alone.consensus.write(camera("back")).await.unwrap_err();
        assert!(
            asked.elapsed() < WRITE_DEADLINE + Duration::from_millis(500),
            "{attempt}: {:?}",
            asked.elapsed()
        );
        assert!(
            matches!(error, WriteError::NoLeader | WriteError::Unknown),
            "{error}"
        );
    }
    // Something else may listen where a dead node did, and answer nothing.
    let asked = Instant::now();
    while alone.consensus.write(camera("back")).await != Err(WriteError::NoLeader) {
        assert!(
            asked.elapsed() < PATIENCE,
            "a leader that lost its quorum says so once its lease is over"
        );
    }
    assert_eq!(alone.cameras(), [CameraId(1)]);

    // Alone after a restart, without a leader, it has its earlier state.
    let alone = alone.kill().await.restart().await;
    assert_eq!(alone.cameras(), [CameraId(1)]);
    assert_eq!(alone.consensus.state().nodes.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_leader_hands_over_and_a_removed_node_leaves_the_vote() {
    let nodes = three().await;
    let leader = nodes.iter().find(|node| node.is_leader()).unwrap();
    let before = leader.consensus.node();
    transfer_leadership(leader).await;
    let now = leader.consensus.leadership().borrow().leader;
    assert!(now.is_some_and(|now| now != before), "{now:?}");

    let remove = Command::RemoveNode {
        node: before,
        force: false,
    }
    .by(Actor::System, AT);
    let other = nodes
        .iter()
        .find(|node| node.consensus.node() != before)
        .unwrap();
    assert_eq!(write_soon(other, remove).await, Response::Done);
    other.voters(2).await;
    assert_eq!(other.consensus.state().nodes.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_the_vote_of_a_voter_that_stays_away() {
    let mut nodes = three().await;
    for name in ["n4", "n5", "n6"] {
        nodes.push(TestNode::joining(name, &nodes[0]).await);
    }
    for node in &nodes {
        node.voters(VOTERS_MAX).await;
    }
    let voters = |node: &TestNode| node.consensus.leadership().borrow().voters.clone();
    let learner = nodes
        .iter()
        .map(|node| node.consensus.node())
        .find(|node| !voters(&nodes[0]).contains(node))
        .unwrap();
    let away = nodes
        .iter()
        .position(|node| !node.is_leader() && node.consensus.node() != learner)
        .unwrap();
    let dead = nodes.remove(away).kill().await;
    eventually("the learner votes in place of the dead", || {
        nodes.iter().all(|node| {
            let now = voters(node);
            now.len() == VOTERS_MAX && now.contains(&learner) && !now.contains(&dead.node)
        })
    })
    .await;

    let returned = dead.restart().await;
    write_soon(&nodes[0], camera("front")).await;
    eventually("the returned node learns", || returned.cameras().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_namesakes_do_not_join() {
    let first = TestNode::first().await;
    let spec = node_spec("n2", "127.0.0.1:9");
    let key = || Key::generate().unwrap();
    let token = first.invites(&spec).await;
    let guessed = JoinToken::new(token.addresses.clone(), token.root).unwrap();
    let stranger = join(&guessed, spec.clone(), &key()).await.unwrap_err();
    assert!(
        stranger
            .to_string()
            .contains("refuses this node's certificate"),
        "{stranger}"
    );
    let namesake = join(&token, node_spec("n1", "127.0.0.1:9"), &key()).await;
    assert!(
        matches!(
            &namesake,
            Err(JoinError::Rejected(Rejection::InvitedAs { name, .. })) if name.as_str() == "n2"
        ),
        "{namesake:?}"
    );
    let own = key();
    let joined = join(&token, spec.clone(), &own).await.unwrap();
    assert_eq!(joined.node, NodeId(2));
    // A member's key is no secret: another invitation does not make its holder that member.
    let other = node_spec("n4", "127.0.0.1:9");
    let claimed = join(&first.invites(&other).await, other, &own).await;
    assert!(
        matches!(claimed, Err(JoinError::Rejected(Rejection::NotInvited))),
        "{claimed:?}"
    );
    let second = join(&token, spec, &key()).await;
    assert!(
        matches!(
            second,
            Err(JoinError::Rejected(Rejection::InviteUsed(NodeId(2))))
        ),
        "{second:?}"
    );
    let id = first.consensus.state().invites.keys().next().unwrap();
    let revoke = Command::DeleteInvite { invite: id };
    write_soon(&first, revoke.by(Actor::System, AT)).await;
    let revoked = join(&token, node_spec("n3", "127.0.0.1:9"), &key()).await;
    assert!(
        matches!(&revoked, Err(JoinError::Unavailable { why, .. }) if why.contains("refuses")),
        "{revoked:?}"
    );
    assert_eq!(first.consensus.state().nodes.len(), 2);
    assert!(first.consensus.leadership().borrow().is_leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_speaks_for_itself_alone() {
    let nodes = three().await;
    let (leader, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.is_leader());
    let (leader, [liar, victim]) = (leader[0], others[..].try_into().unwrap());
    let (liar, victim): (&TestNode, &TestNode) = (liar, victim);
    let trust = liar.consensus.trust().unwrap();
    let client = PeerClient::new(Dialer::new(trust), Finalized::default());
    let forged = |entry| Forged {
        cluster: leader.consensus.cluster(),
        to: leader.consensus.node(),
        generation: leader.consensus.cluster(),
        version: 1,
        entry,
        deadline_ms: 1_000,
    };
    let victim_id = victim.consensus.node();
    let report = Command::ReportForDuty {
        node: victim_id,
        spec: NodeSpec {
            peer_addr: "127.0.0.1:9".parse().unwrap(),
            ..victim.spec.clone()
        },
    };
    let settings = Command::ChangeSettings(SettingsChange::default());
    for entry in [
        report.clone().by(Actor::Node(victim_id), AT),
        report.by(Actor::System, AT),
        settings.by(Actor::Node(victim_id), AT),
    ] {
        let member = Member {
            node: Some(leader.consensus.node()),
            addr: leader.spec.peer_addr.as_str(),
        };
        let sent = client
            .fetch(member, "/write", &forged(entry), PATIENCE)
            .await;
        assert!(
            matches!(sent, Err(PeerError::Rejected { status: 403, .. })),
            "{sent:?}"
        );
    }
    let known = leader.consensus.state();
    let known = known.nodes.get(victim_id).unwrap();
    assert_eq!(known.spec.peer_addr, victim.spec.peer_addr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_hands_its_vote_back_first() {
    let first = TestNode::first().await;
    let second = TestNode::joining("n2", &first).await;
    first.voters(2).await;
    let leads = if first.is_leader() { &first } else { &second };
    let stays = if first.is_leader() { &second } else { &first };
    let remove = Command::RemoveNode {
        node: leads.consensus.node(),
        force: true,
    };
    write_soon(leads, remove.by(Actor::System, AT)).await;
    stays.voters(1).await;
    write_soon(stays, camera("after")).await;
    assert_eq!(stays.cameras().len(), 1);
    let last = Command::RemoveNode {
        node: stays.consensus.node(),
        force: true,
    };
    let last = stays.consensus.write(last.by(Actor::System, AT)).await;
    assert!(matches!(last, Err(WriteError::Rejected(_))), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_no_member_within_two_seconds_and_says_so() {
    let mut nodes = three().await;
    let at = nodes.iter().position(|node| !node.is_leader()).unwrap();
    let removed = nodes.remove(at);
    let client = PeerClient::new(
        Dialer::new(removed.consensus.trust().unwrap()),
        Finalized::default(),
    );
    let remove = Command::RemoveNode {
        node: removed.consensus.node(),
        force: true,
    };
    write_soon(&nodes[0], remove.by(Actor::System, AT)).await;
    for node in &nodes {
        let member = Member {
            node: Some(node.consensus.node()),
            addr: node.spec.peer_addr.as_str(),
        };
        let began = Instant::now();
        let refused = loop {
            match client
                .fetch(member, "/who", &Text("?".into()), PATIENCE)
                .await
            {
                Err(PeerError::Rejected {
                    status: 403,
                    message,
                    ..
                }) => break message,
                other => assert!(began.elapsed() < Duration::from_secs(2), "{other:?}"),
            }
        };
        assert_eq!(refused, "this node is no member any more");
    }
    eventually("it knows", || {
        let standing = removed.consensus.identity().standing().borrow().to_string();
        standing.contains("removed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_starts_does_not_block_writes() {
    let first = TestNode::first().await;
    let spec = node_spec("ghost", "127.0.0.1:9");
    let (token, key) = (first.invites(&spec).await, Key::generate().unwrap());
    let joined = join(&token, spec.clone(), &key).await.unwrap();
    assert_eq!(joined.node, NodeId(2));
    let again = join(&token, spec, &key).await.unwrap();
    assert_eq!(
        again.node, joined.node,
        "a crash before the id was stored does not lose it"
    );
    sleep(Duration::from_secs(1)).await;
    first.consensus.write(camera("front")).await.unwrap();
    assert_eq!(first.consensus.leadership().borrow().voters, [NodeId(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_starts_from_snapshot_and_log() {
    let first = TestNode::first().await;
    first.consensus.write(camera("front")).await.unwrap();
    // More entries than a snapshot's interval, so that the log's beginning is purged.
    for _ in 0..1_300 {
        let entry = Command::ChangeSettings(SettingsChange::default()).by(Actor::System, AT);
        write_soon(&first, entry).await;
    }
    first.consensus.write(camera("back")).await.unwrap();
    let before = first.consensus.state();
    let stopped = first.kill().await;
    assert!(stopped.dir.path().join("snapshot").exists());
    let again = stopped.restart().await;
    assert_eq!(again.consensus.state(), before);
    write_soon(&again, camera("side")).await;

    // A newcomer can no longer catch up from the log alone.
    let second = TestNode::joining("n2", &again).await;
    eventually("the newcomer has the snapshot and the log after it", || {
        second.cameras().len() == 3
    })
    .await;
    second.voters(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_reports_its_new_address_to_a_leader_it_never_met() {
    let mut nodes = three().await;
    let away = nodes.iter().position(|node| !node.is_leader()).unwrap();
    let mut away = nodes.remove(away).kill().await;
    let leader = nodes.iter().find(|node| node.is_leader()).unwrap();
    // Until it no longer counts as one that answers.
    sleep(Duration::from_secs(1)).await;
    transfer_leadership(leader).await;
    write_soon(&nodes[0], camera("front")).await;

    let moved = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    away.spec.peer_addr = moved.parse().unwrap();
    let returned = away.restart().await;
    let report = Command::ReportForDuty {
        node: returned.consensus.node(),
        spec: returned.spec.clone(),
    };
    let report = report.by(Actor::Node(returned.consensus.node()), AT);
    assert_eq!(write_soon(&returned, report).await, Response::Done);
    eventually("the leader finds it at its new address", || {
        returned.cameras().len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_cluster_is_refused() {
    let stopped = TestNode::first().await.kill().await;
    let options = options(stopped.dir.path(), NodeId(1), Uuid::new_v4(), "127.0.0.1:9");
    let started = Instant::now();
    loop {
        let trust = keys::trust(options.cluster, options.node);
        let opened = Consensus::open(options.clone(), trust, None).await;
        match opened.err().unwrap() {
            OpenError::WrongCluster { found, .. } => return assert_eq!(found, stopped.cluster),
            other => assert!(started.elapsed() < PATIENCE, "{other}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_for_another_node_or_cluster_and_oversized_ones_are_refused() {
    let first = TestNode::first().await;
    let trust = first.consensus.trust().unwrap();
    let client = PeerClient::new(Dialer::new(trust), Finalized::default());
    let deadline = Duration::from_secs(5);
    let write = |cluster, to| {
        let entry = Command::ChangeSettings(SettingsChange::default()).by(Actor::System, AT);
        Forged {
            cluster,
            to,
            generation: first.consensus.cluster(),
            version: 1,
            entry,
            deadline_ms: 1_000,
        }
    };
    let cluster = first.consensus.cluster();
    let addr = Member {
        node: None,
        addr: first.spec.peer_addr.as_str(),
    };
    for (cluster, node) in [(Uuid::new_v4(), NodeId(1)), (cluster, NodeId(2))] {
        let sent = client
            .fetch(addr, "/write", &write(cluster, node), deadline)
            .await;
        assert!(
            matches!(sent, Err(PeerError::Rejected { status: 421, .. })),
            "{sent:?}"
        );
    }
    client
        .fetch(addr, "/write", &write(cluster, NodeId(1)), deadline)
        .await
        .unwrap();

    let newer = Forged {
        version: 2,
        ..write(cluster, NodeId(1))
    };
    let newer = client
        .fetch(addr, "/write", &newer, deadline)
        .await
        .unwrap_err()
        .to_string();
    let clear = "this node speaks version 1 of a forwarded change, and this is version 2; upgrade \
                 this node";
    assert!(newer.contains(clear), "{newer}");

    let oversized = client
        .fetch(addr, "/raft/vote", &Text("x".repeat(100_000)), deadline)
        .await;
    assert!(
        matches!(oversized, Err(PeerError::Rejected { status: 413, .. })),
        "{oversized:?}"
    );
    let garbage = client
        .fetch(addr, "/raft/vote", &Text(String::new()), deadline)
        .await;
    assert!(
        matches!(garbage, Err(PeerError::Rejected { status: 400, .. })),
        "{garbage:?}"
    );
}

/// Has the layout of a forwarded write, including its version.
#[derive(serde::Serialize, serde::Deserialize)]
struct Forged {
    cluster: Uuid,
    to: NodeId,
    generation: Uuid,
    version: u8,
    entry: LogEntry,
    deadline_ms: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Text(String);

first_version!(Forged => "what looks like a message", Text => "text");
