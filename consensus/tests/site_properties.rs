//! A simulated site under random events: nodes die, return, drain, fail cameras; every seed must
//! keep the promises of placement and steward.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside of test functions"
)]

use holdfast_consensus::command::{AssignmentOp, Command, Rejection, Response, admission};
use holdfast_consensus::decide::desired::{Provisionals, View, desired};
use holdfast_consensus::decide::headroom::survives_loss_of;
use holdfast_consensus::decide::placement::Planner;
use holdfast_consensus::decide::steward::{Input, MOVE_INTERVAL, Steward};
use holdfast_consensus::decide::suspects::Ends;
use holdfast_consensus::model::{
    Actor, CameraSpec, Duty, Failback, KeyHash, NodeSpec, Protection, SettingsChange,
};
use holdfast_consensus::observe::bitrate::{BITRATE_UNKNOWN_BPS, Bitrates};
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_consensus::observe::liveness::{Verdict, Why};
use holdfast_consensus::observe::reports::Reports;
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, StreamId};
use holdfast_storage::time::Timestamp;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const ROUND: Duration = Duration::from_millis(250);
/// Node n is in zone n % `ZONES`.
const ZONES: u64 = 2;
/// Longer than any timeout of the steward.
const LONG: Duration = Duration::from_secs(3_700);

#[derive(Clone, Debug)]
enum Event {
    Die(u64),
    Return(u64),
    Drain(u64),
    Serve(u64),
    Break(u64, u32),
    Mend(u64, u32),
    AddCamera(NewCamera),
    DropCamera(u32),
    NewLeader,
    StepClock(i32),
    Wait(u8),
    Rebalance,
}

#[derive(Clone, Debug)]
struct NewCamera {
    priority: u8,
    gapless: bool,
    /// Only nodes of this zone reach it.
    zone: Option<u64>,
    prefers: Option<u64>,
    bps: u64,
}

fn new_camera() -> impl Strategy<Value = NewCamera> {
    let zone = prop_oneof![2 => Just(None), 1 => (0..ZONES).prop_map(Some)];
    let prefers = prop_oneof![1 => Just(None), 1 => (1..7_u64).prop_map(Some)];
    (
        any::<u8>(),
        any::<bool>(),
        zone,
        prefers,
        1..=BITRATE_UNKNOWN_BPS,
    )
        .prop_map(|(priority, gapless, zone, prefers, bps)| NewCamera {
            priority,
            gapless,
            zone,
            prefers,
            bps,
        })
}

#[derive(Clone, Debug)]
struct Plan {
    /// Cameras, and megabits per second if that is limited.
    capacities: Vec<(u32, Option<u64>)>,
    failback: bool,
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
        4 => new_camera().prop_map(Event::AddCamera),
        1 => camera.prop_map(Event::DropCamera),
        1 => Just(Event::NewLeader),
        1 => Just(Event::Rebalance),
        1 => (-100_000..100_000).prop_map(Event::StepClock),
        4 => (1..100_u8).prop_map(Event::Wait),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let mbps = prop_oneof![1 => Just(None), 1 => (4..30_u64).prop_map(Some)];
    let capacities = prop::collection::vec((1..12_u32, mbps), 2..7);
    (
        capacities,
        any::<bool>(),
        1..4_u64,
        prop::collection::vec(event(), 1..40),
    )
        .prop_map(|(capacities, failback, domains, events)| Plan {
            capacities,
            failback,
            domains,
            events,
        })
}

struct Simulation {
    state: ClusterState,
    steward: Steward,
    /// A steward that examines all cameras in every round, because it is shown a change each time.
    thorough: Steward,
    now: Duration,
    wall_ms: i64,
    dead: BTreeSet<NodeId>,
    broken: BTreeSet<(NodeId, CameraId)>,
    progress: Reports,
    provisionals: BTreeMap<NodeId, Provisionals>,
    epochs: BTreeMap<CameraId, Epoch>,
    names: u32,
    bitrates: BTreeMap<CameraId, u64>,
    /// When each camera's owner last changed, until a wall clock is stepped.
    moved: Option<BTreeMap<CameraId, Duration>>,
}

fn node_spec(n: usize, (capacity, mbps): (u32, Option<u64>), domains: u64) -> NodeSpec {
    let node = n as u64 + 1;
    let labels = BTreeMap::from([("zone".to_owned(), (node % ZONES).to_string())]);
    NodeSpec {
        failure_domain: format!("rack{}", n as u64 % domains).parse().unwrap(),
        camera_capacity: capacity,
        bitrate_capacity_bps: mbps.map(|mbps| mbps * 1_000_000),
        labels: labels.try_into().unwrap(),
        ..NodeSpec::new(
            &format!("n{n}"),
            &format!("n{n}:7001"),
            &format!("n{n}:7000"),
        )
        .unwrap()
    }
}

impl Simulation {
    fn new(plan: &Plan) -> Self {
        let mut state = ClusterState::default();
        for (n, capacity) in plan.capacities.iter().enumerate() {
            let spec = node_spec(n, *capacity, plan.domains);
            let commands = match n {
                0 => vec![Command::Initialize {
                    cluster: Uuid::nil(),
                    node: spec,
                    key: KeyHash::default(),
                }],
                _ => admission(spec, Timestamp(0)).to_vec(),
            };
            for command in commands {
                state
                    .apply(command.by(Actor::System, Timestamp(0)))
                    .unwrap();
            }
        }
        let failback = if plan.failback {
            Failback::Prefer
        } else {
            Failback::Stay
        };
        let change = SettingsChange {
            failback: Some(failback),
            failback_after_s: Some(10),
            ..SettingsChange::default()
        };
        state
            .apply(Command::ChangeSettings(change).by(Actor::System, Timestamp(0)))
            .unwrap();
        Self {
            state,
            steward: Steward::default(),
            thorough: Steward::default(),
            now: Duration::ZERO,
            wall_ms: 1_000_000,
            dead: BTreeSet::new(),
            broken: BTreeSet::new(),
            progress: Reports::default(),
            provisionals: BTreeMap::new(),
            epochs: BTreeMap::new(),
            names: 0,
            bitrates: BTreeMap::new(),
            moved: Some(BTreeMap::new()),
        }
    }

    fn wall(&self) -> Timestamp {
        Timestamp((self.wall_ms + self.now.as_millis() as i64) * 1_000)
    }

    fn apply(&mut self, command: Command) -> Result<Response, Rejection> {
        let entry = command.by(Actor::System, self.wall());
        self.state.apply(entry)
    }

    fn verdicts(&self) -> BTreeMap<NodeId, Verdict> {
        let suspect = Verdict::Suspect {
            since: Duration::ZERO,
            why: Why::Silence,
        };
        let verdict = |node| {
            if self.dead.contains(&node) {
                suspect
            } else {
                Verdict::Alive
            }
        };
        self.state
            .nodes
            .keys()
            .map(|node| (node, verdict(node)))
            .collect()
    }

    fn take(&mut self, event: &Event) {
        let node = |n: &u64| NodeId(*n);
        match event {
            Event::Die(n) => _ = self.dead.insert(node(n)),
            Event::Return(n) => _ = self.dead.remove(&node(n)),
            Event::Drain(n) => {
                _ = self.apply(Command::SetDuty {
                    node: node(n),
                    duty: Duty::Draining,
                })
            }
            Event::Serve(n) => {
                _ = self.apply(Command::SetDuty {
                    node: node(n),
                    duty: Duty::Active,
                })
            }
            Event::Break(n, camera) => _ = self.broken.insert((node(n), CameraId(*camera))),
            Event::Mend(n, camera) => _ = self.broken.remove(&(node(n), CameraId(*camera))),
            Event::AddCamera(camera) => self.add_camera(camera),
            Event::DropCamera(camera) => {
                _ = self.apply(Command::DeleteCamera {
                    camera: CameraId(*camera),
                })
            }
            Event::NewLeader => {
                (self.steward, self.thorough) = (Steward::default(), Steward::default())
            }
            Event::StepClock(ms) => {
                self.wall_ms += i64::from(*ms);
                self.moved = None;
            }
            Event::Rebalance => _ = self.apply(Command::BeginRebalance).unwrap(),
            Event::Wait(rounds) => (0..*rounds).for_each(|_| _ = self.round()),
        }
        self.round();
    }

    fn add_camera(&mut self, new: &NewCamera) {
        self.names += 1;
        let name = format!("c{}", self.names);
        let zone: BTreeMap<_, _> = new
            .zone
            .map(|zone| ("zone".to_owned(), zone.to_string()))
            .into_iter()
            .collect();
        let spec = CameraSpec {
            protection: if new.gapless {
                Protection::Gapless
            } else {
                Protection::Standard
            },
            priority: new.priority,
            node_labels: zone.try_into().unwrap(),
            preferred_node: new
                .prefers
                .map(NodeId)
                .filter(|node| self.state.nodes.contains(*node)),
            ..CameraSpec::new(&name, "rtsp://h/").unwrap()
        };
        self.apply(Command::CreateCamera {
            spec,
            only_after: None,
        })
        .unwrap();
        self.bitrates.insert(self.state.camera_last(), new.bps);
    }

    /// Cameras that were never recorded have no measured bitrate.
    fn measured(&self) -> Bitrates {
        Bitrates::of_reports(&self.progress)
    }

    /// A quarter of a second; returns how many commands the steward proposed.
    fn round(&mut self) -> usize {
        self.now += ROUND;
        self.record();
        let verdicts = self.verdicts();
        let (now, uptime, progress) = (self.wall(), self.now, &self.progress);
        // Dead nodes do not vote: this tests a leader's decisions, not whether there can be a
        // leader.
        let voters: Vec<NodeId> = self
            .state
            .nodes
            .keys()
            .filter(|node| !self.dead.contains(node))
            .collect();
        let (unfit, probes) = (&BTreeSet::new(), &BTreeMap::new());
        let (state, verdicts, voters) = (&self.state, &verdicts, &voters);
        let input = Input {
            now,
            uptime,
            state,
            verdicts,
            voters,
            unfit,
            probes,
            progress,
            ends: &Ends::default(),
        };
        let commands = self.steward.decide(&input);
        let stranger = NodeId(
            if self.now.as_millis().is_multiple_of(2 * ROUND.as_millis()) {
                1_000
            } else {
                1_001
            },
        );
        let thorough = self.thorough.decide(&Input {
            unfit: &BTreeSet::from([stranger]),
            ..input
        });
        assert_eq!(
            commands, thorough,
            "what is settled is not gone over, and it makes a difference"
        );
        let count = commands.len();
        for command in commands {
            self.check_patience(&command);
            match self.apply(command).unwrap() {
                Response::Assigned { skipped, .. } => {
                    assert!(
                        skipped.is_empty(),
                        "the steward proposed what does not apply: {skipped:?}"
                    );
                }
                Response::Done => {}
                other => panic!("{other:?}"),
            }
            self.check();
        }
        count
    }

    fn record(&mut self) {
        let (verdicts, wall) = (self.verdicts(), self.wall());
        for me in self
            .state
            .nodes
            .keys()
            .filter(|node| !self.dead.contains(node))
        {
            let mut provisionals = self.provisionals.remove(&me).unwrap_or_default();
            let view = View {
                me,
                now: self.now,
                wall,
                verdicts: &verdicts,
                progress: &self.progress,
            };
            provisionals.observe(&self.state, &view);
            let wanted = desired(&self.state, me, &provisionals);
            self.provisionals.insert(me, provisionals);
            self.progress
                .retain(|node, camera| node != me || wanted.contains_key(&camera));
            for (camera, wanted) in wanted {
                let broken = self.broken.contains(&(me, camera));
                let proof = (!broken).then_some(wall);
                let state = if broken {
                    RecorderState::Failing
                } else {
                    RecorderState::Recording
                };
                let (epoch, rank) = (wanted.epoch, wanted.rank);
                let bitrate_bps = proof.and_then(|_| self.bitrates.get(&camera).copied());
                let (watermark, first_keyframe, error) = (proof, proof, None);
                let progress = Progress {
                    stream: StreamId::main(camera),
                    epoch,
                    rank,
                    state,
                    watermark,
                    first_keyframe,
                    error,
                    bitrate_bps,
                    patience_ms: None,
                    exposure: None,
                };
                self.progress.insert(me, progress);
            }
        }
    }

    /// The steward does not move a healthy camera twice in a minute.
    fn check_patience(&self, command: &Command) {
        let (Command::Assign { changes }, Some(moved)) = (command, &self.moved) else {
            return;
        };
        for change in changes
            .iter()
            .filter(|change| matches!(change.op, AssignmentOp::BeginHandoff { .. }))
        {
            let camera = change.camera;
            let owner = self.state.assignments.get(camera).unwrap().owner.unwrap();
            let is_well =
                !self.broken.contains(&(owner, camera)) && self.fit().any(|node| node == owner);
            let long_ago = moved
                .get(&camera)
                .is_none_or(|at| self.now - *at >= MOVE_INTERVAL);
            assert!(
                !is_well || long_ago,
                "camera {camera} moves again after {:?}",
                self.now - moved[&camera]
            );
        }
    }

    /// Invariants after every command.
    fn check(&mut self) {
        let mut load: BTreeMap<NodeId, (u32, u64)> = BTreeMap::new();
        for (camera, assignment) in self.state.assignments.iter() {
            let before = self
                .epochs
                .insert(camera, assignment.epoch)
                .unwrap_or_default();
            if let Some(moved) = self.moved.as_mut().filter(|_| assignment.epoch != before) {
                moved.insert(camera, self.now);
            }
            assert!(
                assignment.epoch >= before,
                "camera {camera} went back from epoch {before} to {}",
                assignment.epoch
            );
            if let Some(handoff) = assignment.handoff {
                assert!(handoff.epoch > assignment.epoch);
                assert_ne!(Some(handoff.to), assignment.owner);
            }
            let named: Vec<NodeId> = [assignment.owner, assignment.mirror, assignment.successor]
                .into_iter()
                .flatten()
                .collect();
            let distinct: BTreeSet<NodeId> = named.iter().copied().collect();
            assert_eq!(
                named.len(),
                distinct.len(),
                "camera {camera}: {assignment:?}"
            );
            for node in assignment.owner.into_iter().chain(assignment.mirror) {
                let load = load.entry(node).or_default();
                *load = (load.0 + 1, load.1 + self.bitrates[&camera]);
            }
            let named = named
                .into_iter()
                .chain(assignment.handoff.map(|handoff| handoff.to));
            named.for_each(|node| {
                assert!(
                    self.state.reaches(node, camera),
                    "node {node} does not reach {camera}"
                )
            });
            let tenures = self.state.tenures(camera);
            assert!(
                tenures.is_sorted_by(|a, b| a.epoch < b.epoch),
                "{tenures:?}"
            );
            assert_eq!(
                tenures
                    .iter()
                    .filter(|tenure| tenure.until.is_none())
                    .count(),
                usize::from(assignment.owner.is_some())
            );
        }
        for (id, node) in self.state.nodes.iter() {
            let (cameras, bps) = load.get(&id).copied().unwrap_or_default();
            assert!(
                cameras <= node.spec.camera_capacity,
                "node {id} has {cameras} of {}",
                node.spec.camera_capacity
            );
            let bps_max = node.spec.bitrate_capacity_bps.unwrap_or(u64::MAX);
            assert!(bps <= bps_max, "node {id} records {bps} bit/s of {bps_max}");
        }
    }

    fn fit(&self) -> impl Iterator<Item = NodeId> {
        let fit = self
            .state
            .nodes
            .iter()
            .filter(|(id, node)| !self.dead.contains(id) && node.duty == Duty::Active);
        fit.map(|(id, _)| id)
    }
}

impl Simulation {
    /// Nothing happens any more, every camera can be reached, and all timeouts expire.
    fn settle(&mut self) {
        self.broken.clear();
        for _ in 0..2 {
            (0..200).for_each(|_| _ = self.round());
            self.now += LONG;
        }
        (0..100).for_each(|_| _ = self.round());
    }

    fn priority(&self, camera: CameraId) -> u8 {
        self.state.cameras.get(camera).unwrap().spec.priority
    }

    /// Whether `node` could record `camera` if less important cameras made room.
    fn could_take(&self, node: NodeId, camera: CameraId) -> bool {
        let wanted = self.priority(camera);
        let stays = |other: CameraId, is_mirror: bool| {
            let priority = self.priority(other);
            if is_mirror {
                priority > wanted
            } else {
                priority >= wanted
            }
        };
        let bitrates = self.measured();
        let (mut cameras, mut bps) = (1, bitrates.of(camera));
        for (other, now) in self
            .state
            .assignments
            .iter()
            .filter(|(other, _)| *other != camera)
        {
            for (seat, is_mirror) in [(now.owner, false), (now.mirror, true)] {
                let is_well = now
                    .owner
                    .is_some_and(|owner| self.fit().any(|fit| fit == owner));
                if seat == Some(node) && (stays(other, is_mirror) || !is_well) {
                    (cameras, bps) = (cameras + 1, bps + bitrates.of(other));
                }
            }
        }
        let spec = &self.state.nodes.get(node).unwrap().spec;
        let fits =
            cameras <= spec.camera_capacity && bps <= spec.bitrate_capacity_bps.unwrap_or(u64::MAX);
        fits && self.state.reaches(node, camera)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_site_settles_with_every_camera_recorded_that_there_is_room_for(plan in plan()) {
        let mut site = Simulation::new(&plan);
        plan.events.iter().for_each(|event| site.take(event));
        site.settle();
        let quiet: usize = (0..40).map(|_| site.round()).sum();
        prop_assert_eq!(quiet, 0, "the steward does not come to rest");
        let somebody_leads = site.state.nodes.keys().any(|node| !site.dead.contains(&node));
        prop_assert!(site.state.rebalancing_since.is_none() || !somebody_leads);

        let fit: BTreeSet<NodeId> = site.fit().collect();
        let lost: Vec<CameraId> = site.state.assignments.iter()
            .filter(|(_, now)| now.owner.is_none_or(|owner| site.dead.contains(&owner)))
            .map(|(camera, _)| camera).collect();
        for camera in lost {
            let node = fit.iter().find(|node| site.could_take(**node, camera));
            prop_assert!(
                node.is_none(),
                "camera {} is not recorded, and node {:?} could",
                camera,
                node
            );
        }
    }

    #[test]
    fn cameras_that_prefer_a_node_come_home(plan in plan()) {
        let mut site = Simulation::new(&Plan { failback: true, ..plan.clone() });
        plan.events.iter().for_each(|event| site.take(event));
        site.settle();
        let fit: BTreeSet<NodeId> = site.fit().collect();
        let bitrates = site.measured();
        let planner = Planner::new(&site.state, &bitrates, |node| fit.contains(&node));
        for (camera, now) in site.state.assignments.iter() {
            let Some(home) = site
                .state
                .preferred_node(camera)
                .filter(|home| Some(*home) != now.owner)
            else {
                continue;
            };
            let is_well = now.owner.is_some_and(|owner| fit.contains(&owner));
            prop_assert!(
                !is_well || !planner.takes(home, camera),
                "camera {} is not at home: {:?}",
                camera,
                now
            );
        }
    }

    #[test]
    fn what_is_said_to_survive_a_death_does(plan in plan(), victim in 1..7_u64) {
        let mut site = Simulation::new(&plan);
        plan.events.iter().for_each(|event| site.take(event));
        site.settle();
        let victim = NodeId(victim);
        let alive: BTreeSet<NodeId> = site
            .state
            .nodes
            .keys()
            .filter(|node| !site.dead.contains(node))
            .collect();
        let promised = survives_loss_of(&site.state, &site.measured(), &[victim], |node| {
            alive.contains(&node)
        });
        let promised = promised.lost.is_empty();
        site.dead.insert(victim);
        (0..4).for_each(|_| _ = site.round());
        let all_live = site
            .state
            .assignments
            .values()
            .all(|now| now.owner.is_some_and(|owner| !site.dead.contains(&owner)));
        prop_assert!(!promised || all_live);
    }
}
