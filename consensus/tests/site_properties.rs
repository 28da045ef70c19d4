//! A simulated site under random events: nodes die, return, drain, fail cameras; every seed must keep the promises of placement and steward.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use holdfast_consensus::command::Command;
use holdfast_consensus::desired::{Provisionals, View, desired};
use holdfast_consensus::heartbeat::{Progress, RecorderState};
use holdfast_consensus::liveness::{Verdict, Why};
use holdfast_consensus::model::{CameraSpec, Duty, NodeSpec, Protection, Role, Source, Transport};
use holdfast_consensus::placement::survives_loss_of;
use holdfast_consensus::state::ClusterState;
use holdfast_consensus::steward::{Input, Steward};
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const ROUND: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
enum Event {
    Die(u64),
    Return(u64),
    Drain(u64),
    Serve(u64),
    Break(u64, u32),
    Mend(u64, u32),
    AddCamera { priority: u8, gapless: bool },
    DropCamera(u32),
    NewLeader,
    StepClock(i32),
    Wait(u8),
}

#[derive(Clone, Debug)]
struct Plan {
    capacities: Vec<u32>,
    domains: u64,
    events: Vec<Event>,
}

fn event() -> impl Strategy<Value = Event> {
    let (node, camera) = (1..7_u64, 1..20_u32);
    prop_oneof![
        3 => node.clone().prop_map(Event::Die),
        3 => node.clone().prop_map(Event::Return),
        1 => node.clone().prop_map(Event::Drain),
        1 => node.clone().prop_map(Event::Serve),
        1 => (node.clone(), camera.clone()).prop_map(|(node, camera)| Event::Break(node, camera)),
        1 => (node, camera.clone()).prop_map(|(node, camera)| Event::Mend(node, camera)),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(priority, gapless)| Event::AddCamera { priority, gapless }),
        1 => camera.prop_map(Event::DropCamera),
        1 => Just(Event::NewLeader),
        1 => (-100_000..100_000).prop_map(Event::StepClock),
        4 => (1..100_u8).prop_map(Event::Wait),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    (prop::collection::vec(1..12_u32, 2..7), 1..4_u64, prop::collection::vec(event(), 1..40))
        .prop_map(|(capacities, domains, events)| Plan { capacities, domains, events })
}

struct Simulation {
    state: ClusterState,
    steward: Steward,
    now: Duration,
    wall_ms: i64,
    dead: BTreeSet<NodeId>,
    broken: BTreeSet<(NodeId, CameraId)>,
    progress: BTreeMap<(NodeId, CameraId), Progress>,
    provisionals: BTreeMap<NodeId, Provisionals>,
    epochs: BTreeMap<CameraId, Epoch>,
    names: u32,
}

fn node_spec(n: usize, capacity: u32, domains: u64) -> NodeSpec {
    NodeSpec {
        name: format!("n{n}"),
        peer_addr: format!("n{n}:7001"),
        api_addr: format!("n{n}:7000"),
        role: Role::Recorder,
        failure_domain: format!("rack{}", n as u64 % domains),
        camera_capacity: capacity,
    }
}

impl Simulation {
    fn new(plan: &Plan) -> Self {
        let mut state = ClusterState::default();
        for (n, capacity) in plan.capacities.iter().enumerate() {
            let spec = node_spec(n, *capacity, plan.domains);
            let command = match n {
                0 => Command::Initialize { cluster: Uuid::nil(), node: spec },
                _ => Command::JoinNode { spec, attempt: Uuid::from_u128(n as u128) },
            };
            state.apply(command).unwrap();
        }
        Self {
            state,
            steward: Steward::default(),
            now: Duration::ZERO,
            wall_ms: 1_000_000,
            dead: BTreeSet::new(),
            broken: BTreeSet::new(),
            progress: BTreeMap::new(),
            provisionals: BTreeMap::new(),
            epochs: BTreeMap::new(),
            names: 0,
        }
    }

    fn wall(&self) -> Timestamp {
        Timestamp((self.wall_ms + self.now.as_millis() as i64) * 1_000)
    }

    fn verdicts(&self) -> BTreeMap<NodeId, Verdict> {
        let suspect = Verdict::Suspect { since: Duration::ZERO, why: Why::Silence };
        let verdict = |node| if self.dead.contains(&node) { suspect } else { Verdict::Alive };
        self.state.nodes.keys().map(|node| (node, verdict(node))).collect()
    }

    fn take(&mut self, event: &Event) {
        let node = |n: &u64| NodeId(*n);
        match event {
            Event::Die(n) => _ = self.dead.insert(node(n)),
            Event::Return(n) => _ = self.dead.remove(&node(n)),
            Event::Drain(n) => _ = self.state.apply(Command::SetDuty { node: node(n), duty: Duty::Draining }),
            Event::Serve(n) => _ = self.state.apply(Command::SetDuty { node: node(n), duty: Duty::Active }),
            Event::Break(n, camera) => _ = self.broken.insert((node(n), CameraId(*camera))),
            Event::Mend(n, camera) => _ = self.broken.remove(&(node(n), CameraId(*camera))),
            Event::AddCamera { priority, gapless } => self.add_camera(*priority, *gapless),
            Event::DropCamera(camera) => _ = self.state.apply(Command::DeleteCamera { camera: CameraId(*camera) }),
            Event::NewLeader => self.steward = Steward::default(),
            Event::StepClock(ms) => self.wall_ms += i64::from(*ms),
            Event::Wait(rounds) => (0..*rounds).for_each(|_| _ = self.round()),
        }
        self.round();
    }

    fn add_camera(&mut self, priority: u8, gapless: bool) {
        self.names += 1;
        let name = format!("c{}", self.names);
        let source = Source { url: "rtsp://h/".into(), username: None, password: None, transport: Transport::Tcp };
        let protection = if gapless { Protection::Gapless } else { Protection::Standard };
        let labels = BTreeMap::new();
        let spec = CameraSpec { name, source, protection, priority, retention_class: "default".into(), labels };
        self.state.apply(Command::CreateCamera(spec)).unwrap();
    }

    /// A quarter of a second; answers how many commands the steward proposed.
    fn round(&mut self) -> usize {
        self.now += ROUND;
        self.record();
        let verdicts = self.verdicts();
        let (now, uptime, progress) = (self.wall(), self.now, &self.progress);
        // The dead do not vote: this is about what a leader decides, not about whether there can be one.
        let voters: Vec<NodeId> = self.state.nodes.keys().filter(|node| !self.dead.contains(node)).collect();
        let (unfit, probes) = (&BTreeSet::new(), &BTreeMap::new());
        let (state, verdicts, voters) = (&self.state, &verdicts, &voters);
        let input = Input { now, uptime, state, verdicts, voters, unfit, probes, progress };
        let commands = self.steward.decide(&input);
        let count = commands.len();
        for command in commands {
            match self.state.apply(command).unwrap() {
                holdfast_consensus::command::Response::Assigned { skipped, .. } => {
                    assert!(skipped.is_empty(), "the steward proposed what does not apply: {skipped:?}");
                }
                other => panic!("{other:?}"),
            }
            self.check();
        }
        count
    }

    fn record(&mut self) {
        let (verdicts, wall) = (self.verdicts(), self.wall());
        for me in self.state.nodes.keys().filter(|node| !self.dead.contains(node)) {
            let mut provisionals = self.provisionals.remove(&me).unwrap_or_default();
            let view = View { me, now: self.now, wall, verdicts: &verdicts, progress: &self.progress };
            provisionals.observe(&self.state, &view);
            let wanted = desired(&self.state, me, &provisionals);
            self.provisionals.insert(me, provisionals);
            self.progress.retain(|(node, camera), _| *node != me || wanted.contains_key(camera));
            for (camera, wanted) in wanted {
                let broken = self.broken.contains(&(me, camera));
                let proof = (!broken).then_some(wall);
                let state = if broken { RecorderState::Failing } else { RecorderState::Recording };
                let (epoch, rank) = (wanted.epoch, wanted.rank);
                let progress =
                    Progress { camera, epoch, rank, state, watermark: proof, first_keyframe: proof, error: None };
                self.progress.insert((me, camera), progress);
            }
        }
    }

    /// What holds after every command.
    fn check(&mut self) {
        let mut load: BTreeMap<NodeId, u32> = BTreeMap::new();
        for (camera, assignment) in self.state.assignments.iter() {
            let before = self.epochs.insert(camera, assignment.epoch).unwrap_or_default();
            assert!(
                assignment.epoch >= before,
                "camera {camera} went back from epoch {before} to {}",
                assignment.epoch
            );
            if let Some(handoff) = assignment.handoff {
                assert!(handoff.epoch > assignment.epoch);
                assert_ne!(Some(handoff.to), assignment.owner);
            }
            let named: Vec<NodeId> =
                [assignment.owner, assignment.mirror, assignment.successor].into_iter().flatten().collect();
            let distinct: BTreeSet<NodeId> = named.iter().copied().collect();
            assert_eq!(named.len(), distinct.len(), "camera {camera}: {assignment:?}");
            assignment.owner.into_iter().chain(assignment.mirror).for_each(|node| *load.entry(node).or_default() += 1);
            let tenures = self.state.tenures(camera);
            assert!(tenures.is_sorted_by(|a, b| a.epoch < b.epoch), "{tenures:?}");
            assert_eq!(
                tenures.iter().filter(|tenure| tenure.until.is_none()).count(),
                usize::from(assignment.owner.is_some())
            );
        }
        for (id, node) in self.state.nodes.iter() {
            let load = load.get(&id).copied().unwrap_or(0);
            assert!(load <= node.spec.camera_capacity, "node {id} has {load} of {}", node.spec.camera_capacity);
        }
    }

    fn fit(&self) -> impl Iterator<Item = NodeId> {
        let fit = self.state.nodes.iter().filter(|(id, node)| !self.dead.contains(id) && node.duty == Duty::Active);
        fit.map(|(id, _)| id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_site_settles_with_every_camera_recorded_that_there_is_room_for(plan in plan()) {
        let mut site = Simulation::new(&plan);
        plan.events.iter().for_each(|event| site.take(event));
        // Then nothing happens any more, and every camera can be reached.
        site.broken.clear();
        (0..400).for_each(|_| _ = site.round());
        let quiet: usize = (0..40).map(|_| site.round()).sum();
        prop_assert_eq!(quiet, 0, "the steward does not come to rest");

        let fit: BTreeSet<NodeId> = site.fit().collect();
        let room: u32 = fit.iter().map(|node| {
            let used = site.state.assignments.values().filter(|now| now.owner == Some(*node) || now.mirror == Some(*node)).count();
            site.state.nodes.get(*node).unwrap().spec.camera_capacity - used as u32
        }).sum();
        let lost: Vec<CameraId> = site.state.assignments.iter()
            .filter(|(_, now)| now.owner.is_none_or(|owner| site.dead.contains(&owner)))
            .map(|(camera, _)| camera).collect();
        prop_assert!(lost.is_empty() || room == 0, "cameras {:?} are not recorded, with room for {}", lost, room);
    }

    #[test]
    fn what_is_said_to_survive_a_death_does(plan in plan(), victim in 1..7_u64) {
        let mut site = Simulation::new(&plan);
        plan.events.iter().for_each(|event| site.take(event));
        site.broken.clear();
        (0..400).for_each(|_| _ = site.round());
        let victim = NodeId(victim);
        let alive: BTreeSet<NodeId> = site.state.nodes.keys().filter(|node| !site.dead.contains(node)).collect();
        let promised = survives_loss_of(&site.state, victim, |node| alive.contains(&node)).lost.is_empty();
        site.dead.insert(victim);
        (0..4).for_each(|_| _ = site.round());
        let all_live = site.state.assignments.values().all(|now| now.owner.is_some_and(|owner| !site.dead.contains(&owner)));
        prop_assert!(!promised || all_live);
    }
}
