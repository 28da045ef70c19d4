//! Which cameras a successor asks, and how often.

use super::*;
use crate::capture::ingest::backoff::{DELAY_MAX, REFUSED_DELAY_MIN};
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command, admission};
use holdfast_consensus::model::{Actor, CameraSpec, KeyHash, NodeSpec};
use holdfast_consensus::observe::liveness::Verdict;
use holdfast_storage::ids::{Epoch, Rank, StreamId};
use uuid::Uuid;

const CAMERA: CameraId = CameraId(1);
const ME: NodeId = NodeId(2);
const OWNER: NodeId = NodeId(1);

fn node(name: &str) -> NodeSpec {
    NodeSpec::new(
        name,
        &format!("{name}.example:8481"),
        &format!("{name}.example:8480"),
    )
    .unwrap()
}

/// Node 1 owns the camera, node 2 succeeds.
fn state() -> ClusterState {
    let mut state = ClusterState::default();
    let op = AssignmentOp::Place {
        owner: OWNER,
        mirror: None,
        successor: Some(ME),
    };
    let [invite, join] = admission(node("b"), Timestamp(0));
    for command in [
        Command::Initialize {
            cluster: Uuid::from_u128(1),
            node: node("a"),
            key: KeyHash::default(),
        },
        invite,
        join,
        Command::CreateCamera {
            spec: CameraSpec::new("gate", "rtsp://camera.example/1").unwrap(),
            only_after: None,
        },
        Command::Assign {
            changes: vec![AssignmentChange {
                camera: CAMERA,
                expect: Epoch(0),
                op,
            }],
        },
    ] {
        state
            .apply(command.by(Actor::System, Timestamp(0)))
            .unwrap();
    }
    state
}

fn sight(recorder: RecorderState, watermark: i64) -> Sight {
    let progress = Progress {
        stream: StreamId::main(CAMERA),
        epoch: Epoch(1),
        rank: Rank::Owner,
        state: recorder,
        watermark: Some(Timestamp(watermark)),
        first_keyframe: Some(Timestamp(0)),
        error: None,
        bitrate_bps: None,
        patience_ms: None,
        exposure: None,
    };
    Sight {
        verdicts: [(OWNER, Verdict::Alive)].into(),
        progress: [(OWNER, progress)].into_iter().collect(),
        ..Sight::default()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_failing_owners_camera_is_asked_at_once_and_then_ever_more_rarely() {
    let (mut schedule, state, failing) = (
        Schedule::default(),
        state(),
        sight(RecorderState::Failing, 0),
    );
    let mut asked_at = Vec::new();
    for now in (0..60_000).step_by(100) {
        if !schedule.look(ms(now), ME, &state, &failing).is_empty() {
            asked_at.push(now);
            schedule.answered(ms(now), CAMERA, 1, Answer::Silent, u32::MAX);
        }
    }
    assert_eq!(asked_at[..5], [0, 500, 1_500, 3_500, 7_500]);
    assert_eq!(
        asked_at[asked_at.len() - 1] - asked_at[asked_at.len() - 2],
        DELAY_MAX.as_millis() as u64
    );
    assert_eq!(
        schedule.known(),
        [Probe {
            camera: CAMERA,
            reachable: false
        }]
    );
}

#[test]
fn there_is_nothing_to_look_for_where_it_is_no_cameras_successor() {
    let (mut schedule, state, recording) = (
        Schedule::default(),
        state(),
        sight(RecorderState::Recording, 0),
    );
    assert!(!schedule.rests(), "before the first look");
    schedule.look(ms(0), OWNER, &state, &recording);
    assert!(schedule.rests());
    schedule.look(ms(100), ME, &state, &recording);
    assert!(!schedule.rests());
}

#[test]
fn what_is_known_goes_when_the_owner_records() {
    let (mut schedule, state) = (Schedule::default(), state());
    assert_eq!(
        schedule.look(ms(0), ME, &state, &sight(RecorderState::Failing, 0)),
        [CAMERA]
    );
    assert!(schedule.known().is_empty(), "it has not answered yet");
    schedule.answered(ms(10), CAMERA, 1, Answer::Reached, 0);
    assert_eq!(
        schedule.known(),
        [Probe {
            camera: CAMERA,
            reachable: true
        }]
    );
    assert!(
        schedule
            .look(ms(100), ME, &state, &sight(RecorderState::Failing, 0))
            .is_empty()
    );
    schedule.look(ms(200), ME, &state, &sight(RecorderState::Recording, 5));
    assert!(schedule.known().is_empty());
}

#[test]
fn a_camera_that_was_away_for_all_nodes_is_left_to_its_owner_for_a_while() {
    let (mut schedule, state, failing) = (
        Schedule::default(),
        state(),
        sight(RecorderState::Failing, 0),
    );
    schedule.look(ms(0), ME, &state, &failing);
    schedule.answered(ms(0), CAMERA, 1, Answer::Silent, 0);
    let mut reached = Vec::new();
    for now in (1_000..=10_000).step_by(1_000) {
        if !schedule.look(ms(now), ME, &state, &failing).is_empty() {
            schedule.answered(ms(now), CAMERA, 1, Answer::Reached, 0);
        }
        reached.extend(schedule.known().iter().map(|probe| probe.reachable));
    }
    assert_eq!(
        reached,
        [
            false, false, false, false, false, false, false, false, true, true
        ]
    );
}

#[test]
fn a_session_that_opens_for_a_moment_does_not_make_an_absence_forgotten() {
    let (mut schedule, state) = (Schedule::default(), state());
    let (failing, starting) = (
        sight(RecorderState::Failing, 0),
        sight(RecorderState::Starting, 0),
    );
    schedule.look(ms(0), ME, &state, &failing);
    schedule.answered(ms(0), CAMERA, 1, Answer::Silent, 0);
    assert!(
        schedule.look(ms(3_000), ME, &state, &starting).is_empty(),
        "a recorder that starts is left alone"
    );
    assert_eq!(schedule.look(ms(3_100), ME, &state, &failing), [CAMERA]);
    schedule.answered(ms(3_200), CAMERA, 1, Answer::Reached, 0);
    assert_eq!(
        schedule.known(),
        [Probe {
            camera: CAMERA,
            reachable: false
        }]
    );
    // A recording that continues after an outage has not stood still since before the outage.
    assert!(
        schedule
            .look(ms(3_300), ME, &state, &sight(RecorderState::Recording, 0))
            .is_empty()
    );
}

#[test]
fn a_recording_that_stands_still_is_looked_after_before_its_owner_complains() {
    let (mut schedule, state) = (Schedule::default(), state());
    for now in (0..2_000).step_by(100) {
        assert!(
            schedule
                .look(ms(now), ME, &state, &sight(RecorderState::Recording, 7))
                .is_empty(),
            "{now}"
        );
    }
    assert_eq!(
        schedule.look(ms(2_000), ME, &state, &sight(RecorderState::Recording, 7)),
        [CAMERA]
    );
}

#[test]
fn only_the_successor_asks_and_only_while_the_owner_is_alive() {
    let (mut schedule, state, failing) = (
        Schedule::default(),
        state(),
        sight(RecorderState::Failing, 0),
    );
    assert!(schedule.look(ms(0), NodeId(3), &state, &failing).is_empty());
    let dead = Sight {
        verdicts: BTreeMap::new(),
        ..failing
    };
    assert!(schedule.look(ms(0), ME, &state, &dead).is_empty());
}

#[test]
fn a_refused_login_is_not_tried_again_soon() {
    let (mut schedule, state, failing) = (
        Schedule::default(),
        state(),
        sight(RecorderState::Failing, 0),
    );
    schedule.look(ms(0), ME, &state, &failing);
    schedule.answered(ms(0), CAMERA, 1, Answer::LoginRefused, 0);
    assert!(
        schedule
            .look(REFUSED_DELAY_MIN - ms(1), ME, &state, &failing)
            .is_empty()
    );
    assert_eq!(
        schedule.look(REFUSED_DELAY_MIN, ME, &state, &failing),
        [CAMERA]
    );
}
