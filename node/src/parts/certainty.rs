//! What is certain about the time: volumes learn how the other members' clocks judge this node's,
//! recorders whether the wall clock is certain, and the cluster which cameras need a new epoch,
//! because their recorded time has run ahead of it.

use crate::capture::ingest::wall::{AHEAD_US_MAX, WallTrust};
use crate::capture::recorder::status::Status;
use crate::capture::recorder::supervisor::SupervisorHandle;
use crate::clock::Clock;
use crate::footage::cluster_footage::View;
use crate::member::ticks::ticks;
use holdfast_consensus::Consensus;
use holdfast_consensus::command::{AssignmentChange, AssignmentOp, Command};
use holdfast_consensus::model::Actor;
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::retention::{PeerClocks, TOLERANCE};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long this node waits for other members after a start; then it judges alone.
const PEERS_WAIT_MAX: Duration = Duration::from_secs(120);

/// Volumes check the clock every few seconds; their verdicts from before it was set do not count.
const STEADY_MIN: Duration = Duration::from_secs(15);
const STEP_US: i64 = 2_000_000;

/// Cameras that get a new epoch with one entry of the log.
const RENEWED_MAX: usize = 64;

/// Runs as long as the member. Recorders read the verdict from `wall`.
pub(crate) async fn keep(
    consensus: Consensus,
    view: View,
    supervisor: SupervisorHandle,
    (clock, wall): (Clock, WallTrust),
) {
    let View {
        me, volumes, sight, ..
    } = view;
    let mut steady = Steady::default();
    let mut looks = ticks(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        let (state, seen) = (consensus.state(), sight.borrow().clone());
        volumes.set_peer_clocks(peer_clocks(me, &state, &seen, clock.elapsed()));
        let is_steady = steady.look(clock.elapsed(), clock.now());
        let is_certain = is_steady && volumes.time().is_likely;
        wall.set(is_certain);
        let changes = if is_certain {
            renewals(me, &state, &supervisor.statuses(), clock.now())
        } else {
            Vec::new()
        };
        if !changes.is_empty() {
            let cameras = changes.len();
            tracing::warn!(
                cameras,
                "recorded time is ahead of the clock: these cameras get a new epoch at true time"
            );
            let renewal = Command::Assign { changes }.by(Actor::Node(me), clock.now());
            if let Err(error) = consensus.write(renewal).await {
                tracing::warn!(%error, "recorded times stay ahead until the cluster decides");
            }
        }
    }
}

/// Since when the wall clock was not set.
#[derive(Debug, Default)]
pub struct Steady {
    last: Option<(Duration, i64)>,
    since: Duration,
}

impl Steady {
    /// Whether that has been long enough.
    pub fn look(&mut self, uptime: Duration, wall: Timestamp) -> bool {
        let is_step = |(before, wall_us): (Duration, i64)| {
            let passed_us =
                i64::try_from(uptime.saturating_sub(before).as_micros()).unwrap_or(i64::MAX);
            wall.micros()
                .saturating_sub(wall_us)
                .saturating_sub(passed_us)
                .saturating_abs()
                > STEP_US
        };
        if self.last.is_none_or(is_step) {
            self.since = uptime;
        }
        self.last = Some((uptime, wall.micros()));
        uptime.saturating_sub(self.since) >= STEADY_MIN
    }
}

/// What the clocks of the others say about this node's. Nodes that are dead, or not measured yet,
/// do not count.
#[must_use]
pub fn peer_clocks(
    me: NodeId,
    state: &ClusterState,
    sight: &Sight,
    uptime: Duration,
) -> PeerClocks {
    let others = || state.nodes.keys().filter(|node| *node != me);
    let heard: Vec<_> = others()
        .filter(|node| sight.is_alive(*node))
        .filter_map(|node| Some((node, sight.clocks.get(&node)?)))
        .map(|(node, offset)| {
            let off_us = offset
                .micros
                .unsigned_abs()
                .saturating_sub(offset.error_us.unsigned_abs());
            (node, u128::from(off_us) <= TOLERANCE.as_micros())
        })
        .collect();
    if heard.is_empty() {
        let is_waiting = uptime < PEERS_WAIT_MAX && others().next().is_some();
        return if is_waiting {
            PeerClocks::Awaited
        } else {
            PeerClocks::Alone
        };
    }
    let count = |agrees: bool| {
        u32::try_from(heard.iter().filter(|peer| peer.1 == agrees).count()).unwrap_or(u32::MAX)
    };
    PeerClocks::Heard {
        agreeing: count(true),
        disagreeing: count(false),
        is_vouched: heard
            .iter()
            .any(|(node, agrees)| *agrees && sight.vouching.contains(node)),
    }
}

/// New epochs for the cameras of which a stream's recorded time is ahead of a clock that is
/// certain.
#[must_use]
pub fn renewals(
    me: NodeId,
    state: &ClusterState,
    recorders: &[Status],
    now: Timestamp,
) -> Vec<AssignmentChange> {
    let is_ahead = |status: &&Status| {
        let assignment = state.assignments.get(status.stream.camera);
        let is_mine = assignment.is_some_and(|assignment| {
            let is_recorder = [assignment.owner, assignment.mirror].contains(&Some(me));
            is_recorder && assignment.epoch == status.identity.epoch && assignment.handoff.is_none()
        });
        is_mine
            && status
                .received_until
                .is_some_and(|until| until.micros_since(now) > AHEAD_US_MAX)
    };
    let ahead: BTreeMap<CameraId, Epoch> = recorders
        .iter()
        .filter(is_ahead)
        .map(|status| (status.stream.camera, status.identity.epoch))
        .collect();
    let renew = |(camera, expect)| AssignmentChange {
        camera,
        expect,
        op: AssignmentOp::Renew,
    };
    ahead.into_iter().take(RENEWED_MAX).map(renew).collect()
}

#[cfg(test)]
mod tests;
