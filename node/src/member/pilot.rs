//! What this node decides several times a second: which nodes are alive, what it should record,
//! and, if it leads, which node records what.
//!
//! An event loop of two halves: [`Pilot::apply`] takes one event and decides, synchronously and
//! without I/O; [`crate::member::drive`] waits for events and carries decisions out. Nothing here
//! waits for Raft: proposals are sent by a task of their own.

use crate::member::link::LinkEvent;
use holdfast_consensus::Leadership;
use holdfast_consensus::command::Command;
use holdfast_consensus::decide::desired::{Desired, Provisionals, View, desired};
use holdfast_consensus::decide::steward::{Input, Steward};
use holdfast_consensus::decide::suspects::{self, Ends, Witness};
use holdfast_consensus::model::Treatment;
use holdfast_consensus::observe::clocks::{Alarm, Clocks, Offset, Sample};
use holdfast_consensus::observe::heartbeat::{Heartbeat, Probe, Progress};
use holdfast_consensus::observe::liveness::{Liveness, Seen, TICK_LATE_MAX, Verdict, Why};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often the pilot decides when nothing happens.
pub const TICK: Duration = Duration::from_millis(100);
/// The same for a node without peers: it watches no other node. Its volumes are examined as often,
/// so that it wakes once for both.
pub const TICK_ALONE: Duration = Duration::from_millis(250);
/// A tick that is this late counts as a process that did not run.
const _: () = assert!(TICK_ALONE.as_millis() * 2 <= TICK_LATE_MAX.as_millis());

/// The leader reviews the site at most this often, unless a node just died or came back.
const STEWARD_INTERVAL: Duration = Duration::from_millis(200);

/// The inputs of the pilot.
pub enum Event {
    State(Arc<ClusterState>),
    Leadership(Leadership),
    Link(LinkEvent),
    /// Time passed; the status of this node itself.
    Tick(Own),
    /// The last proposals are decided, one way or the other.
    Proposed,
}

/// This node's status as it knows it itself.
#[derive(Clone, Debug)]
pub struct Own {
    pub recorders: Vec<Progress>,
    /// At least one volume takes records.
    pub writable: bool,
    /// Its findings about cameras that others cannot record.
    pub probes: Vec<Probe>,
    /// Its clock agrees with what it knew before it started.
    pub vouches: bool,
}

/// The result of an event.
#[derive(Default)]
pub struct Decision {
    /// What this node should record, if that was reconsidered.
    pub desired: Option<BTreeMap<CameraId, Desired>>,
    /// What to propose, in order; empty if this node does not lead or waits for an answer.
    pub proposals: Vec<Command>,
    /// What others should see, if it changed.
    pub sight: Option<Arc<Sight>>,
}

pub struct Pilot {
    me: NodeId,
    state: Arc<ClusterState>,
    liveness: Liveness,
    provisionals: Provisionals,
    leadership: Leadership,
    /// Present while this node leads.
    steward: Option<Steward>,
    stewarded_at: Duration,
    proposing: bool,
    sight: Sight,
    clocks: Clocks,
    probes: BTreeMap<(NodeId, CameraId), bool>,
    /// The ends of processes that this node has seen.
    ends: Ends,
}

impl Pilot {
    pub fn new(me: NodeId, state: Arc<ClusterState>, now: Duration) -> Self {
        Self {
            me,
            state,
            liveness: Liveness::new(me, now),
            provisionals: Provisionals::default(),
            leadership: Leadership::default(),
            steward: None,
            stewarded_at: Duration::ZERO,
            proposing: false,
            sight: Sight::default(),
            clocks: Clocks::default(),
            probes: BTreeMap::new(),
            ends: Ends::default(),
        }
    }

    /// Applies `event`, at `now` on the monotonic and `wall` on the wall clock. A heartbeat that
    /// reports no change in which nodes are alive costs little: everything else waits for the next
    /// tick.
    pub fn apply(&mut self, event: Event, now: Duration, wall: Timestamp) -> Decision {
        // First of all: if this process itself was not running, the others' silence proves nothing.
        self.liveness.tick(now);
        let is_routine = matches!(event, Event::Link(_) | Event::Proposed);
        let was_leading = self.steward.is_some();
        self.take_in(event, now, wall);
        let is_urgent = !was_leading && self.steward.is_some();
        let fell_or_rose = self.look(now);
        self.witness(wall);
        if is_routine && !fell_or_rose {
            return Decision::default();
        }
        self.judge(wall);
        let (verdicts, progress) = (&self.sight.verdicts, &self.sight.progress);
        self.provisionals.observe(
            &self.state,
            &View {
                me: self.me,
                now,
                wall,
                verdicts,
                progress,
            },
        );
        Decision {
            desired: Some(desired(&self.state, self.me, &self.provisionals)),
            proposals: self.steward(now, wall, fell_or_rose || is_urgent),
            sight: Some(Arc::new(self.sight.clone())),
        }
    }

    fn take_in(&mut self, event: Event, now: Duration, wall: Timestamp) {
        match event {
            Event::State(state) => self.enter(state),
            Event::Leadership(leadership) => self.follow(leadership, now),
            Event::Link(LinkEvent::Heartbeat(heartbeat)) => self.hear(heartbeat, now, wall),
            Event::Link(LinkEvent::Refused(node)) => self.liveness.refused(now, node),
            Event::Link(LinkEvent::Answered(node, sample)) => self.compare_clocks(node, sample),
            Event::Tick(own) => {
                self.sight.clocks = self.clocks.offsets();
                self.note_probes(self.me, &own.probes);
                self.note_fitness(self.me, own.writable);
                self.sight.progress.report(self.me, own.recorders);
            }
            Event::Proposed => self.proposing = false,
        }
    }

    fn enter(&mut self, state: Arc<ClusterState>) {
        self.liveness.keep(|node| state.nodes.contains(node));
        let is_known = |node, camera| state.nodes.contains(node) && state.cameras.contains(camera);
        self.sight.progress.retain(is_known);
        self.sight.unfit.retain(|node| state.nodes.contains(*node));
        self.sight
            .vouching
            .retain(|node| state.nodes.contains(*node));
        self.clocks.keep(|node| state.nodes.contains(node));
        self.probes
            .retain(|(node, camera), _| is_known(*node, *camera));
        self.state = state;
    }

    fn follow(&mut self, leadership: Leadership, now: Duration) {
        if leadership.leader != self.leadership.leader {
            self.liveness.leader_changed(now);
        }
        if leadership.is_leader != self.leadership.is_leader {
            self.steward = leadership.is_leader.then(Steward::default);
        }
        self.leadership = leadership;
    }

    fn note_fitness(&mut self, node: NodeId, writable: bool) {
        let changed = if writable {
            self.sight.unfit.remove(&node)
        } else {
            self.sight.unfit.insert(node)
        };
        if changed {
            tracing::warn!(%node, writable, "a node's volumes changed");
        }
    }

    /// The latest findings of a node replace all earlier ones.
    fn note_probes(&mut self, node: NodeId, probes: &[Probe]) {
        self.probes.retain(|(of, _), _| *of != node);
        self.probes.extend(
            probes
                .iter()
                .map(|probe| ((node, probe.camera), probe.reachable)),
        );
    }

    fn compare_clocks(&mut self, node: NodeId, sample: Sample) {
        if !self.state.nodes.contains(node) {
            return;
        }
        let millis = |micros: i64| micros / 1000;
        match self.clocks.take_in(node, sample) {
            Some(Alarm::Raised(Offset { micros, error_us })) => tracing::warn!(
                %node,
                ahead_ms = millis(micros),
                within_ms = millis(error_us),
                "the clock of a node is off: recordings do not fit together; see that NTP runs on \
                 both"
            ),
            Some(Alarm::Ended(Offset { micros, .. })) => {
                tracing::info!(
                    %node, ahead_ms = millis(micros),
                    "the clock of a node is right again"
                );
            }
            None => {}
        }
    }

    fn hear(&mut self, heartbeat: Heartbeat, now: Duration, wall: Timestamp) {
        if !self.state.nodes.contains(heartbeat.from) {
            return;
        }
        match self
            .liveness
            .heartbeat(now, heartbeat.from, heartbeat.boot, heartbeat.sequence)
        {
            Seen::Stale => return,
            Seen::First | Seen::Usual => {}
            Seen::Returned | Seen::Restarted => {
                self.clocks.forget(heartbeat.from);
                tracing::info!("{} is back", self.node_name(heartbeat.from));
            }
        }
        // Before the reports of the next process replace those of the last one.
        self.witness(wall);
        self.note_probes(heartbeat.from, &heartbeat.probes);
        self.note_fitness(heartbeat.from, heartbeat.writable);
        if heartbeat.vouches {
            self.sight.vouching.insert(heartbeat.from);
        } else {
            self.sight.vouching.remove(&heartbeat.from);
        }
        self.sight
            .progress
            .report(heartbeat.from, heartbeat.recorders);
    }

    /// Notes which processes have ended, with their last reports.
    fn witness(&mut self, at: Timestamp) {
        let ended = self.liveness.ended();
        let hears_all = self.leadership.voters.contains(&self.me);
        let Sight {
            verdicts, progress, ..
        } = &self.sight;
        self.ends.observe(
            &ended,
            Witness {
                state: &self.state,
                verdicts,
                progress,
                hears_all,
                at,
            },
        );
    }

    /// Decides which cameras are held back, by what the cluster knows and what this node saw.
    fn judge(&mut self, wall: Timestamp) {
        self.ends.settle(&self.sight.verdicts, &self.sight.progress);
        let treatments = suspects::treatments(&self.state, &self.ends, wall);
        for (camera, treatment) in &treatments {
            if self.sight.treatments.get(camera) != Some(treatment) {
                let name = self.camera_name(*camera);
                match treatment {
                    Treatment::Quarantined { until } => tracing::error!(
                        %camera, name, %until,
                        "three processes ended while they began to record a camera: it is in \
                         quarantine; correct its source, or try it at once with `holdfast camera \
                         release`"
                    ),
                    Treatment::Suspect | Treatment::Usual => tracing::warn!(
                        %camera, name,
                        "two nodes' processes ended while they began to record a camera: it is a \
                         suspect, and connected to after all others"
                    ),
                }
            }
        }
        for camera in self
            .sight
            .treatments
            .keys()
            .filter(|camera| !treatments.contains_key(camera))
        {
            tracing::info!(
                %camera, name = self.camera_name(*camera),
                "a camera is no suspect any more"
            );
        }
        self.sight.treatments = treatments;
    }

    fn camera_name(&self, camera: CameraId) -> String {
        self.state
            .cameras
            .get(camera)
            .map_or_else(String::new, |camera| camera.spec.name.to_string())
    }

    /// Updates the verdict on every node; returns whether one changed.
    fn look(&mut self, now: Duration) -> bool {
        let verdicts = self.liveness.verdicts(now, self.state.nodes.keys());
        if verdicts == self.sight.verdicts {
            return false;
        }
        for (node, verdict) in &verdicts {
            let was_suspect = self
                .sight
                .verdicts
                .get(node)
                .is_some_and(|before| before.is_suspect());
            match verdict {
                Verdict::Suspect {
                    why: Why::Refused, ..
                } if !was_suspect => {
                    tracing::warn!(
                        "{} has no process any more: its machine refuses connections",
                        self.node_name(*node)
                    );
                }
                Verdict::Suspect {
                    why: Why::Silence, ..
                } if !was_suspect => {
                    tracing::warn!("{} is silent", self.node_name(*node));
                }
                Verdict::Suspect { .. } | Verdict::Alive | Verdict::Unknown => {}
            }
        }
        self.sight.verdicts = verdicts;
        true
    }

    fn node_name(&self, node: NodeId) -> String {
        self.state
            .nodes
            .get(node)
            .map_or_else(|| format!("node {node}"), |node| node.spec.name.to_string())
    }

    fn steward(&mut self, now: Duration, wall: Timestamp, at_once: bool) -> Vec<Command> {
        let is_due = at_once || now.saturating_sub(self.stewarded_at) >= STEWARD_INTERVAL;
        let Some(steward) = self.steward.as_mut().filter(|_| is_due && !self.proposing) else {
            return Vec::new();
        };
        self.stewarded_at = now;
        let Sight {
            verdicts,
            progress,
            unfit,
            ..
        } = &self.sight;
        let (voters, probes) = (&self.leadership.voters, &self.probes);
        let (now, uptime, state, ends) = (wall, now, &self.state, &self.ends);
        let input = Input {
            now,
            uptime,
            state,
            verdicts,
            voters,
            unfit,
            probes,
            progress,
            ends,
        };
        let proposals = steward.decide(&input);
        self.proposing = !proposals.is_empty();
        proposals
    }
}

#[cfg(test)]
mod tests;
