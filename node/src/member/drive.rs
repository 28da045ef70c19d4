//! Runs the pilot: gathers its events, and carries out its decisions.

use crate::capture::recorder::reconcile::{DesiredRecording, recordings};
use crate::clock::Clock;
use crate::member::chronicle::{self, Line};
use crate::member::link::{LinkEvent, Links, Outgoing};
use crate::member::pilot::{Decision, Event, Own, Pilot, TICK, TICK_ALONE};
use crate::member::ticks::ticks;
use holdfast_consensus::command::LogEntry;
use holdfast_consensus::decide::desired::Desired;
use holdfast_consensus::identity::Standing;
use holdfast_consensus::model::{Actor, Treatment};
use holdfast_consensus::observe::heartbeat::{Audience, Heartbeat, RecorderState};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::{Consensus, Leadership};
use holdfast_storage::ids::{CameraId, NodeId, StreamId};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::Interval;

/// Rounds of proposals that may wait; the pilot proposes only when the last round is decided.
const ROUNDS_MAX: usize = 1;

/// Returns this node's own status.
pub(crate) type LookAtSelf = Arc<dyn Fn() -> Own + Send + Sync>;

pub(crate) struct Options {
    pub(crate) me: NodeId,
    pub(crate) clock: Clock,
    pub(crate) consensus: Consensus,
    pub(crate) own: LookAtSelf,
    pub(crate) link_events: mpsc::Receiver<LinkEvent>,
    pub(crate) links: Links,
    pub(crate) heartbeat: watch::Sender<Arc<Outgoing>>,
    pub(crate) desired: watch::Sender<BTreeMap<StreamId, DesiredRecording>>,
    pub(crate) sight: watch::Sender<Arc<Sight>>,
}

pub(crate) struct Drive {
    options: Options,
    pilot: Pilot,
    state: watch::Receiver<Arc<ClusterState>>,
    leadership: watch::Receiver<Leadership>,
    standing: watch::Receiver<Standing>,
    /// Changes whenever another node's address is learnt.
    moves: watch::Receiver<u64>,
    tick: Interval,
    proposals: mpsc::Sender<Vec<LogEntry>>,
    proposed: mpsc::Receiver<()>,
    last_desired: BTreeMap<CameraId, Desired>,
    /// The state that was last compared for the log.
    logged: Arc<ClusterState>,
    last_treatments: BTreeMap<CameraId, Treatment>,
    peers: Vec<(NodeId, String)>,
    sequence: u64,
}

impl Drive {
    pub(crate) fn new(options: Options) -> Self {
        let state = options.consensus.subscribe();
        let leadership = options.consensus.leadership();
        let standing = options.consensus.identity().standing();
        let moves = options.consensus.identity().addresses().changes();
        let pilot = Pilot::new(options.me, state.borrow().clone(), options.clock.elapsed());
        let (proposals, rounds) = mpsc::channel(ROUNDS_MAX);
        let (done, proposed) = mpsc::channel(ROUNDS_MAX);
        tokio::spawn(propose(options.consensus.clone(), rounds, done));
        Self {
            options,
            pilot,
            state,
            leadership,
            standing,
            moves,
            tick: ticks(TICK_ALONE),
            proposals,
            proposed,
            last_desired: BTreeMap::new(),
            logged: Arc::default(),
            last_treatments: BTreeMap::new(),
            peers: Vec::new(),
            sequence: 0,
        }
    }

    /// Runs until consensus, or the task that proposes, is gone.
    pub(crate) async fn run(mut self) {
        self.state.mark_changed();
        self.leadership.mark_changed();
        while let Some(event) = self.select().await {
            self.prepare(&event);
            let (now, wall) = (self.options.clock.elapsed(), self.options.clock.now());
            let decision = self.pilot.apply(event, now, wall);
            self.carry_out(decision, wall);
        }
    }

    async fn select(&mut self) -> Option<Event> {
        tokio::select! {
            changed = self.state.changed() => {
                changed.ok()?;
                Some(Event::State(self.state.borrow_and_update().clone()))
            }
            changed = self.leadership.changed() => {
                changed.ok()?;
                Some(Event::Leadership(self.leadership.borrow_and_update().clone()))
            }
            // Its senders are this node's links and routes, which exist as long as the drive.
            event = self.options.link_events.recv() => event.map(Event::Link),
            // Without the task that proposes, this node could lead but decide nothing: it is better
            // to end.
            proposed = self.proposed.recv() => proposed.map(|()| Event::Proposed),
            _ = self.tick.tick() => {
                let own = (self.options.own)();
                // The cameras of a node that takes no part any more go to others, as from a node
                // whose disks are read-only.
                let writable = own.writable && !self.standing.borrow().is_final();
                Some(Event::Tick(Own { writable, ..own }))
            }
        }
    }

    /// Updates what others must know before the pilot decides.
    fn prepare(&mut self, event: &Event) {
        match event {
            Event::State(state) => {
                self.connect(state);
                self.log(state);
            }
            Event::Tick(own) => {
                if self.moves.has_changed().unwrap_or(false) {
                    self.moves.mark_unchanged();
                    let state = self.state.borrow().clone();
                    self.connect(&state);
                }
                self.sequence += 1;
                let Options { me, clock, .. } = &self.options;
                let heartbeat = Heartbeat {
                    from: *me,
                    boot: clock.boot(),
                    sequence: self.sequence,
                    sent_at: clock.now(),
                    writable: own.writable,
                    recorders: own.recorders.clone(),
                    probes: own.probes.clone(),
                    vouches: own.vouches,
                };
                let cameras = own.recorders.iter().map(|progress| progress.stream.camera);
                let audience = Audience::of(
                    &self.state.borrow(),
                    &self.leadership.borrow().voters,
                    cameras,
                );
                self.options.heartbeat.send_replace(Arc::new(Outgoing {
                    heartbeat,
                    audience,
                }));
            }
            _ => {}
        }
    }

    fn connect(&mut self, state: &ClusterState) {
        let others = state.nodes.keys().filter(|node| *node != self.options.me);
        let addresses = self.options.consensus.identity().addresses();
        let peers: Vec<_> = others
            .filter_map(|node| Some((node, addresses.of(node)?)))
            .collect();
        if peers != self.peers {
            self.options.links.set_peers(peers.clone());
            self.tick = ticks(if peers.is_empty() { TICK_ALONE } else { TICK });
            self.peers = peers;
        }
    }

    /// Logs which node records which camera from now on.
    fn log(&mut self, state: &Arc<ClusterState>) {
        for Line { text, is_warning } in
            chronicle::lines(&self.logged, state, &self.options.sight.borrow())
        {
            if is_warning {
                tracing::warn!("{text}")
            } else {
                tracing::info!("{text}")
            }
        }
        self.logged = Arc::clone(state);
    }

    fn carry_out(&mut self, decision: Decision, wall: Timestamp) {
        let desired = match (*self.standing.borrow(), &decision.sight) {
            (standing, Some(sight)) if standing.is_final() => {
                let twin = standing.is_twin();
                decision.desired.map(|desired| {
                    if twin {
                        BTreeMap::new()
                    } else {
                        alone(desired, self.options.me, sight)
                    }
                })
            }
            _ => decision.desired,
        };
        let mut has_changed = false;
        if let Some(sight) = decision.sight {
            if sight.treatments != self.last_treatments {
                self.last_treatments = sight.treatments.clone();
                has_changed = true;
            }
            self.options.sight.send_replace(sight);
        }
        if let Some(desired) =
            desired.filter(|desired| has_changed || *desired != self.last_desired)
        {
            let state = self.state.borrow().clone();
            self.options
                .desired
                .send_replace(recordings(&state, &desired, &self.last_treatments));
            self.last_desired = desired;
        }
        // Never full: the pilot waits for `Proposed`. If the task is gone, `select` ends the drive.
        let me = Actor::Node(self.options.me);
        let proposals: Vec<LogEntry> = decision
            .proposals
            .into_iter()
            .map(|command| command.by(me.clone(), wall))
            .collect();
        if !proposals.is_empty() && self.proposals.try_send(proposals).is_err() {
            tracing::error!("a round of proposals was not taken");
        }
    }
}

/// For a node that cannot learn anything newer: of the cameras that it would record, those that no
/// other node records. Pure.
#[must_use]
pub fn alone(
    desired: BTreeMap<CameraId, Desired>,
    me: NodeId,
    sight: &Sight,
) -> BTreeMap<CameraId, Desired> {
    let others = sight.progress.iter().filter(|(node, report)| {
        let is_recorded = report.stream.is_main() && report.state == RecorderState::Recording;
        *node != me && sight.is_alive(*node) && is_recorded
    });
    let recorded: BTreeSet<CameraId> = others.map(|(_, report)| report.stream.camera).collect();
    desired
        .into_iter()
        .filter(|(camera, _)| !recorded.contains(camera))
        .collect()
}

/// Proposes round after round, as the leader that decided them or not at all. A proposal has a
/// deadline; if its outcome is unknown, the pilot decides again from the state.
async fn propose(
    consensus: Consensus,
    mut rounds: mpsc::Receiver<Vec<LogEntry>>,
    done: mpsc::Sender<()>,
) {
    while let Some(entries) = rounds.recv().await {
        for entry in entries {
            let what = entry.to_string();
            match consensus.propose_as_leader(entry).await {
                Ok(response) => tracing::debug!(%what, ?response, "decided"),
                Err(error) => tracing::warn!(%what, %error, "not decided"),
            }
        }
        if done.send(()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_consensus::observe::heartbeat::Progress;
    use holdfast_consensus::observe::liveness::Verdict;
    use holdfast_storage::ids::{Epoch, Rank, StreamKind};

    #[test]
    fn one_that_takes_no_part_records_what_no_other_living_node_records() {
        let part = Desired {
            epoch: Epoch(3),
            rank: Rank::Owner,
            revision: 1,
        };
        let known: BTreeMap<CameraId, Desired> =
            (1..=4).map(|camera| (CameraId(camera), part)).collect();
        let report = |node, camera, kind, state| {
            let progress = Progress {
                stream: StreamId {
                    camera: CameraId(camera),
                    kind,
                },
                epoch: Epoch(4),
                rank: Rank::Owner,
                state,
                watermark: None,
                first_keyframe: None,
                error: None,
                bitrate_bps: None,
                patience_ms: None,
                exposure: None,
            };
            (NodeId(node), progress)
        };
        let main = StreamKind::Main;
        let progress = [
            report(2, 1, main, RecorderState::Recording),
            report(2, 2, main, RecorderState::Failing),
            report(3, 3, main, RecorderState::Recording),
            report(1, 4, main, RecorderState::Recording),
            // Its main stream is what counts.
            report(2, 2, StreamKind::Sub, RecorderState::Recording),
        ];
        let verdicts = [
            (NodeId(1), Verdict::Alive),
            (NodeId(2), Verdict::Alive),
            (NodeId(3), Verdict::Unknown),
        ]
        .into();
        let sight = Sight {
            verdicts,
            progress: progress.into_iter().collect(),
            ..Sight::default()
        };
        let left: Vec<CameraId> = alone(known, NodeId(1), &sight).into_keys().collect();
        assert_eq!(left, [CameraId(2), CameraId(3), CameraId(4)]);
    }
}
