//! One machine of the simulated site: its clock, its disk, and the process on it, which is the real pilot, the real reconciliation and real recorders, with
//! Raft in small. It touches nothing else: what it wants done in the world it leaves as [`Effect`]s.

use super::raft::{self, Applied, Durable, Entry, Payload, Raft};
use super::recorder::{Recorder, Session, Start};
use super::twist::Twist;
use super::volume::{Stored, Volume};
use holdfast_consensus::Leadership;
use holdfast_consensus::command::{Command, LogEntry, Rejection, Response};
use holdfast_consensus::desired::Desired;
use holdfast_consensus::heartbeat::{Audience, Heartbeat, Progress};
use holdfast_consensus::model::Actor;
use holdfast_consensus::state::ClusterState;
use holdfast_node::ingest::error::SessionError;
use holdfast_node::link::LinkEvent;
use holdfast_node::recorder::accounts::Accounts;
use holdfast_node::recorder::pipeline::Now;
use holdfast_node::recorder::reconcile::{Action, DesiredRecording, reconcile, recordings};
use holdfast_node::recorder::status::Counters;
use holdfast_node::server::drills::{Who, begin};
use holdfast_node::server::pilot::{Decision, Event, Own, Pilot, Sight, TICK};
use holdfast_node::server::probes::schedule::{Answer, Schedule};
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::random::Random;
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a volume is flushed and recorders look after themselves.
const FLUSH_INTERVAL: Duration = Duration::from_millis(400);
/// A proposal is answered within this time, one way or another.
const PROPOSAL_DEADLINE: Duration = Duration::from_millis(1_900);

/// Messages that wait for a paused process; what is more is lost with its connections.
const MESSAGES_WAITING_MAX: usize = 64;

/// What happens to a machine.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Tick,
    RaftTick,
    Beat(NodeId),
    /// The connection to a process that has died was closed.
    Closed(NodeId),
    Refused(NodeId),
    Message(NodeId, Message),
    Flush,
    Flushed,
    /// Time for a recorder to connect.
    Attempt(CameraId, u64),
    /// What came of it.
    Dialed(CameraId, u64, bool),
    Frame {
        camera: CameraId,
        number: u64,
        keyframe: bool,
    },
    /// What a camera answered that was asked to describe itself, at this revision of its specification.
    Described(CameraId, u64, bool),
    /// A client asks this node for a change.
    Ask {
        write: u64,
        entry: Box<LogEntry>,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Raft(raft::Message),
    Heartbeat(Heartbeat),
    /// A change for the leader, from the node that a client asked.
    Write {
        write: u64,
        entry: Box<LogEntry>,
    },
    /// Decided at this entry.
    Written {
        write: u64,
        index: u64,
        outcome: Result<Response, Rejection>,
    },
}

/// What a machine wants of the world, and what the world should know.
#[derive(Debug)]
pub(super) enum Effect {
    Send(NodeId, Message),
    /// Send the heartbeat, or find out that nothing listens there; then again.
    Beat(NodeId, Heartbeat),
    /// Find out whether anything listens there.
    Probe(NodeId),
    After(Duration, Input),
    Dial(CameraId, u64),
    /// Ask a camera to describe itself.
    Describe(CameraId, u64),
    Fact(Fact),
}

/// What happened, for whoever watches.
#[derive(Debug)]
pub(super) enum Fact {
    Applied { index: u64, entry: Arc<Entry> },
    Published { index: u64, state: Arc<ClusterState> },
    Acknowledged { write: u64, index: u64, outcome: Result<Response, Rejection> },
    Reported(Vec<Progress>),
    Stored(Stored),
    Proposed(String),
}

/// What a machine is handed with each input.
pub(super) struct Context<'a> {
    /// Time since the simulation began.
    pub(super) now: Duration,
    /// Any instant, as the simulation's beginning; only differences count.
    pub(super) origin: Instant,
    pub(super) random: &'a mut Random,
    pub(super) effects: &'a mut Vec<Effect>,
    pub(super) twist: Twist,
}

pub(super) struct Machine {
    pub(super) id: NodeId,
    /// How far the wall clock is off, in microseconds.
    pub(super) wall_off_us: i64,
    pub(super) flush_latency: Duration,
    /// While no process runs.
    pub(super) durable: Option<Durable>,
    pub(super) process: Option<Process>,
    /// The process exists and does not run.
    pub(super) is_paused: bool,
    /// What waits for a paused process.
    pub(super) backlog: Vec<Input>,
    /// Without power nothing answers, not even with a refusal.
    pub(super) has_power: bool,
    pub(super) lives: u64,
    last_sign: Option<Timestamp>,
    /// The disk.
    pub(super) chunks: Vec<Stored>,
    pub(super) gaps: Vec<Gap>,
    pub(super) is_volume_failed: bool,
}

pub(super) struct Process {
    started: Duration,
    boot: u64,
    pilot: Pilot,
    pub(super) raft: Raft,
    leadership: Leadership,
    published: u64,
    pub(super) recorders: BTreeMap<CameraId, Recorder>,
    recorders_started: u64,
    accounts: Accounts,
    desired: BTreeMap<CameraId, Desired>,
    volume: Arc<Volume>,
    totals: Arc<Counters>,
    proposals: VecDeque<LogEntry>,
    /// Where the proposal under way is in the log, by index and term, and until when it is waited for.
    proposal: Option<(u64, u64, Duration)>,
    is_proposing: bool,
    /// Other nodes' and clients' changes that this node put into the log as the leader.
    writes: Vec<(u64, u64, u64, NodeId)>,
    heartbeat: Heartbeat,
    audience: Audience,
    probes: Schedule,
    peers: Vec<NodeId>,
    /// What the pilot saw last.
    sight: Arc<Sight>,
}

impl Machine {
    pub(super) fn new(id: NodeId, durable: Durable, flush_latency: Duration) -> Self {
        Self {
            id,
            wall_off_us: 0,
            flush_latency,
            durable: Some(durable),
            process: None,
            is_paused: false,
            backlog: Vec::new(),
            has_power: true,
            lives: 0,
            last_sign: None,
            chunks: Vec::new(),
            gaps: Vec::new(),
            is_volume_failed: false,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some() && !self.is_paused
    }

    pub(super) fn wall(&self, now: Duration) -> Timestamp {
        super::EPOCH.plus(now).plus_micros(self.wall_off_us)
    }

    fn now(&self, cx: &Context<'_>) -> Now {
        Now { instant: cx.origin + cx.now, wall: self.wall(cx.now) }
    }

    /// Starts the process with what the last one left.
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        let Some(mut durable) = self.durable.take() else { return };
        if cx.twist == Twist::VotesAreNotSynced {
            durable.forget();
        }
        self.lives += 1;
        let raft = Raft::open(self.id, durable, cx.now, cx.random.fork());
        let boot = u64::try_from(self.wall(cx.now).micros()).unwrap_or(0);
        let state = Arc::clone(raft.state());
        let volume = Arc::new(Volume::default());
        if self.is_volume_failed {
            volume.fail();
        }
        let heartbeat = Heartbeat {
            from: self.id,
            boot,
            sequence: 0,
            sent_at: self.wall(cx.now),
            writable: true,
            recorders: Vec::new(),
            probes: Vec::new(),
            vouches: false,
        };
        let ends =
            |camera| self.chunks.iter().filter(move |chunk| chunk.meta.camera == camera).map(|chunk| chunk.meta.end());
        let accounts = Accounts::of(&state, self.id, self.last_sign, |camera| ends(camera).max());
        self.process = Some(Process {
            started: cx.now,
            boot,
            pilot: Pilot::new(self.id, Arc::clone(&state), Duration::ZERO),
            published: raft.applied(),
            raft,
            leadership: Leadership::default(),
            recorders: BTreeMap::new(),
            recorders_started: 0,
            accounts,
            desired: BTreeMap::new(),
            volume,
            totals: Arc::default(),
            proposals: VecDeque::new(),
            proposal: None,
            is_proposing: false,
            writes: Vec::new(),
            heartbeat,
            audience: Audience::default(),
            probes: Schedule::default(),
            peers: Vec::new(),
            sight: Arc::default(),
        });
        self.connect(&state, cx);
        self.tell(Event::State(state), cx);
        for (phase_ms, input) in [(100, Input::Tick), (50, Input::RaftTick), (400, Input::Flush)] {
            cx.effects.push(Effect::After(Duration::from_micros(cx.random.below(phase_ms * 1_000)), input));
        }
    }

    /// The process is gone, at once.
    pub(super) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.durable = Some(process.raft.close());
        }
        self.is_paused = false;
        self.backlog.clear();
    }

    pub(super) fn fail_volume(&mut self) {
        self.is_volume_failed = true;
        if let Some(process) = &self.process {
            process.volume.fail();
        }
    }

    pub(super) fn mend_volume(&mut self) {
        self.is_volume_failed = false;
        if let Some(process) = &self.process {
            process.volume.mend();
        }
    }

    /// Keeps what happens to a paused process until it goes on. Its timers are few: each is set anew when it has run.
    pub(super) fn wait(&mut self, input: Input) {
        let messages = self.backlog.iter().filter(|input| matches!(input, Input::Message(..))).count();
        if !matches!(input, Input::Message(..)) || messages < MESSAGES_WAITING_MAX {
            self.backlog.push(input);
        }
    }

    /// The process goes on with what has waited for it.
    pub(super) fn resume(&mut self, cx: &mut Context<'_>) {
        self.is_paused = false;
        let backlog = std::mem::take(&mut self.backlog);
        backlog.into_iter().for_each(|input| self.take(input, cx));
    }

    pub(super) fn take(&mut self, input: Input, cx: &mut Context<'_>) {
        if self.process.is_none() {
            return;
        }
        match input {
            Input::Tick => self.tick(cx),
            Input::RaftTick => {
                self.raft(cx, |raft, now| raft.tick(now));
                cx.effects.push(Effect::After(raft::TICK, Input::RaftTick));
            }
            Input::Beat(to) => self.beat(to, cx),
            Input::Closed(to) => cx.effects.push(Effect::Probe(to)),
            Input::Refused(node) => self.tell(Event::Link(LinkEvent::Refused(node)), cx),
            Input::Message(from, message) => self.receive(from, message, cx),
            Input::Flush => self.flush(cx),
            Input::Flushed => self.flushed(cx),
            Input::Attempt(camera, number) => self.attempt(camera, number, cx),
            Input::Dialed(camera, number, reached) => self.dialed(camera, number, reached, cx),
            Input::Frame { camera, number, keyframe } => self.frame(camera, number, keyframe, cx),
            Input::Described(camera, revision, reached) => {
                let process = self.process();
                let uptime = cx.now.saturating_sub(process.started);
                let answer = if reached { Answer::Reached } else { Answer::Silent };
                process.probes.answered(uptime, camera, revision, answer, cx.random.next() as u32);
            }
            Input::Ask { write, entry } => self.ask(write, entry, cx),
        }
    }

    /// The command that begins a drill, as this node sees the site.
    pub(super) fn drill(&self, who: Who, now: Duration) -> Option<Command> {
        let process = self.process.as_ref()?;
        Some(begin(who, false, (process.raft.state(), &process.sight, self.id), self.wall(now)))
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap_or_else(|| unreachable!("inputs reach running processes only"))
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let (me, wall) = (self.id, self.wall(cx.now));
        self.last_sign = Some(wall);
        let process = self.process();
        let recorders: Vec<Progress> =
            process.recorders.values().map(|recorder| cx.twist.report(&process.volume, recorder.status())).collect();
        let own =
            Own { recorders, writable: process.volume.is_writable(), probes: process.probes.known(), vouches: false };
        let (boot, sequence, sent_at) = (process.boot, process.heartbeat.sequence + 1, wall);
        let Own { recorders, writable, probes, vouches } = own.clone();
        let cameras = recorders.iter().map(|progress| progress.camera);
        process.audience = Audience::of(process.raft.state(), &process.leadership.voters, cameras);
        process.heartbeat = Heartbeat { from: me, boot, sequence, sent_at, writable, recorders, probes, vouches };
        cx.effects.push(Effect::Fact(Fact::Reported(own.recorders.clone())));
        self.tell(Event::Tick(own), cx);
        self.see_to_proposals(cx);
        cx.effects.push(Effect::After(TICK, Input::Tick));
    }

    fn beat(&mut self, to: NodeId, cx: &mut Context<'_>) {
        let process = self.process();
        if process.peers.contains(&to) {
            cx.effects.push(Effect::Beat(to, process.heartbeat.to(to, &process.audience)));
        }
    }

    /// Hands the pilot an event and carries out what it decides.
    fn tell(&mut self, event: Event, cx: &mut Context<'_>) {
        let (me, wall) = (self.id, self.wall(cx.now));
        let process = self.process();
        let uptime = cx.now.saturating_sub(process.started);
        let Decision { desired, proposals, sight } = process.pilot.apply(event, uptime, wall);
        if let Some(sight) = sight {
            let due = process.probes.look(uptime, me, process.raft.state(), &sight);
            process.sight = sight;
            let revision = |camera| process.raft.state().cameras.get(camera).map_or(0, |camera| camera.revision);
            cx.effects.extend(due.into_iter().map(|camera| Effect::Describe(camera, revision(camera))));
        }
        if !proposals.is_empty() {
            process.is_proposing = true;
            let told = proposals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            process.proposals.extend(proposals.into_iter().map(|command| command.by(Actor::Node(me), wall)));
            cx.effects.push(Effect::Fact(Fact::Proposed(told)));
        }
        if let Some(desired) = desired.filter(|desired| *desired != process.desired) {
            process.desired = desired;
            self.reconcile(cx);
        }
        self.see_to_proposals(cx);
    }

    fn reconcile(&mut self, cx: &mut Context<'_>) {
        let process = self.process();
        let desired = recordings(process.raft.state(), &process.desired, &process.sight.treatments);
        let running = process.recorders.iter().map(|(camera, recorder)| (*camera, recorder.running.clone())).collect();
        for action in reconcile(&desired, &running) {
            self.act(action, &desired, cx);
        }
    }

    fn act(&mut self, action: Action, desired: &BTreeMap<CameraId, DesiredRecording>, cx: &mut Context<'_>) {
        let now = self.now(cx);
        match action {
            Action::Start(camera) => {
                if let Some(want) = desired.get(&camera) {
                    self.start_recorder(camera, want.clone(), None, cx);
                }
            }
            Action::Update(camera) => {
                if let Some((recorder, want)) = self.process().recorders.get_mut(&camera).zip(desired.get(&camera)) {
                    recorder.update(want.clone());
                }
            }
            Action::Stop(camera) | Action::Forget(camera) => {
                let process = self.process();
                let Some(recorder) = process.recorders.remove(&camera) else { return };
                let (until, accounted_until) = recorder.finish(now);
                process.accounts.ended(camera, until, accounted_until);
                if let Some(want) = desired.get(&camera) {
                    self.start_recorder(camera, want.clone(), Some(GapCause::RecorderStopped), cx);
                }
            }
        }
    }

    fn start_recorder(
        &mut self,
        camera: CameraId,
        with: DesiredRecording,
        cause: Option<GapCause>,
        cx: &mut Context<'_>,
    ) {
        let (node, now) = (self.id, self.now(cx));
        let process = self.process();
        process.recorders_started += 1;
        let number = process.recorders_started;
        let before = process.accounts.before(camera, cause);
        let (volume, totals) = (Arc::clone(&process.volume), Arc::clone(&process.totals));
        let start = Start { camera, node, number, with, before, volume, totals };
        process.recorders.insert(camera, Recorder::start(start, now));
        cx.effects.push(Effect::After(Duration::ZERO, Input::Attempt(camera, number)));
    }

    fn recorder(&mut self, camera: CameraId, number: u64) -> Option<&mut Recorder> {
        self.process().recorders.get_mut(&camera).filter(|recorder| recorder.number == number)
    }

    fn attempt(&mut self, camera: CameraId, number: u64, cx: &mut Context<'_>) {
        if let Some(recorder) = self.recorder(camera, number) {
            recorder.session = Session::Dialing;
            cx.effects.push(Effect::Dial(camera, number));
        }
    }

    fn dialed(&mut self, camera: CameraId, number: u64, reached: bool, cx: &mut Context<'_>) {
        let Some(recorder) = self.recorder(camera, number) else { return };
        if reached {
            recorder.opened(cx.now);
        } else {
            self.session_failed(camera, &SessionError::Unreachable("no answer".to_owned()), cx);
        }
    }

    fn session_failed(&mut self, camera: CameraId, error: &SessionError, cx: &mut Context<'_>) {
        let now = self.now(cx);
        let Some(recorder) = self.process().recorders.get_mut(&camera) else { return };
        let delay = recorder.failed(error, now, cx.now, cx.random.next() as u32);
        cx.effects.push(Effect::After(delay, Input::Attempt(camera, recorder.number)));
    }

    fn frame(&mut self, camera: CameraId, number: u64, keyframe: bool, cx: &mut Context<'_>) {
        let now = self.now(cx);
        if let Some(recorder) = self.process().recorders.get_mut(&camera) {
            recorder.frame(number, keyframe, now, cx.now);
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        let (now, latency) = (self.now(cx), self.flush_latency);
        let process = self.process();
        let mut stalled = Vec::new();
        for (camera, recorder) in &mut process.recorders {
            if recorder.tick(now, cx.now) {
                stalled.push(*camera);
            }
        }
        if process.volume.begin_flush() {
            cx.effects.push(Effect::After(latency, Input::Flushed));
        }
        stalled.into_iter().for_each(|camera| self.session_failed(camera, &Recorder::stalled(), cx));
        cx.effects.push(Effect::After(FLUSH_INTERVAL, Input::Flush));
    }

    fn flushed(&mut self, cx: &mut Context<'_>) {
        let (chunks, gaps) = self.process().volume.end_flush();
        cx.effects.extend(chunks.iter().cloned().map(|chunk| Effect::Fact(Fact::Stored(chunk))));
        self.chunks.extend(chunks);
        self.gaps.extend(gaps);
    }

    fn receive(&mut self, from: NodeId, message: Message, cx: &mut Context<'_>) {
        match message {
            Message::Raft(message) => self.raft(cx, |raft, now| raft.receive(now, from, message)),
            Message::Heartbeat(heartbeat) => self.tell(Event::Link(LinkEvent::Heartbeat(heartbeat)), cx),
            Message::Write { write, entry } => self.write(write, entry, from, cx),
            Message::Written { write, index, outcome } => {
                cx.effects.push(Effect::Fact(Fact::Acknowledged { write, index, outcome }));
            }
        }
    }

    /// A client's change: this node proposes it if it leads, else the leader that it knows.
    fn ask(&mut self, write: u64, entry: Box<LogEntry>, cx: &mut Context<'_>) {
        let me = self.id;
        match self.process().raft.leader() {
            Some(leader) if leader == me => self.write(write, entry, me, cx),
            Some(leader) => cx.effects.push(Effect::Send(leader, Message::Write { write, entry })),
            None => {}
        }
    }

    fn write(&mut self, write: u64, entry: Box<LogEntry>, asker: NodeId, cx: &mut Context<'_>) {
        let proposed = self.process().raft.propose(cx.now, Payload::Entry(entry));
        if let Some((index, term)) = proposed {
            self.process().writes.push((index, term, write, asker));
        }
        self.raft(cx, |_, _| ());
    }

    /// Does something with Raft, and what follows from it.
    fn raft(&mut self, cx: &mut Context<'_>, act: impl FnOnce(&mut Raft, Duration)) {
        let process = self.process();
        act(&mut process.raft, cx.now);
        let messages = process.raft.take_messages();
        cx.effects.extend(messages.into_iter().map(|(to, message)| Effect::Send(to, Message::Raft(message))));
        let news = process.raft.take_news();
        news.into_iter().for_each(|applied| self.applied(applied, cx));
        let process = self.process();
        let leadership = process.raft.leadership();
        if process.published != process.raft.applied() {
            process.published = process.raft.applied();
            let (index, state) = (process.published, Arc::clone(process.raft.state()));
            cx.effects.push(Effect::Fact(Fact::Published { index, state: Arc::clone(&state) }));
            self.connect(&state, cx);
            self.tell(Event::State(state), cx);
        }
        let process = self.process();
        if leadership != process.leadership {
            process.leadership = leadership.clone();
            self.tell(Event::Leadership(leadership), cx);
        }
    }

    fn applied(&mut self, applied: Applied, cx: &mut Context<'_>) {
        let Applied { index, entry, outcome } = applied;
        let me = self.id;
        let process = self.process();
        let written = process.writes.iter().position(|(at, ..)| *at == index);
        let written = written.map(|at| process.writes.swap_remove(at)).filter(|(_, term, ..)| *term == entry.term);
        cx.effects.push(Effect::Fact(Fact::Applied { index, entry }));
        if let Some(((_, _, write, asker), outcome)) = written.zip(outcome) {
            cx.effects.push(match asker == me {
                true => Effect::Fact(Fact::Acknowledged { write, index, outcome }),
                false => Effect::Send(asker, Message::Written { write, index, outcome }),
            });
        }
    }

    /// Links to all other members, from the moment that they are known.
    fn connect(&mut self, state: &ClusterState, cx: &mut Context<'_>) {
        let me = self.id;
        let process = self.process();
        let peers: Vec<NodeId> = state.nodes.keys().filter(|node| *node != me).collect();
        for peer in peers.iter().filter(|peer| !process.peers.contains(peer)) {
            cx.effects.push(Effect::After(Duration::from_micros(cx.random.below(1_000)), Input::Beat(*peer)));
        }
        process.peers = peers;
    }

    /// Proposes round after round, one command at a time, each until its fate is known or its deadline has passed.
    fn see_to_proposals(&mut self, cx: &mut Context<'_>) {
        let process = self.process();
        if let Some((index, term, deadline)) = process.proposal {
            let durable = process.raft.durable();
            let is_decided = process.raft.applied() >= index || !durable.holds(index, term);
            if !is_decided && cx.now < deadline {
                return;
            }
            process.proposal = None;
        }
        if let Some(entry) = process.proposals.pop_front() {
            let proposed = process.raft.propose(cx.now, Payload::Entry(Box::new(entry)));
            process.proposal = proposed.map(|(index, term)| (index, term, cx.now + PROPOSAL_DEADLINE));
            return self.raft(cx, |_, _| ());
        }
        if std::mem::take(&mut process.is_proposing) {
            self.tell(Event::Proposed, cx);
        }
    }
}
