//! The replicated state and the pilot's sight, in the terms of the API. Pure.

use crate::parts::drills;
use holdfast_consensus::Consensus;
use holdfast_consensus::decide::headroom::{Headroom, Victim};
use holdfast_consensus::model::{Assignment, Camera, Export, Hold};
use holdfast_consensus::observe::bitrate::Bitrates;
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_consensus::state::ClusterState;
use holdfast_control_api::wire;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;

pub(crate) fn no_cluster() -> wire::Cluster {
    wire::Cluster {
        id: None,
        this_node: None,
        leader: None,
        term: 0,
        voters: Vec::new(),
        nodes: Vec::new(),
        cameras: 0,
        cameras_recording: 0,
        failover_headroom: None,
        rebalancing: false,
        version: 0,
        no_part: None,
        generation: 0,
    }
}

/// Why this node takes no part in what the cluster decides: its data directory is old or a copy, or
/// it was removed.
pub(crate) fn standing_apart(consensus: &Consensus) -> Option<String> {
    let standing = *consensus.identity().standing().borrow();
    standing.is_final().then(|| standing.to_string())
}

/// Why this node cannot make changes, or `None` if it can: for health and status alike.
pub(crate) fn takes_part(consensus: &Consensus) -> Option<String> {
    let identity = consensus.identity();
    if let Some(why) = standing_apart(consensus) {
        return Some(why);
    }
    if consensus.leader().is_some() {
        return None;
    }
    let mut why =
        "no leader with a majority behind it is known; recording continues, changes of configuration wait".to_owned();
    let state = consensus.state();
    let strangers = identity.strangers();
    let names = strangers
        .iter()
        .filter_map(|node| Some(state.nodes.get(*node)?.spec.name.as_str()));
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        why.push_str(&format!(
            "; another cluster secret than this node's is in use on {}",
            names.join(", ")
        ));
    }
    Some(why)
}

pub(crate) fn cluster(
    consensus: &Consensus,
    sight: &Sight,
    headroom: Option<&Headroom>,
) -> wire::Cluster {
    let state = consensus.state();
    let leadership = consensus.leadership().borrow().clone();
    let recording = state.assignments.iter().filter(|(camera, assignment)| {
        recorder(*camera, assignment, sight)
            .is_some_and(|(_, report)| report.state == RecorderState::Recording)
    });
    wire::Cluster {
        id: state.cluster.map(|cluster| cluster.to_string()),
        this_node: Some(consensus.node()),
        leader: consensus.leader(),
        term: leadership.term,
        cameras: state.cameras.len(),
        cameras_recording: recording.count(),
        nodes: nodes(consensus, sight),
        voters: leadership.voters,
        failover_headroom: headroom.map(failover_headroom),
        rebalancing: state.rebalancing_since.is_some(),
        version: state.version,
        no_part: takes_part(consensus),
        generation: consensus.identity().generation().number,
    }
}

fn failover_headroom(headroom: &Headroom) -> wire::FailoverHeadroom {
    let worst = headroom.worst.as_ref().map(|(victim, lost)| {
        let (node, failure_domain) = match victim {
            Victim::Nobody => (None, None),
            Victim::Node(node) => (Some(*node), None),
            Victim::Domain(name) => (None, Some(name.clone())),
        };
        wire::WorstLoss {
            node,
            failure_domain,
            cameras_lost: lost.len(),
        }
    });
    wire::FailoverHeadroom {
        survives_any_node: headroom.survives_any_node,
        survives_any_domain: headroom.survives_any_domain,
        worst,
        spare_cameras: headroom.spare_cameras,
    }
}

pub(crate) fn settings(state: &ClusterState) -> wire::Settings {
    let settings = &state.settings;
    wire::Settings {
        headroom: settings.headroom,
        headroom_over_domains: settings.headroom_over_domains,
        failback: settings.failback,
        failback_after_s: settings.failback_after_s,
        drill_every_s: settings.drill_every_s,
    }
}

pub(crate) fn nodes(consensus: &Consensus, sight: &Sight) -> Vec<wire::Node> {
    let state = consensus.state();
    let voters = consensus.leadership().borrow().voters.clone();
    let bitrates = Bitrates::of_reports(&sight.progress);
    let refused = consensus.identity().refused();
    let addresses = consensus.identity().addresses();
    let nodes = state.nodes.values().map(|node| wire::Node {
        id: node.id,
        name: node.spec.name.to_string(),
        role: node.spec.role,
        duty: node.duty,
        voter: voters.contains(&node.id),
        alive: sight.is_alive(node.id),
        peer_addr: addresses
            .of(node.id)
            .unwrap_or_else(|| node.spec.peer_addr.to_string()),
        api_addr: node.spec.api_addr.to_string(),
        failure_domain: node.spec.failure_domain.to_string(),
        camera_capacity: node.spec.camera_capacity,
        bitrate_capacity_bps: node.spec.bitrate_capacity_bps,
        labels: node.spec.labels.as_map().clone(),
        cameras: state.owned_by(node.id).count(),
        cameras_recorded: state
            .owned_by(node.id)
            .filter(|camera| is_recorded_by(node.id, *camera, sight))
            .count(),
        clock_offset_ms: sight
            .clocks
            .get(&node.id)
            .filter(|_| sight.is_alive(node.id))
            .map(|offset| offset.micros / 1000),
        bitrate_bps: state
            .owned_by(node.id)
            .map(|camera| bitrates.of(camera))
            .sum(),
        version: node.spec.version,
        refused: refused.get(&node.id).cloned(),
    });
    nodes.collect()
}

pub(crate) fn camera(
    camera: &Camera,
    state: &ClusterState,
    sight: &Sight,
    headroom: Option<&Headroom>,
) -> wire::Camera {
    let assignment = state
        .assignments
        .get(camera.id)
        .cloned()
        .unwrap_or_default();
    let spec = &camera.spec;
    wire::Camera {
        id: camera.id,
        name: spec.name.to_string(),
        source: wire::Source::of(&spec.source),
        protection: spec.protection,
        priority: spec.priority,
        retention_class: spec.retention_class.to_string(),
        labels: spec.labels.as_map().clone(),
        node_labels: spec.node_labels.as_map().clone(),
        preferred_node: spec.preferred_node,
        recording: recording(camera.id, &assignment, sight, headroom),
        assignment: wire::Assignment {
            epoch: assignment.epoch,
            owner: assignment.owner,
            mirror: assignment.mirror,
            successor: assignment.successor,
            moving_to: assignment.handoff.map(|handoff| handoff.to),
        },
        last_drill: state.drills.results.get(camera.id).map(drills::result),
        held_back: sight
            .treatments
            .get(&camera.id)
            .copied()
            .and_then(wire::HeldBack::of),
        warnings: Vec::new(),
    }
}

pub(crate) fn volume(volume: VolumeReport) -> wire::Volume {
    wire::Volume {
        index: volume.index,
        path: volume.path,
        state: volume.state,
        error: volume.error,
        cameras: volume.cameras,
        lag_seconds: volume.lag_seconds,
        free_bytes: volume.free_bytes,
        size_bytes: volume.size_bytes,
        failures: volume.failures,
        reattachments: volume.reattachments,
        id: volume.id.map(|id| id.to_string()),
    }
}

pub(crate) fn hold(hold: &Hold) -> wire::Hold {
    let spec = &hold.spec;
    wire::Hold {
        id: hold.id,
        reason: spec.reason.to_string(),
        camera: spec.camera,
        from: spec.from,
        to: spec.to,
        created_at: hold.created_at,
    }
}

pub(crate) fn export(export: &Export) -> wire::Export {
    let spec = &export.spec;
    wire::Export {
        id: export.id,
        name: spec.name.to_string(),
        cameras: spec.cameras.clone(),
        from: spec.from,
        to: spec.to,
        strict: spec.strict,
        created_at: export.created_at,
        expires_at: export.expires_at(),
    }
}

fn recording(
    camera: CameraId,
    assignment: &Assignment,
    sight: &Sight,
    headroom: Option<&Headroom>,
) -> wire::Recording {
    let (node, report) = recorder(camera, assignment, sight).unzip();
    let lack = headroom.and_then(|headroom| headroom.waiting.get(&camera).copied());
    let known = sight.progress.iter().filter(|((_, of), _)| *of == camera);
    let furthest = known.filter_map(|(_, progress)| progress.watermark).max();
    wire::Recording {
        state: report.map(|report: &Progress| report.state),
        node,
        watermark: watermark(report, furthest),
        error: report.and_then(|report| report.error.clone()),
        waits_for: lack.filter(|_| report.is_none()),
    }
}

/// How far a camera is durable. If a node records it, only that recorder's own report counts: other
/// nodes (an owner that is about to stop, a mirror) may be a moment ahead, and a node that has just
/// restarted has not heard of them; its answer would lie before its earlier one. Until the recorder
/// has something durable, it is what the others have of the time before the recorder's first
/// keyframe. While no node records, it is `furthest`, whatever is known.
fn watermark(recorder: Option<&Progress>, furthest: Option<Timestamp>) -> Option<Timestamp> {
    match recorder.filter(|report| report.state == RecorderState::Recording) {
        Some(report) => report
            .watermark
            .or_else(|| Some(furthest?.min(report.first_keyframe?))),
        None => furthest,
    }
}

/// Whether the node is alive, has a recorder for the camera, and does not report it as failing.
fn is_recorded_by(node: NodeId, camera: CameraId, sight: &Sight) -> bool {
    let report = sight
        .progress
        .get(&(node, camera))
        .filter(|_| sight.is_alive(node));
    report.is_some_and(|report| report.state != RecorderState::Failing)
}

/// The node that records the camera now, the most entitled first; dead nodes do not count.
pub(crate) fn recorder<'a>(
    camera: CameraId,
    assignment: &Assignment,
    sight: &'a Sight,
) -> Option<(NodeId, &'a Progress)> {
    let handoff = assignment.handoff.map(|handoff| handoff.to);
    let entitled = [
        assignment.owner,
        assignment.mirror,
        handoff,
        assignment.successor,
    ];
    let living = entitled
        .into_iter()
        .flatten()
        .filter(|node| sight.is_alive(*node));
    let reports = living.filter_map(|node| Some((node, sight.progress.get(&(node, camera))?)));
    reports
        .into_iter()
        .find(|(_, report)| report.epoch >= assignment.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::observe::liveness::Verdict;
    use holdfast_storage::ids::{Epoch, Rank};

    const CAMERA: CameraId = CameraId(1);
    const OWNER: NodeId = NodeId(1);
    const MIRROR: NodeId = NodeId(2);

    fn progress(epoch: u64, rank: Rank, state: RecorderState, watermark: i64) -> Progress {
        Progress {
            camera: CAMERA,
            epoch: Epoch(epoch),
            rank,
            state,
            watermark: Some(Timestamp(watermark)),
            first_keyframe: Some(Timestamp(0)),
            error: None,
            bitrate_bps: None,
            patience_ms: None,
            exposure: None,
        }
    }

    fn sight(reports: &[(NodeId, Progress)]) -> Sight {
        Sight {
            verdicts: [OWNER, MIRROR].map(|node| (node, Verdict::Alive)).into(),
            progress: reports
                .iter()
                .map(|(node, progress)| ((*node, CAMERA), progress.clone()))
                .collect(),
            ..Sight::default()
        }
    }

    fn shown(assignment: &Assignment, sight: &Sight) -> Option<i64> {
        recording(CAMERA, assignment, sight, None)
            .watermark
            .map(Timestamp::micros)
    }

    #[test]
    fn a_node_that_restarts_reports_no_earlier_watermark_of_a_recorder_than_before() {
        let assignment = Assignment {
            epoch: Epoch(3),
            owner: Some(OWNER),
            mirror: Some(MIRROR),
            ..Assignment::default()
        };
        let owner = (
            OWNER,
            progress(3, Rank::Owner, RecorderState::Recording, 1_000_000),
        );
        let mirror = (
            MIRROR,
            progress(3, Rank::Mirror, RecorderState::Recording, 1_000_007),
        );
        let before = shown(&assignment, &sight(&[owner.clone(), mirror]));
        let restarted = shown(&assignment, &sight(&[owner]));
        assert_eq!(
            (before, restarted),
            (Some(1_000_000), Some(1_000_000)),
            "it has not heard of the mirror yet"
        );
    }

    #[test]
    fn a_new_owners_watermark_is_its_own_even_while_the_old_one_continues() {
        let mut assignment = Assignment {
            epoch: Epoch(3),
            owner: Some(OWNER),
            mirror: Some(MIRROR),
            ..Assignment::default()
        };
        let owner = (
            OWNER,
            progress(3, Rank::Owner, RecorderState::Recording, 1_000_000),
        );
        let mirror = (
            MIRROR,
            progress(3, Rank::Mirror, RecorderState::Recording, 600_000),
        );
        assert_eq!(
            shown(&assignment, &sight(&[owner.clone(), mirror])),
            Some(1_000_000)
        );
        (assignment.epoch, assignment.owner, assignment.mirror) = (Epoch(4), Some(MIRROR), None);
        let starts = (
            MIRROR,
            progress(4, Rank::Owner, RecorderState::Starting, 600_000),
        );
        assert_eq!(
            shown(&assignment, &sight(&[owner.clone(), starts])),
            Some(1_000_000),
            "no node records"
        );

        // Its first keyframe is there, but nothing is durable yet.
        let (node, recording) = (
            MIRROR,
            progress(4, Rank::Owner, RecorderState::Recording, 0),
        );
        let first = Progress {
            watermark: None,
            first_keyframe: Some(Timestamp(900_000)),
            ..recording
        };
        assert_eq!(
            shown(&assignment, &sight(&[owner, (node, first.clone())])),
            Some(900_000)
        );
        let continues = (
            OWNER,
            progress(3, Rank::Owner, RecorderState::Recording, 1_400_007),
        );
        let own = (
            node,
            Progress {
                watermark: Some(Timestamp(1_400_000)),
                ..first
            },
        );
        let before = shown(&assignment, &sight(&[continues, own.clone()]));
        let restarted = shown(&assignment, &sight(&[own]));
        assert_eq!(
            (before, restarted),
            (Some(1_400_000), Some(1_400_000)),
            "it has not heard of the old owner"
        );
    }
}
