//! The status of sites in various states.

use super::*;
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command, admission};
use holdfast_consensus::model::{Actor, CameraSpec, KeyHash, NodeSpec, Protection};
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_consensus::observe::liveness::{Verdict, Why};
use holdfast_storage::ids::{Epoch, Rank, StreamId, StreamKind};
use std::time::Duration;
use uuid::Uuid;

const BEGAN: Timestamp = Timestamp(1_795_341_600_000_000);

/// A site with cameras, all recorded, `NOW_S` seconds after it began.
struct Site {
    state: ClusterState,
    sight: Sight,
    volumes: BTreeMap<NodeId, Vec<VolumeReport>>,
    leader: Option<NodeId>,
}

const NOW_S: i64 = 600;

fn at(seconds: i64) -> Timestamp {
    BEGAN.plus_micros(seconds * 1_000_000)
}

fn node_spec(number: u64) -> NodeSpec {
    NodeSpec::new(
        &format!("rec{number}"),
        &format!("n{number}:8481"),
        &format!("n{number}:8480"),
    )
    .unwrap()
}

impl Site {
    fn of(nodes: u64, cameras: &[(&str, u64)]) -> Self {
        let state = ClusterState::default();
        let mut site = Self {
            state,
            sight: Sight::default(),
            volumes: BTreeMap::new(),
            leader: Some(NodeId(1)),
        };
        site.apply(
            0,
            Command::Initialize {
                cluster: Uuid::from_u128(1),
                node: node_spec(1),
                key: KeyHash::default(),
            },
        );
        for number in 2..=nodes {
            for command in admission(node_spec(number), at(0)) {
                site.apply(0, command);
            }
        }
        for number in 1..=nodes {
            site.sight.verdicts.insert(NodeId(number), Verdict::Alive);
            site.volumes.insert(NodeId(number), vec![volume("active")]);
        }
        for (index, (name, owner)) in cameras.iter().enumerate() {
            let camera = CameraId(u32::try_from(index).unwrap() + 1);
            site.apply(
                0,
                Command::CreateCamera {
                    spec: CameraSpec::new(name, "rtsp://c/1").unwrap(),
                    only_after: None,
                },
            );
            site.assign(
                0,
                camera,
                Epoch(0),
                AssignmentOp::Place {
                    owner: NodeId(*owner),
                    mirror: None,
                    successor: None,
                },
            );
            site.report(
                NodeId(*owner),
                camera,
                1,
                RecorderState::Recording,
                Some(NOW_S),
                None,
            );
        }
        site
    }

    fn apply(&mut self, seconds: i64, command: Command) {
        self.state
            .apply(command.by(Actor::System, at(seconds)))
            .unwrap();
    }

    fn assign(&mut self, seconds: i64, camera: CameraId, expect: Epoch, op: AssignmentOp) {
        self.apply(
            seconds,
            Command::Assign {
                changes: vec![AssignmentChange { camera, expect, op }],
            },
        );
    }

    fn report(
        &mut self,
        node: NodeId,
        camera: CameraId,
        epoch: u64,
        state: RecorderState,
        until: Option<i64>,
        error: Option<&str>,
    ) {
        let report = Progress {
            stream: StreamId::main(camera),
            epoch: Epoch(epoch),
            rank: Rank::Owner,
            state,
            watermark: until.map(at),
            first_keyframe: until.map(|_| BEGAN),
            error: error.map(str::to_owned),
            bitrate_bps: None,
            patience_ms: None,
            exposure: None,
        };
        self.sight.progress.insert(node, report);
    }

    fn kill(&mut self, node: NodeId) {
        let since = Duration::from_secs(500);
        self.sight.verdicts.insert(
            node,
            Verdict::Suspect {
                since,
                why: Why::Refused,
            },
        );
        self.volumes.remove(&node);
    }

    fn status(&self) -> Status {
        let headroom = holdfast_consensus::decide::headroom::headroom(
            &self.state,
            &holdfast_consensus::observe::bitrate::Bitrates::of_reports(&self.sight.progress),
            |node| self.sight.can_record(node),
        );
        status(&Known {
            now: at(NOW_S),
            state: &self.state,
            sight: &self.sight,
            leader: self.leader,
            stands_apart: None,
            headroom: Some(&headroom),
            down_since: self.sight.down_since(at(NOW_S), Duration::from_secs(600)),
            volumes: self.volumes.clone(),
        })
    }
}

fn volume(state: &str) -> VolumeReport {
    VolumeReport {
        index: 0,
        path: "/data".to_owned(),
        state: state.to_owned(),
        error: (state != "active").then(|| "fsync: EIO".to_owned()),
        cameras: 1,
        lag_seconds: 0.4,
        free_bytes: 10,
        size_bytes: 100,
        failures: 0,
        reattachments: 0,
        full_in_s: Some(43_200),
        id: None,
    }
}

fn codes(status: &Status) -> Vec<&str> {
    status
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect()
}

#[test]
fn a_site_that_records_all_is_well_and_shows_what_the_next_failure_costs() {
    let status = Site::of(3, &[("gate", 1), ("yard", 2)]).status();
    assert_eq!(
        (status.state, status.mode),
        (StatusState::Well, Mode::Cluster),
        "{status:?}"
    );
    assert_eq!(status.verdict, "well: all 2 cameras are recorded");
    assert_eq!(
        (
            status.cameras_recorded,
            status.nodes_alive,
            status.disks.len()
        ),
        (2, 3, 3)
    );
    let costs: Vec<_> = status
        .next_failure
        .iter()
        .map(|next| (next.node_name.as_str(), next.cameras_lost))
        .collect();
    assert_eq!(costs, [("rec1", 0), ("rec2", 0), ("rec3", 0)]);
}

#[test]
fn a_camera_that_is_not_recorded_comes_first_with_cause_since_and_what_mends_it() {
    let mut site = Site::of(3, &[("gate", 1), ("lift", 2), ("never", 3)]);
    let refused = "the camera refused the user name or password (RTSP 401)";
    site.report(
        NodeId(2),
        CameraId(2),
        1,
        RecorderState::Failing,
        Some(300),
        Some(refused),
    );
    site.report(
        NodeId(3),
        CameraId(3),
        1,
        RecorderState::Failing,
        None,
        Some(refused),
    );
    site.volumes.insert(NodeId(1), vec![volume("failed")]);
    let status = site.status();
    assert_eq!(status.state, StatusState::FootageIsBeingLost);
    assert!(
        status
            .verdict
            .starts_with("FOOTAGE IS BEING LOST: 2 of 3 cameras are not recorded; rec1 /data:"),
        "{status:?}"
    );
    assert_eq!(
        codes(&status),
        ["not-recorded", "not-recorded", "volume-failed"]
    );
    let lift = &status.findings[0];
    assert_eq!((lift.subject.as_str(), lift.since), ("lift", Some(at(300))));
    assert_eq!(
        lift.mend.as_deref(),
        Some("holdfast camera edit lift --password-file -")
    );
    assert!(lift.what.contains("tried by rec2"));
    assert_eq!(status.findings[1].since, None, "it never was");
}

#[test]
fn a_recorder_that_says_it_records_and_makes_nothing_durable_is_believed_for_a_while_only() {
    let mut site = Site::of(1, &[("gate", 1)]);
    site.report(
        NodeId(1),
        CameraId(1),
        1,
        RecorderState::Recording,
        Some(NOW_S - 10),
        None,
    );
    assert_eq!(site.status().state, StatusState::Well);
    site.report(
        NodeId(1),
        CameraId(1),
        1,
        RecorderState::Recording,
        Some(NOW_S - 20),
        None,
    );
    assert_eq!(site.status().state, StatusState::FootageIsBeingLost);
}

#[test]
fn where_nothing_is_recorded_it_is_never_well() {
    let mut site = Site::of(3, &[]);
    assert_eq!(
        site.status().state,
        StatusState::Degraded,
        "there is no camera"
    );
    // A camera that was added a moment ago is still starting.
    site.apply(
        NOW_S - 1,
        Command::CreateCamera {
            spec: CameraSpec::new("gate", "rtsp://c/1").unwrap(),
            only_after: None,
        },
    );
    let op = AssignmentOp::Place {
        owner: NodeId(1),
        mirror: None,
        successor: None,
    };
    site.assign(NOW_S - 1, CameraId(1), Epoch(0), op);
    let status = site.status();
    assert_eq!(
        (status.state, codes(&status)),
        (StatusState::Degraded, vec![])
    );
    // All nodes are dead except the one that answers, and no camera is recorded.
    let mut site = Site::of(3, &[("gate", 2), ("yard", 3)]);
    (site.leader, site.sight.progress) = (None, Default::default());
    site.kill(NodeId(2));
    site.kill(NodeId(3));
    let status = site.status();
    assert_eq!(status.state, StatusState::FootageIsBeingLost);
    assert_eq!(status.cameras_recorded, 0);
    assert_eq!(codes(&status)[..2], ["not-recorded", "not-recorded"]);
    let nothing = Known {
        now: BEGAN,
        state: &ClusterState::default(),
        sight: &Sight::default(),
        leader: None,
        stands_apart: None,
        headroom: None,
        down_since: BTreeMap::new(),
        volumes: BTreeMap::new(),
    };
    let status = super::status(&nothing);
    assert_eq!(
        (status.state, status.mode),
        (StatusState::Degraded, Mode::None)
    );
}

#[test]
fn a_dead_node_is_shown_with_since_when_and_where_its_cameras_are() {
    let mut site = Site::of(3, &[("gate", 2), ("yard", 2)]);
    for camera in [CameraId(1), CameraId(2)] {
        let op = AssignmentOp::TakeOver {
            owner: NodeId(3),
            mirror: None,
            successor: None,
            watermark: Some(at(499)),
        };
        site.assign(501, camera, Epoch(1), op);
        site.report(
            NodeId(3),
            camera,
            2,
            RecorderState::Recording,
            Some(NOW_S),
            None,
        );
    }
    site.kill(NodeId(2));
    let status = site.status();
    assert_eq!(status.state, StatusState::Degraded);
    let down = &status.findings[0];
    assert_eq!(
        (down.code.as_str(), down.since),
        ("node-down", Some(at(500)))
    );
    assert_eq!(down.what, "it does not answer; its 2 cameras moved: rec3 2");
}

#[test]
fn a_single_node_is_shown_so_once_and_no_words_of_clusters() {
    let status = Site::of(1, &[("gate", 1)]).status();
    assert_eq!(
        (status.state, status.mode),
        (StatusState::Well, Mode::Single)
    );
    assert_eq!(
        status.verdict,
        "well: the camera is recorded; a single node: nothing takes over if it fails"
    );
    assert!(
        status.findings.is_empty() && status.next_failure.is_empty(),
        "{status:?}"
    );
}

#[test]
fn a_gapless_camera_with_one_recorder_is_at_risk() {
    let mut site = Site::of(2, &[]);
    let spec = CameraSpec {
        protection: Protection::Gapless,
        ..CameraSpec::new("dock", "rtsp://c/1").unwrap()
    };
    site.apply(
        0,
        Command::CreateCamera {
            spec,
            only_after: None,
        },
    );
    let op = AssignmentOp::Place {
        owner: NodeId(1),
        mirror: Some(NodeId(2)),
        successor: None,
    };
    site.assign(0, CameraId(1), Epoch(0), op);
    site.report(
        NodeId(1),
        CameraId(1),
        1,
        RecorderState::Recording,
        Some(NOW_S),
        None,
    );
    assert!(codes(&site.status()).contains(&"one-copy"));
    site.report(
        NodeId(2),
        CameraId(1),
        1,
        RecorderState::Recording,
        Some(NOW_S),
        None,
    );
    assert!(!codes(&site.status()).contains(&"one-copy"));
}

#[test]
fn a_sub_stream_that_fails_is_shown_and_its_camera_counts_as_recorded() {
    let mut site = Site::of(2, &[("gate", 1)]);
    let main = site.sight.progress.main(NodeId(1), CameraId(1)).unwrap();
    let sub = Progress {
        stream: StreamId {
            kind: StreamKind::Sub,
            ..main.stream
        },
        state: RecorderState::Failing,
        error: Some("the camera does not know this path".to_owned()),
        ..main.clone()
    };
    site.sight.progress.insert(NodeId(1), sub.clone());
    let status = site.status();
    assert_eq!(
        (codes(&status), status.state, status.cameras_recorded),
        (vec!["sub-not-recorded"], StatusState::Degraded, 1)
    );
    let what = &status.findings[0].what;
    assert!(
        what.contains("does not know this path") && what.contains("rec1"),
        "{what}"
    );
    // While the main stream fails too, that is the finding.
    let (now, error) = (Some(NOW_S - 60), Some("camera unreachable"));
    site.report(
        NodeId(1),
        CameraId(1),
        1,
        RecorderState::Failing,
        now,
        error,
    );
    assert_eq!(codes(&site.status()), ["not-recorded"]);
    site.report(
        NodeId(1),
        CameraId(1),
        1,
        RecorderState::Recording,
        Some(NOW_S),
        None,
    );
    let recorded = RecorderState::Recording;
    site.sight.progress.insert(
        NodeId(1),
        Progress {
            state: recorded,
            ..sub
        },
    );
    assert_eq!(site.status().state, StatusState::Well);
}

#[test]
fn cameras_that_a_failover_left_on_one_node_are_worth_knowing() {
    let status = Site::of(2, &[("a", 1), ("b", 1), ("c", 1)]).status();
    assert_eq!(
        (status.state, codes(&status)),
        (StatusState::Well, vec!["uneven"])
    );
    assert_eq!(
        status.findings[0].mend.as_deref(),
        Some("holdfast cluster rebalance")
    );
}
