//! What this node decides several times a second: who is alive, what it should record, and, where it leads, who records what.
//!
//! An event loop of two halves: [`Pilot::apply`] takes in one event and decides, synchronously and without I/O; [`super::drive`] waits for events and carries
//! decisions out. Nothing here waits for Raft: proposals go out on a task of their own.

use crate::link::LinkEvent;
use holdfast_consensus::command::Command;
use holdfast_consensus::desired::{Desired, Provisionals, View, desired};
use holdfast_consensus::heartbeat::{Heartbeat, Progress};
use holdfast_consensus::liveness::{Liveness, Seen, Verdict};
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::steward::{Input, Steward};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often the pilot looks around when nothing happens.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Everything that other parts of the node may know of what the pilot sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    pub(crate) verdicts: BTreeMap<NodeId, Verdict>,
    pub(crate) progress: BTreeMap<(NodeId, CameraId), Progress>,
}

impl Sight {
    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        self.verdicts.get(&node).is_some_and(|verdict| verdict.is_alive())
    }
}

/// What the pilot can be told.
pub(crate) enum Event {
    State(Arc<ClusterState>),
    /// This node began to lead, or ceased to.
    Leading(bool),
    /// Another node leads.
    LeaderChanged,
    Link(LinkEvent),
    /// Time passed; this node's own recorders are this far.
    Tick(Vec<Progress>),
    /// The last proposals are decided, one way or the other.
    Proposed,
}

/// What came of an event.
pub(crate) struct Decision {
    /// What this node should record.
    pub(crate) desired: BTreeMap<CameraId, Desired>,
    /// What to propose, in order; empty where this node does not lead or waits for an answer.
    pub(crate) proposals: Vec<Command>,
}

pub(crate) struct Pilot {
    me: NodeId,
    state: Arc<ClusterState>,
    liveness: Liveness,
    provisionals: Provisionals,
    /// Present while this node leads.
    steward: Option<Steward>,
    proposing: bool,
    sight: Arc<Sight>,
}

impl Pilot {
    pub(crate) fn new(me: NodeId, state: Arc<ClusterState>, now: Duration) -> Self {
        let liveness = Liveness::new(me, now);
        let (provisionals, sight) = (Provisionals::default(), Arc::default());
        Self { me, state, liveness, provisionals, steward: None, proposing: false, sight }
    }

    pub(crate) fn sight(&self) -> Arc<Sight> {
        Arc::clone(&self.sight)
    }

    /// Takes in `event`, at `now` on the monotonic and `wall` on the wall clock.
    pub(crate) fn apply(&mut self, event: Event, now: Duration, wall: Timestamp) -> Decision {
        match event {
            Event::State(state) => self.enter(state),
            Event::Leading(leading) => self.lead(leading, now),
            Event::LeaderChanged => self.liveness.leader_changed(now),
            Event::Link(LinkEvent::Heartbeat(heartbeat)) => self.hear(heartbeat, now),
            Event::Link(LinkEvent::Refused(node)) => self.liveness.refused(now, node),
            Event::Tick(own) => {
                self.liveness.tick(now);
                self.replace_progress(self.me, own);
            }
            Event::Proposed => self.proposing = false,
        }
        self.look(now);
        self.decide(now, wall)
    }

    fn enter(&mut self, state: Arc<ClusterState>) {
        self.liveness.keep(|node| state.nodes.contains(node));
        self.state = state;
    }

    fn lead(&mut self, leading: bool, now: Duration) {
        self.liveness.leader_changed(now);
        self.steward = leading.then(Steward::default);
    }

    fn hear(&mut self, heartbeat: Heartbeat, now: Duration) {
        if !self.state.nodes.contains(heartbeat.from) {
            return;
        }
        match self.liveness.heartbeat(now, heartbeat.from, heartbeat.boot) {
            Seen::Stale => {}
            seen => {
                if matches!(seen, Seen::Returned | Seen::Restarted) {
                    tracing::info!(node = %heartbeat.from, ?seen, "node is back");
                }
                self.replace_progress(heartbeat.from, heartbeat.recorders);
            }
        }
    }

    /// A recorder that is not reported any more keeps its last watermark: a dead or replaced recorder's footage still ends there.
    fn replace_progress(&mut self, node: NodeId, recorders: Vec<Progress>) {
        let sight = Arc::make_mut(&mut self.sight);
        let kept = sight.progress.range((node, CameraId(0))..=(node, CameraId(u32::MAX)));
        let ended: Vec<_> =
            kept.filter(|((_, camera), _)| !self.state.cameras.contains(*camera)).map(|(key, _)| *key).collect();
        ended.iter().for_each(|key| drop(sight.progress.remove(key)));
        for progress in recorders {
            sight.progress.insert((node, progress.camera), progress);
        }
    }

    fn look(&mut self, now: Duration) {
        let verdicts: BTreeMap<_, _> =
            self.state.nodes.keys().map(|node| (node, self.liveness.verdict(now, node))).collect();
        if verdicts == self.sight.verdicts {
            return;
        }
        for (node, verdict) in verdicts.iter().filter(|(_, verdict)| verdict.is_suspect()) {
            if !self.sight.verdicts.get(node).is_some_and(|before| before.is_suspect()) {
                tracing::warn!(%node, ?verdict, "node is suspect");
            }
        }
        Arc::make_mut(&mut self.sight).verdicts = verdicts;
    }

    fn decide(&mut self, now: Duration, wall: Timestamp) -> Decision {
        let Sight { verdicts, progress } = &*self.sight;
        self.provisionals.observe(&self.state, &View { me: self.me, now, wall, verdicts, progress });
        let desired = desired(&self.state, self.me, &self.provisionals);
        let proposals = match &mut self.steward {
            Some(steward) if !self.proposing => {
                steward.decide(&Input { now: wall, uptime: now, state: &self.state, verdicts, progress })
            }
            _ => Vec::new(),
        };
        self.proposing |= !proposals.is_empty();
        Decision { desired, proposals }
    }
}
