//! Golden files: checks that this version writes the same bytes as before, and reads what it wrote.
//!
//! Each line of a file is a name and hexadecimal bytes. A change of a format shows up as a
//! difference: it needs a new version and a new file; the old file stays, to be migrated.
//! `UPDATE_GOLDENFILES=1` writes the files.

mod commands;

use self::commands::commands;
use super::{CLUSTER_VERSION, Finalized, Format, decode};
use crate::command::{
    AdoptedCamera, AssignmentChange, AssignmentOp, Command, LogEntry, Rejection, Response, Skipped,
    admission,
};
use crate::consensus::messages::{WriteAnswer, WriteRequest};
use crate::generation::{ClusterGeneration, Recovered};
use crate::join::{ClusterAnswer, ClusterRequest, Issued, JoinAnswer, JoinRequest};
use crate::model::{
    Actor, Audio, CameraSpec, Credentials, DrillOp, DrillStart, DrillStep, Duty, ExportSpec,
    Failback, FailureDomain, HeadroomRule, HoldSpec, INVITE_VALID, InviteSpec, KeyHash, NodeSpec,
    OperatorName, Outcome, ProcessEnd, Protection, Refusal, Role, Secret, SettingsChange, Source,
    Tls, Transport,
};
use crate::observe::clocks::Heard;
use crate::observe::heartbeat::{Exposure, Heartbeat, Probe, Progress, RecorderState};
use crate::peer::envelope::Envelope;
use crate::raft::identity::introductions::{Hello, HelloAnswer, Verdict, WhoAnswer, WhoRequest};
use crate::raft::identity::ledger::Kept;
use crate::raft::identity::standing::{Fence, Replaced, Why};
use crate::raft::identity::{Boot, Incarnation, Position, Record, Sender, Stamp};
use crate::raft::log_store::Payload;
use crate::raft::messages::SnapshotRequest;
use crate::raft::snapshot_file::SnapshotImage;
use crate::raft::{self, LogId, SnapshotMeta, TypeConfig, Vote};
use crate::state::ClusterState;
use holdfast_storage::ids::{
    CameraId, DrillId, Epoch, ExportId, HoldId, InviteId, NodeId, Rank, StreamId,
};
use holdfast_storage::time::Timestamp;
use openraft::entry::{EntryPayload, RaftEntry as _};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use std::fmt::Write as _;
use std::path::Path;
use uuid::Uuid;

const AT: Timestamp = Timestamp(1_795_341_600_000_000);
const CLUSTER: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

const ELSEWHERE: Uuid = Uuid::from_u128(0xfeed);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// As members write it that run this version and have finalised it.
fn encode<T: Format>(value: &T) -> Vec<u8> {
    super::encode(value, &Finalized::at(CLUSTER_VERSION)).unwrap()
}

/// Compares the written bytes with the file, and the value read from the file with the one that was
/// written.
fn golden<T: Format>(file: &str, samples: &[(&str, T)]) {
    let version = encode(&samples[0].1)[0];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{file}.v{version}.txt"));
    let lines = samples
        .iter()
        .map(|(name, sample)| format!("{name} {}\n", hex(&encode(sample))));
    let written: String = lines.collect();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &written).unwrap();
    }
    let stored = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(
        written, stored,
        "{file} is written otherwise than before: that is a new version"
    );
    for line in stored.lines() {
        let (name, bytes) = line.rsplit_once(' ').unwrap();
        let read: T =
            decode(&unhex(bytes)).unwrap_or_else(|error| panic!("{file}, {name}: {error}"));
        assert_eq!(
            hex(&encode(&read)),
            bytes,
            "{file}, {name}: what is read is not what was written"
        );
    }
}

fn node(number: u32) -> NodeSpec {
    let name = format!("node{number}");
    NodeSpec {
        failure_domain: "rack-a".parse::<FailureDomain>().unwrap(),
        bitrate_capacity_bps: Some(400_000_000),
        labels: [("zone".to_owned(), "south".to_owned())]
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>()
            .try_into()
            .unwrap(),
        ..NodeSpec::new(
            &name,
            &format!("10.0.0.{number}:8481"),
            &format!("10.0.0.{number}:8480"),
        )
        .unwrap()
    }
}

fn camera() -> CameraSpec {
    let plain = CameraSpec::new("gate", "rtsps://10.0.1.9/main").unwrap();
    CameraSpec {
        source: Source {
            credentials: Some(
                Credentials::new("viewer".to_owned(), Some(Secret("p".to_owned()))).unwrap(),
            ),
            transport: Transport::Udp,
            audio: Audio::Off,
            stall_after_ms: Some(20_000),
            tls: Tls::Insecure,
            budget_bps: Some(64_000_000),
            ..plain.source
        },
        protection: Protection::Gapless,
        preferred_node: Some(NodeId(2)),
        labels: node(1).labels,
        node_labels: node(1).labels,
        ..plain
    }
}

fn ended() -> ProcessEnd {
    ProcessEnd {
        node: NodeId(2),
        boot: 1_795_341_500_000_000,
        blamed: vec![CameraId(1)],
        on_trial: false,
    }
}

fn export() -> ExportSpec {
    let (from, to) = (AT, AT.plus_micros(3_600_000_000));
    ExportSpec {
        name: "case 7".parse().unwrap(),
        cameras: vec![CameraId(1)],
        from,
        to,
        strict: true,
    }
}

fn entry(command: Command) -> LogEntry {
    command.by(Actor::Operator(OperatorName::admin()), AT)
}

/// The state after all commands that do not remove something again.
fn state() -> ClusterState {
    let mut state = ClusterState::default();
    for (name, command) in commands().into_iter().take(9) {
        // Strict headroom and drills of gapless cameras are not the codec's concern.
        let refused = state.apply(entry(command)).err();
        assert_eq!(refused, None, "{name}");
    }
    assert_eq!(state.apply(entry(Command::NoteEnd(ended()))).err(), None);
    // A deleted camera, and one of another cluster.
    let spec = CameraSpec {
        name: "lift".parse().unwrap(),
        ..camera()
    };
    for command in [
        Command::CreateCamera {
            spec,
            only_after: Some(CameraId(1)),
        },
        Command::DeleteCamera {
            camera: CameraId(2),
        },
        Command::AdoptCameras {
            cluster: ELSEWHERE,
            cameras: vec![AdoptedCamera {
                camera: CameraId(3),
                name: "yard".parse().unwrap(),
            }],
        },
    ] {
        assert_eq!(state.apply(entry(command)).err(), None);
    }
    assert_eq!(
        state
            .apply(entry(Command::CreateExport { spec: export() }))
            .err(),
        None
    );
    state
}

fn log_id(index: u64) -> LogId {
    LogId {
        leader_id: LeaderId {
            term: 3,
            node_id: 1,
        },
        index,
    }
}

fn vote() -> Vote {
    Vote {
        leader_id: LeaderId {
            term: 3,
            node_id: 1,
        },
        committed: true,
    }
}

fn image() -> SnapshotImage {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(9)),
        ..SnapshotMeta::default()
    };
    SnapshotImage {
        meta,
        state: encode(&state()),
    }
}

#[test]
fn log_entries() {
    let mut samples: Vec<(&str, Payload)> = commands()
        .into_iter()
        .map(|(name, command)| (name, EntryPayload::Normal(entry(command))))
        .collect();
    let by = |actor| EntryPayload::Normal(Command::BeginRebalance.by(actor, AT));
    samples.extend([
        ("blank", EntryPayload::Blank),
        ("by-node", by(Actor::Node(NodeId(3)))),
        ("by-system", by(Actor::System)),
    ]);
    golden("log-entry", &samples);
}

#[test]
fn states_and_snapshots() {
    golden(
        "state",
        &[
            ("founded", {
                let mut state = ClusterState::default();
                state.apply(entry(commands().remove(0).1)).unwrap();
                state
            }),
            ("full", state()),
            ("recovered", {
                let mut state = state();
                state.recover(NodeId(1), generation(), AT).unwrap();
                state
            }),
        ],
    );
    golden("snapshot", &[("full", image())]);
}

#[test]
fn heartbeats() {
    let progress = Progress {
        stream: StreamId::main(CameraId(1)),
        epoch: Epoch(7),
        rank: Rank::Successor,
        state: RecorderState::Failing,
        watermark: Some(AT),
        first_keyframe: Some(AT),
        error: Some("connection refused".to_owned()),
        bitrate_bps: Some(4_000_000),
        patience_ms: None,
        exposure: Some(Exposure::OnTrial),
    };
    let heartbeat = Heartbeat {
        from: NodeId(2),
        boot: 1_795_341_500_000_000,
        sequence: 9,
        sent_at: AT,
        writable: true,
        recorders: vec![progress],
        probes: vec![Probe {
            camera: CameraId(2),
            reachable: true,
        }],
        vouches: true,
    };
    golden("heartbeat", &[("full", heartbeat)]);
    golden(
        "heard",
        &[(
            "full",
            Heard {
                received: AT,
                answered: AT,
            },
        )],
    );
}

#[test]
fn messages_of_members() {
    golden(
        "envelope",
        &[(
            "full",
            Envelope {
                cluster: CLUSTER,
                to: NodeId(2),
                generation: CLUSTER,
            },
        )],
    );
    golden(
        "write-request",
        &[(
            "full",
            WriteRequest {
                entry: entry(commands().remove(1).1),
                deadline_ms: 1_900,
            },
        )],
    );
    let skipped = Skipped {
        camera: CameraId(1),
        why: Rejection::UnknownCamera(CameraId(1)),
    };
    let applied = |outcome| WriteAnswer::Applied {
        outcome: raft::Outcome(outcome),
        index: 12,
    };
    golden(
        "write-answer",
        &[
            ("done", applied(Ok(Response::Done))),
            (
                "assigned",
                applied(Ok(Response::Assigned {
                    applied: 1,
                    skipped: vec![skipped],
                })),
            ),
            (
                "rejected",
                applied(Err(Rejection::NotFinalized {
                    needs: 2,
                    finalized: 1,
                })),
            ),
            (
                "not-leader",
                WriteAnswer::NotLeader {
                    leader: Some(NodeId(3)),
                },
            ),
            ("unknown", WriteAnswer::Unknown),
        ],
    );
    golden(
        "join-request",
        &[(
            "full",
            JoinRequest {
                spec: node(2),
                key: vec![4; 65].try_into().unwrap(),
            },
        )],
    );
    golden(
        "join-answer",
        &[
            (
                "joined",
                JoinAnswer::Joined {
                    node: NodeId(2),
                    cluster: CLUSTER,
                    generation: generation(),
                    issued: Issued {
                        chain: vec![vec![1, 2], vec![3]],
                        authority: Some(vec![4, 5]),
                    },
                },
            ),
            (
                "rejected",
                JoinAnswer::Rejected(Rejection::TooOld {
                    speaks: 1,
                    finalized: 2,
                }),
            ),
            (
                "unavailable",
                JoinAnswer::Unavailable("no leader".to_owned()),
            ),
        ],
    );
    golden("cluster-request", &[("full", ClusterRequest)]);
    golden("cluster-answer", &[("full", ClusterAnswer(CLUSTER))]);
}

fn generation() -> ClusterGeneration {
    ClusterGeneration::first(CLUSTER).next(
        CLUSTER,
        Recovered {
            by: NodeId(2),
            at: AT,
        },
    )
}

fn boot(generation: u64) -> Boot {
    let incarnation = Incarnation {
        generation,
        boot: CLUSTER,
    };
    Boot {
        incarnation,
        began_at: Position {
            vote: (3, 1),
            last: Some((3, 1, 9)),
        },
    }
}

#[test]
fn identities() {
    let Boot {
        incarnation,
        began_at: position,
    } = boot(7);
    let stamp = Stamp {
        node: NodeId(2),
        incarnation,
        position,
    };
    golden("stamp", &[("full", stamp)]);
    let sender = || Sender {
        stamp,
        peer_addr: "10.0.0.2:8481".to_owned(),
        camera_highest: CameraId(41),
    };
    golden("sender", &[("full", sender())]);
    let (history, moved) = (
        vec![boot(6), boot(7)],
        vec![(NodeId(3), "10.9.0.3:8481".to_owned())],
    );
    let (generation, replaced) = (
        generation(),
        Replaced {
            cluster: CLUSTER,
            was: 1,
            now: generation(),
        },
    );
    let hello = Hello {
        cluster: CLUSTER,
        sender: sender(),
        history: history.clone(),
        moved: moved.clone(),
        generation,
    };
    golden("hello", &[("full", hello)]);
    let (known, moves) = (history.clone(), moved.clone());
    let answer = |verdict| {
        let (history, moved) = (known.clone(), moves.clone());
        HelloAnswer {
            sender: sender(),
            history,
            moved,
            verdict,
            generation,
        }
    };
    golden(
        "hello-answer",
        &[
            ("admitted", answer(Verdict::Admitted)),
            ("wait", answer(Verdict::Wait)),
            ("older", answer(Verdict::No(Why::Older))),
            ("twin", answer(Verdict::No(Why::Twin))),
            ("removed", answer(Verdict::Removed)),
            ("replaced", answer(Verdict::No(Why::Replaced(replaced)))),
            ("other-generation", answer(Verdict::OtherGeneration)),
        ],
    );
    golden("who", &[("full", WhoRequest)]);
    golden("who-answer", &[("full", WhoAnswer(incarnation))]);
    let fence = Some(Fence {
        by: NodeId(3),
        why: Why::Older,
    });
    let seen = [(
        NodeId(2),
        Record {
            incarnation,
            position,
        },
    )]
    .into();
    let full = Kept {
        boots: history.clone(),
        fence,
        seen,
    };
    let fence = Some(Fence {
        by: NodeId(3),
        why: Why::Replaced(replaced),
    });
    golden(
        "ledger",
        &[("full", full.clone()), ("replaced", Kept { fence, ..full })],
    );
}

#[test]
fn messages_of_raft() {
    let entries = vec![raft::Entry::new(
        log_id(10),
        EntryPayload::Normal(entry(Command::BeginRebalance)),
    )];
    let append: AppendEntriesRequest<TypeConfig> = AppendEntriesRequest {
        vote: vote(),
        prev_log_id: Some(log_id(9)),
        entries,
        leader_commit: Some(log_id(8)),
    };
    golden("raft-append", &[("full", append)]);
    golden(
        "raft-append-answer",
        &[("success", AppendEntriesResponse::<TypeConfig>::Success)],
    );
    golden(
        "raft-vote",
        &[(
            "full",
            VoteRequest::<TypeConfig> {
                vote: vote(),
                last_log_id: Some(log_id(9)),
                leadership_transfer: false,
            },
        )],
    );
    golden(
        "raft-vote-answer",
        &[(
            "full",
            VoteResponse::<TypeConfig> {
                vote: vote(),
                vote_granted: true,
                last_log_id: Some(log_id(9)),
            },
        )],
    );
    golden(
        "raft-snapshot",
        &[(
            "full",
            SnapshotRequest {
                vote: vote(),
                image: image(),
            },
        )],
    );
}

#[test]
fn a_command_is_used_once_every_member_knows_it_and_its_version_is_finalised() {
    let mut state = state();
    let apply = |state: &mut ClusterState, command| {
        state
            .apply(entry(command))
            .map_err(|rejection| rejection.code())
    };
    // As if this version's commands were newer than the version that the cluster has finalised.
    state.version = 0;
    assert_eq!(
        apply(&mut state, Command::BeginRebalance),
        Err("not-finalized")
    );
    assert_eq!(
        state
            .check_usable(&Command::BeginRebalance)
            .unwrap_err()
            .code(),
        "not-finalized"
    );
    state.version = 1;
    assert_eq!(
        apply(&mut state, Command::BeginRebalance),
        Ok(Response::Done)
    );

    let finalize = |version| Command::FinalizeVersion { version };
    assert_eq!(
        apply(&mut state, finalize(2)),
        Err("not-upgraded"),
        "its members speak version 1"
    );
    for number in [1, 2] {
        let spec = NodeSpec {
            version: 2,
            ..node(number)
        };
        let report = Command::ReportForDuty {
            node: NodeId(number.into()),
            spec,
        };
        assert_eq!(apply(&mut state, report), Ok(Response::Done));
        let finalized = apply(&mut state, finalize(2));
        assert_eq!(
            finalized,
            if number == 1 {
                Err("not-upgraded")
            } else {
                Ok(Response::Done)
            }
        );
    }
    assert_eq!(
        apply(&mut state, finalize(1)),
        Err("invalid"),
        "there is no way back"
    );
    let [invite, old] = admission(node(3), AT);
    apply(&mut state, invite).unwrap();
    assert_eq!(apply(&mut state, old), Err("too-old"));
    assert_eq!(
        apply(
            &mut state,
            Command::ReportForDuty {
                node: NodeId(2),
                spec: node(2)
            }
        ),
        Err("too-old")
    );
    assert_eq!(state.version, 2);
}
