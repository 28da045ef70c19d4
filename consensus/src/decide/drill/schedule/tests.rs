//! The schedule of a small site over hours.

use super::*;
use crate::command::{Command, admission};
use crate::model::{
    Actor, CameraSpec, DrillOp, DrillStart, DrillStep, KeyHash, NodeSpec, Outcome, Protection,
    SettingsChange,
};
use holdfast_storage::ids::{DrillId, NodeId};
use uuid::Uuid;

const HOUR_US: i64 = 3_600_000_000;
const PERIOD_S: u32 = 4 * 3600;

/// Two nodes, and cameras that the first one owns, the last of them gapless; all assigned at 0.
fn site(cameras: u32) -> ClusterState {
    let mut state = ClusterState::default();
    let node =
        |name: &str| NodeSpec::new(name, &format!("{name}:1"), &format!("{name}:2")).unwrap();
    state
        .apply(
            Command::Initialize {
                cluster: Uuid::nil(),
                node: node("n1"),
                key: KeyHash::default(),
            }
            .by(Actor::System, Timestamp(0)),
        )
        .unwrap();
    for command in admission(node("n2"), Timestamp(0)) {
        state
            .apply(command.by(Actor::System, Timestamp(0)))
            .unwrap();
    }
    for camera in 1..=cameras {
        let protection = if camera == cameras {
            Protection::Gapless
        } else {
            Protection::Standard
        };
        let spec = CameraSpec {
            protection,
            ..CameraSpec::new(&camera.to_string(), "rtsp://camera/").unwrap()
        };
        state
            .apply(
                Command::CreateCamera {
                    spec,
                    only_after: None,
                }
                .by(Actor::System, Timestamp(0)),
            )
            .unwrap();
        let (owner, successor) = (NodeId(1), Some(NodeId(2)));
        let op = crate::command::AssignmentOp::Place {
            owner,
            mirror: None,
            successor,
        };
        let changes = vec![crate::command::AssignmentChange {
            camera: CameraId(camera),
            expect: Default::default(),
            op,
        }];
        state
            .apply(Command::Assign { changes }.by(Actor::System, Timestamp(0)))
            .unwrap();
    }
    state
}

fn every(state: &mut ClusterState, seconds: u32) {
    let change = SettingsChange {
        drill_every_s: Some(seconds),
        ..SettingsChange::default()
    };
    state
        .apply(Command::ChangeSettings(change).by(Actor::System, Timestamp(0)))
        .unwrap();
}

/// A drill of `camera` that ends immediately.
fn drill(state: &mut ClusterState, camera: CameraId, at: Timestamp, outcome: Outcome) {
    let expect = state.assignments.get(camera).unwrap().epoch;
    let start = DrillStart {
        camera,
        expect,
        successor: Some(NodeId(2)),
        began_at: at,
        refusal: None,
    };
    state
        .apply(
            Command::BeginDrill {
                node: None,
                is_scheduled: true,
                starts: vec![start],
            }
            .by(Actor::System, at),
        )
        .unwrap();
    let drill = state.drills.log.keys().last().unwrap();
    let op = DrillOp::End {
        outcome,
        reason: None,
        is_handed_back: true,
    };
    state
        .apply(
            Command::StepDrills {
                steps: vec![DrillStep { camera, drill, op }],
            }
            .by(Actor::System, at),
        )
        .unwrap();
    assert!(state.drills.running.is_empty());
}

/// Lets `hours` pass from `from` and drills what is due, checking every ten minutes. Returns which
/// camera was drilled at which minute.
fn pass(state: &mut ClusterState, from: i64, hours: i64) -> Vec<(i64, u32)> {
    let mut begun = Vec::new();
    for now in (from..from + hours * HOUR_US)
        .step_by(600_000_000)
        .map(Timestamp)
    {
        if let Some(camera) = due(state, now).first().copied() {
            drill(state, camera, now, Outcome::Passed);
            begun.push((now.0 / 60_000_000, camera.0));
        }
    }
    begun
}

#[test]
fn each_camera_is_drilled_once_a_period_evenly_spread_and_gapless_ones_never() {
    let mut state = site(5);
    every(&mut state, PERIOD_S);
    let begun = pass(&mut state, HOUR_US, 9);
    assert_eq!(
        begun,
        [
            (60, 1),
            (120, 2),
            (180, 3),
            (240, 4),
            (300, 1),
            (360, 2),
            (420, 3),
            (480, 4),
            (540, 1)
        ],
        "four cameras every four hours: one an hour"
    );
}

#[test]
fn nothing_is_drilled_unless_asked_for() {
    let mut state = site(2);
    assert_eq!(due(&state, Timestamp(HOUR_US)), []);
    every(&mut state, PERIOD_S);
    assert_eq!(due(&state, Timestamp(HOUR_US)), [CameraId(1)]);
    every(&mut state, 0);
    assert_eq!(due(&state, Timestamp(HOUR_US)), []);
}

#[test]
fn the_camera_whose_last_result_is_oldest_is_next_and_an_aborted_one_is_tried_again() {
    let mut state = site(4);
    every(&mut state, PERIOD_S);
    drill(&mut state, CameraId(1), Timestamp(HOUR_US), Outcome::Failed);
    drill(
        &mut state,
        CameraId(2),
        Timestamp(2 * HOUR_US),
        Outcome::Aborted,
    );
    drill(
        &mut state,
        CameraId(3),
        Timestamp(3 * HOUR_US),
        Outcome::Passed,
    );
    assert_eq!(
        due(&state, Timestamp(3 * HOUR_US + 1)),
        [],
        "a third of the period has not passed"
    );
    assert_eq!(due(&state, Timestamp(5 * HOUR_US)), [2, 1].map(CameraId));
}

#[test]
fn where_something_moves_or_did_a_moment_ago_nothing_is_drilled() {
    let mut state = site(2);
    every(&mut state, PERIOD_S);
    let soon = Timestamp(QUIET_BEFORE.as_micros() as i64 - 1);
    assert_eq!(
        due(&state, soon),
        [],
        "the cameras were placed less than a minute ago"
    );
    let later = Timestamp(HOUR_US);
    assert_eq!(due(&state, later), [CameraId(1)]);

    let mut rebalancing = state.clone();
    rebalancing
        .apply(Command::BeginRebalance.by(Actor::System, later))
        .unwrap();
    assert_eq!(due(&rebalancing, later), []);

    let op = crate::command::AssignmentOp::BeginHandoff { to: NodeId(2) };
    let expect = state.assignments.get(CameraId(2)).unwrap().epoch;
    let changes = vec![crate::command::AssignmentChange {
        camera: CameraId(2),
        expect,
        op,
    }];
    state
        .apply(Command::Assign { changes }.by(Actor::System, later))
        .unwrap();
    assert_eq!(due(&state, later), []);
}

#[test]
fn one_at_a_time() {
    let mut state = site(3);
    every(&mut state, PERIOD_S);
    let (camera, at) = (CameraId(1), Timestamp(HOUR_US));
    let expect = state.assignments.get(camera).unwrap().epoch;
    let start = DrillStart {
        camera,
        expect,
        successor: Some(NodeId(2)),
        began_at: at,
        refusal: None,
    };
    let begin = Command::BeginDrill {
        node: None,
        is_scheduled: false,
        starts: vec![start],
    }
    .by(Actor::System, at);
    state.apply(begin).unwrap();
    assert_eq!(state.drills.log.keys().last(), Some(DrillId(1)));
    assert_eq!(due(&state, Timestamp(20 * HOUR_US)), []);
}
