//! Every command, once.

use super::*;

#[expect(clippy::too_many_lines, reason = "one of each kind")]
pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let (owner, successor) = (NodeId(1), Some(NodeId(2)));
    let op = AssignmentOp::Place {
        owner,
        mirror: None,
        successor,
    };
    let start = DrillStart {
        camera: CameraId(1),
        expect: Epoch(1),
        successor,
        began_at: AT,
        refusal: None,
    };
    let refused = DrillStart {
        refusal: Some(Refusal::failure("no room")),
        ..start.clone()
    };
    let step = |op| DrillStep {
        camera: CameraId(1),
        drill: DrillId(1),
        op,
    };
    let settings = SettingsChange {
        headroom: Some(HeadroomRule::Strict),
        headroom_over_domains: Some(true),
        failback: Some(Failback::Prefer),
        failback_after_s: Some(60),
        drill_every_s: Some(86_400),
        retention_classes: Some(Default::default()),
    };
    let hold = HoldSpec {
        reason: "case 7".parse().unwrap(),
        camera: CameraId(1),
        from: AT,
        to: None,
    };
    vec![
        (
            "initialize",
            Command::Initialize {
                cluster: CLUSTER,
                node: node(1),
                key: KeyHash::default(),
            },
        ),
        (
            "create-invite",
            Command::CreateInvite {
                spec: InviteSpec {
                    name: node(2).name,
                    role: Role::Recorder,
                    may_vote: true,
                    key: KeyHash([3; 32]),
                    expires: AT.plus(INVITE_VALID),
                },
            },
        ),
        (
            "join-node",
            Command::JoinNode {
                spec: node(2),
                key: KeyHash([2; 32]),
                invite: KeyHash([3; 32]),
            },
        ),
        (
            "report-for-duty",
            Command::ReportForDuty {
                node: NodeId(2),
                spec: node(2),
            },
        ),
        (
            "create-camera",
            Command::CreateCamera {
                spec: camera(),
                only_after: None,
            },
        ),
        (
            "update-camera",
            Command::UpdateCamera {
                camera: CameraId(1),
                spec: camera(),
                expect_revision: 1,
            },
        ),
        (
            "assign",
            Command::Assign {
                changes: vec![AssignmentChange {
                    camera: CameraId(1),
                    expect: Epoch(0),
                    op,
                }],
            },
        ),
        ("change-settings", Command::ChangeSettings(settings)),
        ("create-hold", Command::CreateHold { spec: hold }),
        (
            "begin-drill",
            Command::BeginDrill {
                node: None,
                is_scheduled: false,
                starts: vec![start, refused],
            },
        ),
        (
            "step-drills",
            Command::StepDrills {
                steps: vec![
                    step(DrillOp::HandBack { failure: None }),
                    step(DrillOp::End {
                        outcome: Outcome::Passed,
                        reason: None,
                        is_handed_back: true,
                    }),
                ],
            },
        ),
        ("begin-rebalance", Command::BeginRebalance),
        ("end-rebalance", Command::EndRebalance { since: AT }),
        (
            "set-duty",
            Command::SetDuty {
                node: NodeId(2),
                duty: Duty::Draining,
            },
        ),
        (
            "finalize-version",
            Command::FinalizeVersion {
                version: CLUSTER_VERSION,
            },
        ),
        ("delete-hold", Command::DeleteHold { hold: HoldId(1) }),
        (
            "delete-camera",
            Command::DeleteCamera {
                camera: CameraId(1),
            },
        ),
        (
            "remove-node",
            Command::RemoveNode {
                node: NodeId(2),
                force: true,
            },
        ),
        ("note-end", Command::NoteEnd(ended())),
        (
            "clear-cameras",
            Command::ClearCameras {
                cameras: vec![CameraId(1)],
            },
        ),
        (
            "reserve-cameras",
            Command::ReserveCameras { upto: CameraId(41) },
        ),
        (
            "reinstate-camera",
            Command::ReinstateCamera {
                camera: Some(CameraId(41)),
                spec: camera(),
            },
        ),
        (
            "restore-camera",
            Command::RestoreCamera {
                camera: CameraId(1),
                name: Some("gate 2".parse().unwrap()),
                only_after: Some(CameraId(41)),
            },
        ),
        (
            "adopt-cameras",
            Command::AdoptCameras {
                cluster: ELSEWHERE,
                cameras: vec![AdoptedCamera {
                    camera: CameraId(3),
                    name: "yard".parse().unwrap(),
                }],
            },
        ),
        (
            "forget-cameras",
            Command::ForgetCameras {
                cameras: vec![(CameraId(1), AT)],
            },
        ),
        ("create-export", Command::CreateExport { spec: export() }),
        (
            "delete-export",
            Command::DeleteExport {
                export: ExportId(1),
            },
        ),
        (
            "delete-invite",
            Command::DeleteInvite {
                invite: InviteId(1),
            },
        ),
    ]
}
