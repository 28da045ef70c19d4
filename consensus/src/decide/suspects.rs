//! Which cameras may have caused processes to end, from this node's observations and the replicated
//! state. Pure.
//!
//! The leader records each end in the log before it moves the cameras ([`crate::decide::steward`]).
//! A successor does not wait for that: to the replicated ends it adds, by the same rule, those that
//! it saw itself and that are not recorded yet.
//!
//! A camera is blamed for the end of a process that reported a fresh session of it, or that was to
//! begin one since its last heartbeat. If a suspect had its turn there, only that suspect is
//! blamed: it explains what happened to the others.

use crate::model::{Assignment, Duty, ProcessEnd, Suspicion, Treatment};
use crate::observe::heartbeat::{Exposure, Progress, RecorderState};
use crate::observe::liveness::Verdict;
use crate::observe::reports::Reports;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, StreamId};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a node knows when it sees that a process ended.
#[derive(Clone, Copy)]
pub struct Witness<'a> {
    pub state: &'a ClusterState,
    pub verdicts: &'a BTreeMap<NodeId, Verdict>,
    pub progress: &'a Reports,
    /// The node is a voter: nodes report all of their recorders to it.
    pub hears_all: bool,
    /// By its wall clock.
    pub at: Timestamp,
}

/// The newest process of each node that ended, as this node saw it.
#[derive(Clone, Debug, Default)]
pub struct Ends(BTreeMap<NodeId, Seen>);

#[derive(Clone, Debug)]
struct Seen {
    end: ProcessEnd,
    at: Timestamp,
}

impl Ends {
    /// Notes which processes are known to have ended
    /// ([`crate::observe::liveness::Liveness::ended`]), before their successors are heard. A
    /// process that is heard again after all had not ended.
    pub fn observe(&mut self, ended: &[(NodeId, u64)], witness: Witness<'_>) {
        self.0
            .retain(|node, seen| ended.contains(&(*node, seen.end.boot)));
        for (node, boot) in ended {
            let seen = || Seen {
                end: witness.end(*node, *boot),
                at: witness.at,
            };
            self.0.entry(*node).or_insert_with(seen);
        }
    }

    /// Clears cameras that are recorded well by now.
    pub fn settle(&mut self, verdicts: &BTreeMap<NodeId, Verdict>, progress: &Reports) {
        for seen in self.0.values_mut() {
            seen.end
                .blamed
                .retain(|camera| !survives(*camera, verdicts, progress));
        }
    }

    /// Ends that cameras are blamed for and that `state` does not contain, oldest first.
    #[must_use]
    pub fn unnoted(&self, state: &ClusterState) -> Vec<(&ProcessEnd, Timestamp)> {
        let unknown = self.0.values().filter(|seen| {
            !seen.end.blamed.is_empty()
                && state.nodes.contains(seen.end.node)
                && !state.is_noted(&seen.end)
        });
        let mut unnoted: Vec<_> = unknown.map(|seen| (&seen.end, seen.at)).collect();
        unnoted.sort_by_key(|(end, at)| (*at, end.node));
        unnoted
    }
}

impl Witness<'_> {
    fn end(&self, node: NodeId, boot: u64) -> ProcessEnd {
        let is_orderly = self
            .state
            .nodes
            .get(node)
            .is_none_or(|node| node.duty == Duty::Stopping);
        if is_orderly {
            return ProcessEnd {
                node,
                boot,
                blamed: Vec::new(),
                on_trial: false,
            };
        }
        let exposed = |to: Exposure| {
            let recorders = self.progress.of_node(node);
            recorders
                .filter(move |report| report.exposure == Some(to))
                .map(|report| report.stream.camera)
        };
        let on_trial: BTreeSet<CameraId> = exposed(Exposure::OnTrial).collect();
        if !on_trial.is_empty() {
            return ProcessEnd {
                node,
                boot,
                blamed: on_trial.into_iter().collect(),
                on_trial: true,
            };
        }
        let fresh: BTreeSet<CameraId> = exposed(Exposure::Fresh)
            .chain(self.begun_since(node))
            .collect();
        ProcessEnd {
            node,
            boot,
            blamed: fresh.into_iter().collect(),
            on_trial: false,
        }
    }

    /// Cameras of which `node` was to record a stream that it did not report: it began that stream
    /// after its last heartbeat. Those that it reported before in the same epoch had ended.
    fn begun_since(&self, node: NodeId) -> impl Iterator<Item = CameraId> {
        let assignments = self.state.assignments.iter().filter(|_| self.hears_all);
        assignments.filter_map(move |(camera, now)| {
            let epoch = self.part(node, now)?;
            let is_known = |stream: StreamId| {
                let report = self.progress.get(node, stream);
                report.is_some_and(|report| {
                    report.exposure != Some(Exposure::Gone) || report.epoch >= epoch
                })
            };
            let mut streams = self.state.cameras.get(camera)?.streams();
            (!streams.all(|stream| is_known(stream.id))).then_some(camera)
        })
    }

    /// The epoch in which `node` records by this assignment, or as a successor on its own evidence.
    fn part(&self, node: NodeId, now: &Assignment) -> Option<Epoch> {
        if let Some(handoff) = now.handoff.filter(|handoff| handoff.to == node) {
            return Some(handoff.epoch);
        }
        let is_suspect = |owner: NodeId| {
            self.verdicts
                .get(&owner)
                .is_some_and(|verdict| verdict.is_suspect())
        };
        let stands_in = now.successor == Some(node) && now.owner.is_some_and(is_suspect);
        (stands_in || [now.owner, now.mirror].contains(&Some(node))).then_some(now.epoch)
    }
}

/// Whether the sessions of the camera have lasted long enough, on any node, to clear it of
/// suspicion: its main stream is recorded there, and no stream of it may yet end the process.
#[must_use]
pub fn survives(
    camera: CameraId,
    verdicts: &BTreeMap<NodeId, Verdict>,
    progress: &Reports,
) -> bool {
    let mut alive = verdicts.iter().filter(|(_, verdict)| verdict.is_alive());
    alive.any(|(node, _)| {
        let is_recorded = progress.main(*node, camera).is_some_and(|report| {
            report.state == RecorderState::Recording && report.watermark.is_some()
        });
        let is_over = |report: &Progress| matches!(report.exposure, None | Some(Exposure::Gone));
        is_recorded && progress.of_camera(*node, camera).all(is_over)
    })
}

/// Suspicions of cameras: the replicated ones, and those that this node has seen since.
#[must_use]
pub fn suspicions(state: &ClusterState, ends: &Ends) -> BTreeMap<CameraId, Suspicion> {
    let mut held: BTreeMap<CameraId, Suspicion> = state
        .suspicions
        .iter()
        .map(|(camera, suspicion)| (camera, *suspicion))
        .collect();
    for (end, at) in ends.unnoted(state) {
        for camera in end
            .blamed
            .iter()
            .filter(|camera| state.cameras.contains(**camera))
        {
            let suspicion = Suspicion::after(held.get(camera).copied(), end.node, end.on_trial, at);
            held.insert(*camera, suspicion);
        }
    }
    held
}

/// Cameras that are not recorded as usual.
#[must_use]
pub fn treatments(
    state: &ClusterState,
    ends: &Ends,
    now: Timestamp,
) -> BTreeMap<CameraId, Treatment> {
    let held = suspicions(state, ends)
        .into_iter()
        .map(|(camera, suspicion)| (camera, suspicion.treatment(now)));
    held.filter(|(_, standing)| *standing != Treatment::Usual)
        .collect()
}

#[cfg(test)]
mod tests;
