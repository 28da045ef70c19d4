//! What a restore does to each thing, tried on the real state.

use super::*;
use holdfast_consensus::command::Response;
use holdfast_consensus::model::{
    Actor, Credentials, KeyHash, NodeSpec, RetentionClassName, Secret,
};
use holdfast_storage::time::Timestamp;
use uuid::Uuid;

const AT: Timestamp = Timestamp(1_795_341_600_000_000);

fn apply(state: &mut ClusterState, command: Command) -> Response {
    state.apply(command.by(Actor::System, AT)).unwrap()
}

fn cluster(id: u128, node: &str) -> ClusterState {
    let mut state = ClusterState::default();
    let node = NodeSpec::new(node, "10.0.0.1:8481", "10.0.0.1:8480").unwrap();
    apply(
        &mut state,
        Command::Initialize {
            cluster: Uuid::from_u128(id),
            node,
            key: KeyHash::default(),
        },
    );
    state
}

fn camera(name: &str) -> CameraSpec {
    let mut spec = CameraSpec::new(name, "rtsp://10.0.1.9/main").unwrap();
    spec.source.credentials =
        Some(Credentials::new("viewer".to_owned(), Some(Secret("p".to_owned()))).unwrap());
    spec
}

fn add(state: &mut ClusterState, spec: CameraSpec) -> CameraId {
    match apply(
        state,
        Command::CreateCamera {
            spec,
            only_after: None,
        },
    ) {
        Response::Camera { camera, .. } => camera,
        other => panic!("{other:?}"),
    }
}

/// Cameras `yard` (2) of an own class, preferring the node, and `gate` (3), with a hold; `gone` (1)
/// was deleted.
fn original() -> ClusterState {
    let mut state = cluster(1, "node1");
    let class = RetentionClass {
        name: "long".parse().unwrap(),
        age_max_s: Some(86_400),
        bytes_max: None,
    };
    let classes = state
        .settings
        .retention_classes
        .iter()
        .cloned()
        .chain([class])
        .collect::<Vec<_>>();
    let change = SettingsChange {
        retention_classes: Some(classes.try_into().unwrap()),
        failback_after_s: Some(77),
        ..SettingsChange::default()
    };
    apply(&mut state, Command::ChangeSettings(change));
    let gone = add(&mut state, camera("gone"));
    let retention_class: RetentionClassName = "long".parse().unwrap();
    add(
        &mut state,
        CameraSpec {
            retention_class,
            preferred_node: Some(NodeId(1)),
            ..camera("yard")
        },
    );
    let gate = add(&mut state, camera("gate"));
    for camera in [gone, gate] {
        let spec = HoldSpec {
            reason: "case 7".parse().unwrap(),
            camera,
            from: AT,
            to: None,
        };
        apply(&mut state, Command::CreateHold { spec });
    }
    apply(&mut state, Command::DeleteCamera { camera: gone });
    state
}

/// As read back from a file.
fn backup(state: &ClusterState) -> Contents {
    let contents = Contents::of(state, AT).unwrap();
    let read: Contents = serde_json::from_slice(&serde_json::to_vec(&contents).unwrap()).unwrap();
    assert_eq!(read, contents);
    read
}

fn restore(
    state: &mut ClusterState,
    contents: Contents,
    overwrite: bool,
) -> Vec<(String, RestoreOutcome, String)> {
    let mut plan = Plan::new(contents, overwrite, CameraId(0));
    let mut said = Vec::new();
    while let Some(work) = plan.next(state) {
        let answer = work
            .command
            .clone()
            .map(|command| state.apply(command.by(Actor::System, AT)));
        match answer {
            Some(Ok(Response::Camera { camera, .. })) => plan.done(&work, Some(camera)),
            Some(Err(rejection)) => {
                plan.done(&work, None);
                said.push((
                    work.item.name,
                    RestoreOutcome::Refused,
                    rejection.to_string(),
                ));
                continue;
            }
            _ => {}
        }
        said.push((work.item.name, work.item.outcome, work.item.detail));
    }
    assert_eq!(plan.left(), 0);
    said
}

fn outcomes(said: &[(String, RestoreOutcome, String)]) -> Vec<(&str, RestoreOutcome)> {
    said.iter()
        .map(|(name, outcome, _)| (name.split(' ').next().unwrap(), *outcome))
        .collect()
}

#[test]
fn a_fresh_cluster_gets_everything_under_the_old_numbers() {
    use RestoreOutcome::{Added, Differs, Refused, Same};
    let before = original();
    let mut fresh = cluster(2, "node1");
    let said = restore(&mut fresh, backup(&before), false);
    assert_eq!(
        outcomes(&said),
        [
            ("default", Same),
            ("long", Added),
            ("settings", Differs),
            ("yard", Added),
            ("gate", Added),
            ("case", Refused),
            ("case", Added),
            ("node1", Same)
        ],
        "{said:?}"
    );
    for id in [2, 3].map(CameraId) {
        assert_eq!(
            fresh.cameras.get(id).unwrap().spec,
            before.cameras.get(id).unwrap().spec
        );
    }
    assert_eq!(
        fresh.holds.values().next().unwrap().spec.camera,
        CameraId(3)
    );
    assert_eq!(
        add(&mut fresh, camera("new")),
        CameraId(4),
        "no number is given twice"
    );

    let again = restore(&mut fresh, backup(&before), true);
    let changed: Vec<_> = outcomes(&again)
        .into_iter()
        .filter(|(_, outcome)| *outcome != Same)
        .collect();
    assert_eq!(
        changed,
        [("settings", RestoreOutcome::Changed), ("case", Refused)]
    );
    assert_eq!(fresh.settings.failback_after_s, 77);
}

#[test]
fn numbers_that_mean_something_else_here_are_not_taken() {
    let before = original();
    let mut other = cluster(2, "node9");
    for name in ["a", "b", "c"] {
        add(&mut other, camera(name));
    }
    apply(
        &mut other,
        Command::DeleteCamera {
            camera: CameraId(3),
        },
    );
    let said = restore(&mut other, backup(&before), false);
    let [yard, gate] =
        ["yard", "gate"].map(|name| said.iter().find(|(named, ..)| named == name).unwrap());
    assert!(
        yard.2.contains("it preferred node1, which is no member") && yard.2.contains("new number"),
        "{yard:?}"
    );
    assert!(
        gate.2.contains("new number: 3 was given to another camera"),
        "{gate:?}"
    );
    let ids: Vec<_> = other.cameras.keys().collect();
    assert_eq!(ids, [1, 2, 4, 5].map(CameraId));
    let held = other
        .holds
        .values()
        .map(|hold| hold.spec.camera)
        .collect::<Vec<_>>();
    assert_eq!(held, [CameraId(5)], "the hold follows its camera");

    // The same if only footage has the numbers.
    let mut plan = Plan::new(backup(&before), false, CameraId(2));
    let fresh = cluster(2, "node1");
    let mut works = std::iter::from_fn(|| plan.next(&fresh));
    let number_of = |work: Work| match work.command {
        Some(Command::ReinstateCamera { camera, .. }) => Some(camera),
        _ => None,
    };
    assert_eq!(
        works.by_ref().find_map(number_of),
        Some(None),
        "2 is in use"
    );
    assert_eq!(works.by_ref().find_map(number_of), Some(Some(CameraId(3))));
}

#[test]
fn in_its_own_cluster_a_camera_is_known_by_its_number() {
    use RestoreOutcome::{Added, Changed, Differs, Same};
    let contents = backup(&original());
    let mut state = original();
    apply(
        &mut state,
        Command::DeleteCamera {
            camera: CameraId(2),
        },
    );
    let now = state.cameras.get(CameraId(3)).unwrap().clone();
    let spec = CameraSpec {
        name: "front gate".parse().unwrap(),
        priority: 7,
        ..now.spec
    };
    apply(
        &mut state,
        Command::UpdateCamera {
            camera: CameraId(3),
            spec,
            expect_revision: now.revision,
        },
    );
    apply(
        &mut state,
        Command::SetDuty {
            node: NodeId(1),
            duty: Duty::Draining,
        },
    );

    let said = restore(&mut state, contents.clone(), false);
    let of = |said: &[(String, RestoreOutcome, String)], name: &str| {
        said.iter()
            .find(|(named, ..)| named == name)
            .cloned()
            .unwrap()
    };
    assert_eq!(of(&said, "yard").1, Added);
    assert_eq!(
        of(&said, "gate"),
        (
            "gate".to_owned(),
            Differs,
            "it differs in name, priority".to_owned()
        )
    );
    assert_eq!((of(&said, "node1").1, state.cameras.len()), (Differs, 2));
    assert!(state.cameras.contains(CameraId(2)), "its number is its own");
    let epoch = state.assignments.get(CameraId(2)).unwrap().epoch;
    assert_eq!(epoch.0, 0, "it has no owner yet");

    let said = restore(&mut state, contents.clone(), true);
    assert_eq!(
        (of(&said, "gate").1, of(&said, "node1").1),
        (Changed, Changed)
    );
    assert_eq!(
        state.cameras.get(CameraId(3)).unwrap().spec.name.as_str(),
        "gate"
    );
    let said = restore(&mut state, contents, true);
    assert!(
        said.iter().all(|(_, outcome, _)| *outcome == Same),
        "{said:?}"
    );
}

#[test]
fn what_the_cluster_refuses_is_reported_and_the_rest_continues() {
    let before = original();
    let mut state = original();
    // Another camera has its name by now.
    let spec = CameraSpec {
        name: "first".parse().unwrap(),
        ..before.cameras.get(CameraId(3)).unwrap().spec.clone()
    };
    apply(
        &mut state,
        Command::UpdateCamera {
            camera: CameraId(3),
            spec,
            expect_revision: 1,
        },
    );
    add(&mut state, camera("gate"));
    let said = restore(&mut state, backup(&before), true);
    let gate = said.iter().find(|(name, ..)| name == "gate").unwrap();
    assert!(
        gate.1 == RestoreOutcome::Refused && gate.2.contains("exists already"),
        "{gate:?}"
    );
    assert_eq!(said.last().unwrap().0, "node1");
}
