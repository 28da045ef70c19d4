//! Cameras that should be recorded and are not, or not as well as they should be.

use super::{Finding, Severity};
use super::{Known, mend};
use holdfast_consensus::decide::placement::Lack;
use holdfast_consensus::model::{Camera, Protection};
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_storage::ids::{CameraId, NodeId, StreamId, StreamKind};
use holdfast_storage::time::Timestamp;

/// A camera that was recorded, or got its owner, this recently is still starting: a failover and a
/// first connection take no longer.
const ON_ITS_WAY_US: i64 = 5_000_000;

/// A recording whose newest durable frame is older has stopped, whatever its recorder reports: a
/// slow disk may be behind, but not so far.
const LATE_US: i64 = 15_000_000;

/// Whether footage of the camera becomes durable now.
pub(super) fn is_recorded(known: &Known<'_>, camera: CameraId) -> bool {
    let Some(assignment) = known.state.assignments.get(camera) else {
        return false;
    };
    known
        .sight
        .recorder(camera, assignment)
        .is_some_and(|(_, report)| keeps_up(known, report))
}

fn keeps_up(known: &Known<'_>, report: &Progress) -> bool {
    let patience_us = i64::from(report.patience_ms.unwrap_or(0)) * 1000;
    let is_new = |mark: Timestamp| known.now.micros_since(mark) <= LATE_US + patience_us;
    report.state == RecorderState::Recording
        && report
            .watermark
            .or(report.first_keyframe)
            .is_some_and(is_new)
}

pub(super) fn not_recorded(known: &Known<'_>) -> Vec<Finding> {
    let cameras = known.state.cameras.values();
    let mut found: Vec<Finding> = cameras.filter_map(|camera| lost(known, camera)).collect();
    // The longest first; cameras that were never recorded, last.
    found.sort_by_key(|finding| finding.since.unwrap_or(Timestamp::MAX));
    found
}

fn lost(known: &Known<'_>, camera: &Camera) -> Option<Finding> {
    if is_recorded(known, camera.id) {
        return None;
    }
    let assignment = known
        .state
        .assignments
        .get(camera.id)
        .cloned()
        .unwrap_or_default();
    let since = recorded_until(known, camera.id);
    let began = since.max(assignment.moved_at);
    if began.is_some_and(|began| known.now.micros_since(began).abs() <= ON_ITS_WAY_US) {
        return None;
    }
    let report = known.sight.recorder(camera.id, &assignment);
    let name = camera.spec.name.to_string();
    let (what, mend) = match report {
        Some((
            node,
            Progress {
                error: Some(error), ..
            },
        )) => (
            format!("{error}, tried by {}", known.node_name(node)),
            mend::camera(error, &name),
        ),
        Some((node, report)) => said_of(known, node, report),
        None => nowhere(known, camera.id, assignment.owner),
    };
    Some(Finding {
        severity: Severity::Loss,
        code: "not-recorded".to_owned(),
        subject: name,
        since,
        what,
        mend: Some(mend),
        camera: Some(camera.id),
        node: report.map(|(node, _)| node),
    })
}

/// How far any node recorded the camera.
fn recorded_until(known: &Known<'_>, camera: CameraId) -> Option<Timestamp> {
    let report = known
        .state
        .nodes
        .keys()
        .filter_map(|node| known.sight.progress.main(node, camera)?.watermark);
    report.max()
}

fn said_of(known: &Known<'_>, node: NodeId, report: &Progress) -> (String, String) {
    let name = known.node_name(node);
    match report.state {
        RecorderState::Recording => {
            let what = format!("{name} receives it, and nothing of it becomes durable");
            (what, format!("holdfast nodes volumes {name}"))
        }
        RecorderState::Starting => (
            format!("{name} connects to it"),
            format!("see the log of {name} if it stays so"),
        ),
        RecorderState::Failing => (
            format!("{name} cannot record it and says no more"),
            format!("see the log of {name}"),
        ),
    }
}

fn nowhere(known: &Known<'_>, camera: CameraId, owner: Option<NodeId>) -> (String, String) {
    let lack = known
        .headroom
        .and_then(|headroom| headroom.waiting.get(&camera));
    let (what, mend) = match (lack, owner.filter(|owner| !known.sight.is_alive(*owner))) {
        (Some(Lack::Capacity), _) => (
            "every node that could record it is full".to_owned(),
            "add a node, or raise camera_capacity",
        ),
        (Some(Lack::Node), _) => (
            "no node that may record it is there and can write".to_owned(),
            "start the nodes that are down",
        ),
        (None, Some(dead)) => (
            format!(
                "{} is down, and no other node records it",
                known.node_name(dead)
            ),
            "start the node",
        ),
        (None, None) => (
            "no node is known to record it".to_owned(),
            "holdfast camera list",
        ),
    };
    (what, mend.to_owned())
}

/// Gapless cameras that only one node records.
pub(super) fn one_copy(known: &Known<'_>) -> Vec<Finding> {
    let gapless = known
        .state
        .cameras
        .values()
        .filter(|camera| camera.spec.protection == Protection::Gapless);
    let alone = gapless.filter_map(|camera| {
        let assignment = known.state.assignments.get(camera.id)?;
        let both = [assignment.owner, assignment.mirror].into_iter().flatten();
        let records = |node: &NodeId| {
            let report = known
                .sight
                .progress
                .main(*node, camera.id)
                .filter(|_| known.sight.is_alive(*node));
            report.is_some_and(|report| keeps_up(known, report))
        };
        (both.filter(records).count() == 1).then(|| Finding {
            severity: Severity::Degraded,
            code: "one-copy".to_owned(),
            subject: camera.spec.name.to_string(),
            since: assignment.moved_at,
            what: "it is gapless, and one node records it alone".to_owned(),
            mend: Some("it needs a second node that is there, has room and reaches it".to_owned()),
            camera: Some(camera.id),
            node: assignment.owner,
        })
    });
    alone.collect()
}

/// Recorded cameras whose sub stream fails: they stay where they are, because their main stream
/// decides about that.
pub(super) fn sub_not_recorded(known: &Known<'_>) -> Vec<Finding> {
    let found = known.state.cameras.values().filter_map(|camera| {
        let assignment = known.state.assignments.get(camera.id)?;
        let (node, main) = known.sight.recorder(camera.id, assignment)?;
        let sub = StreamId {
            kind: StreamKind::Sub,
            ..main.stream
        };
        let report = known.sight.progress.get(node, sub)?;
        let fails = report.state == RecorderState::Failing && keeps_up(known, main);
        let error = report.error.as_deref().unwrap_or("no cause is reported");
        fails.then(|| Finding {
            severity: Severity::Degraded,
            code: "sub-not-recorded".to_owned(),
            subject: camera.spec.name.to_string(),
            since: report.watermark,
            what: format!(
                "its sub stream is not recorded: {error}, tried by {}",
                known.node_name(node)
            ),
            mend: Some(
                "see to the camera's sub stream; docs/cameras.md says what each message means"
                    .to_owned(),
            ),
            camera: Some(camera.id),
            node: Some(node),
        })
    });
    found.collect()
}
