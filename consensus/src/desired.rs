//! What this node should be recording now, leader or no leader. Pure.
//!
//! Call-back rule: a provisional successor keeps recording while its own evidence says that the owner is suspect. It goes away when the
//! assignment names another owner, epoch or successor, or once the owner is alive again and either its heartbeats prove that it records (a
//! watermark of this epoch after the moment of suspicion) or [`CALL_BACK_AFTER`] has passed since it came back.

use crate::heartbeat::Progress;
use crate::liveness::Verdict;
use crate::model::Assignment;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a provisional successor outlives its owner's return without proof that the owner records.
pub const CALL_BACK_AFTER: Duration = Duration::from_secs(1);

/// One recorder that should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    pub epoch: Epoch,
    pub rank: Rank,
    /// Of the camera's spec: a change restarts the session.
    pub revision: u64,
}

#[derive(Clone, Copy, Debug)]
struct Provisional {
    owner: NodeId,
    epoch: Epoch,
    suspected_at: Timestamp,
    alive_since: Option<Duration>,
}

/// The cameras that this node records provisionally, as their successor.
#[derive(Clone, Debug, Default)]
pub struct Provisionals(BTreeMap<CameraId, Provisional>);

/// What this node sees: `now` on its monotonic clock, `wall` on its wall clock.
pub struct View<'a> {
    pub me: NodeId,
    pub now: Duration,
    pub wall: Timestamp,
    pub verdicts: &'a BTreeMap<NodeId, Verdict>,
    /// The latest progress that `node`'s heartbeats told of `camera`.
    pub progress: &'a BTreeMap<(NodeId, CameraId), Progress>,
}

impl Provisionals {
    /// Takes in the present evidence: starts what must start, calls back what may stop.
    pub fn observe(&mut self, state: &ClusterState, view: &View<'_>) {
        self.0.retain(|camera, provisional| provisional.goes_on(*camera, state.assignments.get(*camera), view));
        for (camera, assignment) in state.assignments.iter() {
            let Some(owner) = assignment.owner.filter(|owner| is_suspect(view, *owner)) else { continue };
            if assignment.successor == Some(view.me) {
                let begun = Provisional { owner, epoch: assignment.epoch, suspected_at: view.wall, alive_since: None };
                self.0.entry(camera).or_insert(begun).alive_since = None;
            }
        }
    }
}

impl Provisional {
    fn goes_on(&mut self, camera: CameraId, assignment: Option<&Assignment>, view: &View<'_>) -> bool {
        let unchanged = assignment.is_some_and(|now| {
            now.owner == Some(self.owner) && now.epoch == self.epoch && now.successor == Some(view.me)
        });
        if !unchanged {
            return false;
        }
        if !view.verdicts.get(&self.owner).is_some_and(|verdict| verdict.is_alive()) {
            return true;
        }
        let alive_since = *self.alive_since.get_or_insert(view.now);
        let proven = view.progress.get(&(self.owner, camera)).is_some_and(|progress| self.is_proof(progress));
        !proven && view.now.saturating_sub(alive_since) < CALL_BACK_AFTER
    }

    fn is_proof(&self, progress: &Progress) -> bool {
        let newer = progress.watermark.is_some_and(|watermark| watermark > self.suspected_at);
        progress.epoch == self.epoch && newer
    }
}

fn is_suspect(view: &View<'_>, node: NodeId) -> bool {
    view.verdicts.get(&node).is_some_and(|verdict| verdict.is_suspect())
}

/// Every recorder that `me` should run. Empty once `me` is no member any more.
#[must_use]
pub fn desired(state: &ClusterState, me: NodeId, provisionals: &Provisionals) -> BTreeMap<CameraId, Desired> {
    if !state.nodes.contains(me) {
        return BTreeMap::new();
    }
    let mine = state.assignments.iter().filter_map(|(camera, assignment)| {
        let (epoch, rank) = part(assignment, me, provisionals.0.contains_key(&camera))?;
        let revision = state.cameras.get(camera)?.revision;
        Some((camera, Desired { epoch, rank, revision }))
    });
    mine.collect()
}

/// The part that `me` plays: the target of a handoff records in the handoff's epoch, whatever it was before.
fn part(assignment: &Assignment, me: NodeId, provisional: bool) -> Option<(Epoch, Rank)> {
    if let Some(handoff) = assignment.handoff.filter(|handoff| handoff.to == me) {
        return Some((handoff.epoch, Rank::Owner));
    }
    let rank = match assignment {
        Assignment { owner: Some(owner), .. } if *owner == me => Rank::Owner,
        Assignment { mirror: Some(mirror), .. } if *mirror == me => Rank::Mirror,
        _ if provisional => Rank::Successor,
        _ => return None,
    };
    Some((assignment.epoch, rank))
}
