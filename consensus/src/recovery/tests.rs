//! What a survivor keeps, which numbers it skips, and that its new generation can decide.

use super::*;
use crate::codec::CLUSTER_VERSION;
use crate::codec::upgrade::NEXT;
use crate::command::{AssignmentChange, AssignmentOp, Command, LogEntry, admission};
use crate::model::{Actor, CameraSpec, Duty, KeyHash, NodeSpec};
use crate::peer::trust::Trust;
use crate::raft::Entry;
use crate::state::{EPOCHS_LEAP, NODES_LEAP, NUMBERS_LEAP};
use crate::{Consensus, Options, Timing};
use holdfast_storage::ids::{CameraId, Epoch};
use openraft::entry::RaftEntry as _;
use openraft::storage::RaftLogStorageExt as _;
use tempfile::TempDir;

const AT: Timestamp = Timestamp(1_795_341_600_000_000);
const CLUSTER: Uuid = Uuid::from_u128(7);

fn by(command: Command) -> LogEntry {
    command.by(Actor::System, AT)
}

fn spec(n: u64) -> NodeSpec {
    NodeSpec::new(&format!("n{n}"), &format!("127.0.0.1:{n}"), "127.0.0.1:9").unwrap()
}

fn log_id(index: u64) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: 4,
            node_id: 1,
        },
        index,
    }
}

fn place(camera: u32, owner: u64) -> Command {
    let op = AssignmentOp::Place {
        owner: NodeId(owner),
        mirror: None,
        successor: None,
    };
    Command::Assign {
        changes: vec![AssignmentChange {
            camera: CameraId(camera),
            expect: Epoch(0),
            op,
        }],
    }
}

/// Three voters, a camera of node 2 and one of node 3; nothing is known to be committed.
fn history() -> Vec<Entry> {
    let nodes: BTreeMap<u64, BasicNode> = (1..=3)
        .map(|n| (n, BasicNode::new("127.0.0.1:9")))
        .collect();
    let voters = Membership::new(vec![nodes.keys().copied().collect()], nodes).unwrap();
    let [invite_two, join_two] = admission(spec(2), AT);
    let [invite_three, join_three] = admission(spec(3), AT);
    let add = |name: &str| {
        let spec = CameraSpec::new(name, "rtsp://h/").unwrap();
        let spec = CameraSpec {
            preferred_node: Some(NodeId(3)),
            ..spec
        };
        Command::CreateCamera {
            spec,
            only_after: None,
        }
    };
    let commands = [
        Command::Initialize {
            cluster: CLUSTER,
            node: spec(1),
            key: KeyHash::default(),
        },
        invite_two,
        join_two,
        invite_three,
        join_three,
        add("yard"),
        add("gate"),
        place(1, 2),
        place(2, 3),
        Command::SetDuty {
            node: NodeId(2),
            duty: Duty::Draining,
        },
    ];
    let payloads = std::iter::once(EntryPayload::Membership(voters)).chain(
        commands
            .into_iter()
            .map(|command| EntryPayload::Normal(by(command))),
    );
    payloads
        .enumerate()
        .map(|(index, payload)| Entry::new(log_id(index as u64), payload))
        .collect()
}

async fn directory() -> TempDir {
    directory_of(history()).await
}

async fn directory_of(entries: Vec<Entry>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let raft = dir.path().join("raft");
    raft::private_dir(&raft).unwrap();
    let mut log =
        LogStore::open(&raft.join("log"), FatalSignal::new(), Finalized::default()).unwrap();
    log.save_vote(&Vote {
        leader_id: LeaderId {
            term: 5,
            node_id: 3,
        },
        committed: false,
    })
    .await
    .unwrap();
    log.blocking_append(entries).await.unwrap();
    dir
}

async fn open(dir: &TempDir) -> Result<Remains, RecoveryError> {
    Remains::open(dir.path().join("raft"), NodeId(2)).await
}

fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[tokio::test]
async fn all_of_the_log_counts_and_what_is_given_out_leaps() {
    let dir = directory().await;
    let remains = open(&dir).await.unwrap();
    assert_eq!(remains.position(), LogPosition { term: 4, index: 10 });
    assert_eq!(
        (remains.changed_at(), remains.voters()),
        (Some(AT), ids(&[1, 2, 3]))
    );
    assert!(!remains.is_majority(&ids(&[])) && remains.is_majority(&ids(&[3])));
    let before = remains.state().clone();

    let (generation, dropped) = remains
        .write(dir.path().join("raft-2"), Uuid::from_u128(9), AT)
        .await
        .unwrap();
    assert_eq!(
        (generation.number, generation.recovered),
        (
            2,
            Some(Recovered {
                by: NodeId(2),
                at: AT
            })
        )
    );
    assert_eq!(
        dropped.iter().map(|node| node.id).collect::<Vec<_>>(),
        [NodeId(1), NodeId(3)]
    );
    assert_eq!(
        *remains.state(),
        before,
        "what it was made of stays as it was"
    );

    let machine = StateMachine::open(&dir.path().join("raft-2"), Finalized::default()).unwrap();
    let mut state = machine.state().clone();
    assert_eq!(state.generation(), Some(generation));
    assert_eq!(state.nodes.keys().collect::<Vec<_>>(), [NodeId(2)]);
    assert_eq!(
        state.nodes.get(NodeId(2)).unwrap().duty,
        Duty::Active,
        "there is no other that could record"
    );
    let [own, lost] = [1, 2].map(|camera| state.assignments.get(CameraId(camera)).unwrap().clone());
    assert_eq!(
        (own.owner, own.epoch),
        (Some(NodeId(2)), Epoch(2 + EPOCHS_LEAP))
    );
    assert_eq!(lost.owner, None);
    assert_eq!(
        state.cameras.get(CameraId(1)).unwrap().spec.preferred_node,
        None
    );

    let mut apply = |command| state.apply(by(command)).unwrap();
    let camera = apply(Command::CreateCamera {
        spec: CameraSpec::new("new", "rtsp://h/").unwrap(),
        only_after: None,
    });
    let expected = crate::command::Response::Camera {
        camera: CameraId(3 + NUMBERS_LEAP),
        revision: 1,
    };
    assert_eq!(camera, expected);
    let [invite, join] = admission(spec(1), AT);
    apply(invite);
    let joined = apply(join);
    assert_eq!(
        joined,
        crate::command::Response::Node(NodeId(4 + NODES_LEAP)),
        "its name is free, its number is not"
    );
}

#[tokio::test]
async fn one_that_runs_or_has_nothing_or_is_no_member_is_refused() {
    let dir = directory().await;
    let remains = open(&dir).await.unwrap();
    assert!(matches!(open(&dir).await, Err(RecoveryError::InUse { .. })));
    drop(remains);
    let stranger = Remains::open(dir.path().join("raft"), NodeId(4)).await;
    assert!(matches!(stranger, Err(RecoveryError::NoMember(NodeId(4)))));
    let nothing = Remains::open(dir.path().join("other"), NodeId(2)).await;
    assert!(matches!(nothing, Err(RecoveryError::Nothing(_))));
    assert!(!dir.path().join("other").exists(), "it leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_generation_decides_alone_and_can_be_recovered_again() {
    let dir = directory().await;
    let second = dir.path().join("raft-2");
    // Left behind by an interrupted attempt.
    std::fs::create_dir_all(second.join("log")).unwrap();
    std::fs::write(second.join("snapshot"), "half").unwrap();
    let (generation, _) = open(&dir)
        .await
        .unwrap()
        .write(second.clone(), Uuid::from_u128(9), AT)
        .await
        .unwrap();
    let options = |generation| Options {
        node: NodeId(2),
        cluster: CLUSTER,
        generation,
        dir: second.clone(),
        timing: Timing::default(),
        peer_addr: "127.0.0.1:9".to_owned(),
        peers: Vec::new(),
        boot: Uuid::new_v4(),
        now: || AT,
    };
    let trust = || Trust::alone(CLUSTER, NodeId(2)).0;
    let opened = Consensus::open(options(generation), trust(), None).await;
    let consensus = opened.unwrap();
    assert_eq!(consensus.state().cameras.len(), 2, "all is there at once");
    let mut leadership = consensus.leadership();
    let leads = leadership.wait_for(|now| now.is_leader && now.voters == [NodeId(2)]);
    tokio::time::timeout(std::time::Duration::from_secs(30), leads)
        .await
        .unwrap()
        .unwrap();
    let spec = CameraSpec::new("new", "rtsp://h/").unwrap();
    consensus
        .write(by(Command::CreateCamera {
            spec,
            only_after: None,
        }))
        .await
        .unwrap();
    consensus.shutdown().await;
    drop(consensus);

    let again = loop {
        // The log's lock is released when the last task has ended.
        match Remains::open(second.clone(), NodeId(2)).await {
            Err(RecoveryError::InUse { .. }) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await
            }
            other => break other.unwrap(),
        }
    };
    assert_eq!(
        (again.generation(), again.state().cameras.len()),
        (generation, 3)
    );
    assert!(again.is_majority(&ids(&[])), "it decides alone already");
    let (third, dropped) = again
        .write(dir.path().join("raft-3"), Uuid::from_u128(10), AT)
        .await
        .unwrap();
    assert_eq!((third.number, dropped.len()), (3, 0));
    drop(again);

    let first = options(ClusterGeneration::first(CLUSTER));
    let other = Consensus::open(first, trust(), None).await;
    assert!(
        matches!(other, Err(crate::OpenError::WrongGeneration { .. })),
        "a folder of another generation"
    );
}

/// A log in which every node speaks `version` and it is finalised.
fn history_of(version: u16) -> Vec<Entry> {
    let mut entries = history();
    for entry in &mut entries {
        if let EntryPayload::Normal(logged) = &mut entry.payload
            && let Command::Initialize { node: spec, .. } | Command::JoinNode { spec, .. } =
                &mut logged.command
        {
            spec.version = version;
        }
    }
    entries
}

#[tokio::test]
async fn the_next_generation_is_written_in_the_versions_that_the_log_had_finalised() {
    for (finalized, version) in [(CLUSTER_VERSION, 1), (NEXT, 2)] {
        let dir = directory_of(history_of(finalized)).await;
        let next = dir.path().join("raft-2");
        let remains = open(&dir).await.unwrap();
        assert_eq!(remains.state().version, finalized);
        let written = remains.write(next.clone(), Uuid::from_u128(9), AT).await;
        written.unwrap();
        let file = SnapshotFile::new(&next, Finalized::default());
        let image = file.read().unwrap().unwrap();
        let bytes = fs::read(next.join("snapshot")).unwrap();
        let after_header = bytes[b"HFSNAP01".len() + 4];
        assert_eq!((after_header, image.state[0]), (version, version));
    }
}
