//! The cost of heartbeats at the largest site, computed from the function that decides which node
//! gets which reports.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of test functions"
)]

use holdfast_consensus::VOTERS_MAX;
use holdfast_consensus::codec::{self, Finalized};
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command, admission};
use holdfast_consensus::model::{Actor, CameraSpec, KeyHash, NodeSpec};
use holdfast_consensus::observe::heartbeat::{
    Audience, HEARTBEAT_INTERVAL, Heartbeat, Progress, RecorderState,
};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, StreamId};
use holdfast_storage::time::Timestamp;
use uuid::Uuid;

const NODES: u64 = 100;
/// Cameras of each node at 10,000 in all.
const CAMERAS_PER_NODE: u32 = 100;
/// Nodes with cameras in this test, voters and others: what a node sends does not depend on the
/// others' cameras.
const OWNERS: [u64; 5] = [1, 5, 6, 51, 100];
const NOW: Timestamp = Timestamp(1_795_341_600_000_000);
/// Heads of a request and of an answer on the wire, with a secret of 64 characters, and the
/// answer's body.
const HTTP_BYTES: usize = 170 + 120 + 20;
/// The sender's part before the heartbeat: its process, its address, its durable position.
const SENDER_BYTES: usize = 64;
const BYTES_PER_SECOND_MAX: usize = 240_000;

fn node(number: u64) -> NodeSpec {
    let (peer, api) = (
        format!("10.0.0.{number}:8481"),
        format!("10.0.0.{number}:8480"),
    );
    NodeSpec {
        camera_capacity: 1_000,
        ..NodeSpec::new(&format!("n{number}"), &peer, &api).unwrap()
    }
}

fn camera(number: u32) -> CameraSpec {
    CameraSpec::new(&format!("c{number}"), &format!("rtsp://10.1.0.1/{number}")).unwrap()
}

/// The successors of a node's cameras are all other nodes in turn.
fn site() -> ClusterState {
    let mut state = ClusterState::default();
    state
        .apply(
            Command::Initialize {
                cluster: Uuid::nil(),
                node: node(1),
                key: KeyHash::default(),
            }
            .by(Actor::System, NOW),
        )
        .unwrap();
    for number in 2..=NODES {
        for command in admission(node(number), NOW) {
            state.apply(command.by(Actor::System, NOW)).unwrap();
        }
    }
    let mut changes = Vec::new();
    for (owner, turn) in OWNERS
        .into_iter()
        .flat_map(|owner| (0..CAMERAS_PER_NODE).map(move |turn| (owner, turn)))
    {
        let number = u32::try_from(changes.len()).unwrap() + 1;
        state
            .apply(
                Command::CreateCamera {
                    spec: camera(number),
                    only_after: None,
                }
                .by(Actor::System, NOW),
            )
            .unwrap();
        let successor = Some(NodeId((owner + u64::from(turn) % (NODES - 1)) % NODES + 1));
        let op = AssignmentOp::Place {
            owner: NodeId(owner),
            mirror: None,
            successor,
        };
        changes.push(AssignmentChange {
            camera: CameraId(number),
            expect: Epoch(0),
            op,
        });
    }
    state
        .apply(Command::Assign { changes }.by(Actor::System, NOW))
        .unwrap();
    state
}

fn heartbeat(state: &ClusterState, from: NodeId) -> Heartbeat {
    let progress = |camera| Progress {
        stream: StreamId::main(camera),
        epoch: Epoch(1_000),
        rank: Rank::Owner,
        state: RecorderState::Recording,
        watermark: Some(NOW),
        first_keyframe: Some(NOW),
        error: None,
        bitrate_bps: Some(2_000_000),
        patience_ms: None,
        exposure: None,
    };
    let recorders = state.owned_by(from).map(progress).collect();
    Heartbeat {
        from,
        boot: 1 << 50,
        sequence: 1 << 30,
        sent_at: NOW,
        writable: true,
        recorders,
        probes: Vec::new(),
        vouches: true,
    }
}

/// What `from` sends per second, depending on whether it votes.
fn bytes_per_second(state: &ClusterState, voters: &[NodeId], from: NodeId) -> usize {
    let heartbeat = heartbeat(state, from);
    let audience = Audience::of(
        state,
        voters,
        heartbeat
            .recorders
            .iter()
            .map(|progress| progress.stream.camera),
    );
    let others = state.nodes.keys().filter(|node| *node != from);
    let encoded = |node| {
        let heartbeat = heartbeat.to(node, &audience);
        codec::encode(&heartbeat, &Finalized::default())
            .unwrap()
            .len()
    };
    let once: usize = others
        .map(|node| encoded(node) + SENDER_BYTES + HTTP_BYTES)
        .sum();
    once * 1000 / HEARTBEAT_INTERVAL.as_millis() as usize
}

#[test]
fn a_hundred_nodes_with_ten_thousand_cameras_send_each_other_little() {
    let state = site();
    let voters: Vec<NodeId> = (1..=VOTERS_MAX as u64).map(NodeId).collect();
    for from in OWNERS.map(NodeId) {
        let bytes = bytes_per_second(&state, &voters, from);
        println!("node {from}: {bytes} bytes per second");
        assert!(
            bytes <= BYTES_PER_SECOND_MAX,
            "node {from} sends {bytes} bytes per second"
        );
    }
    let all: Vec<NodeId> = state.nodes.keys().collect();
    assert!(
        bytes_per_second(&state, &all, NodeId(51)) > 4 * BYTES_PER_SECOND_MAX,
        "sending everything to every node costs more"
    );
}

#[test]
fn voters_get_all_reports_and_others_those_that_concern_them() {
    let mut state = site();
    let voters = [NodeId(1), NodeId(2), NodeId(3)];
    let (camera, owner) = (state.owned_by(NodeId(51)).nth(7).unwrap(), NodeId(51));
    let successor = state.assignments.get(camera).unwrap().successor.unwrap();
    let includes = |state: &ClusterState, of: NodeId| {
        let audience = Audience::of(
            state,
            &voters,
            heartbeat(state, of)
                .recorders
                .iter()
                .map(|progress| progress.stream.camera),
        );
        move |node: NodeId| audience.includes(node, camera)
    };
    let audience = includes(&state, owner);
    assert!(voters.into_iter().all(&audience) && audience(successor) && !audience(NodeId(90)));

    // The previous owner learns of its heir's keyframe, and then stops.
    let heir = NodeId(100);
    let op = AssignmentOp::TakeOver {
        owner: heir,
        mirror: None,
        successor: None,
        watermark: None,
    };
    let changes = vec![AssignmentChange {
        camera,
        expect: state.assignments.get(camera).unwrap().epoch,
        op,
    }];
    state
        .apply(Command::Assign { changes }.by(Actor::System, NOW))
        .unwrap();
    let audience = includes(&state, heir);
    assert!(audience(owner) && !audience(NodeId(70)));
}
