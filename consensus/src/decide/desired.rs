//! What this node should be recording now, with or without a leader. Pure.
//!
//! Call-back rule: a provisional successor keeps recording while its own evidence says that the
//! owner is suspect. It stops when the assignment names another owner, epoch or successor, or once
//! the owner is alive again and either its heartbeats prove that it records (a watermark of this
//! epoch after the moment of suspicion) or [`CALL_BACK_AFTER`] has passed since it returned.
//!
//! Drill rule: in the first phase of a drill, the camera's successor does the same alongside its
//! live owner.
//!
//! Replacement rule: a recorder that lost its part in a camera, because another node owns the
//! camera in a newer epoch, continues in its old epoch and rank. It stops when the new owner's
//! heartbeats show a durable keyframe of the newer epoch and a watermark that has advanced since
//! this node saw that it was replaced, or when [`HANDOFF_MAX`] has passed. So an owner that was
//! thought dead, or a successor that was replaced by another, is stopped by proof and not by a
//! promise. A mirror that is replaced in the same epoch continues in the same way until the new
//! mirror has proved itself: the owner may be dying at that moment.

use crate::decide::steward::HANDOFF_MAX;
use crate::model::{Assignment, Phase, RunningDrill};
use crate::observe::heartbeat::Progress;
use crate::observe::liveness::Verdict;
use crate::observe::reports::Reports;
use crate::state::ClusterState;
use crate::table::Table;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a provisional successor continues after its owner's return without proof that the owner
/// records. An owner that was alive all along proves it with its next heartbeats; a new process has
/// to connect and wait for a keyframe first.
pub const CALL_BACK_AFTER: Duration = Duration::from_secs(5);

/// One recorder that should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    pub epoch: Epoch,
    pub rank: Rank,
    /// Revision of the camera's spec: a change restarts the session.
    pub revision: u64,
}

type Part = (Epoch, Rank);

/// A successor that records in place of a suspect owner.
#[derive(Clone, Copy, Debug)]
struct Provisional {
    owner: NodeId,
    epoch: Epoch,
    suspected_at: Timestamp,
    alive_since: Option<Duration>,
}

/// A recorder that lost its part to the owner of a newer epoch, or to another mirror.
#[derive(Clone, Copy, Debug)]
struct Kept {
    part: Part,
    /// The epoch and the node that took over.
    lost_to: (Epoch, NodeId),
    since: Duration,
    /// The new recorder's watermark at that time: it proves only that the node had recorded, not
    /// that it still does.
    heir_at: Option<Timestamp>,
}

/// What this node records beyond the assignments: as an unconfirmed successor, and as a replaced
/// recorder until its replacement proves itself.
#[derive(Clone, Debug, Default)]
pub struct Provisionals {
    successions: BTreeMap<CameraId, Provisional>,
    kept: BTreeMap<CameraId, Kept>,
    /// Everything that this node recorded after the last call.
    before: BTreeMap<CameraId, Part>,
    named: Named,
}

/// The cameras whose assignments name `me`, looked up again only when an assignment changes.
#[derive(Clone, Debug, Default)]
struct Named {
    me: NodeId,
    assignments: Table<CameraId, Assignment>,
    cameras: Vec<CameraId>,
}

impl Named {
    fn of(state: &ClusterState, me: NodeId) -> Self {
        let named = state
            .assignments
            .iter()
            .filter(|(_, assignment)| names(assignment, me));
        Self {
            me,
            assignments: state.assignments.clone(),
            cameras: named.map(|(camera, _)| camera).collect(),
        }
    }

    fn is_of(&self, state: &ClusterState, me: NodeId) -> bool {
        self.me == me && self.assignments.is_same(&state.assignments)
    }
}

fn names(assignment: &Assignment, node: NodeId) -> bool {
    let target = assignment.handoff.map(|handoff| handoff.to);
    [
        assignment.owner,
        assignment.mirror,
        assignment.successor,
        target,
    ]
    .contains(&Some(node))
}

/// This node's view: `now` on its monotonic clock, `wall` on its wall clock.
pub struct View<'a> {
    pub me: NodeId,
    pub now: Duration,
    pub wall: Timestamp,
    pub verdicts: &'a BTreeMap<NodeId, Verdict>,
    /// The latest progress that nodes' heartbeats reported.
    pub progress: &'a Reports,
}

impl Provisionals {
    /// Processes the present evidence: starts provisional recorders, and stops those that may stop.
    pub fn observe(&mut self, state: &ClusterState, view: &View<'_>) {
        if !self.named.is_of(state, view.me) {
            self.named = Named::of(state, view.me);
        }
        self.observe_owners(state, view);
        let parts = parts(state, view.me, self);
        self.kept = self.replaced(state, view, &parts).collect();
        self.before = parts;
        self.before
            .extend(self.kept.iter().map(|(camera, kept)| (*camera, kept.part)));
    }

    fn observe_owners(&mut self, state: &ClusterState, view: &View<'_>) {
        self.successions
            .retain(|camera, begun| begun.continues(*camera, state, view));
        for camera in self.named.cameras.iter().copied() {
            let Some(assignment) = state.assignments.get(camera) else {
                continue;
            };
            let is_needed = |owner: &NodeId| is_suspect(view, *owner) || is_drilled(state, camera);
            let Some(owner) = assignment.owner.filter(is_needed) else {
                continue;
            };
            if assignment.successor == Some(view.me) {
                let begun = Provisional {
                    owner,
                    epoch: assignment.epoch,
                    suspected_at: view.wall,
                    alive_since: None,
                };
                self.successions.entry(camera).or_insert(begun).alive_since = None;
            }
        }
    }

    /// The recorders that no longer have a part and must continue nevertheless.
    fn replaced(
        &self,
        state: &ClusterState,
        view: &View<'_>,
        parts: &BTreeMap<CameraId, Part>,
    ) -> impl Iterator<Item = (CameraId, Kept)> {
        let partless = self
            .before
            .iter()
            .filter(|(camera, _)| !parts.contains_key(camera));
        partless.filter_map(|(camera, part)| {
            let now = state.assignments.get(*camera)?;
            let heir = heir(now, *part)?;
            let report = view
                .progress
                .main(heir, *camera)
                .filter(|report| report.epoch >= now.epoch);
            let lost_to = (now.epoch, heir);
            let begun = self
                .kept
                .get(camera)
                .filter(|kept| kept.lost_to == lost_to)
                .copied();
            let kept = begun.unwrap_or(Kept {
                part: *part,
                lost_to,
                since: view.now,
                heir_at: report.and_then(|report| report.watermark),
            });
            let in_time = view.now.saturating_sub(kept.since) < HANDOFF_MAX;
            let is_replaced = report.is_some_and(|report| kept.is_proof(report));
            (in_time && !is_replaced).then_some((*camera, kept))
        })
    }
}

/// The recorder that replaces one that had this part.
fn heir(now: &Assignment, (epoch, rank): Part) -> Option<NodeId> {
    if now.epoch > epoch {
        now.owner
    } else if rank == Rank::Mirror {
        now.mirror
    } else {
        None
    }
}

impl Kept {
    /// The heir has made a keyframe durable, and its watermark advances.
    fn is_proof(&self, report: &Progress) -> bool {
        report.first_keyframe.is_some() && report.watermark > self.heir_at
    }
}

impl Provisional {
    fn continues(&mut self, camera: CameraId, state: &ClusterState, view: &View<'_>) -> bool {
        let unchanged = state.assignments.get(camera).is_some_and(|now| {
            now.owner == Some(self.owner)
                && now.epoch == self.epoch
                && now.successor == Some(view.me)
        });
        if !unchanged {
            return false;
        }
        if is_drilled(state, camera)
            || !view
                .verdicts
                .get(&self.owner)
                .is_some_and(|verdict| verdict.is_alive())
        {
            return true;
        }
        let alive_since = *self.alive_since.get_or_insert(view.now);
        let proven = view
            .progress
            .main(self.owner, camera)
            .is_some_and(|progress| self.is_proof(progress));
        !proven && view.now.saturating_sub(alive_since) < CALL_BACK_AFTER
    }

    fn is_proof(&self, progress: &Progress) -> bool {
        let newer = progress
            .watermark
            .is_some_and(|watermark| watermark > self.suspected_at);
        progress.epoch == self.epoch && newer
    }
}

/// The camera's successor has to record it as if its owner were dead.
fn is_drilled(state: &ClusterState, camera: CameraId) -> bool {
    let of_now = |drill: &&RunningDrill| {
        state
            .assignments
            .get(camera)
            .is_some_and(|now| now.epoch == drill.epoch)
    };
    state
        .drills
        .running
        .get(camera)
        .filter(of_now)
        .is_some_and(|drill| drill.phase == Phase::TakingOver)
}

fn is_suspect(view: &View<'_>, node: NodeId) -> bool {
    view.verdicts
        .get(&node)
        .is_some_and(|verdict| verdict.is_suspect())
}

/// Every recorder that `me` should run, using what `provisionals` observed of the same `state`.
/// Empty once `me` is no longer a member.
#[must_use]
pub fn desired(
    state: &ClusterState,
    me: NodeId,
    provisionals: &Provisionals,
) -> BTreeMap<CameraId, Desired> {
    let mut all = parts(state, me, provisionals);
    if state.nodes.contains(me) {
        provisionals
            .kept
            .iter()
            .for_each(|(camera, kept)| _ = all.entry(*camera).or_insert(kept.part));
    }
    let mine = all.into_iter().filter_map(|(camera, (epoch, rank))| {
        let revision = state.cameras.get(camera)?.revision;
        Some((
            camera,
            Desired {
                epoch,
                rank,
                revision,
            },
        ))
    });
    mine.collect()
}

/// The parts of `me` by the assignments and as an unconfirmed successor.
fn parts(
    state: &ClusterState,
    me: NodeId,
    provisionals: &Provisionals,
) -> BTreeMap<CameraId, Part> {
    if !state.nodes.contains(me) {
        return BTreeMap::new();
    }
    let looked_up;
    let named = if provisionals.named.is_of(state, me) {
        &provisionals.named
    } else {
        looked_up = Named::of(state, me);
        &looked_up
    };
    let mine = named.cameras.iter().filter_map(|camera| {
        let is_provisional = provisionals.successions.contains_key(camera);
        Some((
            *camera,
            part(state.assignments.get(*camera)?, me, is_provisional)?,
        ))
    });
    mine.collect()
}

/// The part of `me`: the target of a handoff records in the handoff's epoch, whatever it was
/// before.
fn part(assignment: &Assignment, me: NodeId, provisional: bool) -> Option<Part> {
    if let Some(handoff) = assignment.handoff.filter(|handoff| handoff.to == me) {
        return Some((handoff.epoch, Rank::Owner));
    }
    let rank = match assignment {
        Assignment {
            owner: Some(owner), ..
        } if *owner == me => Rank::Owner,
        Assignment {
            mirror: Some(mirror),
            ..
        } if *mirror == me => Rank::Mirror,
        _ if provisional => Rank::Successor,
        _ => return None,
    };
    Some((assignment.epoch, rank))
}
