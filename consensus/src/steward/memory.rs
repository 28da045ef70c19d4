//! What the steward remembers between its rounds: how long a recorder has failed, and which moves did not work. Lost with leadership, and harmless to lose.

use crate::heartbeat::{Progress, RecorderState, SUSPECT_AFTER};
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A recorder that says it fails is given this long to help itself.
pub const FAILING_MAX: Duration = Duration::from_secs(5);
/// A recorder without progress that does not say why is given this long.
pub const STALLED_MAX: Duration = Duration::from_secs(15);
/// A camera is moved off a failing recorder at most once in this time; doubles while moves do not help.
pub const MOVE_INTERVAL: Duration = Duration::from_secs(60);
/// A target that proved nothing is not asked again for this long; doubles each time.
pub const TARGET_BACKOFF: Duration = Duration::from_secs(30);
const DOUBLINGS_MAX: u32 = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    watches: BTreeMap<CameraId, Watch>,
    moves: BTreeMap<CameraId, Tries>,
    refusals: BTreeMap<(CameraId, NodeId), Tries>,
    /// Since when each node has been able to record without a break.
    fit_since: BTreeMap<NodeId, Duration>,
    /// When the leader last heard no majority.
    deaf_at: Option<Duration>,
}

/// The owner's recorder as seen over time.
#[derive(Clone, Debug)]
struct Watch {
    owner: NodeId,
    epoch: Epoch,
    watermark: Option<Timestamp>,
    progressed_at: Duration,
    failing_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Tries {
    at: Duration,
    count: u32,
}

impl Tries {
    fn wait(self, once: Duration) -> Duration {
        once * 2_u32.pow((self.count - 1).min(DOUBLINGS_MAX))
    }

    fn again(before: Option<Self>, at: Duration) -> Self {
        Self { at, count: before.map_or(1, |tries| tries.count.saturating_add(1)) }
    }
}

impl Memory {
    pub(super) fn forget(&mut self, now: Duration, exists: impl Fn(CameraId) -> bool) {
        self.watches.retain(|camera, _| exists(*camera));
        self.moves.retain(|camera, tries| exists(*camera) && now < tries.at + 2 * tries.wait(MOVE_INTERVAL));
        self.refusals.retain(|(camera, _), tries| exists(*camera) && now < tries.at + 2 * tries.wait(TARGET_BACKOFF));
    }

    /// Takes in whether the leader hears a majority; whether it did for long enough to trust what it does not hear.
    pub(super) fn hears(&mut self, now: Duration, majority: bool) -> bool {
        if !majority {
            self.deaf_at = Some(now);
        }
        self.deaf_at.is_none_or(|at| now.saturating_sub(at) >= SUSPECT_AFTER)
    }

    /// Takes in what `owner` says of its recorder; whether that recorder has failed for too long.
    pub(super) fn has_failed(
        &mut self,
        now: Duration,
        camera: CameraId,
        (owner, epoch): (NodeId, Epoch),
        progress: Option<&Progress>,
    ) -> bool {
        let fresh = Watch { owner, epoch, watermark: None, progressed_at: now, failing_since: None };
        let watch = self.watches.entry(camera).or_insert_with(|| fresh.clone());
        if (watch.owner, watch.epoch) != (owner, epoch) {
            *watch = fresh;
        }
        let report = progress.filter(|progress| progress.epoch == epoch);
        watch.take_in(now, report);
        let failing = watch.failing_since.is_some_and(|since| now.saturating_sub(since) > FAILING_MAX);
        failing || now.saturating_sub(watch.progressed_at) > STALLED_MAX
    }

    /// Takes in who can record now.
    pub(super) fn note_fit(&mut self, now: Duration, fit: impl Iterator<Item = NodeId>) {
        self.fit_since = fit.map(|node| (node, self.fit_since.get(&node).copied().unwrap_or(now))).collect();
    }

    pub(super) fn has_been_fit_for(&self, now: Duration, node: NodeId, long: Duration) -> bool {
        self.fit_since.get(&node).is_some_and(|since| now.saturating_sub(*since) >= long)
    }

    pub(super) fn may_move(&self, now: Duration, camera: CameraId) -> bool {
        self.moves.get(&camera).is_none_or(|tries| now >= tries.at + tries.wait(MOVE_INTERVAL))
    }

    pub(super) fn moved(&mut self, now: Duration, camera: CameraId) {
        let tries = Tries::again(self.moves.get(&camera).copied(), now);
        self.moves.insert(camera, tries);
    }

    pub(super) fn refuse(&mut self, now: Duration, camera: CameraId, target: NodeId) {
        let tries = Tries::again(self.refusals.get(&(camera, target)).copied(), now);
        self.refusals.insert((camera, target), tries);
    }

    /// Nodes that `camera` should not be moved to now.
    pub(super) fn refused(&self, now: Duration, camera: CameraId) -> Vec<NodeId> {
        let targets = self.refusals.range((camera, NodeId(0))..=(camera, NodeId(u64::MAX)));
        targets.filter(|(_, tries)| now < tries.at + tries.wait(TARGET_BACKOFF)).map(|((_, node), _)| *node).collect()
    }
}

impl Watch {
    fn take_in(&mut self, now: Duration, report: Option<&Progress>) {
        let Some(report) = report else { return };
        match report.state {
            RecorderState::Failing => _ = self.failing_since.get_or_insert(now),
            RecorderState::Recording if report.watermark != self.watermark => {
                self.progressed_at = now;
                self.failing_since = None;
            }
            RecorderState::Recording | RecorderState::Starting => {}
        }
        self.watermark = report.watermark;
    }
}
