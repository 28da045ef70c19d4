//! Which cameras are blamed for the end of a process.

use super::*;
use crate::command::{AssignmentChange, AssignmentOp, Command, admission};
use crate::model::{Actor, CameraSpec, KeyHash, NodeSpec};
use crate::observe::heartbeat::Progress;
use crate::observe::liveness::Why;
use holdfast_storage::ids::{Rank, StreamKind};
use std::time::Duration;
use uuid::Uuid;

const AT: Timestamp = Timestamp(1_795_341_600_000_000);
const DEAD: NodeId = NodeId(2);

/// Three nodes; node 2 owns cameras 1 to 3 in their first epoch, node 3 is the successor.
fn state() -> ClusterState {
    let mut state = ClusterState::default();
    let node =
        |name: &str| NodeSpec::new(name, &format!("{name}:7001"), &format!("{name}:7000")).unwrap();
    let mut commands = vec![Command::Initialize {
        cluster: Uuid::nil(),
        node: node("a"),
        key: KeyHash::default(),
    }];
    let others = ["b", "c"].map(|name| admission(node(name), AT));
    commands.extend(others.into_iter().flatten());
    let op = AssignmentOp::Place {
        owner: DEAD,
        mirror: None,
        successor: Some(NodeId(3)),
    };
    for camera in 1..=3 {
        let spec = CameraSpec::new(&format!("camera{camera}"), "rtsp://camera/1").unwrap();
        let change = AssignmentChange {
            camera: CameraId(camera),
            expect: Epoch(0),
            op,
        };
        commands.extend([
            Command::CreateCamera {
                spec,
                only_after: None,
            },
            Command::Assign {
                changes: vec![change],
            },
        ]);
    }
    commands
        .into_iter()
        .for_each(|command| drop(state.apply(command.by(Actor::System, AT)).unwrap()));
    state
}

fn report(camera: u32, epoch: u64, exposure: Option<Exposure>) -> Progress {
    Progress {
        stream: StreamId::main(CameraId(camera)),
        epoch: Epoch(epoch),
        rank: Rank::Owner,
        state: RecorderState::Recording,
        watermark: Some(AT),
        first_keyframe: Some(AT),
        error: None,
        bitrate_bps: None,
        patience_ms: None,
        exposure,
    }
}

/// The cameras that are blamed when the process of `node` ends after these reports, and whether as
/// a suspect in its turn.
fn blamed(node: NodeId, hears_all: bool, reports: Vec<Progress>) -> (Vec<u32>, bool) {
    let mut progress = Reports::default();
    progress.report(node, reports);
    let suspect = Verdict::Suspect {
        since: Duration::ZERO,
        why: Why::Refused,
    };
    let verdicts = BTreeMap::from([(DEAD, suspect), (node, suspect)]);
    let state = state();
    let witness = Witness {
        state: &state,
        verdicts: &verdicts,
        progress: &progress,
        hears_all,
        at: AT,
    };
    let end = witness.end(node, 1);
    (
        end.blamed.iter().map(|camera| camera.0).collect(),
        end.on_trial,
    )
}

#[test]
fn fresh_sessions_are_blamed_and_where_a_suspect_had_its_turn_it_alone() {
    let (fresh, proven) = (Some(Exposure::Fresh), Some(Exposure::Proven));
    let reports = |second| {
        vec![
            report(1, 1, fresh),
            report(2, 1, second),
            report(3, 1, None),
        ]
    };
    assert_eq!(blamed(DEAD, true, reports(proven)), (vec![1], false));
    assert_eq!(
        blamed(DEAD, true, reports(Some(Exposure::OnTrial))),
        (vec![2], true)
    );
}

fn sub(camera: u32, exposure: Option<Exposure>) -> Progress {
    let report = report(camera, 1, exposure);
    Progress {
        stream: StreamId {
            kind: StreamKind::Sub,
            ..report.stream
        },
        ..report
    }
}

#[test]
fn a_camera_is_blamed_once_for_both_of_its_streams_and_for_either() {
    let rest = || (2..=3).map(|camera| report(camera, 1, None));
    for exposure in [Exposure::Fresh, Exposure::OnTrial] {
        let on_trial = exposure == Exposure::OnTrial;
        for main in [None, Some(exposure)] {
            let both = [report(1, 1, main), sub(1, Some(exposure))];
            let reports = both.into_iter().chain(rest()).collect();
            assert_eq!(blamed(DEAD, true, reports), (vec![1], on_trial));
        }
    }
}

#[test]
fn a_camera_is_cleared_once_no_stream_of_it_is_fresh() {
    let survives = |reports: Vec<Progress>| {
        let mut progress = Reports::default();
        progress.report(DEAD, reports);
        let verdicts = BTreeMap::from([(DEAD, Verdict::Alive)]);
        survives(CameraId(1), &verdicts, &progress)
    };
    let fresh = Some(Exposure::Fresh);
    assert!(survives(vec![report(1, 1, None)]));
    assert!(!survives(vec![report(1, 1, fresh)]));
    assert!(!survives(vec![report(1, 1, None), sub(1, fresh)]));
    assert!(survives(vec![report(1, 1, None), sub(1, None)]));
    assert!(
        !survives(vec![sub(1, None)]),
        "its main stream is not recorded"
    );
    let gone = Some(Exposure::Gone);
    assert!(survives(vec![report(1, 1, None), sub(1, gone)]));
}

#[test]
fn what_a_node_began_since_its_last_heartbeat_is_blamed_too() {
    assert_eq!(
        blamed(DEAD, true, vec![report(1, 1, None)]),
        (vec![2, 3], false)
    );
    // It was reported in an earlier epoch, and not since.
    assert_eq!(
        blamed(
            DEAD,
            true,
            vec![report(1, 0, Some(Exposure::Gone)), report(2, 1, None)]
        )
        .0,
        [1, 3]
    );
    // It was recorded in this epoch, and ended in order.
    let ended = (1..=3)
        .map(|camera| report(camera, 1, Some(Exposure::Gone)))
        .collect();
    assert!(blamed(DEAD, true, ended).0.is_empty());
    // The successor of a dead node has begun all of its cameras.
    assert_eq!(blamed(NodeId(3), true, Vec::new()).0, [1, 2, 3]);
    // A node that is no voter does not know what was left out.
    assert!(blamed(DEAD, false, vec![report(1, 1, None)]).0.is_empty());
}

#[test]
fn an_end_that_is_noted_counts_once_also_after_its_cameras_were_cleared() {
    let mut state = state();
    let mut progress = Reports::default();
    progress.report(
        DEAD,
        vec![
            report(1, 1, Some(Exposure::Fresh)),
            report(2, 1, None),
            report(3, 1, None),
        ],
    );
    let mut ends = Ends::default();
    let verdicts = BTreeMap::new();
    let witness = Witness {
        state: &state,
        verdicts: &verdicts,
        progress: &progress,
        hears_all: true,
        at: AT,
    };
    ends.observe(&[(DEAD, 7)], witness);
    assert_eq!(
        suspicions(&state, &ends),
        BTreeMap::from([(CameraId(1), Suspicion::Once { node: DEAD })])
    );
    let noted: Vec<Command> = ends
        .unnoted(&state)
        .into_iter()
        .map(|(end, _)| Command::NoteEnd(end.clone()))
        .collect();
    for command in noted
        .iter()
        .cycle()
        .take(2)
        .cloned()
        .chain([Command::ClearCameras {
            cameras: vec![CameraId(1)],
        }])
    {
        state.apply(command.by(Actor::System, AT)).unwrap();
    }
    assert_eq!(
        (suspicions(&state, &ends), ends.unnoted(&state).len()),
        (BTreeMap::new(), 0)
    );
    // The same process is heard after all.
    let witness = Witness {
        state: &state,
        verdicts: &verdicts,
        progress: &progress,
        hears_all: true,
        at: AT,
    };
    ends.observe(&[], witness);
    assert!(ends.0.is_empty());
}
