//! Which camera's turn it is, where drills happen by themselves. Pure.

use crate::model::Drills;
use crate::state::ClusterState;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// No camera may have changed its owner within this time, for a drill to begin by itself.
pub const QUIET_BEFORE: Duration = Duration::from_secs(60);

/// The cameras whose turn it is, the one whose last result is oldest first; one of them is to be
/// drilled now. Empty unless it is time for the next: never two at once, evenly spread over the
/// period, and nothing is moving, or did a moment ago.
#[must_use]
pub fn due(state: &ClusterState, now: Timestamp) -> Vec<CameraId> {
    let drills = &state.drills;
    let period = Duration::from_secs(state.settings.drill_every_s.into());
    if period.is_zero() || !drills.running.is_empty() || !is_quiet(state, now) {
        return Vec::new();
    }
    let drillable: Vec<CameraId> = state
        .cameras
        .keys()
        .filter(|camera| !state.is_gapless(*camera))
        .collect();
    let spacing = period / u32::try_from(drillable.len().max(1)).unwrap_or(u32::MAX);
    if last_scheduled(drills).is_some_and(|last| has_passed(last, now) < spacing) {
        return Vec::new();
    }
    let last = |camera: &CameraId| drills.results.get(*camera).map(|result| result.ended_at);
    // A turn more or less does not matter; without it each round would begin later than the one
    // before.
    let is_due = |camera: &CameraId| {
        last(camera).is_none_or(|last| has_passed(last, now) + spacing >= period)
    };
    let mut due: Vec<CameraId> = drillable.into_iter().filter(is_due).collect();
    due.sort_by_key(|camera| (last(camera), *camera));
    due
}

fn last_scheduled(drills: &Drills) -> Option<Timestamp> {
    drills
        .log
        .values()
        .filter(|drill| drill.is_scheduled)
        .map(|drill| drill.began_at)
        .max()
}

fn is_quiet(state: &ClusterState, now: Timestamp) -> bool {
    let mut moved = state
        .assignments
        .values()
        .filter_map(|assignment| assignment.moved_at);
    let is_moving = state.rebalancing_since.is_some()
        || state.assignments.values().any(|now| now.handoff.is_some());
    !is_moving && moved.all(|at| has_passed(at, now) >= QUIET_BEFORE)
}

/// A clock that was stepped back counts as time that has passed.
fn has_passed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(now.micros_since(since).unsigned_abs())
}

#[cfg(test)]
mod tests;
