//! Drills of failover: begun on request, or on schedule if the settings have one and all is well;
//! and their state, in the terms of the API.

use crate::clock::Clock;
use crate::footage::cluster_footage::View;
use crate::member::ticks::ticks;
use holdfast_consensus::Consensus;
use holdfast_consensus::command::Command;
use holdfast_consensus::decide::drill::{Drilled, QUIET_BEFORE, begin, due};
use holdfast_consensus::decide::headroom::Headroom;
use holdfast_consensus::model::{Actor, Drill, DrillResult, Outcome, Phase, RunningDrill};
use holdfast_consensus::state::ClusterState;
use holdfast_control_api::wire;
use holdfast_storage::ids::CameraId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the leader looks whether it is a camera's turn.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Cameras whose turn it is that are considered in one look.
const TRIED_MAX: usize = 16;

/// Begins scheduled drills while this node leads and all is well; runs as long as the node does.
pub(crate) async fn keep_schedule(
    consensus: Consensus,
    view: View,
    headroom: watch::Receiver<Option<Arc<Headroom>>>,
    clock: Clock,
) {
    let leadership = consensus.leadership();
    let mut looks = ticks(LOOK_INTERVAL);
    let mut well_since: Option<Duration> = None;
    loop {
        looks.tick().await;
        let (state, sight) = (consensus.state(), Arc::clone(&view.sight.borrow()));
        let survives = headroom
            .borrow()
            .as_ref()
            .is_some_and(|headroom| headroom.survives_any_node);
        let is_well = leadership.borrow().is_leader
            && survives
            && state.nodes.keys().all(|node| sight.can_record(node));
        let since = well_since.get_or_insert(clock.elapsed());
        let has_been_well = clock.elapsed().saturating_sub(*since) >= QUIET_BEFORE;
        if !is_well {
            well_since = None;
            continue;
        }
        if !has_been_well {
            continue;
        }
        // A camera that cannot be tried for a passing reason does not keep the others waiting.
        let tried = due(&state, clock.now()).into_iter().take(TRIED_MAX);
        let begun = tried.map(|camera| {
            begin(
                Drilled::Camera(camera),
                true,
                (&state, &sight, view.me),
                clock.now(),
            )
        });
        let Some(command) = begun.into_iter().find(can_begin) else {
            continue;
        };
        let what = command.to_string();
        let entry = command.by(Actor::Node(view.me), clock.now());
        if let Err(error) = consensus.propose_as_leader(entry).await {
            tracing::warn!(%what, %error, "a scheduled drill was not begun");
        }
    }
}

/// Whether the drill begins, or reports at once that failover would not work.
fn can_begin(command: &Command) -> bool {
    let Command::BeginDrill { starts, .. } = command else {
        return false;
    };
    starts.iter().all(|start| {
        start
            .refusal
            .as_ref()
            .is_none_or(|refusal| refusal.is_failure)
    })
}

/// A drill as it stands; restricted to one camera if one is named.
pub(crate) fn drill(drill: &Drill, state: &ClusterState, only: Option<CameraId>) -> wire::Drill {
    let is_asked = |camera: &CameraId| only.is_none_or(|only| only == *camera);
    let running: Vec<_> = state
        .drills
        .running_of(drill.id)
        .filter(|(camera, _)| is_asked(camera))
        .collect();
    let ended = drill
        .results
        .iter()
        .filter(|result| is_asked(&result.camera));
    let mut cameras: Vec<wire::CameraDrill> = running
        .iter()
        .map(|(camera, running)| under_way(*camera, running))
        .collect();
    cameras.extend(ended.map(result));
    cameras.sort_by_key(|drilled| drilled.camera);
    let count = |outcome| {
        cameras
            .iter()
            .filter(|drilled| drilled.outcome == Some(outcome))
            .count()
    };
    let mut gaps: Vec<u64> = cameras
        .iter()
        .filter_map(|drilled| drilled.gap_us)
        .collect();
    gaps.sort_unstable();
    wire::Drill {
        id: drill.id,
        node: drill.node,
        scheduled: drill.is_scheduled,
        began_at: drill.began_at,
        running: !running.is_empty(),
        passed: count(Outcome::Passed),
        failed: count(Outcome::Failed),
        aborted: count(Outcome::Aborted),
        median_gap_us: gaps.get(gaps.len().saturating_sub(1) / 2).copied(),
        worst_gap_us: gaps.last().copied(),
        cameras,
    }
}

fn under_way(camera: CameraId, running: &RunningDrill) -> wire::CameraDrill {
    wire::CameraDrill {
        camera,
        drill: running.drill,
        owner: Some(running.owner),
        successor: Some(running.successor),
        phase: match running.phase {
            Phase::TakingOver => wire::DrillPhase::TakingOver,
            Phase::TakenOver { .. } => wire::DrillPhase::TakenOver,
            Phase::HandingBack { .. } => wire::DrillPhase::HandingBack,
        },
        began_at: running.began_at,
        ended_at: None,
        outcome: None,
        gap_us: running.phase.gap_us(),
        handed_back: false,
        reason: None,
    }
}

pub(crate) fn result(result: &DrillResult) -> wire::CameraDrill {
    wire::CameraDrill {
        camera: result.camera,
        drill: result.drill,
        owner: result.owner,
        successor: result.successor,
        phase: wire::DrillPhase::Ended,
        began_at: result.began_at,
        ended_at: Some(result.ended_at),
        outcome: Some(result.outcome),
        gap_us: result.gap_us,
        handed_back: result.is_handed_back,
        reason: result.reason.clone(),
    }
}
