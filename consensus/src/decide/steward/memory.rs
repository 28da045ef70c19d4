//! What the steward remembers between its rounds: how long a recorder has failed, and which moves
//! did not work. Lost with leadership, which does no harm.

use crate::observe::heartbeat::{Progress, RecorderState, SUSPECT_AFTER};
use crate::observe::reports::Reports;
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a recorder that reports a failure may try to recover, if no node is known to reach its
/// camera.
pub const FAILING_MAX: Duration = Duration::from_secs(5);
/// The same if its mirror or successor does not reach the camera either: the camera is most likely
/// down for every node, and stays with its owner when it returns.
pub const AWAY_MAX: Duration = Duration::from_secs(15);
/// The same if another node does reach the camera: enough for a broken session to be opened again.
pub const FAILING_SURE: Duration = Duration::from_millis(750);
/// With no progress for this long, the recorder gets no time at all then: it waited for frames in
/// vain.
pub const QUIET_SURE: Duration = Duration::from_millis(2_500);
/// How long a recorder may report that it records without making progress: more than a slow disk
/// may take.
pub const QUIET_MAX: Duration = Duration::from_secs(8);
/// How long a recorder with an open session may wait for a keyframe, however long its camera was
/// down before.
pub const STARTING_MAX: Duration = Duration::from_secs(5);
/// How long a recorder that is starting, or not reporting, may take in all.
pub const STALLED_MAX: Duration = Duration::from_secs(15);
/// The most time that any recorder gets for rare frames or an exceeded budget, whatever it reports.
const PATIENCE_MAX: Duration = Duration::from_secs(600);
/// A camera is moved off a failing recorder at most once in this time; doubles while moves do not
/// help.
pub const MOVE_INTERVAL: Duration = Duration::from_secs(60);
/// A target without proof is not chosen again for this long; doubles each time.
pub const TARGET_BACKOFF: Duration = Duration::from_secs(30);
const DOUBLINGS_MAX: u32 = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    watches: BTreeMap<CameraId, Watch>,
    moves: BTreeMap<CameraId, Tries>,
    refusals: BTreeMap<(CameraId, NodeId), Tries>,
    /// Cameras that are being moved because their owner fails.
    rescues: BTreeSet<CameraId>,
    /// Since when each node has been able to record without interruption.
    fit_since: BTreeMap<NodeId, Duration>,
    /// When the leader last did not hear a majority.
    deaf_at: Option<Duration>,
}

/// The owner's recorder as observed over time.
#[derive(Clone, Debug)]
struct Watch {
    owner: NodeId,
    epoch: Epoch,
    watermark: Option<Timestamp>,
    progressed_at: Duration,
    failing_since: Option<Duration>,
    starting_since: Option<Duration>,
    records: bool,
    patience: Duration,
}

/// The health of an owner's recorder, from its reports and its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    /// How long it has reported a failure.
    failing: Option<Duration>,
    /// How long it has had a session but no keyframe.
    starting: Option<Duration>,
    /// How long it has made no progress.
    quiet: Duration,
    /// It reports that it records.
    records: bool,
    /// How much longer than usual it may make no progress ([`Progress::patience_ms`]).
    patience: Duration,
}

impl Health {
    pub(super) fn is_well(self) -> bool {
        self.failing.is_none() && self.records && self.quiet < QUIET_SURE + self.patience
    }

    /// Taking its camera away would lose nothing.
    pub(super) fn records_nothing(self) -> bool {
        !self.records && (self.failing.is_some() || self.quiet >= QUIET_SURE)
    }

    /// According to its last report, whether or not it has made progress yet.
    pub(super) fn has_session(self) -> bool {
        self.records || self.starting.is_some()
    }

    /// It fails, and would have recovered by now if it could.
    pub(super) fn is_sure(self) -> bool {
        let is_long = |failing| {
            failing >= FAILING_SURE + self.patience || self.quiet >= QUIET_SURE + self.patience
        };
        self.failing.is_some_and(is_long)
    }

    /// It is no reason to move its camera, whatever other nodes report of that camera.
    fn is_good_enough(self) -> bool {
        !self.is_sure() && !self.is_over(false)
    }

    /// It has failed, or made no progress, for too long, whether or not another node reaches the
    /// camera.
    pub(super) fn is_over(self, is_away: bool) -> bool {
        let quiet_max = if self.records { QUIET_MAX } else { STALLED_MAX } + self.patience;
        let failing_max = if is_away { AWAY_MAX } else { FAILING_MAX } + self.patience;
        match (self.failing, self.starting) {
            (Some(failing), _) => failing > failing_max,
            (None, Some(starting)) => starting > STARTING_MAX && self.quiet > quiet_max,
            (None, None) => self.quiet > quiet_max,
        }
    }
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
        Self {
            at,
            count: before.map_or(1, |tries| tries.count.saturating_add(1)),
        }
    }
}

impl Memory {
    /// Forgets cameras that no longer exist.
    pub(super) fn forget(&mut self, exists: impl Fn(CameraId) -> bool) {
        self.watches.retain(|camera, _| exists(*camera));
        self.rescues.retain(|camera| exists(*camera));
        self.moves.retain(|camera, _| exists(*camera));
        self.refusals.retain(|(camera, _), _| exists(*camera));
    }

    /// Forgets old attempts.
    pub(super) fn expire(&mut self, now: Duration) {
        self.moves
            .retain(|_, tries| now < tries.at + 2 * tries.wait(MOVE_INTERVAL));
        self.refusals
            .retain(|_, tries| now < tries.at + 2 * tries.wait(TARGET_BACKOFF));
    }

    /// Notes whether the leader hears a majority. Returns whether it has heard one for long enough
    /// to trust silence.
    pub(super) fn hears(&mut self, now: Duration, majority: bool) -> bool {
        if !majority {
            self.deaf_at = Some(now);
        }
        self.deaf_at
            .is_none_or(|at| now.saturating_sub(at) >= SUSPECT_AFTER)
    }

    /// Processes `owner`'s report of its recorder.
    pub(super) fn watch(
        &mut self,
        now: Duration,
        camera: CameraId,
        (owner, epoch): (NodeId, Epoch),
        progress: Option<&Progress>,
    ) -> Health {
        let fresh = Watch {
            owner,
            epoch,
            watermark: None,
            progressed_at: now,
            failing_since: None,
            starting_since: None,
            records: false,
            patience: Duration::ZERO,
        };
        let watch = self.watches.entry(camera).or_insert_with(|| fresh.clone());
        if (watch.owner, watch.epoch) != (owner, epoch) {
            *watch = fresh;
        }
        watch.look(now, progress)
    }

    /// Processes the reports of the owners that were watched before, for all cameras except
    /// `others`. Returns those that may be moved and are not recorded properly.
    pub(super) fn watch_again(
        &mut self,
        now: Duration,
        reports: &Reports,
        others: &BTreeSet<CameraId>,
    ) -> Vec<CameraId> {
        let watches = self
            .watches
            .iter_mut()
            .filter(|(camera, _)| !others.contains(camera));
        let looks = watches
            .map(|(camera, watch)| (*camera, watch.look(now, reports.main(watch.owner, *camera))));
        let ailing: Vec<CameraId> = looks
            .filter(|(_, health)| !health.is_good_enough())
            .map(|(camera, _)| camera)
            .collect();
        ailing
            .into_iter()
            .filter(|camera| self.may_move(now, *camera))
            .collect()
    }

    /// A move was begun, because the owner fails or for another reason.
    pub(super) fn begun(&mut self, camera: CameraId, is_rescue: bool) {
        if is_rescue {
            self.rescues.insert(camera);
        } else {
            self.rescues.remove(&camera);
        }
    }

    pub(super) fn is_rescue(&self, camera: CameraId) -> bool {
        self.rescues.contains(&camera)
    }

    /// Notes which nodes can record now.
    pub(super) fn note_fit(&mut self, now: Duration, fit: impl Iterator<Item = NodeId>) {
        self.fit_since = fit
            .map(|node| (node, self.fit_since.get(&node).copied().unwrap_or(now)))
            .collect();
    }

    pub(super) fn has_been_fit_for(&self, now: Duration, node: NodeId, long: Duration) -> bool {
        self.fit_since
            .get(&node)
            .is_some_and(|since| now.saturating_sub(*since) >= long)
    }

    pub(super) fn may_move(&self, now: Duration, camera: CameraId) -> bool {
        self.moves
            .get(&camera)
            .is_none_or(|tries| now >= tries.at + tries.wait(MOVE_INTERVAL))
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
        let targets = self
            .refusals
            .range((camera, NodeId(0))..=(camera, NodeId(u64::MAX)));
        targets
            .filter(|(_, tries)| now < tries.at + tries.wait(TARGET_BACKOFF))
            .map(|((_, node), _)| *node)
            .collect()
    }
}

impl Watch {
    fn look(&mut self, now: Duration, progress: Option<&Progress>) -> Health {
        self.take_in(
            now,
            progress.filter(|progress| progress.epoch == self.epoch),
        );
        let since = |since: Duration| now.saturating_sub(since);
        let (failing, starting) = (
            self.failing_since.map(since),
            self.starting_since.map(since),
        );
        let (quiet, records, patience) = (since(self.progressed_at), self.records, self.patience);
        Health {
            failing,
            starting,
            quiet,
            records,
            patience,
        }
    }

    fn take_in(&mut self, now: Duration, report: Option<&Progress>) {
        let Some(report) = report else { return };
        self.records = report.state == RecorderState::Recording;
        let patience = Duration::from_millis(u64::from(report.patience_ms.unwrap_or(0)));
        self.patience = patience.min(PATIENCE_MAX);
        let starting_since = self.starting_since.or(Some(now));
        self.starting_since = starting_since.filter(|_| report.state == RecorderState::Starting);
        match report.state {
            RecorderState::Failing => _ = self.failing_since.get_or_insert(now),
            RecorderState::Recording if report.watermark != self.watermark => {
                self.progressed_at = now;
                self.failing_since = None;
            }
            // It has a session again, and must make progress.
            RecorderState::Starting => self.failing_since = None,
            RecorderState::Recording => {}
        }
        self.watermark = report.watermark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{Rank, StreamId};

    const CAMERA: CameraId = CameraId(1);
    const OWNER: (NodeId, Epoch) = (NodeId(1), Epoch(1));

    fn report(state: RecorderState, patience_ms: Option<u32>) -> Progress {
        Progress {
            stream: StreamId::main(CAMERA),
            epoch: OWNER.1,
            rank: Rank::Owner,
            state,
            watermark: Some(Timestamp(1)),
            first_keyframe: Some(Timestamp(1)),
            error: None,
            bitrate_bps: None,
            patience_ms,
            exposure: None,
        }
    }

    /// The health of a recorder that has reported the same for `seconds`.
    fn after(state: RecorderState, patience_ms: Option<u32>, seconds: u64) -> Health {
        let mut memory = Memory::default();
        let report = report(state, patience_ms);
        memory.watch(Duration::ZERO, CAMERA, OWNER, Some(&report));
        memory.watch(Duration::from_secs(seconds), CAMERA, OWNER, Some(&report))
    }

    #[test]
    fn a_camera_of_few_frames_is_recorded_as_it_should() {
        let usual = after(RecorderState::Recording, None, 9);
        assert!(usual.is_over(false) && !usual.is_well());
        let slow = after(RecorderState::Recording, Some(28_000), 9);
        assert!(!slow.is_over(false) && slow.is_well());
        assert!(
            after(RecorderState::Recording, Some(28_000), 37).is_over(false),
            "it has stopped"
        );
    }

    #[test]
    fn a_camera_that_sends_too_much_stays_with_its_owner() {
        let away = after(RecorderState::Failing, None, 6);
        assert!(away.is_sure() && away.is_over(false));
        let left_alone = after(RecorderState::Failing, Some(20_000), 6);
        assert!(!left_alone.is_sure() && !left_alone.is_over(false));
        let endless = after(
            RecorderState::Failing,
            Some(u32::MAX),
            PATIENCE_MAX.as_secs() + 20,
        );
        assert!(endless.is_over(true), "nothing is waited for without end");
    }
}
