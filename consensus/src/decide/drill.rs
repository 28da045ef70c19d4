//! Drills: failovers of cameras whose owners are well, which show that failover works before it is
//! needed. Decides which cameras can be drilled now. Pure.
//!
//! A drill is a real failover: the successor records provisionally ([`crate::decide::desired`]),
//! takes over the camera once it has a durable keyframe, and returns it by an ordinary handoff
//! ([`crate::decide::steward`]). But the owner is alive, so no frame is lost.

mod schedule;

pub use schedule::{QUIET_BEFORE, due};

use crate::command::Command;
use crate::decide::placement::Planner;
use crate::model::{Assignment, DrillStart, Refusal, bounded};
use crate::observe::bitrate::Bitrates;
use crate::observe::heartbeat::RecorderState;
use crate::observe::reports::Reports;
use crate::observe::sight::Sight;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// A successor must have a durable keyframe within this time, or failover of the camera has failed.
pub const TAKE_OVER_MAX: Duration = Duration::from_secs(30);
/// As the camera's owner it must have one within this time. The first owner continues to record
/// until then, and long enough for the handoff back to begin.
pub const PROVE_MAX: Duration = Duration::from_secs(12);
const _: () = assert!(PROVE_MAX.as_secs() < crate::decide::steward::HANDOFF_MAX.as_secs());

/// The site as seen by the node that begins drills.
pub struct Look<'a> {
    pub state: &'a ClusterState,
    pub progress: &'a Reports,
    /// Whether the node is alive and can write.
    pub can_record: &'a dyn Fn(NodeId) -> bool,
    /// The current time by a node's clock.
    pub now_at: &'a dyn Fn(NodeId) -> Timestamp,
}

/// What to drill.
#[derive(Clone, Copy)]
pub enum Drilled {
    Camera(CameraId),
    Node(NodeId),
}

/// The command that begins a drill now, as this node (`me`) sees the site.
#[must_use]
pub fn begin(
    what: Drilled,
    is_scheduled: bool,
    (state, sight, me): (&ClusterState, &Sight, NodeId),
    at: Timestamp,
) -> Command {
    // The successor stamps its frames by its own clock.
    let ahead_us = |node| {
        sight
            .clocks
            .get(&node)
            .filter(|_| node != me)
            .map_or(0, |offset| offset.micros)
    };
    let look = Look {
        state,
        progress: &sight.progress,
        can_record: &|node| sight.can_record(node),
        now_at: &|node| at.plus_micros(ahead_us(node)),
    };
    let (node, starts) = match what {
        Drilled::Camera(camera) => (None, vec![start(&look, camera)]),
        Drilled::Node(node) => (Some(node), starts_of_node(&look, node)),
    };
    Command::BeginDrill {
        node,
        is_scheduled,
        starts,
    }
}

/// The start of a drill of `camera`, or why it cannot begin.
#[must_use]
pub fn start(look: &Look<'_>, camera: CameraId) -> DrillStart {
    let bitrates = Bitrates::of_reports(look.progress);
    let mut planner = Planner::new(look.state, &bitrates, look.can_record);
    start_one(look, &mut planner, camera)
}

/// The starts of a drill of `node`: all cameras that it owns, together, as if it died. Gapless ones
/// are left out: their mirrors record them all the time.
#[must_use]
pub fn starts_of_node(look: &Look<'_>, node: NodeId) -> Vec<DrillStart> {
    let bitrates = Bitrates::of_reports(look.progress);
    let mut planner = Planner::new(look.state, &bitrates, look.can_record);
    let owned = look
        .state
        .owned_by(node)
        .filter(|camera| !look.state.is_gapless(*camera));
    owned
        .map(|camera| start_one(look, &mut planner, camera))
        .collect()
}

fn start_one(look: &Look<'_>, planner: &mut Planner<'_>, camera: CameraId) -> DrillStart {
    let now = look
        .state
        .assignments
        .get(camera)
        .cloned()
        .unwrap_or_default();
    let began_at = (look.now_at)(now.successor.or(now.owner).unwrap_or_default());
    let refusal = refusal(look, planner, camera, &now);
    if refusal.is_none() {
        // Later cameras see what is left.
        planner.add(
            camera,
            &Assignment {
                owner: now.successor,
                ..Assignment::default()
            },
        );
    }
    DrillStart {
        camera,
        expect: now.epoch,
        successor: now.successor,
        began_at,
        refusal,
    }
}

fn refusal(
    look: &Look<'_>,
    planner: &Planner<'_>,
    camera: CameraId,
    now: &Assignment,
) -> Option<Refusal> {
    let state = look.state;
    if let Some(refusal) = state.drill_refusal(camera, now) {
        return Some(refusal);
    }
    let (owner, successor) = (now.owner?, now.successor?);
    let reported = |node: NodeId| look.progress.main(node, camera);
    let records = reported(owner).is_some_and(|report| {
        report.state == RecorderState::Recording && report.epoch == now.epoch
    });
    if !planner.is_fit(owner) || !records {
        let error = reported(owner).and_then(|report| report.error.as_deref());
        return Some(Refusal::passing(because(
            format!(
                "its owner {} does not record it, or is leaving",
                name(state, owner)
            ),
            error,
        )));
    }
    if !planner.is_fit(successor) {
        let why = format!(
            "its successor {} is dead, is leaving, or cannot write",
            name(state, successor)
        );
        return Some(Refusal::failure(why));
    }
    if reported(successor).is_some_and(|report| report.state != RecorderState::Starting) {
        let why = format!(
            "its successor {} has a recorder for it still; try again",
            name(state, successor)
        );
        return Some(Refusal::passing(why));
    }
    let full = || {
        Refusal::failure(format!(
            "its successor {} has no room for it",
            name(state, successor)
        ))
    };
    (!planner.takes(successor, camera)).then(full)
}

/// For messages.
pub(crate) fn name(state: &ClusterState, node: NodeId) -> String {
    state
        .nodes
        .get(node)
        .map_or_else(|| format!("node {node}"), |node| node.spec.name.to_string())
}

pub(crate) fn because(what: String, error: Option<&str>) -> String {
    bounded(error.map_or(what.clone(), |error| format!("{what}: {error}")))
}
