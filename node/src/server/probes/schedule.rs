//! Which cameras to probe and when. Pure.

use crate::ingest::backoff::{Backoff, DELAY_MAX};
use crate::server::pilot::Sight;
use holdfast_consensus::heartbeat::{Probe, Progress, RecorderState};
use holdfast_consensus::model::Assignment;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A recording without progress for this long is looked after before its owner gives it up, so that what comes of it is known by then.
pub(super) const QUIET_MAX: Duration = Duration::from_secs(2);
/// How often a camera that answered is asked again while its owner fails.
pub(super) const REACHED_INTERVAL: Duration = Duration::from_secs(2);
/// A probe that has not come back after this long is lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Reached,
    LoginRefused,
    Silent,
}

#[derive(Debug)]
struct Asked {
    /// Of the camera's spec; another one makes what is known worthless.
    revision: u64,
    due_at: Duration,
    backoff: Backoff,
    reachable: Option<bool>,
    /// It did not answer this node either, once, since its owner began to fail.
    was_away: bool,
    reached_since: Option<Duration>,
}

impl Asked {
    fn new(revision: u64, due_at: Duration) -> Self {
        let backoff = Backoff::default();
        Self { revision, due_at, backoff, reachable: None, was_away: false, reached_since: None }
    }

    /// Whether an answer counts as reached: a camera that was away for everybody is left to its owner at first, who tries it every few seconds.
    fn judge(&mut self, now: Duration, answer: Answer) -> bool {
        if answer != Answer::Reached {
            (self.was_away, self.reached_since) = (true, None);
            return false;
        }
        let since = *self.reached_since.get_or_insert(now);
        let owner_had_time = now.saturating_sub(since) > DELAY_MAX;
        !self.was_away || owner_had_time
    }
}

/// The owner's recording as it was seen last.
#[derive(Debug)]
struct Quiet {
    owner: NodeId,
    watermark: Option<Timestamp>,
    since: Duration,
}

#[derive(Debug, Default)]
pub struct Schedule {
    asked: BTreeMap<CameraId, Asked>,
    quiet: BTreeMap<CameraId, Quiet>,
}

impl Schedule {
    /// The cameras to ask now. What is known of cameras whose owners record again is forgotten.
    pub fn look(&mut self, now: Duration, me: NodeId, state: &ClusterState, sight: &Sight) -> Vec<CameraId> {
        let mine = state.assignments.iter().filter(|(_, assignment)| assignment.successor == Some(me));
        let mine: BTreeMap<CameraId, &Assignment> = mine.collect();
        self.quiet.retain(|camera, _| mine.contains_key(camera));
        let wanted: BTreeMap<CameraId, u64> = mine
            .into_iter()
            .filter(|(camera, assignment)| self.is_failing(now, *camera, assignment, sight))
            .filter_map(|(camera, _)| Some((camera, state.cameras.get(camera)?.revision)))
            .collect();
        self.asked.retain(|camera, asked| wanted.get(camera) == Some(&asked.revision));
        let mut due = Vec::new();
        for (camera, revision) in wanted {
            let asked = self.asked.entry(camera).or_insert_with(|| Asked::new(revision, now));
            if asked.due_at <= now {
                asked.due_at = now + LOST_AFTER;
                due.push(camera);
            }
        }
        due
    }

    /// Whether the owner lives and does not record.
    fn is_failing(&mut self, now: Duration, camera: CameraId, assignment: &Assignment, sight: &Sight) -> bool {
        let Some(owner) = assignment.owner.filter(|owner| sight.is_alive(*owner)) else { return false };
        let Some(told) = sight.progress.get(&(owner, camera)).filter(|told| told.epoch == assignment.epoch) else {
            return false;
        };
        let quiet = self.quiet_for(now, camera, owner, told);
        match told.state {
            RecorderState::Failing => true,
            RecorderState::Recording => quiet >= QUIET_MAX,
            RecorderState::Starting => false,
        }
    }

    fn quiet_for(&mut self, now: Duration, camera: CameraId, owner: NodeId, told: &Progress) -> Duration {
        let seen = Quiet { owner, watermark: told.watermark, since: now };
        let quiet = self.quiet.entry(camera).or_insert(Quiet { ..seen });
        if (quiet.owner, quiet.watermark) != (seen.owner, seen.watermark) {
            *quiet = seen;
        }
        now.saturating_sub(quiet.since)
    }

    /// Takes in how a camera answered; `random` is uniform over its type.
    pub fn answered(&mut self, now: Duration, camera: CameraId, revision: u64, answer: Answer, random: u32) {
        let Some(asked) = self.asked.get_mut(&camera).filter(|asked| asked.revision == revision) else { return };
        asked.reachable = Some(asked.judge(now, answer));
        let wait = match answer {
            Answer::Reached => {
                asked.backoff.reset();
                REACHED_INTERVAL
            }
            // Cameras lock accounts.
            Answer::LoginRefused => asked.backoff.next_delay_refused(random),
            Answer::Silent => asked.backoff.next_delay(random),
        };
        asked.due_at = now + wait;
    }

    pub fn known(&self) -> Vec<Probe> {
        let known = self
            .asked
            .iter()
            .filter_map(|(camera, asked)| Some(Probe { camera: *camera, reachable: asked.reachable? }));
        known.collect()
    }
}

#[cfg(test)]
mod tests;
