//! At which cameras to hold a session prepared, when to set it up anew, and when to leave a camera alone. Pure.

use crate::server::pilot::Sight;
use holdfast_consensus::heartbeat::RecorderState;
use holdfast_consensus::model::{Assignment, Camera, Protection, Source};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sessions that one node holds prepared, those of the highest priority; each is a connection.
pub const PREPARED_MAX: usize = 512;
/// Sessions that are set up at once.
pub(super) const OPENING_MAX: usize = 4;
/// The first session of a camera is set up within this, at random: cameras that are assigned together are not asked together.
pub(super) const START_SPREAD: Duration = Duration::from_secs(5);
/// A session is set up anew after 20 to 25 s: cameras end one that is silent for 60 s (RFC 2326 clause 12.37), some after 30 s.
pub(super) const REFRESH_MIN: Duration = Duration::from_secs(20);
pub(super) const REFRESH_SPREAD: Duration = Duration::from_secs(5);
/// A camera that did not bear it is left alone for 2 to 2.5 min, then for twice as long each time.
pub(super) const REFUSED_DELAY_MIN: Duration = Duration::from_secs(2 * 60);
pub(super) const REFUSED_DELAY_MAX: Duration = Duration::from_secs(32 * 60);
/// Where the owner loses its session so soon after another was set up, the camera gave the one for the other.
pub(super) const DISTURBED_WITHIN: Duration = Duration::from_secs(5);
/// A recorder of this node that needs the session has taken it by then.
pub(super) const TAKE_WITHIN: Duration = Duration::from_secs(5);

const _: () = assert!(REFRESH_MIN.as_millis() + REFRESH_SPREAD.as_millis() < 30_000);

/// What this node sees. `now` is its monotonic clock.
pub struct View<'a> {
    pub now: Duration,
    pub me: NodeId,
    pub state: &'a ClusterState,
    pub sight: &'a Sight,
    /// What this node is to record itself.
    pub recorded: &'a BTreeSet<CameraId>,
    /// Whose sessions wait.
    pub held: &'a BTreeSet<CameraId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tear down what waits, and set up a session.
    Open {
        camera: CameraId,
        attempt: u64,
        source: Source,
    },
    Drop(CameraId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting { until: Duration },
    Opening { attempt: u64 },
    Ready { since: Duration, until: Duration },
}

#[derive(Debug)]
struct Entry {
    source: Source,
    phase: Phase,
    refusals: u32,
}

/// What is the owner's state, as its heartbeats tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Records,
    /// It lives and does not record.
    Fails,
    Unknown,
}

#[derive(Debug, Default)]
pub struct Schedule {
    cameras: BTreeMap<CameraId, Entry>,
    attempts: u64,
}

impl Schedule {
    /// What is to be done now, while `opening` sessions are being set up; `random` is uniform over its type.
    pub fn look(&mut self, view: &View<'_>, opening: usize, random: &mut impl FnMut() -> u32) -> Vec<Action> {
        let wanted = wanted(view);
        let names: BTreeSet<CameraId> = wanted.iter().map(|camera| camera.id).collect();
        let mut actions = self.let_go(view, &names);
        let mut free = OPENING_MAX.saturating_sub(opening);
        for camera in wanted {
            let action = self.attend(view, camera, free > 0, random);
            free -= usize::from(matches!(action, Some(Action::Open { .. })));
            actions.extend(action);
        }
        actions
    }

    /// Whether there is nothing to do until the state changes.
    pub fn rests(&self, state: &ClusterState) -> bool {
        let is_prepared = |camera: &Camera| camera.spec.protection == Protection::Prepared;
        self.cameras.is_empty() && !state.cameras.values().any(is_prepared)
    }

    /// Gives up what is not wanted any more. A session that this node's own recorder needs stays until that has taken it.
    fn let_go(&mut self, view: &View<'_>, wanted: &BTreeSet<CameraId>) -> Vec<Action> {
        let mut dropped = Vec::new();
        self.cameras.retain(|camera, entry| {
            if wanted.contains(camera) {
                return true;
            }
            if let Phase::Ready { until, .. } = &mut entry.phase
                && is_own(view, *camera)
                && view.held.contains(camera)
            {
                *until = (*until).min(view.now + TAKE_WITHIN);
                if view.now < *until {
                    return true;
                }
            }
            dropped.push(Action::Drop(*camera));
            false
        });
        dropped
    }

    fn attend(
        &mut self,
        view: &View<'_>,
        camera: &Camera,
        may_open: bool,
        random: &mut impl FnMut() -> u32,
    ) -> Option<Action> {
        let (id, now) = (camera.id, view.now);
        let soon = |random: &mut dyn FnMut() -> u32| Phase::Waiting { until: now + part(START_SPREAD, random()) };
        let Some(entry) = self.cameras.get_mut(&id).filter(|entry| entry.source == camera.spec.source) else {
            let entry = Entry { source: camera.spec.source.clone(), phase: soon(random), refusals: 0 };
            return self.cameras.insert(id, entry).map(|_| Action::Drop(id));
        };
        let owner = owner(view, id);
        match entry.phase {
            Phase::Ready { .. } if !view.held.contains(&id) => {
                entry.phase = soon(random);
                None
            }
            Phase::Ready { since, .. } if owner == Owner::Fails && now.saturating_sub(since) < DISTURBED_WITHIN => {
                entry.refuse(now, random());
                Some(Action::Drop(id))
            }
            // The camera has borne it.
            Phase::Ready { until, .. } if until <= now && owner == Owner::Records && may_open => {
                entry.refusals = 0;
                self.open(id, may_open)
            }
            // No time to set one up, and this one will be dead soon.
            Phase::Ready { until, .. } if until <= now && owner == Owner::Fails => {
                entry.phase = Phase::Waiting { until: now };
                Some(Action::Drop(id))
            }
            Phase::Waiting { until } if until <= now && owner == Owner::Records => self.open(id, may_open),
            Phase::Waiting { .. } | Phase::Opening { .. } | Phase::Ready { .. } => None,
        }
    }

    fn open(&mut self, camera: CameraId, may_open: bool) -> Option<Action> {
        let entry = self.cameras.get_mut(&camera).filter(|_| may_open)?;
        self.attempts += 1;
        entry.phase = Phase::Opening { attempt: self.attempts };
        Some(Action::Open { camera, attempt: self.attempts, source: entry.source.clone() })
    }

    /// The session is set up. Whether it is wanted still.
    pub fn opened(&mut self, now: Duration, camera: CameraId, attempt: u64, random: u32) -> bool {
        let Some(entry) = self.opening(camera, attempt) else { return false };
        entry.phase = Phase::Ready { since: now, until: now + REFRESH_MIN + part(REFRESH_SPREAD, random) };
        true
    }

    /// The camera did not bear it, or did not answer. How long it is left alone; `None` where nobody wants it any more.
    pub fn refused(&mut self, now: Duration, camera: CameraId, attempt: u64, random: u32) -> Option<Duration> {
        self.opening(camera, attempt).map(|entry| entry.refuse(now, random))
    }

    fn opening(&mut self, camera: CameraId, attempt: u64) -> Option<&mut Entry> {
        self.cameras.get_mut(&camera).filter(|entry| entry.phase == Phase::Opening { attempt })
    }
}

impl Entry {
    fn refuse(&mut self, now: Duration, random: u32) -> Duration {
        let low = REFUSED_DELAY_MIN.saturating_mul(1 << self.refusals.min(8)).min(REFUSED_DELAY_MAX);
        let delay = low + part(low / 4, random);
        self.refusals = self.refusals.saturating_add(1);
        self.phase = Phase::Waiting { until: now + delay };
        delay
    }
}

/// The cameras to prepare, the highest priority first.
fn wanted<'a>(view: &View<'a>) -> Vec<&'a Camera> {
    let allowed = view.state.cameras.values().filter(|camera| camera.spec.protection == Protection::Prepared);
    let mine = allowed.filter(|camera| {
        let assignment = view.state.assignments.get(camera.id);
        let succeeds = |now: &Assignment| now.successor == Some(view.me) && now.owner.is_some();
        assignment.is_some_and(succeeds) && !is_own(view, camera.id)
    });
    let mut mine: Vec<_> = mine.collect();
    mine.sort_by_key(|camera| (Reverse(camera.spec.priority), camera.id));
    mine.truncate(PREPARED_MAX);
    mine
}

/// This node records the camera, or is about to: the state may tell before the pilot has decided.
fn is_own(view: &View<'_>, camera: CameraId) -> bool {
    let named = |now: &Assignment| {
        let target = now.handoff.map(|handoff| handoff.to);
        [now.owner, now.mirror, target].contains(&Some(view.me))
    };
    view.recorded.contains(&camera) || view.state.assignments.get(camera).is_some_and(named)
}

fn owner(view: &View<'_>, camera: CameraId) -> Owner {
    let assignment = view.state.assignments.get(camera);
    let Some((now, owner)) = assignment.and_then(|now| Some((now, now.owner?))) else { return Owner::Unknown };
    let told = view.sight.progress.get(&(owner, camera)).filter(|told| told.epoch == now.epoch);
    match told.filter(|_| view.sight.is_alive(owner)).map(|told| told.state) {
        Some(RecorderState::Recording) => Owner::Records,
        Some(RecorderState::Failing) => Owner::Fails,
        Some(RecorderState::Starting) | None => Owner::Unknown,
    }
}

/// A random part of `whole`.
fn part(whole: Duration, random: u32) -> Duration {
    whole.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
