//! What a node decides, event by event.

mod suspects;

use super::*;
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, admission};
use holdfast_consensus::model::{Actor, CameraSpec, KeyHash, NodeSpec};
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_storage::ids::{Epoch, Rank, StreamId};
use uuid::Uuid;

const CAMERA: CameraId = CameraId(1);
const WALL: Timestamp = Timestamp(1_795_341_600_000_000);

fn node(name: &str) -> NodeSpec {
    NodeSpec::new(
        name,
        &format!("{name}.example:8481"),
        &format!("{name}.example:8480"),
    )
    .unwrap()
}

/// Nodes 1 to 3; node 2 owns the camera, node 1 succeeds.
fn state() -> Arc<ClusterState> {
    let mut state = ClusterState::default();
    let mut apply = |command: Command| drop(state.apply(command.by(Actor::System, WALL)).unwrap());
    apply(Command::Initialize {
        cluster: Uuid::from_u128(1),
        node: node("a"),
        key: KeyHash::default(),
    });
    let others = ["b", "c"].map(|name| admission(node(name), WALL));
    others.into_iter().flatten().for_each(&mut apply);
    let spec = CameraSpec::new("gate", "rtsp://camera.example/1").unwrap();
    apply(Command::CreateCamera {
        spec,
        only_after: None,
    });
    let op = AssignmentOp::Place {
        owner: NodeId(2),
        mirror: None,
        successor: Some(NodeId(1)),
    };
    apply(Command::Assign {
        changes: vec![AssignmentChange {
            camera: CAMERA,
            expect: Epoch(0),
            op,
        }],
    });
    Arc::new(state)
}

fn heartbeat(from: u64, ms: u64) -> Event {
    let recorders = vec![Progress {
        stream: StreamId::main(CAMERA),
        epoch: Epoch(1),
        rank: Rank::Owner,
        state: RecorderState::Recording,
        watermark: Some(WALL.plus(Duration::from_millis(ms))),
        first_keyframe: Some(WALL),
        error: None,
        bitrate_bps: None,
        patience_ms: None,
        exposure: None,
    }];
    let recorders = if from == 2 { recorders } else { Vec::new() };
    Event::Link(LinkEvent::Heartbeat(Heartbeat {
        from: NodeId(from),
        boot: 1,
        sequence: ms,
        sent_at: WALL,
        writable: true,
        recorders,
        probes: Vec::new(),
        vouches: false,
    }))
}

fn tick() -> Event {
    Event::Tick(Own {
        recorders: Vec::new(),
        writable: true,
        probes: Vec::new(),
        vouches: false,
    })
}

fn leader(node: u64) -> Event {
    let voters = vec![NodeId(1), NodeId(2), NodeId(3)];
    Event::Leadership(Leadership {
        term: 1,
        leader: Some(NodeId(node)),
        is_leader: node == 1,
        voters,
    })
}

struct Story {
    pilot: Pilot,
}

impl Story {
    /// Node 1, one second after its start; the others have been heard all the time.
    fn begin(leading: bool) -> Self {
        let mut story = Self {
            pilot: Pilot::new(NodeId(1), state(), Duration::ZERO),
        };
        if leading {
            story.feed(0, leader(1));
        }
        for ms in (0..=1_000).step_by(100) {
            story.feed(ms, heartbeat(2, ms));
            story.feed(ms, heartbeat(3, ms));
            story.feed(ms, tick());
        }
        story
    }

    fn feed(&mut self, ms: u64, event: Event) -> Decision {
        let now = Duration::from_millis(ms);
        self.pilot.apply(event, now, WALL.plus(now))
    }
}

#[test]
fn a_heartbeat_that_reports_nothing_new_decides_nothing() {
    let mut story = Story::begin(true);
    let decision = story.feed(1_050, heartbeat(2, 1_050));
    assert!(
        decision.desired.is_none() && decision.proposals.is_empty() && decision.sight.is_none()
    );
}

#[test]
fn a_successor_records_when_its_owner_refuses_without_asking_anyone() {
    let mut story = Story::begin(false);
    let decision = story.feed(1_050, Event::Link(LinkEvent::Refused(NodeId(2))));
    let desired = decision.desired.unwrap();
    assert_eq!(
        (desired[&CAMERA].epoch, desired[&CAMERA].rank),
        (Epoch(1), Rank::Successor)
    );
    assert!(decision.proposals.is_empty(), "it does not lead");
}

#[test]
fn a_leader_proposes_once_and_waits_for_the_outcome() {
    let mut story = Story::begin(true);
    let refused = || Event::Link(LinkEvent::Refused(NodeId(2)));
    let decision = story.feed(1_050, refused());
    assert!(
        matches!(decision.proposals.as_slice(), [Command::Assign { changes }] if changes.len() == 1)
    );
    assert!(story.feed(1_500, tick()).proposals.is_empty());
    story.feed(1_550, Event::Proposed);
    assert!(
        !story.feed(1_800, tick()).proposals.is_empty(),
        "the state is as it was: it proposes again"
    );
}

#[test]
fn a_node_that_was_stopped_itself_suspects_no_other() {
    for first in [heartbeat(3, 9_000), leader(3), Event::Proposed, tick()] {
        let mut story = Story::begin(true);
        let decision = story.feed(9_000, first);
        assert!(decision.proposals.is_empty());
        assert!(decision.desired.unwrap_or_default().is_empty());
        assert!(story.pilot.sight.is_alive(NodeId(2)));
    }
}

#[test]
fn a_silent_owner_is_succeeded_after_a_second() {
    let mut story = Story::begin(false);
    for ms in (1_100..2_200).step_by(100) {
        story.feed(ms, heartbeat(3, ms));
        story.feed(ms, tick());
    }
    let decision = story.feed(2_200, tick());
    assert!(decision.desired.unwrap().contains_key(&CAMERA));
}

#[test]
fn a_recorder_that_is_reported_no_more_keeps_its_watermark_and_is_not_called_recording() {
    let mut story = Story::begin(false);
    let gone = Heartbeat {
        from: NodeId(2),
        boot: 1,
        sequence: 1_050,
        sent_at: WALL,
        writable: true,
        recorders: Vec::new(),
        probes: Vec::new(),
        vouches: false,
    };
    story.feed(1_050, Event::Link(LinkEvent::Heartbeat(gone)));
    let report = story.pilot.sight.progress.main(NodeId(2), CAMERA).unwrap();
    assert_eq!(report.state, RecorderState::Starting);
    assert_eq!(report.watermark, Some(WALL.plus(Duration::from_secs(1))));
}
