//! Deleted cameras come back as they were; those of other clusters keep one number permanently.

use super::*;
use crate::command::{AssignmentChange, AssignmentOp, Command, admission};
use crate::generation::Recovered;
use crate::model::{ExportSpec, KeyHash, NodeSpec, OperatorName, Secret, Source};
use holdfast_storage::ids::{Epoch, NodeId};

const HERE: Uuid = Uuid::from_u128(1);
const THERE: Uuid = Uuid::from_u128(2);

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1_000_000)
}

fn apply(state: &mut ClusterState, second: i64, command: Command) -> Result<Response, Rejection> {
    state.apply(command.by(Actor::Operator(OperatorName::admin()), at(second)))
}

fn founded() -> ClusterState {
    let mut state = ClusterState::default();
    let node = NodeSpec::new("a", "a:1", "a:2").unwrap();
    apply(
        &mut state,
        0,
        Command::Initialize {
            cluster: HERE,
            node,
            key: KeyHash::default(),
        },
    )
    .unwrap();
    state
}

fn spec(name: &str) -> CameraSpec {
    CameraSpec::new(name, "rtsp://c/1").unwrap()
}

fn add(state: &mut ClusterState, name: &str) -> CameraId {
    match apply(
        state,
        1,
        Command::CreateCamera {
            spec: spec(name),
            only_after: None,
        },
    ) {
        Ok(Response::Camera { camera, .. }) => camera,
        other => panic!("{other:?}"),
    }
}

fn place(state: &mut ClusterState, camera: CameraId) -> Epoch {
    let op = AssignmentOp::Place {
        owner: NodeId(1),
        mirror: None,
        successor: None,
    };
    let expect = state.assignments.get(camera).unwrap().epoch;
    apply(
        state,
        2,
        Command::Assign {
            changes: vec![AssignmentChange { camera, expect, op }],
        },
    )
    .unwrap();
    state.assignments.get(camera).unwrap().epoch
}

fn export(camera: CameraId) -> ExportSpec {
    ExportSpec {
        name: "case".parse().unwrap(),
        cameras: vec![camera],
        from: at(1),
        to: at(2),
        strict: false,
    }
}

fn restore(camera: CameraId, name: Option<&str>) -> Command {
    Command::RestoreCamera {
        camera,
        name: name.map(|name| name.parse().unwrap()),
        only_after: None,
    }
}

fn adopt(state: &mut ClusterState, cameras: &[(u32, &str)]) -> Vec<u32> {
    let adopted = |(camera, name): &(u32, &str)| AdoptedCamera {
        camera: CameraId(*camera),
        name: name.parse().unwrap(),
    };
    let command = Command::AdoptCameras {
        cluster: THERE,
        cameras: cameras.iter().map(adopted).collect(),
    };
    match apply(state, 9, command) {
        Ok(Response::Cameras(numbers)) => numbers.into_iter().map(|id| id.0).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deleted_camera_comes_back_with_its_number_settings_and_credentials() {
    let mut state = founded();
    let gate = add(&mut state, "gate");
    let credentials =
        crate::model::Credentials::new("viewer".to_owned(), Some(Secret("p".to_owned()))).unwrap();
    let source = Source {
        credentials: Some(credentials),
        ..spec("gate").source
    };
    let spec = CameraSpec {
        source,
        priority: 7,
        ..spec("gate")
    };
    let update = Command::UpdateCamera {
        camera: gate,
        spec: spec.clone(),
        expect_revision: 1,
    };
    apply(&mut state, 1, update).unwrap();
    let before = place(&mut state, gate);
    apply(&mut state, 5, Command::DeleteCamera { camera: gate }).unwrap();
    let former = state.former.get(gate).unwrap();
    assert_eq!((former.name.as_str(), former.since), ("gate", at(5)));
    assert_eq!(former.by, Actor::Operator(OperatorName::admin()));
    assert_eq!(
        state.tenures(gate).last().unwrap().until,
        Some(at(5)),
        "its owner's time is over"
    );
    assert_eq!(
        state.pauses(gate),
        [Pause {
            from: at(5),
            to: Timestamp::MAX
        }]
    );
    assert!(!state.cameras.contains(gate) && !state.assignments.contains(gate));

    assert_eq!(
        apply(&mut state, 6, restore(gate, None)),
        Ok(Response::Camera {
            camera: gate,
            revision: 3
        })
    );
    assert_eq!(state.cameras.get(gate).unwrap().spec, spec);
    assert!(!state.former.contains(gate));
    assert_eq!(
        state.pauses(gate),
        [Pause {
            from: at(5),
            to: at(6)
        }]
    );
    assert!(place(&mut state, gate) > before, "epochs only grow");
    assert_eq!(
        apply(&mut state, 7, restore(gate, None)),
        Err(Rejection::NotDeleted(gate))
    );
}

#[test]
fn a_name_that_is_taken_needs_another_and_a_node_that_has_left_is_not_preferred() {
    let mut state = founded();
    let gate = add(&mut state, "gate");
    let preferring = CameraSpec {
        preferred_node: Some(NodeId(1)),
        ..spec("gate")
    };
    apply(
        &mut state,
        1,
        Command::UpdateCamera {
            camera: gate,
            spec: preferring,
            expect_revision: 1,
        },
    )
    .unwrap();
    apply(&mut state, 2, Command::DeleteCamera { camera: gate }).unwrap();
    assert_eq!(
        add(&mut state, "gate"),
        CameraId(2),
        "its number is never given again"
    );
    assert_eq!(
        apply(&mut state, 3, restore(gate, None))
            .unwrap_err()
            .code(),
        "duplicate-camera-name"
    );
    let second = NodeSpec::new("b", "b:1", "b:2").unwrap();
    for command in admission(second, Timestamp(3)) {
        apply(&mut state, 3, command).unwrap();
    }
    apply(
        &mut state,
        3,
        Command::RemoveNode {
            node: NodeId(1),
            force: true,
        },
    )
    .unwrap();
    apply(&mut state, 3, restore(gate, Some("old gate"))).unwrap();
    let restored = &state.cameras.get(gate).unwrap().spec;
    assert_eq!(
        (restored.name.as_str(), restored.preferred_node),
        ("old gate", None)
    );
}

#[test]
fn strict_headroom_is_looked_for_before_a_camera_comes_back() {
    let mut state = founded();
    let gate = add(&mut state, "gate");
    apply(&mut state, 2, Command::DeleteCamera { camera: gate }).unwrap();
    let strict = crate::model::SettingsChange {
        headroom: Some(HeadroomRule::Strict),
        ..Default::default()
    };
    apply(&mut state, 2, Command::ChangeSettings(strict)).unwrap();
    assert_eq!(
        apply(&mut state, 3, restore(gate, None)),
        Err(Rejection::HeadroomUnchecked)
    );
    let checked = Command::RestoreCamera {
        camera: gate,
        name: None,
        only_after: Some(gate),
    };
    assert!(apply(&mut state, 3, checked).is_ok());
}

#[test]
fn cameras_of_another_cluster_get_one_number_each_for_good() {
    let mut state = founded();
    add(&mut state, "gate");
    assert_eq!(adopt(&mut state, &[(1, "gate"), (7, "yard")]), [2, 3]);
    assert_eq!(
        adopt(&mut state, &[(7, "yard"), (8, "lift"), (1, "gate")]),
        [3, 4, 2],
        "another disk of that cluster"
    );
    assert_eq!(add(&mut state, "door"), CameraId(5));
    assert_eq!(
        apply(&mut state, 9, restore(CameraId(3), None)),
        Err(Rejection::NotRestorable(CameraId(3)))
    );
    let own = Command::AdoptCameras {
        cluster: HERE,
        cameras: Vec::new(),
    };
    assert_eq!(apply(&mut state, 9, own).unwrap_err().code(), "invalid");
    apply(
        &mut state,
        9,
        Command::ForgetCameras {
            cameras: vec![
                (CameraId(3), at(8)),
                (CameraId(2), at(9)),
                (CameraId(1), at(9)),
            ],
        },
    )
    .unwrap();
    assert!(
        state.former.contains(CameraId(3)),
        "it is another deletion that was meant"
    );
    assert!(
        !state.former.contains(CameraId(2)) && state.cameras.contains(CameraId(1)),
        "what is recorded stays"
    );
}

#[test]
fn of_too_many_the_oldest_are_forgotten() {
    let mut state = founded();
    let numbers: Vec<(u32, String)> = (1..=FORMER_CAMERAS_MAX as u32)
        .map(|n| (n, format!("c{n}")))
        .collect();
    let gate = add(&mut state, "gate");
    apply(&mut state, 5, Command::DeleteCamera { camera: gate }).unwrap();
    let cameras: Vec<(u32, &str)> = numbers
        .iter()
        .map(|(n, name)| (*n, name.as_str()))
        .collect();
    let adopted = |(camera, name): &(u32, &str)| AdoptedCamera {
        camera: CameraId(*camera),
        name: name.parse().unwrap(),
    };
    let all = Command::AdoptCameras {
        cluster: THERE,
        cameras: cameras.iter().map(adopted).collect(),
    };
    assert_eq!(
        apply(&mut state, 9, all).unwrap_err().code(),
        "too-many",
        "a deleted camera can be restored"
    );
    adopt(&mut state, &cameras[1..]);
    assert_eq!(
        (state.former.len(), state.former.contains(gate)),
        (FORMER_CAMERAS_MAX, true)
    );
    let door = add(&mut state, "door");
    apply(&mut state, 10, Command::DeleteCamera { camera: door }).unwrap();
    let are_kept = state.former.contains(door) && state.former.contains(gate);
    assert_eq!(
        (state.former.len(), are_kept),
        (FORMER_CAMERAS_MAX, true),
        "one of another cluster goes"
    );
    for n in 0..FORMER_CAMERAS_MAX {
        let camera = add(&mut state, &format!("d{n}"));
        apply(&mut state, 11, Command::DeleteCamera { camera }).unwrap();
    }
    assert_eq!(state.former.len(), FORMER_CAMERAS_MAX);
    assert!(
        !state.former.contains(gate) && state.tenures(gate).is_empty(),
        "the oldest of its own"
    );
}

#[test]
fn a_deleted_camera_that_a_backup_brings_back_continues_in_its_epochs() {
    let mut state = founded();
    let gate = add(&mut state, "gate");
    place(&mut state, gate);
    apply(&mut state, 3, Command::CreateExport { spec: export(gate) }).unwrap();
    let recovered = Recovered {
        by: NodeId(1),
        at: at(4),
    };
    let generation = state
        .generation()
        .unwrap()
        .next(Uuid::from_u128(7), recovered);
    state.recover(NodeId(1), generation, at(4)).unwrap();
    let before = place(&mut state, gate);
    apply(&mut state, 5, Command::DeleteCamera { camera: gate }).unwrap();
    let back = Command::ReinstateCamera {
        camera: Some(gate),
        spec: spec("gate"),
    };
    apply(&mut state, 7, back).unwrap();
    assert!(
        !state.former.contains(gate),
        "it is no deleted camera any more"
    );
    assert_eq!(
        state.pauses(gate),
        [Pause {
            from: at(5),
            to: at(7)
        }]
    );
    assert!(place(&mut state, gate) > before, "epochs only grow");
    let next = apply(&mut state, 8, Command::CreateExport { spec: export(gate) });
    let Ok(Response::Export(next)) = next else {
        panic!("{next:?}")
    };
    assert!(
        next.0 > u64::from(crate::state::NUMBERS_LEAP),
        "the lost members may have given out {next}"
    );
}
