//! One run: a cluster forms, suffers faults for a while, and has to recover.

#![expect(clippy::disallowed_methods, reason = "simulated time")]

use super::history::History;
use super::invariants::Seen;
use super::load;
use super::node::{Node, Site, name_of};
use super::numbered::{self, Numbers};
use super::wires::Wires;
use super::{BUDGET, Outcome, Twist};
use holdfast_consensus::Consensus;
use holdfast_consensus::command::Command;
use holdfast_consensus::model::Actor;
use holdfast_storage::ids::NodeId;
use holdfast_storage::random::Random;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

/// The most members that a run adds.
const JOINS_MAX: u64 = 3;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A file system in memory, to save disk time; without it, the folder for temporary files.
const MEMORY: &str = "/dev/shm";

#[derive(Clone, Copy, Debug)]
enum Kind {
    PowerCut,
    Blackout,
    Isolate,
    Split,
    OneWay,
    Link,
    Lossy,
    Slow,
    Doubled,
    Held,
    Join,
    Remove,
    Transfer,
    PutBack,
    Copy,
}

/// Faults that lose unflushed data are listed twice.
const KINDS: [Kind; 17] = [
    Kind::PowerCut,
    Kind::Blackout,
    Kind::PowerCut,
    Kind::Blackout,
    Kind::Isolate,
    Kind::Split,
    Kind::OneWay,
    Kind::Link,
    Kind::Lossy,
    Kind::Slow,
    Kind::Doubled,
    Kind::Held,
    Kind::Join,
    Kind::Remove,
    Kind::Transfer,
    Kind::PutBack,
    Kind::Copy,
];

pub(super) struct World {
    pub(super) site: Site,
    pub(super) random: Random,
    numbers: Numbers,
    pub(super) delay_max: Duration,
    kinds: Vec<Kind>,
    pub(super) power: BTreeMap<u64, watch::Sender<bool>>,
    /// The power of processes that are copies.
    pub(super) copies: BTreeMap<u64, watch::Sender<bool>>,
    joins_left: u64,
    pub(super) tasks: JoinSet<()>,
}

/// Executes the run that `random` draws.
///
/// # Errors
/// The violation, with the story before it.
pub(super) async fn live(mut random: Random, twist: Twist) -> Result<Outcome, String> {
    let near = if Path::new(MEMORY).is_dir() {
        tempfile::tempdir_in(MEMORY)
    } else {
        tempfile::tempdir()
    };
    let dir = near.map_err(|error| format!("no room for the nodes' files: {error}"))?;
    let delay_max = Duration::from_millis(*random.pick(&[1, 1, 5, 30, 100]));
    let history = History::new();
    let site = Site {
        cluster: Uuid::from_u128(u128::from(random.next())),
        dir: dir.path().to_owned(),
        history: history.clone(),
        wires: Wires::new(random.fork(), delay_max),
        twist,
        flush_max: Duration::from_millis(*random.pick(&[0, 5, 50, 200])),
        snapshot_after: *random.pick(&[10, 20, 50, 200]),
    };
    let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| !random.one_in(3)).collect();
    let kinds = if kinds.is_empty() {
        vec![Kind::PowerCut]
    } else {
        kinds
    };
    let nodes = *random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5]);
    let mut world = World {
        site,
        random,
        numbers: Numbers::default(),
        delay_max,
        kinds,
        power: BTreeMap::new(),
        copies: BTreeMap::new(),
        joins_left: JOINS_MAX,
        tasks: JoinSet::new(),
    };
    (1..=nodes).for_each(|_| world.add());
    world.run().await;
    history.outcome()
}

impl World {
    async fn run(&mut self) {
        let clients = self.random.within(1..4);
        let mut load = JoinSet::new();
        for _ in 0..clients {
            load.spawn(load::client(
                self.site.clone(),
                self.numbers.clone(),
                self.random.fork(),
            ));
        }
        sleep(Duration::from_secs(self.random.within(2..10))).await;
        let unrest_ends = Instant::now() + Duration::from_secs(self.random.within(15..50));
        let pause_max_ms = *self.random.pick(&[500, 3_000, 10_000]);
        while Instant::now() < unrest_ends && !self.site.history.has_failed() {
            sleep(Duration::from_millis(self.random.within(50..pause_max_ms))).await;
            let kind = *self.random.pick(&self.kinds);
            match kind {
                Kind::PutBack => self.put_back().await,
                Kind::Copy => self.copy().await,
                kind => self.make(kind),
            }
        }
        self.power
            .values()
            .for_each(|power| _ = power.send_replace(true));
        self.site.wires.heal(self.delay_max);
        self.site.history.fault("all faults end");
        let give_up_at = Instant::now() + BUDGET;
        // Some of the recovery under load, as in practice.
        sleep(Duration::from_secs(self.random.within(1..10))).await;
        load.shutdown().await;
        if !self.site.history.has_failed() {
            self.remove_fenced(give_up_at).await;
            self.settle(give_up_at).await;
        }
    }

    fn add(&mut self) {
        let number = self.power.len() as u64 + 1;
        let (power, has_power) = watch::channel(true);
        let node = Node {
            number,
            site: self.site.clone(),
            random: self.random.fork(),
            power: has_power,
            copy_of: None,
        };
        self.power.insert(number, power);
        self.tasks.spawn(node.run());
    }

    pub(super) fn some_node(&mut self) -> u64 {
        self.random.below(self.power.len() as u64) + 1
    }

    fn make(&mut self, kind: Kind) {
        let node = self.some_node();
        let all: Vec<u64> = self.power.keys().copied().collect();
        let max_ms = *self.random.pick(&[300, 2_000, 8_000, 20_000]);
        let lasts = Duration::from_millis(self.random.within(50..max_ms));
        self.site
            .history
            .fault(&format!("{kind:?} of node {node}, for {lasts:?}"));
        let wires = self.site.wires.clone();
        match kind {
            Kind::PowerCut => self.cut_power(&[node], lasts),
            Kind::Blackout => self.cut_power(&all, lasts),
            Kind::Isolate => self.cut(&[node], &all, lasts),
            Kind::Split => {
                let side: Vec<u64> = all
                    .iter()
                    .copied()
                    .filter(|_| self.random.one_in(2))
                    .collect();
                self.cut(&side, &all, lasts);
            }
            Kind::OneWay => {
                let (is_out, others) = (
                    self.random.one_in(2),
                    all.into_iter().filter(|other| *other != node),
                );
                let cuts = others
                    .map(|other| if is_out { (node, other) } else { (other, node) })
                    .collect();
                self.cut_directions(cuts, lasts);
            }
            Kind::Link => {
                let other = self.some_node();
                self.cut(&[node], &[other], lasts);
            }
            Kind::Lossy => {
                wires.lock().network.loss_one_in = self.random.within(2..20) as u32;
                self.later(lasts, move || wires.lock().network.loss_one_in = 0);
            }
            Kind::Slow => {
                let (slow, usual) = (
                    Duration::from_millis(self.random.within(50..900)),
                    self.delay_max,
                );
                wires.lock().network.delay_max = slow;
                self.later(lasts, move || wires.lock().network.delay_max = usual);
            }
            Kind::Doubled => {
                wires.lock().double_one_in = self.random.within(1..5) as u32;
                self.later(lasts, move || wires.lock().double_one_in = 0);
            }
            Kind::Held => {
                wires.lock().held.insert(node);
                self.later(lasts, move || _ = wires.lock().held.remove(&node));
            }
            Kind::Join => {
                if self.joins_left > 0 {
                    self.joins_left -= 1;
                    self.add();
                }
            }
            Kind::Remove if !self.has_fenced() => self.remove(),
            // Together with the fenced one, that could be a majority.
            Kind::Remove => {}
            // Handled by the caller, because they take time.
            Kind::PutBack | Kind::Copy => {}
            Kind::Transfer => {
                self.ask(node, |consensus| async move {
                    _ = consensus.transfer_leadership().await
                });
            }
        }
    }

    fn later(&mut self, delay: Duration, mend: impl FnOnce() + Send + 'static) {
        self.tasks.spawn(async move {
            sleep(delay).await;
            mend();
        });
    }

    fn cut_power(&mut self, nodes: &[u64], lasts: Duration) {
        for power in nodes
            .iter()
            .filter_map(|node| self.power.get(node))
            .cloned()
            .collect::<Vec<_>>()
        {
            power.send_replace(false);
            self.later(lasts, move || _ = power.send_replace(true));
        }
    }

    /// Cuts the network between one side and the rest of `all`.
    fn cut(&mut self, side: &[u64], all: &[u64], lasts: Duration) {
        let others: Vec<u64> = all
            .iter()
            .copied()
            .filter(|node| !side.contains(node))
            .collect();
        let cuts = side
            .iter()
            .flat_map(|a| others.iter().flat_map(|b| [(*a, *b), (*b, *a)]))
            .collect();
        self.cut_directions(cuts, lasts);
    }

    fn cut_directions(&mut self, cuts: Vec<(u64, u64)>, lasts: Duration) {
        let wires = self.site.wires.clone();
        wires.cut(&cuts, true);
        self.later(lasts, move || wires.cut(&cuts, false));
    }

    pub(super) fn consensus(&self, node: u64) -> Option<Consensus> {
        self.site
            .wires
            .lock()
            .running
            .get(&node)
            .map(|life| life.consensus.clone())
    }

    /// Has any node request the removal of any other, as an operator would who gave that one up.
    fn remove(&mut self) {
        let asked = self.some_node();
        let Some(consensus) = self.consensus(asked) else {
            return;
        };
        let members: Vec<NodeId> = consensus.state().nodes.keys().collect();
        if members.len() > 1 {
            let gone = *self.random.pick(&members);
            let remove = Command::RemoveNode {
                node: gone,
                force: true,
            }
            .by(Actor::System, Timestamp(1));
            self.ask(asked, move |consensus| async move {
                drop(consensus.write(remove).await)
            });
        }
    }

    /// Has `node` do something, when it is its turn; does not wait for the answer.
    fn ask<F: Future<Output = ()> + Send>(
        &mut self,
        node: u64,
        what: impl FnOnce(Consensus) -> F + Send + 'static,
    ) {
        let life = self
            .site
            .wires
            .lock()
            .running
            .get(&node)
            .map(|life| (life.consensus.clone(), life.turn.clone()));
        if let Some((consensus, turn)) = life {
            self.tasks.spawn(async move {
                let _turn = turn.lock().await;
                what(consensus).await;
            });
        }
    }

    /// Waits until every member accepts writes, and all have the same state.
    async fn settle(&mut self, give_up_at: Instant) {
        let settled = timeout_at(give_up_at, async {
            loop {
                if let Some(nodes) = self.written_through_all().await
                    && let Some(nodes) = self.agreed(nodes, give_up_at).await
                {
                    return nodes;
                }
                sleep(LOOK_INTERVAL).await;
            }
        });
        match settled.await {
            Ok(nodes) => self.site.history.see(&Seen::Settled { nodes }),
            Err(_) => self.site.history.fail("settles", &self.describe()),
        }
    }

    /// The members' numbers, once each has accepted a write.
    async fn written_through_all(&self) -> Option<Vec<u64>> {
        let mut members = self.members()?;
        members.sort_unstable();
        for member in &members {
            let number = self.numbers.next();
            self.consensus(*member)?
                .write(numbered::settings(number))
                .await
                .ok()?;
            self.site.history.see(&Seen::Acknowledged { number });
        }
        // Membership may have changed in between.
        let mut now = self.members()?;
        now.sort_unstable();
        (now == members).then_some(members)
    }

    async fn agreed(&self, nodes: Vec<u64>, give_up_at: Instant) -> Option<Vec<u64>> {
        while Instant::now() < give_up_at {
            let states: Option<Vec<_>> = nodes
                .iter()
                .map(|node| self.consensus(*node).map(|it| it.state()))
                .collect();
            let states = states?;
            if states.windows(2).all(|pair| pair[0] == pair[1]) {
                // For Raft's own remaining writes, and for followers to hear of them.
                sleep(Duration::from_secs(5)).await;
                return Some(nodes);
            }
            sleep(LOOK_INTERVAL).await;
        }
        None
    }

    /// The members' numbers, as the leader knows them.
    pub(super) fn members(&self) -> Option<Vec<u64>> {
        let wires = self.site.wires.lock();
        let leader = wires
            .running
            .values()
            .find(|life| life.consensus.leadership().borrow().is_leader)?;
        let state = leader.consensus.state();
        Some(
            self.power
                .keys()
                .copied()
                .filter(|node| state.node_named(&name_of(*node)).is_some())
                .collect(),
        )
    }

    fn describe(&self) -> String {
        let wires = self.site.wires.lock();
        let each = wires.running.iter().map(|(node, life)| {
            let nodes: Vec<NodeId> = life.consensus.state().nodes.keys().collect();
            let standing = *life.consensus.identity().standing().borrow();
            let leads = life.consensus.leadership().borrow().clone();
            format!("node {node}: {standing:?}, {leads:?}, members {nodes:?}")
        });
        format!(
            "not after {BUDGET:?}; {}",
            each.collect::<Vec<_>>().join("; ")
        )
    }
}
