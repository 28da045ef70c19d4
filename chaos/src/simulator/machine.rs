//! One machine of the simulated site: its clock, its disk, and the process on it, which has the
//! real pilot, the real reconciliation and real recorders, with a minimal Raft. It touches nothing
//! else: its actions on the world are [`Effect`]s.

mod directory;
mod time;

use self::directory::Standing;
use super::certainty::{Certainty, Known, Shelf};
use super::held::ANNOUNCED_AFTER;
use super::raft::{self, Applied, Durable, Payload, Raft};
use super::recorder::{Recorder, Session, Start, Tried};
use super::traffic::{Context, Effect, Fact, Input, Message};
use super::twist::Twist;
use super::volume::{Stored, Volume};
use holdfast_consensus::Leadership;
use holdfast_consensus::command::{Command, LogEntry};
use holdfast_consensus::decide::desired::Desired;
use holdfast_consensus::decide::drill::{Drilled, begin};
use holdfast_consensus::model::{Actor, Treatment};
use holdfast_consensus::observe::clocks::{Heard, Sample};
use holdfast_consensus::observe::heartbeat::{Audience, Heartbeat, Progress};
use holdfast_consensus::observe::sight::Sight;
use holdfast_consensus::state::ClusterState;
use holdfast_node::capture::ingest::error::SessionError;
use holdfast_node::capture::ingest::turns::Turns;
use holdfast_node::capture::recorder::accounts::{Accounts, Signs};
use holdfast_node::capture::recorder::pipeline::Now;
use holdfast_node::capture::recorder::reconcile::{
    Action, DesiredRecording, reconcile, recordings,
};
use holdfast_node::capture::recorder::status::Counters;
use holdfast_node::member::drive::alone;
use holdfast_node::member::link::LinkEvent;
use holdfast_node::member::pilot::{Decision, Event, Own, Pilot, TICK};
use holdfast_node::member::probes::schedule::{Answer, Schedule};
use holdfast_storage::chunk::{Gap, GapCause};
use holdfast_storage::ids::{CameraId, NodeId, StreamId};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How often a volume is flushed and recorders look after themselves.
const FLUSH_INTERVAL: Duration = Duration::from_millis(400);
/// A proposal is answered within this time, one way or another.
const PROPOSAL_DEADLINE: Duration = Duration::from_millis(1_900);
/// Ticks between heartbeats whose answers are looked at, and how many of them: about one a second.
const ANSWERED_EVERY: u64 = 10;
const ANSWERED_OF: u64 = 3;
/// The most messages that wait for a paused process; further ones are lost with its connections.
const MESSAGES_WAITING_MAX: usize = 64;

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
    pub(super) starts: u64,
    signs: Signs,
    /// The disk.
    pub(super) shelf: Shelf,
    pub(super) chunks: Vec<Stored>,
    pub(super) gaps: Vec<Gap>,
    pub(super) is_volume_failed: bool,
    /// When recorders were stopped while it had failed: what only they knew is in no ledger.
    pub(super) stopped_without_volume: Vec<Timestamp>,
    /// A copy of the directory.
    pub(super) backup: Option<(Durable, Signs)>,
    /// The directory is older than what the node has confirmed.
    pub(super) is_old: bool,
}

pub(super) struct Process {
    started: Duration,
    boot: u64,
    pilot: Pilot,
    pub(super) raft: Raft,
    leadership: Leadership,
    published: u64,
    /// Simulated cameras have main streams only.
    pub(super) recorders: BTreeMap<CameraId, Recorder>,
    recorders_started: u64,
    accounts: Accounts,
    desired: BTreeMap<CameraId, Desired>,
    volume: Arc<Volume>,
    totals: Arc<Counters>,
    proposals: VecDeque<LogEntry>,
    /// Where the proposal under way is in the log, by index and term, and until when it is waited
    /// for.
    proposal: Option<(u64, u64, Duration)>,
    is_proposing: bool,
    /// Other nodes' and clients' changes that this node put into the log as the leader.
    writes: Vec<(u64, u64, u64, NodeId)>,
    heartbeat: Heartbeat,
    audience: Audience,
    probes: Schedule,
    peers: Vec<NodeId>,
    /// The pilot's last view.
    sight: Arc<Sight>,
    turns: Turns,
    /// While the volume is open.
    certainty: Option<Certainty>,
    pub(super) known: Known,
    standing: Standing,
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
            starts: 0,
            signs: Signs::default(),
            shelf: Shelf::default(),
            chunks: Vec::new(),
            gaps: Vec::new(),
            is_volume_failed: false,
            stopped_without_volume: Vec::new(),
            backup: None,
            is_old: false,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some() && !self.is_paused
    }

    pub(super) fn wall(&self, now: Duration) -> Timestamp {
        super::EPOCH.plus(now).plus_micros(self.wall_off_us)
    }

    fn now(&self, cx: &Context<'_>) -> Now {
        Now {
            instant: cx.origin + cx.now,
            wall: self.wall(cx.now),
        }
    }

    /// Starts the process from the state that the last one left.
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        let Some(mut durable) = self.durable.take() else {
            return;
        };
        if cx.twist == Twist::VotesAreNotSynced {
            durable.forget();
        }
        self.starts += 1;
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
        let (is_read, is_all_read) = (
            !self.is_volume_failed,
            cx.twist.are_all_read(!self.is_volume_failed),
        );
        let until = |stream: StreamId| {
            self.recorded_until(stream.camera, self.wall(cx.now))
                .filter(|_| is_read)
        };
        let accounts = Accounts::of(&state, self.id, self.signs, (until, is_all_read));
        let is_old = self.is_old && cx.twist != Twist::DirectoriesAreBelieved;
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
            turns: Turns::default(),
            certainty: None,
            known: Known::default(),
            standing: Standing::of(is_old),
        });
        cx.effects.push(Effect::After(
            directory::INTRODUCED_AFTER,
            Input::Introduced,
        ));
        self.connect(&state, cx);
        self.inform(Event::State(state), cx);
        for (phase_ms, input) in [
            (100, Input::Tick),
            (50, Input::RaftTick),
            (400, Input::Flush),
            (1_000, Input::Look),
        ] {
            cx.effects.push(Effect::After(
                Duration::from_micros(cx.random.below(phase_ms * 1_000)),
                input,
            ));
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

    /// Keeps a paused process's inputs until it continues. Its timers are few: each is set again
    /// when it has run.
    pub(super) fn wait(&mut self, input: Input) {
        let messages = self
            .backlog
            .iter()
            .filter(|input| matches!(input, Input::Message(..)))
            .count();
        if !matches!(input, Input::Message(..)) || messages < MESSAGES_WAITING_MAX {
            self.backlog.push(input);
        }
    }

    /// The process continues with the inputs that have waited for it.
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
            Input::Look => self.look(cx),
            Input::Introduced => self.process().standing.introduced(),
            Input::RaftTick => {
                self.raft(cx, |raft, now| raft.tick(now));
                cx.effects.push(Effect::After(raft::TICK, Input::RaftTick));
            }
            Input::Beat(to) => self.beat(to, cx),
            Input::Closed(to) => cx.effects.push(Effect::Probe(to)),
            Input::Refused(node) => self.inform(Event::Link(LinkEvent::Refused(node)), cx),
            Input::Message(from, message) => self.receive(from, message, cx),
            Input::Flush => self.flush(cx),
            Input::Flushed => self.flushed(cx),
            Input::Attempt(camera, number) => self.attempt(camera, number, cx),
            Input::Dial(camera, number) => {
                if self.recorder(camera, number).is_some() {
                    cx.effects.push(Effect::Dial(camera, number));
                }
            }
            Input::Dialed(camera, number, reached) => self.dialed(camera, number, reached, cx),
            Input::Frame {
                camera,
                number,
                keyframe,
            } => self.frame(camera, number, keyframe, cx),
            Input::Described(camera, revision, reached) => {
                let process = self.process();
                let uptime = cx.now.saturating_sub(process.started);
                let answer = if reached {
                    Answer::Reached
                } else {
                    Answer::Silent
                };
                process
                    .probes
                    .answered(uptime, camera, revision, answer, cx.random.next() as u32);
            }
            Input::Ask { write, entry } => self.ask(write, entry, cx),
        }
    }

    /// The command that begins a drill, as this node sees the site.
    pub(super) fn drill(&self, who: Drilled, now: Duration) -> Option<Command> {
        let process = self.process.as_ref()?;
        Some(begin(
            who,
            false,
            (process.raft.state(), &process.sight, self.id),
            self.wall(now),
        ))
    }

    /// How a camera is to be recorded, by the state that this node has.
    pub(super) fn treatment(&self, camera: CameraId, now: Duration) -> Treatment {
        let process = self.process.as_ref();
        let held = process.and_then(|process| process.raft.state().suspicions.get(camera).copied());
        held.map(|held| held.treatment(self.wall(now)))
            .unwrap_or_default()
    }

    fn process(&mut self) -> &mut Process {
        self.process
            .as_mut()
            .unwrap_or_else(|| unreachable!("inputs reach running processes only"))
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let (me, wall) = (self.id, self.wall(cx.now));
        self.give_sign(cx.now);
        let process = self.process();
        let vouches = process.certainty.as_ref().is_some_and(Certainty::may_vouch);
        let recorders: Vec<Progress> = process
            .recorders
            .values()
            .map(|recorder| cx.twist.report(&process.volume, recorder.status()))
            .collect();
        let writable = process.volume.is_writable() && process.standing != Standing::Fenced;
        let own = Own {
            recorders,
            writable,
            probes: process.probes.known(),
            vouches,
        };
        let (boot, sequence, sent_at) = (process.boot, process.heartbeat.sequence + 1, wall);
        let Own {
            recorders,
            writable,
            probes,
            vouches,
        } = own.clone();
        let cameras = recorders.iter().map(|progress| progress.stream.camera);
        process.audience = Audience::of(process.raft.state(), &process.leadership.voters, cameras);
        process.heartbeat = Heartbeat {
            from: me,
            boot,
            sequence,
            sent_at,
            writable,
            recorders,
            probes,
            vouches,
        };
        cx.effects
            .push(Effect::Fact(Fact::Reported(own.recorders.clone())));
        self.inform(Event::Tick(own), cx);
        self.see_to_proposals(cx);
        cx.effects.push(Effect::After(TICK, Input::Tick));
    }

    fn beat(&mut self, to: NodeId, cx: &mut Context<'_>) {
        let process = self.process();
        if process.peers.contains(&to) {
            cx.effects.push(Effect::Beat(
                to,
                process.heartbeat.to(to, &process.audience),
            ));
        }
    }

    /// Hands the pilot an event and carries out its decisions.
    fn inform(&mut self, event: Event, cx: &mut Context<'_>) {
        let (me, wall) = (self.id, self.wall(cx.now));
        let process = self.process();
        let uptime = cx.now.saturating_sub(process.started);
        let Decision {
            desired,
            proposals,
            sight,
        } = process.pilot.apply(event, uptime, wall);
        let mut has_changed = false;
        if let Some(sight) = sight {
            let due = process
                .probes
                .look(uptime, me, process.raft.state(), &sight);
            has_changed = sight.treatments != process.sight.treatments;
            process.sight = sight;
            let revision = |camera| {
                process
                    .raft
                    .state()
                    .cameras
                    .get(camera)
                    .map_or(0, |camera| camera.revision)
            };
            cx.effects.extend(
                due.into_iter()
                    .map(|camera| Effect::Describe(camera, revision(camera))),
            );
        }
        if !proposals.is_empty() {
            process.is_proposing = true;
            let described = proposals
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            process.proposals.extend(
                proposals
                    .into_iter()
                    .map(|command| command.by(Actor::Node(me), wall)),
            );
            cx.effects.push(Effect::Fact(Fact::Proposed(described)));
        }
        let is_fenced = process.standing == Standing::Fenced;
        let desired = desired.map(|desired| {
            if is_fenced {
                alone(desired, me, &process.sight)
            } else {
                desired
            }
        });
        if let Some(desired) = desired.filter(|desired| has_changed || *desired != process.desired)
        {
            process.desired = desired;
            self.reconcile(cx);
        }
        self.see_to_proposals(cx);
    }

    fn reconcile(&mut self, cx: &mut Context<'_>) {
        let process = self.process();
        let treatments = cx.twist.treatments(&process.sight.treatments);
        let desired = recordings(process.raft.state(), &process.desired, treatments);
        let running = process
            .recorders
            .iter()
            .map(|(camera, recorder)| (StreamId::main(*camera), recorder.running.clone()))
            .collect();
        for action in reconcile(&desired, &running) {
            self.act(action, &desired, cx);
        }
    }

    fn act(
        &mut self,
        action: Action,
        desired: &BTreeMap<StreamId, DesiredRecording>,
        cx: &mut Context<'_>,
    ) {
        let now = self.now(cx);
        match action {
            Action::Start(stream) => {
                if let Some(want) = desired.get(&stream) {
                    self.start_recorder(stream, want.clone(), None, cx);
                }
            }
            Action::Update(stream) => {
                if let Some((recorder, want)) = self
                    .process()
                    .recorders
                    .get_mut(&stream.camera)
                    .zip(desired.get(&stream))
                {
                    recorder.update(want.clone(), now);
                }
            }
            Action::Stop(stream) | Action::Forget(stream) => {
                if self.is_volume_failed {
                    self.stopped_without_volume.push(now.wall);
                }
                let process = self.process();
                let Some(recorder) = process.recorders.remove(&stream.camera) else {
                    return;
                };
                let (until, accounted_until) = recorder.finish(now);
                process.accounts.ended(stream, until, accounted_until);
                if let Some(want) = desired.get(&stream) {
                    self.start_recorder(stream, want.clone(), Some(GapCause::RecorderStopped), cx);
                }
            }
        }
    }

    fn start_recorder(
        &mut self,
        stream: StreamId,
        with: DesiredRecording,
        cause: Option<GapCause>,
        cx: &mut Context<'_>,
    ) {
        let (node, now) = (self.id, self.now(cx));
        let process = self.process();
        process.recorders_started += 1;
        let number = process.recorders_started;
        let before = process.accounts.before(stream, cause);
        let (volume, totals) = (Arc::clone(&process.volume), Arc::clone(&process.totals));
        let (turns, wall) = (process.turns.clone(), process.known.wall.clone());
        let start = Start {
            stream,
            node,
            number,
            with,
            before,
            volume,
            totals,
            turns,
            wall,
        };
        process
            .recorders
            .insert(stream.camera, Recorder::start(start, now));
        cx.effects.push(Effect::After(
            Duration::ZERO,
            Input::Attempt(stream.camera, number),
        ));
    }

    fn recorder(&mut self, camera: CameraId, number: u64) -> Option<&mut Recorder> {
        self.process()
            .recorders
            .get_mut(&camera)
            .filter(|recorder| recorder.number == number)
    }

    fn attempt(&mut self, camera: CameraId, number: u64, cx: &mut Context<'_>) {
        let (now, knew) = (self.now(cx), self.treatment(camera, cx.now));
        let uptime = cx.now.saturating_sub(self.process().started);
        let Some(recorder) = self.recorder(camera, number) else {
            return;
        };
        recorder.tried = Some(Tried { knew, uptime });
        match recorder.begin_attempt(now) {
            Some(false) => cx.effects.push(Effect::Dial(camera, number)),
            Some(true) => cx
                .effects
                .push(Effect::After(ANNOUNCED_AFTER, Input::Dial(camera, number))),
            // It is tried again with the next tick.
            None => {}
        }
    }

    fn dialed(&mut self, camera: CameraId, number: u64, reached: bool, cx: &mut Context<'_>) {
        let now = self.now(cx);
        let recorder = self
            .recorder(camera, number)
            .filter(|recorder| recorder.session == Session::Dialing);
        let Some(recorder) = recorder else { return };
        if reached {
            recorder.opened(now, cx.now);
        } else {
            self.session_failed(
                camera,
                &SessionError::Unreachable("no answer".to_owned()),
                cx,
            );
        }
    }

    fn session_failed(&mut self, camera: CameraId, error: &SessionError, cx: &mut Context<'_>) {
        let now = self.now(cx);
        let Some(recorder) = self.process().recorders.get_mut(&camera) else {
            return;
        };
        let delay = recorder.failed(error, now, cx.now, cx.random.next() as u32);
        cx.effects.push(Effect::After(
            delay,
            Input::Attempt(camera, recorder.number),
        ));
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
        let (mut stalled, mut held) = (Vec::new(), Vec::new());
        for (camera, recorder) in &mut process.recorders {
            if recorder.session == Session::Held {
                held.push((*camera, recorder.number));
            }
            if recorder.tick(now, cx.now) {
                stalled.push(*camera);
            }
        }
        if process.volume.begin_flush() {
            cx.effects.push(Effect::After(latency, Input::Flushed));
        }
        stalled
            .into_iter()
            .for_each(|camera| self.session_failed(camera, &Recorder::stalled(), cx));
        held.into_iter()
            .for_each(|(camera, number)| self.attempt(camera, number, cx));
        cx.effects.push(Effect::After(FLUSH_INTERVAL, Input::Flush));
    }

    fn flushed(&mut self, cx: &mut Context<'_>) {
        let (chunks, gaps) = self.process().volume.end_flush();
        if !chunks.is_empty() {
            let (process, wall) = (self.starts, self.wall(cx.now));
            self.shelf.took(process, cx.now, wall);
        }
        cx.effects.extend(
            chunks
                .iter()
                .cloned()
                .map(|chunk| Effect::Fact(Fact::Stored(chunk))),
        );
        self.chunks.extend(chunks);
        self.gaps.extend(gaps);
    }

    fn receive(&mut self, from: NodeId, message: Message, cx: &mut Context<'_>) {
        match message {
            Message::Raft(message) => self.raft(cx, |raft, now| raft.receive(now, from, message)),
            Message::Heartbeat(heartbeat) => {
                if heartbeat.sequence % ANSWERED_EVERY < ANSWERED_OF {
                    let now = self.wall(cx.now);
                    let heard = Message::Heard(
                        heartbeat.sent_at,
                        Heard {
                            received: now,
                            answered: now,
                        },
                    );
                    cx.effects.push(Effect::Send(from, heard));
                }
                self.inform(Event::Link(LinkEvent::Heartbeat(heartbeat)), cx);
            }
            Message::Heard(sent, heard) => {
                let sample = Sample {
                    sent,
                    heard,
                    returned: self.wall(cx.now),
                };
                self.inform(Event::Link(LinkEvent::Answered(from, sample)), cx);
            }
            Message::Write { write, entry } => self.write(write, entry, from, cx),
            Message::Written {
                write,
                index,
                outcome,
            } => {
                cx.effects.push(Effect::Fact(Fact::Acknowledged {
                    write,
                    index,
                    outcome,
                }));
            }
        }
    }

    /// A client's change: this node proposes it if it leads, else the leader that it knows.
    fn ask(&mut self, write: u64, entry: Box<LogEntry>, cx: &mut Context<'_>) {
        let me = self.id;
        match self.process().raft.leader() {
            Some(leader) if leader == me => self.write(write, entry, me, cx),
            Some(leader) => cx
                .effects
                .push(Effect::Send(leader, Message::Write { write, entry })),
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

    /// Acts on Raft, and handles the consequences.
    fn raft(&mut self, cx: &mut Context<'_>, act: impl FnOnce(&mut Raft, Duration)) {
        let process = self.process();
        if process.standing != Standing::Member {
            return;
        }
        act(&mut process.raft, cx.now);
        let messages = process.raft.take_messages();
        cx.effects.extend(
            messages
                .into_iter()
                .map(|(to, message)| Effect::Send(to, Message::Raft(message))),
        );
        let news = process.raft.take_news();
        news.into_iter()
            .for_each(|applied| self.applied(applied, cx));
        let process = self.process();
        let leadership = process.raft.leadership();
        if process.published != process.raft.applied() {
            process.published = process.raft.applied();
            let (index, state) = (process.published, Arc::clone(process.raft.state()));
            cx.effects.push(Effect::Fact(Fact::Published {
                index,
                state: Arc::clone(&state),
            }));
            self.connect(&state, cx);
            self.inform(Event::State(state), cx);
        }
        let process = self.process();
        if leadership != process.leadership {
            process.leadership = leadership.clone();
            self.inform(Event::Leadership(leadership), cx);
        }
    }

    fn applied(&mut self, applied: Applied, cx: &mut Context<'_>) {
        let Applied {
            index,
            entry,
            outcome,
        } = applied;
        let me = self.id;
        let process = self.process();
        let written = process.writes.iter().position(|(at, ..)| *at == index);
        let written = written
            .map(|at| process.writes.swap_remove(at))
            .filter(|(_, term, ..)| *term == entry.term);
        cx.effects
            .push(Effect::Fact(Fact::Applied { index, entry }));
        if let Some(((_, _, write, asker), outcome)) = written.zip(outcome) {
            cx.effects.push(match asker == me {
                true => Effect::Fact(Fact::Acknowledged {
                    write,
                    index,
                    outcome,
                }),
                false => Effect::Send(
                    asker,
                    Message::Written {
                        write,
                        index,
                        outcome,
                    },
                ),
            });
        }
    }

    /// Links to all other members, from the moment that they are known.
    fn connect(&mut self, state: &ClusterState, cx: &mut Context<'_>) {
        let me = self.id;
        let process = self.process();
        let peers: Vec<NodeId> = state.nodes.keys().filter(|node| *node != me).collect();
        for peer in peers.iter().filter(|peer| !process.peers.contains(peer)) {
            cx.effects.push(Effect::After(
                Duration::from_micros(cx.random.below(1_000)),
                Input::Beat(*peer),
            ));
        }
        process.peers = peers;
    }

    /// Proposes round after round, one command at a time, each until its fate is known or its
    /// deadline has passed.
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
            let proposed = process
                .raft
                .propose(cx.now, Payload::Entry(Box::new(entry)));
            process.proposal =
                proposed.map(|(index, term)| (index, term, cx.now + PROPOSAL_DEADLINE));
            return self.raft(cx, |_, _| ());
        }
        if std::mem::take(&mut process.is_proposing) {
            self.inform(Event::Proposed, cx);
        }
    }
}
