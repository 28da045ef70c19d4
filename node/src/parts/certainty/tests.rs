//! What the other clocks say, and which cameras get a new epoch.

use super::*;
use crate::capture::recorder::status::{Identity, StatusCell};
use holdfast_consensus::command::admission;
use holdfast_consensus::model::{CameraSpec, KeyHash, NodeSpec};
use holdfast_consensus::observe::clocks::Offset;
use holdfast_consensus::observe::liveness::Verdict;
use holdfast_storage::ids::{Rank, StreamId, StreamKind};
use uuid::Uuid;

const ME: NodeId = NodeId(1);
const WALL: Timestamp = Timestamp(1_795_341_600_000_000);
const LONG: Duration = Duration::from_secs(600);

fn node(name: &str) -> NodeSpec {
    NodeSpec::new(
        name,
        &format!("{name}.example:8481"),
        &format!("{name}.example:8480"),
    )
    .unwrap()
}

/// A cluster of so many nodes; node 1 owns camera 1 in epoch 1.
fn state(nodes: u128) -> ClusterState {
    let mut state = ClusterState::default();
    let mut apply = |command: Command| drop(state.apply(command.by(Actor::System, WALL)).unwrap());
    apply(Command::Initialize {
        cluster: Uuid::from_u128(1),
        node: node("n1"),
        key: KeyHash::default(),
    });
    (2..=nodes).for_each(|n| {
        let commands = admission(node(&format!("n{n}")), WALL);
        commands.into_iter().for_each(&mut apply);
    });
    apply(Command::CreateCamera {
        spec: CameraSpec::new("gate", "rtsp://c.example/1").unwrap(),
        only_after: None,
    });
    let op = AssignmentOp::Place {
        owner: ME,
        mirror: None,
        successor: None,
    };
    apply(Command::Assign {
        changes: vec![AssignmentChange {
            camera: CameraId(1),
            expect: Epoch(0),
            op,
        }],
    });
    state
}

/// Nodes that are alive, and how many seconds their clocks are ahead.
fn sight(ahead_s: &[(u64, i64)]) -> Sight {
    let mut sight = Sight::default();
    for (node, ahead_s) in ahead_s {
        sight.verdicts.insert(NodeId(*node), Verdict::Alive);
        sight.clocks.insert(
            NodeId(*node),
            Offset {
                micros: ahead_s * 1_000_000,
                error_us: 500,
            },
        );
    }
    sight
}

#[test]
fn others_are_waited_for_and_then_the_node_judges_alone() {
    assert_eq!(
        peer_clocks(ME, &state(1), &sight(&[]), Duration::ZERO),
        PeerClocks::Alone
    );
    assert_eq!(
        peer_clocks(ME, &state(3), &sight(&[]), Duration::ZERO),
        PeerClocks::Awaited
    );
    assert_eq!(
        peer_clocks(ME, &state(3), &sight(&[]), LONG),
        PeerClocks::Alone,
        "the others are gone"
    );
}

#[test]
fn those_that_live_agree_or_do_not_and_vouch_only_where_they_agree() {
    let seen = sight(&[(1, 0), (2, 1), (3, -63_072_000)]);
    let heard = |is_vouched| PeerClocks::Heard {
        agreeing: 1,
        disagreeing: 1,
        is_vouched,
    };
    assert_eq!(peer_clocks(ME, &state(3), &seen, LONG), heard(false));
    let wrong = Sight {
        vouching: [NodeId(3)].into(),
        ..seen.clone()
    };
    assert_eq!(peer_clocks(ME, &state(3), &wrong, LONG), heard(false));
    let right = Sight {
        vouching: [NodeId(2)].into(),
        ..seen
    };
    assert_eq!(peer_clocks(ME, &state(3), &right, LONG), heard(true));
}

fn recorder(epoch: u64, ahead_us: i64) -> Status {
    recorder_of(StreamKind::Main, epoch, ahead_us)
}

fn recorder_of(kind: StreamKind, epoch: u64, ahead_us: i64) -> Status {
    let stream = StreamId {
        camera: CameraId(1),
        kind,
    };
    let identity = Identity {
        epoch: Epoch(epoch),
        rank: Rank::Owner,
    };
    let cell = StatusCell::new(stream, identity);
    cell.recorded(WALL, WALL.plus_micros(ahead_us), true);
    cell.read()
}

#[test]
fn a_camera_gets_one_new_epoch_whichever_of_its_streams_ran_ahead() {
    let renewed = |main_us, sub_us| {
        let main = recorder_of(StreamKind::Main, 1, main_us);
        let sub = recorder_of(StreamKind::Sub, 1, sub_us);
        renewals(ME, &state(2), &[main, sub], WALL).len()
    };
    let ahead = AHEAD_US_MAX + 1;
    assert_eq!([renewed(0, 0), renewed(ahead, 0)], [0, 1]);
    assert_eq!([renewed(0, ahead), renewed(ahead, ahead)], [1, 1]);
}

#[test]
fn a_camera_of_this_node_that_ran_ahead_gets_one_new_epoch() {
    let renewed = |me: NodeId, status: Status| renewals(me, &state(2), &[status], WALL).len();
    assert_eq!(renewed(ME, recorder(1, AHEAD_US_MAX + 1)), 1);
    assert_eq!(
        renewed(ME, recorder(1, AHEAD_US_MAX)),
        0,
        "a little comes back by itself"
    );
    assert_eq!(
        renewed(ME, recorder(2, AHEAD_US_MAX + 1)),
        0,
        "another epoch is on its way"
    );
    assert_eq!(
        renewed(NodeId(2), recorder(1, AHEAD_US_MAX + 1)),
        0,
        "it is another node's"
    );
}

#[test]
fn a_clock_that_was_set_a_moment_ago_is_not_steady() {
    let mut steady = Steady::default();
    let mut look = |s: u64, ahead_s: i64| {
        let uptime = Duration::from_secs(s);
        steady.look(uptime, WALL.plus(uptime).plus_micros(ahead_s * 1_000_000))
    };
    assert!(!look(0, 0) && !look(14, 0) && look(15, 0));
    assert!(!look(16, -3600) && !look(30, -3600) && look(31, -3600));
}
