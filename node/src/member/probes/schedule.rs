//! Which cameras to probe and when. Pure.

use crate::capture::ingest::backoff::{Backoff, DELAY_MAX};
use holdfast_consensus::model::Assignment;
use holdfast_consensus::observe::heartbeat::{Probe, Progress, RecorderState};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A recording without progress for this long is probed before its owner gives it up, so that the
/// result is known by then.
pub(super) const QUIET_MAX: Duration = Duration::from_secs(2);
/// How often a camera that answered is asked again while its owner fails.
pub(super) const REACHED_INTERVAL: Duration = Duration::from_secs(2);
/// The owner of a camera that comes back has tried it by then.
pub(super) const OWNER_RETRY_MAX: Duration = DELAY_MAX.saturating_add(Duration::from_secs(3));
/// A probe without a result after this long is lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Reached,
    LoginRefused,
    Silent,
}

/// What the state of a camera's owner requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Answer,
    /// Earlier results are kept.
    Memory,
    Nothing,
}

#[derive(Debug)]
struct Asked {
    /// Of the camera's spec; a change makes earlier results worthless.
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
        Self {
            revision,
            due_at,
            backoff,
            reachable: None,
            was_away: false,
            reached_since: None,
        }
    }

    /// Whether an answer counts as reached: a camera that was away for all nodes is left to its
    /// owner at first, which tries it every few seconds.
    fn judge(&mut self, now: Duration, answer: Answer) -> bool {
        if answer != Answer::Reached {
            (self.was_away, self.reached_since) = (true, None);
            return false;
        }
        let since = *self.reached_since.get_or_insert(now);
        let owner_had_time = now.saturating_sub(since) >= OWNER_RETRY_MAX;
        !self.was_away || owner_had_time
    }
}

/// The owner's recording as it was last seen.
#[derive(Debug)]
struct Quiet {
    owner: NodeId,
    watermark: Option<Timestamp>,
    since: Duration,
}

#[derive(Debug, Default)]
pub struct Schedule {
    /// This node was the successor of no camera when it last looked.
    rests: bool,
    asked: BTreeMap<CameraId, Asked>,
    quiet: BTreeMap<CameraId, Quiet>,
}

impl Schedule {
    /// The cameras to ask now. Forgets results of cameras whose owners record again.
    pub fn look(
        &mut self,
        now: Duration,
        me: NodeId,
        state: &ClusterState,
        sight: &Sight,
    ) -> Vec<CameraId> {
        let mine = state
            .assignments
            .iter()
            .filter(|(_, assignment)| assignment.successor == Some(me));
        let mine: BTreeMap<CameraId, &Assignment> = mine.collect();
        self.rests = mine.is_empty();
        self.quiet.retain(|camera, _| mine.contains_key(camera));
        self.asked.retain(|camera, _| mine.contains_key(camera));
        let mut due = Vec::new();
        for (camera, assignment) in mine {
            // A request to this camera may be what ends a process.
            let is_held_back = sight.treatments.contains_key(&camera);
            let need = if is_held_back {
                Need::Nothing
            } else {
                self.need(now, camera, assignment, sight)
            };
            let revision = state.cameras.get(camera).map(|known| known.revision);
            let Some(revision) = revision.filter(|_| need != Need::Nothing) else {
                self.asked.remove(&camera);
                continue;
            };
            if self
                .asked
                .get(&camera)
                .is_some_and(|asked| asked.revision != revision)
            {
                self.asked.remove(&camera);
            }
            if need == Need::Answer && self.ask(now, camera, revision) {
                due.push(camera);
            }
        }
        due
    }

    /// Whether there is nothing to look for until the state changes.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// Whether it is the camera's turn.
    fn ask(&mut self, now: Duration, camera: CameraId, revision: u64) -> bool {
        let asked = self
            .asked
            .entry(camera)
            .or_insert_with(|| Asked::new(revision, now));
        let is_due = asked.due_at <= now;
        if is_due {
            asked.due_at = now + LOST_AFTER;
        }
        is_due
    }

    fn need(
        &mut self,
        now: Duration,
        camera: CameraId,
        assignment: &Assignment,
        sight: &Sight,
    ) -> Need {
        let Some(owner) = assignment.owner.filter(|owner| sight.is_alive(*owner)) else {
            return Need::Nothing;
        };
        let report = sight
            .progress
            .main(owner, camera)
            .filter(|report| report.epoch == assignment.epoch);
        let Some(report) = report else {
            return Need::Nothing;
        };
        let quiet = self.quiet_for(now, camera, owner, report);
        match report.state {
            RecorderState::Failing => Need::Answer,
            RecorderState::Recording if quiet >= QUIET_MAX => Need::Answer,
            // It has a session again, and may lose it at once.
            RecorderState::Starting => Need::Memory,
            RecorderState::Recording => Need::Nothing,
        }
    }

    fn quiet_for(
        &mut self,
        now: Duration,
        camera: CameraId,
        owner: NodeId,
        report: &Progress,
    ) -> Duration {
        let seen = Quiet {
            owner,
            watermark: report.watermark,
            since: now,
        };
        let quiet = self.quiet.entry(camera).or_insert(Quiet { ..seen });
        // Only a recording that is reported as running can stand still.
        let is_new = (quiet.owner, quiet.watermark) != (seen.owner, seen.watermark);
        if is_new || report.state != RecorderState::Recording {
            *quiet = seen;
        }
        now.saturating_sub(quiet.since)
    }

    /// Takes a camera's answer; `random` is uniform over its type. Returns whether the camera is
    /// reached, if that is news.
    pub fn answered(
        &mut self,
        now: Duration,
        camera: CameraId,
        revision: u64,
        answer: Answer,
        random: u32,
    ) -> Option<bool> {
        let asked = self
            .asked
            .get_mut(&camera)
            .filter(|asked| asked.revision == revision)?;
        let reachable = asked.judge(now, answer);
        let is_news = asked.reachable.replace(reachable) != Some(reachable);
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
        is_news.then_some(reachable)
    }

    pub fn known(&self) -> Vec<Probe> {
        let known = self.asked.iter().filter_map(|(camera, asked)| {
            Some(Probe {
                camera: *camera,
                reachable: asked.reachable?,
            })
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests;
