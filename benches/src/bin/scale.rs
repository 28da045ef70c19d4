//! The cost of decisions as a site grows: the leader's pilot, steward and replicated state alone,
//! without network and disks, up to 100 nodes with 10,000 cameras.
//!
//! `cargo run --release -p holdfast-benches --bin scale -- [--json]`
//!
//! Times are of one thread on its core (`/proc/thread-self/schedstat`), so that a busy machine does
//! not make them worse; kernels may count them in steps of some milliseconds, so for short times
//! only sums and means are meaningful. The first figures are of the largest site; the table shows
//! how each cost grows with cameras and with nodes.

use clap::Parser;
use holdfast_benches::Outcome;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::machine::Machine;
use holdfast_benches::numbers::{mean, worst};
use holdfast_benches::process::own_thread;
use holdfast_consensus::Leadership;
use holdfast_consensus::codec::{self, CLUSTER_VERSION, Finalized};
use holdfast_consensus::command::{Command, admission};
use holdfast_consensus::model::{
    Actor, CameraSpec, Credentials, Invalid, KeyHash, NodeSpec, Protection, Source,
};
use holdfast_consensus::observe::heartbeat::{
    HEARTBEAT_INTERVAL, Heartbeat, Progress, RecorderState,
};
use holdfast_consensus::state::ClusterState;
use holdfast_node::member::link::LinkEvent;
use holdfast_node::member::pilot::{Event, Own, Pilot, TICK};
use holdfast_storage::ids::{CameraId, NodeId, Rank, StreamId};
use holdfast_storage::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const ME: NodeId = NodeId(1);
const WALL: Timestamp = Timestamp(1_795_341_600_000_000);
/// One camera in so many is gapless.
const GAPLESS_ONE_IN: u32 = 10;
/// Capacity of all nodes together, in cameras for each camera.
const ROOM: u32 = 2;
/// Nodes that are lost, one after the other.
const LOSSES: u64 = 40;
/// Rounds until a site has settled, at most.
const ROUNDS_MAX: usize = 400;

#[derive(Debug, Parser)]
struct Args {
    /// Simulated seconds of steady state
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    #[arg(long)]
    json: bool,
}

/// What one size costs, CPU times in seconds.
#[derive(Clone, Debug, Serialize)]
struct Costs {
    nodes: u64,
    cameras: u32,
    /// Share of a core.
    steady: f64,
    tick: f64,
    heartbeat: f64,
    /// From the evidence to the proposal and, once committed, to the leader's new picture.
    loss_mean: f64,
    loss_worst: f64,
    /// Log entries for a lost node, at most.
    loss_entries: usize,
    snapshot_bytes: usize,
    snapshot: f64,
    restart: f64,
}

fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let machine = Machine::read(&std::env::temp_dir());
    let mut table = Vec::new();
    for (nodes, cameras) in [
        (10, 1_000),
        (10, 3_000),
        (10, 10_000),
        (30, 10_000),
        (100, 1_000),
        (100, 3_000),
        (100, 10_000),
    ] {
        let costs = measure(nodes, cameras, args.seconds)?;
        eprintln!("{}", line(&costs));
        table.push(costs);
    }
    let largest = table.last().ok_or("nothing was measured")?.clone();
    let report = Report {
        bench: "scale",
        machine,
        figures: figures(&largest, &table),
        details: serde_json::json!(table),
    };
    Ok(report.publish(args.json))
}

fn line(costs: &Costs) -> String {
    let Costs {
        nodes,
        cameras,
        steady,
        tick,
        heartbeat,
        loss_mean,
        snapshot_bytes,
        snapshot,
        ..
    } = costs;
    format!(
        "{nodes:>4} nodes {cameras:>6} cameras: {:>6.2} % of a core (tick {:>8.3} ms, heartbeat \
         {:>7.1} µs), a node lost {:>7.2} ms, snapshot {:>5} KiB {:>6.1} ms",
        steady * 100.0,
        tick * 1e3,
        heartbeat * 1e6,
        loss_mean * 1e3,
        snapshot_bytes / 1024,
        snapshot * 1e3
    )
}

fn figures(largest: &Costs, table: &[Costs]) -> Vec<Figure> {
    let of = |nodes, cameras| {
        table
            .iter()
            .find(|costs| (costs.nodes, costs.cameras) == (nodes, cameras))
    };
    let growth = |small: Option<&Costs>, cost: fn(&Costs) -> f64| {
        small.map_or(f64::NAN, |small| cost(largest) / cost(small))
    };
    let (by_cameras, by_nodes) = (of(100, 1_000), of(10, 10_000));
    vec![
        Figure::new(
            "100 nodes, 10,000 cameras: a node lost, CPU, worst",
            Target::AtMost(50.0),
            largest.loss_worst * 1e3,
            "ms",
        ),
        Figure::new(
            "the same: log entries",
            Target::AtMost(1.0),
            largest.loss_entries as f64,
            "",
        ),
        Figure::new(
            "the same: steady state of the leader, of a core",
            Target::AtMost(5.0),
            largest.steady * 100.0,
            "%",
        ),
        Figure::new(
            "the same: snapshot, encoded and decoded",
            Target::AtMost(5.0),
            largest.snapshot,
            "s",
        ),
        Figure::new(
            "the same: from a snapshot to what to record",
            Target::AtMost(5.0),
            largest.restart,
            "s",
        ),
        Figure::new(
            "ten times the cameras (100 nodes): steady state times",
            Target::AtMost(12.0),
            growth(by_cameras, |costs| costs.steady),
            "",
        ),
        Figure::new(
            "the same: a node lost times",
            Target::AtMost(12.0),
            growth(by_cameras, |costs| costs.loss_mean),
            "",
        ),
        Figure::new(
            "ten times the nodes (10,000 cameras): steady state times",
            Target::AtMost(2.0),
            growth(by_nodes, |costs| costs.steady),
            "",
        ),
        Figure::new(
            "the same: a node lost times",
            Target::AtMost(2.0),
            growth(by_nodes, |costs| costs.loss_mean),
            "",
        ),
    ]
}

/// The leader of a site, and its inputs.
struct Leader {
    state: Arc<ClusterState>,
    pilot: Pilot,
    now: Duration,
    sequence: u64,
}

/// CPU time that `act` takes of this thread, in seconds.
fn cost<T>(act: impl FnOnce() -> T) -> Outcome<(T, f64)> {
    let before = own_thread()?;
    let value = act();
    Ok((value, (own_thread()? - before).as_secs_f64()))
}

fn measure(nodes: u64, cameras: u32, seconds: u32) -> Outcome<Costs> {
    let state = Arc::new(site(nodes, cameras)?);
    let mut leader = Leader {
        pilot: Pilot::new(ME, Arc::clone(&state), Duration::ZERO),
        state,
        now: Duration::ZERO,
        sequence: 0,
    };
    let voters = (1..=5.min(nodes)).map(NodeId).collect();
    leader.feed(Event::Leadership(Leadership {
        term: 1,
        leader: Some(ME),
        is_leader: true,
        voters,
    }));
    leader.settle()?;
    let (ticks, heartbeats) = leader.live(seconds)?;
    let losses = leader.losses()?;
    let times: Vec<f64> = losses.iter().map(|(time, _)| *time).collect();
    let finalized = Finalized::at(CLUSTER_VERSION);
    let (bytes, encoding) = cost(|| codec::encode(&*leader.state, &finalized))?;
    let bytes = bytes?;
    let (decoded, decoding) = cost(|| codec::decode::<ClusterState>(&bytes))?;
    let decoded = Arc::new(decoded?);
    let (_, starting) = cost(|| {
        let mut pilot = Pilot::new(NodeId(2), decoded, Duration::ZERO);
        pilot.apply(
            Event::Tick(Own {
                recorders: Vec::new(),
                writable: true,
                probes: Vec::new(),
                vouches: false,
            }),
            TICK,
            WALL,
        )
    })?;
    Ok(Costs {
        nodes,
        cameras,
        steady: (ticks.iter().sum::<f64>() + heartbeats.iter().sum::<f64>()) / f64::from(seconds),
        tick: mean(&ticks),
        heartbeat: mean(&heartbeats),
        loss_mean: mean(&times),
        loss_worst: worst(&times),
        loss_entries: losses
            .iter()
            .map(|(_, entries)| *entries)
            .max()
            .unwrap_or(usize::MAX),
        snapshot_bytes: bytes.len(),
        snapshot: encoding + decoding,
        restart: decoding + starting,
    })
}

fn site(nodes: u64, cameras: u32) -> Outcome<ClusterState> {
    let mut state = ClusterState::default();
    let room = cameras * ROOM / u32::try_from(nodes)? + 1;
    state.apply(
        Command::Initialize {
            cluster: Uuid::from_u128(1),
            node: node(1, room)?,
            key: KeyHash::default(),
        }
        .by(Actor::System, WALL),
    )?;
    for number in 2..=nodes {
        for command in admission(node(number, room)?, WALL) {
            state.apply(command.by(Actor::System, WALL))?;
        }
    }
    for number in 1..=cameras {
        state.apply(
            Command::CreateCamera {
                spec: camera(number)?,
                only_after: None,
            }
            .by(Actor::System, WALL),
        )?;
    }
    Ok(state)
}

fn node(number: u64, camera_capacity: u32) -> Result<NodeSpec, Invalid> {
    let name = format!("node-{number}");
    Ok(NodeSpec {
        failure_domain: format!("rack-{}", number % 10).parse()?,
        camera_capacity,
        ..NodeSpec::new(
            &name,
            &format!("{name}.example:8481"),
            &format!("{name}.example:8480"),
        )?
    })
}

fn camera(number: u32) -> Result<CameraSpec, Invalid> {
    let protection = if number.is_multiple_of(GAPLESS_ONE_IN) {
        Protection::Gapless
    } else {
        Protection::Standard
    };
    let url = format!(
        "rtsp://10.{}.{}.{}:554/main",
        number / 65_536,
        number / 256 % 256,
        number % 256
    );
    let spec = CameraSpec::new(&format!("camera-{number}"), &url)?;
    Ok(CameraSpec {
        source: Source {
            credentials: Some(Credentials::new("recorder".to_owned(), None)?),
            ..spec.source
        },
        protection,
        priority: (number % 256) as u8,
        labels: BTreeMap::from([("building".to_owned(), format!("b{}", number % 20))])
            .try_into()?,
        ..spec
    })
}

impl Leader {
    fn wall(&self) -> Timestamp {
        WALL.plus(self.now)
    }

    /// Gives the pilot an event, and commits its proposals at once. Returns the number of entries.
    fn feed(&mut self, event: Event) -> usize {
        let decision = self.pilot.apply(event, self.now, self.wall());
        let entries = decision.proposals.len();
        for command in decision.proposals {
            let entry = command.by(Actor::System, self.wall());
            drop(Arc::make_mut(&mut self.state).apply(entry));
        }
        if entries > 0 {
            self.pilot
                .apply(Event::State(Arc::clone(&self.state)), self.now, self.wall());
            self.pilot.apply(Event::Proposed, self.now, self.wall());
        }
        entries
    }

    fn recorders(&self) -> BTreeMap<NodeId, Vec<Progress>> {
        let mut all: BTreeMap<NodeId, Vec<Progress>> = self
            .state
            .nodes
            .keys()
            .map(|node| (node, Vec::new()))
            .collect();
        for (camera, now) in self.state.assignments.iter() {
            let owner = now.owner.map(|owner| (owner, Rank::Owner));
            for (node, rank) in owner
                .into_iter()
                .chain(now.mirror.map(|mirror| (mirror, Rank::Mirror)))
            {
                all.entry(node)
                    .or_default()
                    .push(self.progress(camera, now.epoch, rank));
            }
        }
        all
    }

    fn progress(
        &self,
        camera: CameraId,
        epoch: holdfast_storage::ids::Epoch,
        rank: Rank,
    ) -> Progress {
        let state = RecorderState::Recording;
        let (watermark, first_keyframe) = (Some(self.wall()), Some(WALL));
        Progress {
            stream: StreamId::main(camera),
            epoch,
            rank,
            state,
            watermark,
            first_keyframe,
            error: None,
            bitrate_bps: Some(2_000_000),
            patience_ms: None,
            exposure: None,
        }
    }

    fn heartbeat(&mut self, from: NodeId, recorders: Vec<Progress>) -> Heartbeat {
        self.sequence += 1;
        Heartbeat {
            from,
            boot: 1,
            sequence: self.sequence,
            sent_at: self.wall(),
            writable: true,
            recorders,
            probes: Vec::new(),
            vouches: false,
        }
    }

    /// All nodes except `but` are heard, and one tick passes. Returns the number of proposed
    /// entries.
    fn round(&mut self, but: Option<NodeId>) -> usize {
        self.now += TICK;
        let mut recorders = self.recorders();
        let own = recorders.remove(&ME).unwrap_or_default();
        let mut entries = 0;
        for (node, recorders) in recorders.into_iter().filter(|(node, _)| Some(*node) != but) {
            let heartbeat = self.heartbeat(node, recorders);
            entries += self.feed(Event::Link(LinkEvent::Heartbeat(heartbeat)));
        }
        entries
            + self.feed(Event::Tick(Own {
                recorders: own,
                writable: true,
                probes: Vec::new(),
                vouches: false,
            }))
    }

    fn settle(&mut self) -> Outcome<()> {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            quiet = if self.round(None) == 0 { quiet + 1 } else { 0 };
            let is_placed = self
                .state
                .assignments
                .values()
                .all(|now| now.owner.is_some() && now.successor.is_some());
            if quiet >= 10 && is_placed {
                return Ok(());
            }
        }
        Err("the site does not settle".into())
    }

    /// Ticks and heartbeats at their real rates: the time of each.
    fn live(&mut self, seconds: u32) -> Outcome<(Vec<f64>, Vec<f64>)> {
        let (mut ticks, mut heartbeats) = (Vec::new(), Vec::new());
        let others: Vec<NodeId> = self.state.nodes.keys().filter(|node| *node != ME).collect();
        let (steps, per_heartbeat) = (
            seconds * 1_000 / 50,
            u32::try_from(HEARTBEAT_INTERVAL.as_millis())? / 50,
        );
        for step in 0..steps {
            self.now += Duration::from_millis(50);
            let mut recorders = self.recorders();
            let due = others
                .iter()
                .enumerate()
                .filter(|(at, _)| *at as u32 % per_heartbeat == step % per_heartbeat);
            for (_, node) in due {
                let heartbeat = self.heartbeat(*node, recorders.remove(node).unwrap_or_default());
                let bytes = codec::encode(&heartbeat, &Finalized::at(CLUSTER_VERSION))?;
                let (entries, time) = cost(|| -> Outcome<usize> {
                    let heartbeat = codec::decode::<Heartbeat>(&bytes)?;
                    Ok(self.feed(Event::Link(LinkEvent::Heartbeat(heartbeat))))
                })?;
                require(
                    entries? == 0,
                    "something was proposed though nothing happened",
                )?;
                heartbeats.push(time);
            }
            if step % 2 == 0 {
                let own = Own {
                    recorders: recorders.remove(&ME).unwrap_or_default(),
                    writable: true,
                    probes: Vec::new(),
                    vouches: false,
                };
                let (entries, time) = cost(|| self.feed(Event::Tick(own)))?;
                require(
                    entries == 0,
                    "something was proposed though nothing happened",
                )?;
                ticks.push(time);
            }
        }
        Ok((ticks, heartbeats))
    }

    /// Loses some nodes, one after the other, and has each come back: CPU time and log entries
    /// until its cameras have new owners.
    fn losses(&mut self) -> Outcome<Vec<(f64, usize)>> {
        let nodes = self.state.nodes.len() as u64;
        let mut losses = Vec::new();
        for lost in (0..LOSSES.min(nodes - 1))
            .map(|at| NodeId(2 + at * (nodes - 1) / LOSSES.min(nodes - 1)))
        {
            let (entries, time) = cost(|| self.feed(Event::Link(LinkEvent::Refused(lost))))?;
            require(
                self.state.owned_by(lost).next().is_none(),
                "a lost node still owns cameras",
            )?;
            losses.push((time, entries));
            for _ in 0..5 {
                self.round(Some(lost));
            }
            self.settle()?;
        }
        Ok(losses)
    }
}

fn require(holds: bool, what: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(what.into()) }
}
