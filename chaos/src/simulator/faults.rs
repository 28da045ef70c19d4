//! Faults: drawn by weight, applied to the world, mended after a while. Also operators' actions on
//! a site in trouble.

use super::EPOCH;
use super::plan::Pace;
use super::traffic::Input;
use super::world::{Event, World};
use holdfast_consensus::command::Command;
use holdfast_consensus::decide::drill::Drilled;
use holdfast_consensus::model::Duty;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// Members that a run adds, at most.
const JOINS_MAX: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Crash,
    PowerCut,
    Pause,
    Isolate,
    Split,
    OneWay,
    Link,
    Lossy,
    Slow,
    ClockStep,
    VolumeFails,
    VolumeSlow,
    CameraUnseen,
    CameraOff,
    Drain,
    Remove,
    Join,
    Cameras,
    Drill,
    /// Of those that not every seed may have.
    WrongClock,
    Deadly,
    PutBack,
}

impl Kind {
    /// Those that any seed may have.
    pub(super) const ALL: [Self; 19] = [
        Self::Crash,
        Self::PowerCut,
        Self::Pause,
        Self::Isolate,
        Self::Split,
        Self::OneWay,
        Self::Link,
        Self::Lossy,
        Self::Slow,
        Self::ClockStep,
        Self::VolumeFails,
        Self::VolumeSlow,
        Self::CameraUnseen,
        Self::CameraOff,
        Self::Drain,
        Self::Remove,
        Self::Join,
        Self::Cameras,
        Self::Drill,
    ];
}

/// A fault that stays until it is mended, with what is needed to mend it.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Down(NodeId),
    Paused(NodeId),
    Cut(Vec<(NodeId, NodeId)>),
    Lossy,
    Slow(Duration),
    VolumeFailed(NodeId),
    VolumeSlow(NodeId, Duration),
    Unseen(Vec<(NodeId, CameraId)>),
    Draining(NodeId),
    /// These started with a clock that is off by so many microseconds: all nodes', or one node's.
    WrongClock {
        nodes: Vec<NodeId>,
        off_us: i64,
        is_everyones: bool,
    },
    /// Ends each process that has had a session of it for a while.
    Deadly(CameraId),
}

/// Since when nodes and cameras have not been in trouble.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Faults that concern a node now, and when the last one ended.
    nodes: BTreeMap<NodeId, (u32, Duration)>,
    unseen: BTreeMap<(NodeId, CameraId), (u32, Duration)>,
}

impl Trouble {
    pub(super) fn begin(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().0 += 1;
    }

    fn end(&mut self, node: NodeId, now: Duration) {
        let trouble = self.nodes.entry(node).or_default();
        *trouble = (trouble.0.saturating_sub(1), now);
    }

    /// Whether `node` was in trouble at any time since `since`.
    pub(super) fn of_node(&self, node: NodeId, since: Duration) -> bool {
        self.nodes.get(&node).is_some_and(|(count, ended)| {
            *count > 0 || (*ended >= since && *ended > Duration::ZERO)
        })
    }

    /// Whether `node` could not see `camera` at any time since `since`.
    pub(super) fn of_sight(&self, node: NodeId, camera: CameraId, since: Duration) -> bool {
        self.unseen
            .get(&(node, camera))
            .is_some_and(|(count, ended)| *count > 0 || *ended >= since)
    }
}

impl World {
    /// Applies the next fault or action to the site, and schedules the one after.
    pub(super) fn disturb(&mut self) {
        if self.queue.now() >= self.unrest_ends {
            return;
        }
        let is_free = self.plan.pace != Pace::Calm || self.faults.is_empty();
        if is_free {
            let kind = self.draw();
            self.make(kind);
        }
        let wait_ms = match self.plan.pace {
            Pace::Calm => self.random.within(25_000..35_000),
            Pace::Usual => self.random.within(1_000..12_000),
            Pace::Wild => self.random.within(100..3_000),
        };
        self.queue
            .after(Duration::from_millis(wait_ms), Event::Disturb);
    }

    fn draw(&mut self) -> Kind {
        let total = self.plan.kinds.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.below(total);
        for (kind, weight) in &self.plan.kinds {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        Kind::Crash
    }

    fn make(&mut self, kind: Kind) {
        let node = self.some_node();
        match kind {
            Kind::Crash => self.begin(Fault::Down(node), true),
            Kind::PowerCut => {
                self.machine(node).has_power = false;
                self.begin(Fault::Down(node), false);
            }
            Kind::Pause => self.begin(Fault::Paused(node), true),
            Kind::Isolate => self.cut_off(&[node]),
            Kind::Split => {
                let side: Vec<NodeId> = self
                    .machines
                    .keys()
                    .copied()
                    .filter(|_| self.random.one_in(2))
                    .collect();
                self.cut_off(&side);
            }
            Kind::OneWay => {
                let others = self.machines.keys().copied().filter(|other| *other != node);
                let out = self.random.one_in(2);
                let cuts = others
                    .map(|other| if out { (node, other) } else { (other, node) })
                    .collect();
                self.begin(Fault::Cut(cuts), true);
            }
            Kind::Link => {
                let other = self.some_node();
                if other != node {
                    self.begin(Fault::Cut(vec![(node, other), (other, node)]), true);
                }
            }
            Kind::Lossy => self.begin(Fault::Lossy, true),
            Kind::Slow => self.begin(Fault::Slow(self.network.delay_max), true),
            Kind::ClockStep => self.step_clock(node),
            Kind::VolumeFails => self.begin(Fault::VolumeFailed(node), true),
            Kind::VolumeSlow => {
                let before = self.machine(node).flush_latency;
                self.begin(Fault::VolumeSlow(node, before), true);
            }
            Kind::CameraUnseen => self.blind(false),
            Kind::CameraOff => self.blind(true),
            Kind::Drain => self.begin(Fault::Draining(node), true),
            Kind::Remove => self.remove(node),
            Kind::Join => self.join_another(),
            Kind::Cameras => self.change_cameras(),
            Kind::Drill => self.drill(node),
            Kind::WrongClock => self.start_with_wrong_clocks(node),
            Kind::Deadly => self.make_deadly(),
            Kind::PutBack => self.put_back(node),
        }
    }

    pub(super) fn some_node(&mut self) -> NodeId {
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        *self.random.pick(&nodes)
    }

    fn cut_off(&mut self, side: &[NodeId]) {
        let others: Vec<NodeId> = self
            .machines
            .keys()
            .copied()
            .filter(|node| !side.contains(node))
            .collect();
        let pairs = side
            .iter()
            .flat_map(|a| others.iter().flat_map(|b| [(*a, *b), (*b, *a)]));
        let cuts: Vec<_> = pairs.collect();
        if !cuts.is_empty() {
            self.begin(Fault::Cut(cuts), true);
        }
    }

    /// Some nodes, or all, do not reach a camera.
    fn blind(&mut self, all: bool) {
        let cameras: Vec<CameraId> = self.truth().cameras.keys().collect();
        if cameras.is_empty() {
            return;
        }
        let camera = *self.random.pick(&cameras);
        let nodes: Vec<NodeId> = self.machines.keys().copied().collect();
        let unseen: Vec<_> = nodes
            .into_iter()
            .filter(|_| all || self.random.one_in(2))
            .map(|node| (node, camera))
            .collect();
        if !unseen.is_empty() {
            self.begin(Fault::Unseen(unseen), true);
        }
    }

    fn step_clock(&mut self, node: NodeId) {
        let step = self.random.within(0..20_000_000) as i64 - 10_000_000;
        let step = if self.random.one_in(4) {
            step * 360
        } else {
            step
        };
        self.say(format!("the clock of node {node} steps by {step} µs"));
        self.machine(node).wall_off_us += step;
        self.has_clock_steps = true;
    }

    fn remove(&mut self, node: NodeId) {
        if self.machines.len() > 1 && self.random.one_in(2) {
            self.trouble.begin(node);
            self.write(Command::RemoveNode { node, force: true });
        }
    }

    fn join_another(&mut self) {
        if self.joined < self.plan.nodes + JOINS_MAX && self.joined >= self.plan.nodes {
            self.join();
        }
    }

    fn change_cameras(&mut self) {
        let cameras: Vec<CameraId> = self.truth().cameras.keys().collect();
        let camera = if cameras.is_empty() {
            CameraId(0)
        } else {
            *self.random.pick(&cameras)
        };
        match self.random.below(3) {
            0 => self.create_camera(),
            1 if cameras.len() > 1 => self.write(Command::DeleteCamera { camera }),
            _ => {
                let Some(known) = self.truth().cameras.get(camera).cloned() else {
                    return;
                };
                let mut spec = known.spec;
                spec.priority = self.random.below(4) as u8;
                self.write(Command::UpdateCamera {
                    camera,
                    spec,
                    expect_revision: known.revision,
                });
            }
        }
    }

    /// Of one camera, or of all that some node owns, as `asked` sees the site.
    fn drill(&mut self, asked: NodeId) {
        let cameras: Vec<CameraId> = self.truth().cameras.keys().collect();
        let who = match cameras.is_empty() || self.random.one_in(3) {
            true => Drilled::Node(self.some_node()),
            false => Drilled::Camera(*self.random.pick(&cameras)),
        };
        let now = self.queue.now();
        let machine = self.machine(asked);
        if machine.is_running()
            && let Some(command) = machine.drill(who, now)
        {
            self.write(command);
        }
    }

    pub(super) fn begin(&mut self, fault: Fault, has_power: bool) {
        let number = self.bring_about(fault, has_power);
        let max_ms = *self.random.pick(&[300, 2_000, 8_000, 30_000]);
        let lasts = Duration::from_millis(self.random.within(50..max_ms));
        self.queue.after(lasts, Event::Mend(number));
    }

    /// Until everything is mended, where `lasts` is `None`.
    pub(super) fn begin_for(&mut self, fault: Fault, has_power: bool, lasts: Option<Duration>) {
        let number = self.bring_about(fault, has_power);
        if let Some(lasts) = lasts {
            self.queue.after(lasts, Event::Mend(number));
        }
    }

    /// Returns the fault's number.
    fn bring_about(&mut self, fault: Fault, has_power: bool) -> u64 {
        let now = self.queue.now();
        let what = if has_power {
            "begins"
        } else {
            "begins without power"
        };
        self.say(format!("{fault:?} {what}"));
        self.concerned(&fault)
            .into_iter()
            .for_each(|node| self.trouble.begin(node));
        match &fault {
            Fault::Down(node) => {
                if self.machines[node].is_volume_failed {
                    self.unreported.push((*node, EPOCH.plus(now)));
                }
                self.kill(*node);
            }
            Fault::Paused(node) => {
                self.machine(*node).is_paused = self.machines[node].process.is_some()
            }
            Fault::Cut(cuts) => cuts
                .iter()
                .for_each(|(from, to)| self.network.cut(*from, *to, now)),
            Fault::Lossy => self.network.loss_one_in = self.random.within(2..20) as u32,
            Fault::Slow(_) => {
                self.network.delay_max = Duration::from_millis(self.random.within(50..900))
            }
            Fault::VolumeFailed(node) => self.machine(*node).fail_volume(),
            Fault::VolumeSlow(node, _) => {
                self.machine(*node).flush_latency =
                    Duration::from_millis(self.random.within(500..9_000));
            }
            Fault::Unseen(unseen) => {
                for (node, camera) in unseen {
                    self.network.blind(*node, *camera);
                    self.trouble.unseen.entry((*node, *camera)).or_default().0 += 1;
                }
            }
            Fault::Draining(node) => self.write(Command::SetDuty {
                node: *node,
                duty: Duty::Draining,
            }),
            Fault::WrongClock { nodes, off_us, .. } => {
                nodes.iter().for_each(|node| self.set_off(*node, *off_us))
            }
            Fault::Deadly(_) => {}
        }
        self.fault_numbers += 1;
        let number = self.fault_numbers;
        self.faults.insert(number, fault);
        number
    }

    /// Nodes whose troubles this explains.
    fn concerned(&self, fault: &Fault) -> Vec<NodeId> {
        match fault {
            Fault::Down(node) | Fault::Paused(node) | Fault::VolumeFailed(node) => vec![*node],
            Fault::VolumeSlow(node, _) => vec![*node],
            Fault::Cut(cuts) => {
                let nodes = cuts.iter().flat_map(|(a, b)| [*a, *b]);
                nodes
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect()
            }
            Fault::Lossy | Fault::Slow(_) => self.machines.keys().copied().collect(),
            // It is no trouble to be drained, or not to know the time.
            Fault::Unseen(_) | Fault::Draining(_) | Fault::WrongClock { .. } | Fault::Deadly(_) => {
                Vec::new()
            }
        }
    }

    pub(super) fn mend(&mut self, number: u64) {
        let Some(fault) = self.faults.remove(&number) else {
            return;
        };
        let now = self.queue.now();
        self.say(format!("{fault:?} ends"));
        self.concerned(&fault)
            .into_iter()
            .for_each(|node| self.trouble.end(node, now));
        match fault {
            Fault::Down(node) => {
                self.machine(node).has_power = true;
                self.start(node);
            }
            Fault::Paused(node) => self.resume(node),
            Fault::Cut(cuts) => cuts
                .iter()
                .for_each(|(from, to)| self.network.mend(*from, *to)),
            Fault::Lossy => self.network.loss_one_in = 0,
            Fault::Slow(before) => self.network.delay_max = before.min(self.plan.delay_max),
            Fault::VolumeFailed(node) => self.machine(node).mend_volume(),
            Fault::VolumeSlow(node, before) => {
                self.machine(node).flush_latency = before.min(self.plan.flush_latency)
            }
            Fault::Unseen(unseen) => {
                for (node, camera) in unseen {
                    self.network.see(node, camera);
                    let trouble = self.trouble.unseen.entry((node, camera)).or_default();
                    *trouble = (trouble.0.saturating_sub(1), now);
                }
            }
            Fault::Draining(node) => self.write(Command::SetDuty {
                node,
                duty: Duty::Active,
            }),
            Fault::WrongClock { nodes, off_us, .. } => {
                nodes.iter().for_each(|node| self.set_off(*node, -off_us))
            }
            Fault::Deadly(camera) => self.make_harmless(camera),
        }
    }

    /// Ends the disturbance: no new faults, and all but the lasting ones are mended.
    pub(super) fn calm_down(&mut self) {
        let numbers: Vec<u64> = self.faults.keys().copied().collect();
        let mut lasting = self.plan.lasting;
        let mut lasts = Vec::new();
        for number in numbers {
            let may_last = matches!(
                self.faults[&number],
                Fault::Down(_) | Fault::Unseen(_) | Fault::VolumeFailed(_)
            );
            if may_last && lasting > 0 && self.majority_without(number) {
                lasting -= 1;
                self.say(format!("{:?} lasts", self.faults[&number]));
                // Its time to be mended comes and finds nothing.
                lasts.push(number);
                continue;
            }
            self.mend(number);
        }
        lasts
            .iter()
            .for_each(|number| _ = self.faults.remove(number));
        self.is_calm = true;
    }

    /// Whether the voters that are alive without the node of this fault are a majority; without
    /// one, nothing can be decided.
    fn majority_without(&self, number: u64) -> bool {
        let Fault::Down(lost) = self.faults[&number] else {
            return true;
        };
        let voters = self.voters();
        let is_down = |node: &NodeId| {
            let is_old = self
                .machines
                .get(node)
                .is_some_and(|machine| machine.is_old);
            let mut faults = self.faults.values();
            is_old
                || *node == lost
                || faults.any(|fault| matches!(fault, Fault::Down(down) if down == node))
        };
        voters.iter().filter(|node| !is_down(node)).count() * 2 > voters.len()
    }

    fn kill(&mut self, node: NodeId) {
        let has_power = self.machine(node).has_power;
        self.machine(node).kill();
        let others: Vec<NodeId> = self
            .machines
            .keys()
            .copied()
            .filter(|other| *other != node)
            .collect();
        for other in others.into_iter().filter(|_| has_power) {
            let delay = self.network.delay(&mut self.random);
            self.later(delay, other, Input::Closed(node));
        }
    }
}
