//! Drills: failover of cameras whose owners are well, to know that it works before it must. Which
//! cameras can be drilled now. Pure.
//!
//! A drill is the failover itself: the successor records provisionally
//! ([`crate::decide::desired`]), takes the camera over once it has a durable keyframe, and hands it
//! back by a handoff like any other ([`crate::decide::steward`]). Only the owner does not die, so
//! no frame is lost.

mod schedule;

pub use schedule::{QUIET_BEFORE, due};

use crate::decide::placement::Planner;
use crate::model::{Assignment, DrillStart, Refusal, bounded};
use crate::observe::bitrate::Bitrates;
use crate::observe::heartbeat::RecorderState;
use crate::observe::reports::Reports;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// A successor must have a durable keyframe within this time, or failover of the camera has failed.
pub const TAKE_OVER_MAX: Duration = Duration::from_secs(30);
/// As the camera's owner it must have one within this time. The first owner records on until then,
/// and for long enough to begin the way back.
pub const PROVE_MAX: Duration = Duration::from_secs(12);
const _: () = assert!(PROVE_MAX.as_secs() < crate::decide::steward::HANDOFF_MAX.as_secs());

/// What is seen of the site by whoever begins drills.
pub struct Look<'a> {
    pub state: &'a ClusterState,
    pub progress: &'a Reports,
    /// Lives, and can write.
    pub can_record: &'a dyn Fn(NodeId) -> bool,
    /// The present moment by a node's clock.
    pub now_at: &'a dyn Fn(NodeId) -> Timestamp,
}

/// The start of a drill of `camera`, with why it cannot begin, where it cannot.
#[must_use]
pub fn start(look: &Look<'_>, camera: CameraId) -> DrillStart {
    let bitrates = Bitrates::of_reports(look.progress);
    let mut planner = Planner::new(look.state, &bitrates, look.can_record);
    start_one(look, &mut planner, camera)
}

/// The starts of a drill of `node`: of all cameras that it owns, together, as its death would be.
/// Gapless ones are left out: their mirrors record them all the time.
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
        // Those that follow find what is left.
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
    let reported = |node: NodeId| look.progress.get(&(node, camera));
    let records = reported(owner)
        .is_some_and(|told| told.state == RecorderState::Recording && told.epoch == now.epoch);
    if !planner.is_fit(owner) || !records {
        let error = reported(owner).and_then(|told| told.error.as_deref());
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
    if reported(successor).is_some_and(|told| told.state != RecorderState::Starting) {
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

/// For people.
pub(crate) fn name(state: &ClusterState, node: NodeId) -> String {
    state
        .nodes
        .get(node)
        .map_or_else(|| format!("node {node}"), |node| node.spec.name.to_string())
}

pub(crate) fn because(what: String, error: Option<&str>) -> String {
    bounded(error.map_or(what.clone(), |error| format!("{what}: {error}")))
}
