//! Which cameras to probe and when. Pure.

use crate::capture::ingest::backoff::{Backoff, DELAY_MAX};
use crate::member::pilot::Sight;
use holdfast_consensus::model::Assignment;
use holdfast_consensus::observe::heartbeat::{Probe, Progress, RecorderState};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A recording without progress for this long is looked after before its owner gives it up, so that
/// what comes of it is known by then.
pub(super) const QUIET_MAX: Duration = Duration::from_secs(2);
/// How often a camera that answered is asked again while its owner fails.
pub(super) const REACHED_INTERVAL: Duration = Duration::from_secs(2);
/// An owner of a camera that comes back has tried it by then.
pub(super) const OWNER_RETRY_MAX: Duration = DELAY_MAX.saturating_add(Duration::from_secs(3));
/// A probe that has not come back after this long is lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Reached,
    LoginRefused,
    Silent,
}

/// What a camera's owner leaves to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Answer,
    /// What is known already is kept.
    Memory,
    Nothing,
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
        Self {
            revision,
            due_at,
            backoff,
            reachable: None,
            was_away: false,
            reached_since: None,
        }
    }

    /// Whether an answer counts as reached: a camera that was away for everybody is left to its
    /// owner at first, who tries it every few seconds.
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

/// The owner's recording as it was seen last.
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
    /// The cameras to ask now. What is known of cameras whose owners record again is forgotten.
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
            // To ask it may be what ends a process.
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
        let told = sight
            .progress
            .get(&(owner, camera))
            .filter(|told| told.epoch == assignment.epoch);
        let Some(told) = told else {
            return Need::Nothing;
        };
        let quiet = self.quiet_for(now, camera, owner, told);
        match told.state {
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
        told: &Progress,
    ) -> Duration {
        let seen = Quiet {
            owner,
            watermark: told.watermark,
            since: now,
        };
        let quiet = self.quiet.entry(camera).or_insert(Quiet { ..seen });
        // Only what is said to be recorded can stand still.
        let is_new = (quiet.owner, quiet.watermark) != (seen.owner, seen.watermark);
        if is_new || told.state != RecorderState::Recording {
            *quiet = seen;
        }
        now.saturating_sub(quiet.since)
    }

    /// Takes in how a camera answered; `random` is uniform over its type. Answers whether the
    /// camera is reached, where that is news.
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
