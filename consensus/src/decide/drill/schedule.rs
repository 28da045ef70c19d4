//! Which camera is due for a scheduled drill. Pure.

use crate::model::Drills;
use crate::state::ClusterState;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use std::time::Duration;

/// A scheduled drill does not begin if any camera changed its owner within this time.
pub const QUIET_BEFORE: Duration = Duration::from_secs(60);

/// The cameras that are due, the one with the oldest last result first; one of them is to be
/// drilled now. Empty unless the next drill is due: one at a time, evenly spread over the period,
/// and only if nothing is moving or has just moved.
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
    // One spacing more or less does not matter; without it each round would begin later than the
    // previous one.
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

/// If the clock was stepped back, the time counts as passed.
fn has_passed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(now.micros_since(since).unsigned_abs())
}

#[cfg(test)]
mod tests;
