//! The simulated world: machines, network, cameras, time, and the sequence of events.

use super::deadly::{Deadly, Struck};
use super::faults::{Fault, Trouble};
use super::invariants::{Invariant, Seen, Site, all};
use super::machine::Machine;
use super::network::Network;
use super::outcome::Outcome;
use super::plan::{MORE, Plan};
use super::queue::Queue;
use super::raft::{Durable, Entry, Payload};
use super::recorder::{FRAME_INTERVAL, Session};
use super::story::Story;
use super::traffic::{Context, Effect, Fact, Input, Message};
use super::twist::Twist;
use super::{BUDGET, EPOCH};
use holdfast_consensus::command::{
    AssignmentOp, Command, LogEntry, Rejection, Response, admission,
};
use holdfast_consensus::model::{Actor, KeyHash, OperatorName};
use holdfast_consensus::state::ClusterState;
use holdfast_node::capture::ingest::turns::TURN;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::random::Random;
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long a site may take to come up before it is disturbed.
const FOUNDING_MAX: Duration = Duration::from_secs(60);
/// It runs undisturbed for this long once it is up.
const QUIET: Duration = Duration::from_secs(10);
/// How often the operator looks whether there is something to do.
const OPERATE_INTERVAL: Duration = Duration::from_millis(300);
/// A node without route to a camera notices after this long; half of the attempts are refused at
/// once.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_REFUSED: Duration = Duration::from_millis(100);
const HEARTBEAT_INTERVAL: Duration = holdfast_consensus::observe::heartbeat::HEARTBEAT_INTERVAL;
/// After a failure, for the lines that follow it.
const AFTERMATH: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) enum Event {
    /// For one life of a process only.
    Machine(NodeId, u64, Input),
    Frame(CameraId, u64),
    Operate,
    Disturb,
    Mend(u64),
    /// A session of a deadly camera has lasted for long enough.
    Deadly(Struck),
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) queue: Queue<Event>,
    pub(super) network: Network,
    pub(super) machines: BTreeMap<NodeId, Machine>,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) fault_numbers: u64,
    pub(super) trouble: Trouble,
    pub(super) unrest_ends: Duration,
    pub(super) is_calm: bool,
    pub(super) joined: u64,
    pub(super) has_clock_steps: bool,
    pub(super) deadly: BTreeMap<CameraId, Deadly>,
    /// Processes that ended while their volume had failed, and when: they could write nothing
    /// down.
    pub(super) unreported: Vec<(NodeId, Timestamp)>,
    twist: Twist,
    origin: Instant,
    story: Story,
    invariants: Vec<Box<dyn Invariant>>,
    effects: Vec<(NodeId, u64, Effect)>,
    /// The state after every entry that any node has applied, and those entries.
    truth: Arc<ClusterState>,
    truths: Vec<Arc<ClusterState>>,
    decided: Vec<Arc<Entry>>,
    writes: u64,
    asked: BTreeMap<u64, LogEntry>,
    cameras_made: u64,
    filmed: BTreeSet<CameraId>,
    /// Of each camera, the frames that are durable somewhere.
    stored: BTreeMap<CameraId, BTreeSet<u64>>,
    sent: BTreeMap<CameraId, u64>,
    pub(super) outcome: Outcome,
}

/// Runs a seed. The error says which invariant failed, and what led to it.
///
/// # Errors
/// See above.
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the beginning; only differences count"
)]
pub fn run(seed: u64, twist: Twist) -> Result<Outcome, String> {
    let mut random = Random::new(seed);
    let mut plan = Plan::new(&mut random);
    plan.draw_more(
        &mut Random::new(seed ^ MORE),
        twist == Twist::SuspectsAreNotHeldBack,
    );
    let mut world = World::new(plan, random, twist, Instant::now());
    world.live();
    match world.story.failure() {
        None => Ok(world.outcome()),
        Some(failure) => {
            let what = world.story.what_failed().unwrap_or_default();
            Err(format!("seed {seed}: {what}\n{:?}\n{failure}", world.plan))
        }
    }
}

impl World {
    fn new(plan: Plan, random: Random, twist: Twist, origin: Instant) -> Self {
        let network = Network::new(plan.delay_max);
        Self {
            plan,
            random,
            queue: Queue::new(),
            network,
            machines: BTreeMap::new(),
            faults: BTreeMap::new(),
            fault_numbers: 0,
            trouble: Trouble::default(),
            unrest_ends: Duration::ZERO,
            is_calm: false,
            joined: 0,
            has_clock_steps: false,
            deadly: BTreeMap::new(),
            unreported: Vec::new(),
            twist,
            origin,
            story: Story::default(),
            invariants: all(),
            effects: Vec::new(),
            truth: Arc::default(),
            truths: Vec::new(),
            decided: Vec::new(),
            writes: 0,
            asked: BTreeMap::new(),
            cameras_made: 0,
            filmed: BTreeSet::new(),
            stored: BTreeMap::new(),
            sent: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    fn live(&mut self) {
        self.add_machine(NodeId(1), Durable::founder(NodeId(1)));
        self.queue.after(Duration::ZERO, Event::Operate);
        if self.go_through().is_none() {
            self.run_until(self.queue.now() + AFTERMATH, |_| false);
        }
    }

    /// The phases of a run; `None` as soon as something is wrong.
    fn go_through(&mut self) -> Option<()> {
        self.pass(FOUNDING_MAX, World::is_founded)?;
        self.pass(QUIET, |_| false)?;
        self.unrest_ends = self.queue.now() + self.plan.unrest;
        self.queue.after(Duration::ZERO, Event::Disturb);
        self.pass(self.plan.unrest, |_| false)?;
        self.say("faults end".to_owned());
        self.calm_down();
        self.pass(BUDGET, |_| false)?;
        // Suspects are tried one after the other.
        self.pass(TURN * (self.plan.cameras + 1), |world| {
            !world.has_waiting_suspects()
        })?;
        self.show(&Seen::Settled);
        (!self.story.has_failed()).then_some(())
    }

    /// Lets up to `time` pass, until `is_so` holds; `None` if something is wrong.
    fn pass(&mut self, time: Duration, is_so: impl Fn(&Self) -> bool) -> Option<()> {
        let end = self.queue.now() + time;
        self.run_until(end, |world| world.story.has_failed() || is_so(world));
        (!self.story.has_failed()).then_some(())
    }

    fn run_until(&mut self, end: Duration, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            let Some(event) = self.queue.next(end) else {
                return;
            };
            self.happen(event);
            self.settle_effects();
        }
    }

    fn is_founded(&self) -> bool {
        let placed = self
            .truth
            .assignments
            .values()
            .filter(|now| now.owner.is_some())
            .count();
        self.joined >= self.plan.nodes
            && self.cameras_made >= u64::from(self.plan.cameras)
            && placed == self.truth.cameras.len()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Machine(node, life, input) => self.enter(node, life, input),
            Event::Frame(camera, number) => self.film(camera, number),
            Event::Operate => self.operate(),
            Event::Disturb => self.disturb(),
            Event::Mend(number) => self.mend(number),
            Event::Deadly(struck) => self.strike(struck),
        }
    }

    fn enter(&mut self, node: NodeId, life: u64, input: Input) {
        let Some(machine) = self
            .machines
            .get_mut(&node)
            .filter(|machine| machine.starts == life)
        else {
            return;
        };
        if machine.is_paused {
            machine.wait(input);
            return;
        }
        self.story
            .count((self.queue.now(), node, std::mem::discriminant(&input)));
        let session = if let Input::Dialed(camera, number, true) = &input {
            Some((*camera, *number))
        } else {
            None
        };
        self.with(node, |machine, cx| machine.take(input, cx));
        if let Some((camera, number)) = session {
            self.expose(Struck {
                node,
                life,
                camera,
                number,
            });
        }
    }

    /// Lets a machine act, and collects its effects.
    fn with(&mut self, node: NodeId, act: impl FnOnce(&mut Machine, &mut Context<'_>)) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let mut effects = Vec::new();
        let (now, origin, twist) = (self.queue.now(), self.origin, self.twist);
        act(
            machine,
            &mut Context {
                now,
                origin,
                random: &mut self.random,
                effects: &mut effects,
                twist,
            },
        );
        let life = machine.starts;
        self.effects
            .extend(effects.into_iter().map(|effect| (node, life, effect)));
    }

    fn settle_effects(&mut self) {
        for (node, life, effect) in std::mem::take(&mut self.effects) {
            self.carry_out(node, life, effect);
        }
    }

    fn carry_out(&mut self, node: NodeId, life: u64, effect: Effect) {
        match effect {
            Effect::After(delay, input) => {
                self.queue.after(delay, Event::Machine(node, life, input))
            }
            Effect::Send(to, message) => self.send(node, to, message),
            Effect::Beat(to, heartbeat) => {
                let again = match self.is_refused(node, to) {
                    true => {
                        self.probe(node, life, to);
                        RETRY_REFUSED
                    }
                    false => {
                        self.send(node, to, Message::Heartbeat(heartbeat));
                        HEARTBEAT_INTERVAL
                    }
                };
                self.queue
                    .after(again, Event::Machine(node, life, Input::Beat(to)));
            }
            Effect::Probe(to) => self.probe(node, life, to),
            Effect::Dial(camera, number) => self.dial(node, life, camera, |reached| {
                Input::Dialed(camera, number, reached)
            }),
            Effect::Describe(camera, revision) => {
                self.dial(node, life, camera, |reached| {
                    Input::Described(camera, revision, reached)
                });
            }
            Effect::Fact(fact) => self.learn(node, fact),
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.network.carries(from, to, self.queue.now()) {
            let delay = self.network.delay(&mut self.random);
            self.later(delay, to, Input::Message(from, message));
        }
    }

    /// Sends an input to the process that runs there now; a process that starts later does not
    /// receive it.
    pub(super) fn later(&mut self, delay: Duration, node: NodeId, input: Input) {
        if let Some(machine) = self
            .machines
            .get(&node)
            .filter(|machine| machine.process.is_some())
        {
            self.queue
                .after(delay, Event::Machine(node, machine.starts, input));
        }
    }

    fn is_refused(&self, from: NodeId, to: NodeId) -> bool {
        let is_shut = self
            .machines
            .get(&to)
            .is_some_and(|machine| machine.process.is_none() && machine.has_power);
        is_shut && self.network.connects(from, to)
    }

    fn probe(&mut self, node: NodeId, life: u64, to: NodeId) {
        if self.is_refused(node, to) {
            let delay = self.network.delay(&mut self.random) * 2;
            self.queue
                .after(delay, Event::Machine(node, life, Input::Refused(to)));
        }
    }

    fn dial(&mut self, node: NodeId, life: u64, camera: CameraId, outcome: impl Fn(bool) -> Input) {
        let reached = self.network.reaches(node, camera);
        let dial_max = u64::try_from(self.plan.dial_max.as_micros()).unwrap_or(u64::MAX);
        let quick = Duration::from_micros(1_000 + self.random.below(dial_max));
        let delay = if reached || self.random.one_in(2) {
            quick
        } else {
            DIAL_TIMEOUT
        };
        self.queue
            .after(delay, Event::Machine(node, life, outcome(reached)));
    }

    /// A camera sends a frame to every recorder with a session.
    fn film(&mut self, camera: CameraId, number: u64) {
        if !self.truth.cameras.contains(camera) {
            return;
        }
        self.queue
            .after(FRAME_INTERVAL, Event::Frame(camera, number + 1));
        self.outcome.frames += 1;
        self.sent.insert(camera, number);
        let keyframe = number.is_multiple_of(self.plan.frames_per_gop);
        let reaches = |node: &NodeId| self.network.reaches(*node, camera);
        let nodes: Vec<NodeId> = self.machines.keys().copied().filter(reaches).collect();
        let mut recording = Vec::new();
        for node in nodes {
            let Some(machine) = self.machines.get_mut(&node) else {
                continue;
            };
            let Some(process) = machine.process.as_mut() else {
                continue;
            };
            let Some(recorder) = process.recorders.get_mut(&camera) else {
                continue;
            };
            if machine.is_paused {
                recorder.miss();
            } else if let Session::Open { .. } = recorder.session {
                self.with(node, |machine, cx| {
                    machine.take(
                        Input::Frame {
                            camera,
                            number,
                            keyframe,
                        },
                        cx,
                    )
                });
                let process = self
                    .machines
                    .get(&node)
                    .and_then(|machine| machine.process.as_ref());
                if process
                    .and_then(|process| process.recorders.get(&camera))
                    .is_some_and(|now| now.is_recording())
                {
                    recording.push(node);
                }
            }
        }
        self.show(&Seen::Sent {
            camera,
            number,
            recording: &recording,
        });
    }

    fn learn(&mut self, node: NodeId, fact: Fact) {
        match fact {
            Fact::Applied { index, entry } => self.apply(node, index, &entry),
            Fact::Published { index, state } => self.show(&Seen::Published {
                node,
                index,
                state: &state,
            }),
            Fact::Acknowledged {
                write,
                index,
                outcome,
            } => {
                let Some(entry) = self.asked.remove(&write) else {
                    return;
                };
                self.outcome.acknowledged += 1;
                if outcome.is_ok() {
                    self.show(&Seen::Acknowledged {
                        index,
                        entry: &entry,
                    });
                }
            }
            Fact::Reported(progress) => {
                self.show(&Seen::Reported {
                    node,
                    progress: &progress,
                });
            }
            Fact::Stored(stored) => {
                let frames = self.stored.entry(stored.meta.camera).or_default();
                frames.extend(stored.frames.clone());
                self.show(&Seen::Stored {
                    node,
                    meta: &stored.meta,
                });
            }
            Fact::Deleted(deleted) => self.show(&Seen::Deleted { node, deleted }),
            Fact::Proposed(what) => self.say(format!("node {node} proposes: {what}")),
        }
    }

    /// Every node applies the same entries in the same order.
    fn apply(&mut self, node: NodeId, index: u64, entry: &Arc<Entry>) {
        let at = usize::try_from(index - 1).unwrap_or(usize::MAX);
        if let Some(known) = self.decided.get(at) {
            if !Arc::ptr_eq(known, entry) && known != entry {
                self.fail(
                    "one log",
                    &format!("node {node} applies {entry:?} as entry {index}, others {known:?}"),
                );
            }
            return;
        }
        assert_eq!(
            at,
            self.decided.len(),
            "entries are applied one after the other"
        );
        self.decided.push(Arc::clone(entry));
        let before = Arc::clone(&self.truth);
        let response = match &entry.payload {
            Payload::Entry(logged) => {
                Some(Arc::make_mut(&mut self.truth).apply((**logged).clone()))
            }
            Payload::Nothing | Payload::Voters(_) => None,
        };
        self.truths.push(Arc::clone(&self.truth));
        match &entry.payload {
            Payload::Entry(logged) => self.decide(&logged.command, &before, response.as_ref()),
            Payload::Voters(voters) => self.say(format!("entry {index}: {voters:?} vote")),
            Payload::Nothing => self.say(format!(
                "entry {index}: node {node} sees term {}",
                entry.term
            )),
        }
    }

    fn decide(
        &mut self,
        command: &Command,
        before: &ClusterState,
        response: Option<&Result<Response, Rejection>>,
    ) {
        self.outcome.decided += 1;
        self.say(decision(self.decided.len(), command, before, &self.truth));
        if let (Command::JoinNode { .. }, Some(Ok(Response::Node(node)))) = (command, response)
            && !self.machines.contains_key(node)
        {
            self.add_machine(*node, Durable::blank());
        }
        let new: Vec<CameraId> = self
            .truth
            .cameras
            .keys()
            .filter(|camera| self.filmed.insert(*camera))
            .collect();
        for camera in new {
            let phase = Duration::from_micros(self.random.below(200_000));
            self.queue.after(phase, Event::Frame(camera, 0));
        }
        let moved = self.truth.assignments.iter().filter(|(camera, now)| {
            before
                .assignments
                .get(*camera)
                .is_some_and(|was| was.owner != now.owner)
        });
        self.outcome.moves += moved.count() as u64;
        self.outcome.renewals += renewed(command, response);
        let after = Arc::clone(&self.truth);
        self.show(&Seen::Decided {
            before,
            after: &after,
        });
    }

    fn add_machine(&mut self, node: NodeId, durable: Durable) {
        self.machines
            .insert(node, Machine::new(node, durable, self.plan.flush_latency));
        self.share_wrong_clock(node);
        self.start(node);
    }

    pub(super) fn start(&mut self, node: NodeId) {
        self.say(format!("node {node} starts"));
        self.with(node, Machine::start);
    }

    pub(super) fn resume(&mut self, node: NodeId) {
        self.with(node, Machine::resume);
    }

    pub(super) fn machine(&mut self, node: NodeId) -> &mut Machine {
        self.machines
            .get_mut(&node)
            .unwrap_or_else(|| unreachable!("machines stay"))
    }

    pub(super) fn truth(&self) -> &ClusterState {
        &self.truth
    }

    /// Entry `index` of the log; `None` for Raft's own entries.
    pub(super) fn decided(&self, index: u64) -> Option<&LogEntry> {
        match &self
            .decided
            .get(usize::try_from(index).ok()?.checked_sub(1)?)?
            .payload
        {
            Payload::Entry(logged) => Some(logged),
            Payload::Nothing | Payload::Voters(_) => None,
        }
    }

    /// The state after entry `index` of the log.
    pub(super) fn truth_at(&self, index: u64) -> Option<&ClusterState> {
        self.truths
            .get(usize::try_from(index).ok()?.checked_sub(1)?)
            .map(Arc::as_ref)
    }

    pub(super) fn machine_wall(&self) -> Timestamp {
        EPOCH.plus(self.queue.now())
    }

    /// The voters, as known to the node that has applied most.
    pub(super) fn voters(&self) -> Vec<NodeId> {
        let rafts = self
            .machines
            .values()
            .filter_map(|machine| machine.process.as_ref())
            .map(|process| &process.raft);
        rafts
            .max_by_key(|raft| raft.applied())
            .map(|raft| raft.leadership().voters)
            .unwrap_or_default()
    }

    pub(super) fn is_running(&self, node: NodeId) -> bool {
        self.machines.get(&node).is_some_and(Machine::is_running)
    }

    /// Whether there can be a leader.
    pub(super) fn has_majority(&self) -> bool {
        let voters = self.voters();
        voters.iter().filter(|node| self.is_voting(**node)).count() * 2 > voters.len()
    }

    fn operate(&mut self) {
        self.queue.after(OPERATE_INTERVAL, Event::Operate);
        if self.is_calm {
            return self.release();
        }
        if self.unrest_ends > Duration::ZERO {
            return;
        }
        if self.truth.cluster.is_none() {
            let node = self.plan.node_spec(1);
            self.joined = 1;
            self.write(Command::Initialize {
                cluster: Uuid::from_u128(1),
                node,
                key: KeyHash::default(),
            });
        } else if self.joined < self.plan.nodes && self.truth.nodes.len() as u64 == self.joined {
            self.join();
        } else if self.truth.nodes.len() as u64 == self.plan.nodes
            && self.cameras_made < u64::from(self.plan.cameras)
        {
            self.create_camera();
        }
    }

    /// Invites the next node, and has it join once it is invited.
    pub(super) fn join(&mut self) {
        let at = self.machine_wall();
        let [invite, join] = admission(self.plan.node_spec(self.joined + 1), at);
        let is_invited = matches!(&invite, Command::CreateInvite { spec } if {
            let mut invited = self.truth.invites.values();
            invited.any(|known| known.spec.key == spec.key && known.spec.expires > at)
        });
        if is_invited {
            self.joined += 1;
            self.write(join);
        } else {
            self.write(invite);
        }
    }

    pub(super) fn create_camera(&mut self) {
        self.cameras_made += 1;
        let spec = self.plan.camera_spec(self.cameras_made, &mut self.random);
        self.write(Command::CreateCamera {
            spec,
            only_after: None,
        });
    }

    /// Requests a change of some node; whether it was made may never be known.
    pub(super) fn write(&mut self, command: Command) {
        let running: Vec<NodeId> = self
            .machines
            .values()
            .filter(|machine| machine.is_running())
            .map(|machine| machine.id)
            .collect();
        if running.is_empty() {
            return;
        }
        let node = *self.random.pick(&running);
        self.ask(node, command);
    }

    fn ask(&mut self, node: NodeId, command: Command) {
        self.writes += 1;
        let write = self.writes;
        self.say(format!("asks node {node}: {command}"));
        let entry = command.by(Actor::Operator(OperatorName::admin()), self.machine_wall());
        self.asked.insert(write, entry.clone());
        self.later(
            Duration::ZERO,
            node,
            Input::Ask {
                write,
                entry: Box::new(entry),
            },
        );
    }

    pub(super) fn say(&mut self, what: String) {
        self.story.say(self.queue.now(), &what);
    }

    pub(super) fn fail(&mut self, invariant: &str, why: &str) {
        self.story.fail(self.queue.now(), invariant, why);
    }

    /// Shows an event to every invariant.
    pub(super) fn show(&mut self, seen: &Seen<'_>) {
        if self.story.has_failed() {
            return;
        }
        let mut invariants = std::mem::take(&mut self.invariants);
        for invariant in &mut invariants {
            let site = Site { world: self };
            if let Err(why) = invariant.see(&site, seen) {
                let name = invariant.name();
                self.fail(name, &why);
            }
        }
        self.invariants = invariants;
    }

    /// The number of the last frame that a camera sent.
    pub(super) fn sent(&self, camera: CameraId) -> u64 {
        self.sent.get(&camera).copied().unwrap_or(0)
    }

    pub(super) fn stored(&self, camera: CameraId) -> Option<&BTreeSet<u64>> {
        self.stored.get(&camera)
    }

    fn outcome(&self) -> Outcome {
        let stored = self.stored.values().map(|frames| frames.len() as u64).sum();
        let seconds = self.queue.now().as_secs();
        Outcome {
            digest: self.story.digest(),
            seconds,
            faults: self.fault_numbers,
            stored,
            ..self.outcome
        }
    }
}

/// Cameras that got a new epoch without another recorder.
fn renewed(command: &Command, response: Option<&Result<Response, Rejection>>) -> u64 {
    let Command::Assign { changes } = command else {
        return 0;
    };
    let renewed = changes
        .iter()
        .filter(|change| matches!(change.op, AssignmentOp::Renew));
    if matches!(response, Some(Ok(_))) {
        renewed.count() as u64
    } else {
        0
    }
}

/// A line of the log: a decided command, with its changes of assignments.
fn decision(
    index: usize,
    command: &Command,
    before: &ClusterState,
    after: &ClusterState,
) -> String {
    let changed = after
        .assignments
        .iter()
        .filter(|(camera, now)| before.assignments.get(*camera) != Some(*now));
    let changes: Vec<String> = changed
        .map(|(camera, now)| format!("camera {camera}: {}", short(now)))
        .collect();
    format!("entry {index}: {command}; {}", changes.join("; "))
}

fn short(now: &holdfast_consensus::model::Assignment) -> String {
    let node = |node: Option<NodeId>| node.map_or("-".to_owned(), |node| node.to_string());
    let handoff = now.handoff.map_or(String::new(), |handoff| {
        format!(", handoff {} to {}", handoff.epoch, handoff.to)
    });
    let (owner, mirror, successor) = (node(now.owner), node(now.mirror), node(now.successor));
    format!(
        "epoch {}, owner {owner}, mirror {mirror}, successor {successor}{handoff}",
        now.epoch
    )
}
