//! The cost of an end: an orderly stop must lose nothing, kill -9 at most the unfinished chunk, and
//! a stopping member of a cluster hands its cameras over.
//!
//! `cargo build --release -p holdfast && cargo run --release -p holdfast-benches --bin stop --
//! [--stops N] [--kills N] [--drains N] [--json]`
//!
//! A frame counts for an orderly stop if it was captured before SIGTERM was sent and not before the
//! session's first recorded frame; the program looks for it in the segment files once the process
//! is gone. For kill -9, the loss is the time from the capture of the last frame found there to the
//! kill.

use clap::Parser;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::footage::{segments, stamps};
use holdfast_benches::machine::Machine;
use holdfast_benches::numbers::{median, worst};
use holdfast_benches::rig::{Rig, cameras as ask_cameras};
use holdfast_benches::{Outcome, clock};
use holdfast_camera::{CameraHandle, CameraOptions, CameraServer, Handle, Options, Stamp, count};
use holdfast_control_api::wire::{Camera, Cluster as ClusterState};
use holdfast_node::demo::footage;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

/// How long a node may take to stop.
const STOP_MAX: Duration = Duration::from_secs(40);

/// A trial ends between these two times after everything is recorded, so that ends fall anywhere in
/// a chunk, a flush interval and a GOP.
const RECORD_MIN: Duration = Duration::from_millis(300);
const RECORD_SPREAD_MS: u64 = 1000;

/// Prime to the spread: consecutive trials spread evenly over it.
const SPREAD_STEP_MS: u64 = 617;

/// Of each stream, by kill -9.
const KILL_LOSS_MAX: Duration = Duration::from_millis(600);

/// By how much wall time in recordings may differ from a camera's own.
const EXPORT_MARGIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Parser)]
struct Args {
    /// Where nodes record to
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Orderly stops of a single node
    #[arg(long, default_value_t = 100)]
    stops: usize,
    /// Kills of a single node
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Orderly stops of a member of a cluster of three
    #[arg(long, default_value_t = 10)]
    drains: usize,
    /// Cameras of the single node
    #[arg(long, default_value_t = 4)]
    cameras: u32,
    /// Cameras of the cluster
    #[arg(long, default_value_t = 12)]
    cluster_cameras: u32,
    /// Single nodes at the same time
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Term,
    Kill,
}

impl End {
    fn is_missed(self, loss: &Loss) -> bool {
        match self {
            Self::Term => loss.frames_lost > 0,
            Self::Kill => loss.holes > 0 || loss.tail_ms > KILL_LOSS_MAX.as_secs_f64() * 1e3,
        }
    }
}

/// One camera in one trial.
#[derive(Clone, Debug, Serialize)]
struct Loss {
    frames_sent: u64,
    frames_lost: u64,
    /// From the capture of the last recorded frame to the end, if that is positive.
    tail_ms: f64,
    /// Lost frames before the last recorded one.
    holes: u64,
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let base = args.dir.canonicalize()?;
    let machine = Machine::read(&base);
    let stops = trials(&args, &base, End::Term, args.stops).await?;
    let kills = trials(&args, &base, End::Kill, args.kills).await?;
    let drains = Drains::run(&args, &base).await?;
    let mut figures = Vec::new();
    figures.extend(stop_figures(&stops));
    figures.extend(kill_figures(&kills));
    figures.extend(drains.figures());
    let details = serde_json::json!({ "stops": stops, "kills": kills, "drains": drains });
    Ok(Report {
        bench: "stop",
        machine,
        figures,
        details,
    }
    .publish(args.json))
}

fn stop_figures(trials: &[Vec<Loss>]) -> Vec<Figure> {
    if trials.is_empty() {
        return Vec::new();
    }
    let whole = trials
        .iter()
        .filter(|cameras| cameras.iter().all(|camera| camera.frames_lost == 0))
        .count();
    let frames: u64 = trials
        .iter()
        .flatten()
        .map(|camera| camera.frames_sent)
        .sum();
    vec![
        Figure::new(
            "orderly stops without loss",
            Target::AtLeast(trials.len() as f64),
            whole as f64,
            "",
        ),
        Figure::new(
            "frames sent before the stops",
            Target::None,
            frames as f64,
            "",
        ),
    ]
}

fn kill_figures(trials: &[Vec<Loss>]) -> Vec<Figure> {
    if trials.is_empty() {
        return Vec::new();
    }
    let tails: Vec<f64> = trials
        .iter()
        .flatten()
        .map(|camera| camera.tail_ms / 1e3)
        .collect();
    let holes: u64 = trials.iter().flatten().map(|camera| camera.holes).sum();
    vec![
        Figure::new(
            "lost of a stream by kill -9, worst",
            Target::AtMost(KILL_LOSS_MAX.as_secs_f64()),
            worst(&tails),
            "s",
        ),
        Figure::new(
            "lost of a stream by kill -9, median",
            Target::None,
            median(&tails),
            "s",
        ),
        Figure::new(
            "frames lost before the last recorded one",
            Target::AtMost(0.0),
            holes as f64,
            "",
        ),
    ]
}

/// Distributes trials among several nodes at the same time.
async fn trials(args: &Args, base: &Path, end: End, count: usize) -> Outcome<Vec<Vec<Loss>>> {
    let mut stations = JoinSet::new();
    for part in 0..args.parallel.max(1) {
        let (base, cameras) = (base.to_owned(), args.cameras);
        let share = (part..count)
            .step_by(args.parallel.max(1))
            .collect::<Vec<_>>();
        stations.spawn(async move { Station::run(&base, cameras, end, &share).await });
    }
    let mut all = Vec::new();
    while let Some(done) = stations.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// A single node that is ended and started again on the same data directory.
struct Station {
    rig: Rig,
    cameras: Handle,
    added: Vec<Camera>,
    /// Segment files of former sessions.
    seen: BTreeSet<PathBuf>,
}

impl Station {
    async fn run(base: &Path, count: u32, end: End, share: &[usize]) -> Outcome<Vec<Vec<Loss>>> {
        if share.is_empty() {
            return Ok(Vec::new());
        }
        let cameras = serve(count).await?;
        let rig = Rig::form(base, 1).await?;
        let added = rig
            .add_cameras(cameras.cameras().map(|camera| cameras.url(camera.id())))
            .await?;
        let mut station = Self {
            rig,
            cameras,
            added,
            seen: BTreeSet::new(),
        };
        let mut trials = Vec::new();
        for number in share {
            let losses = station.trial(*number as u64, end).await?;
            if losses.iter().any(|loss| end.is_missed(loss)) {
                eprintln!(
                    "{end:?} {number}: {losses:?}\n{}",
                    station.rig.cluster.log_tail(0)
                );
            }
            trials.push(losses);
        }
        Ok(trials)
    }

    async fn trial(&mut self, number: u64, end: End) -> Outcome<Vec<Loss>> {
        let started = wall_now();
        self.rig.cluster.start(0)?;
        self.rig.wait_durable_beyond(0, started).await?;
        sleep(RECORD_MIN + Duration::from_millis(number * SPREAD_STEP_MS % RECORD_SPREAD_MS)).await;
        let ended_us: Vec<u64> = self
            .cameras
            .cameras()
            .map(|camera| camera.now_us())
            .collect();
        match end {
            End::Term => {
                let status = self.rig.cluster.stop(0, STOP_MAX).await?;
                if !status.success() {
                    return Err(format!(
                        "the node ended with {status}:\n{}",
                        self.rig.cluster.log_tail(0)
                    )
                    .into());
                }
            }
            End::Kill => self.rig.cluster.kill(0).await?,
        }
        let all = segments(&self.rig.volume(0))?;
        let new: Vec<PathBuf> = all.difference(&self.seen).cloned().collect();
        self.seen = all;
        let cameras: Vec<_> = self
            .cameras
            .cameras()
            .zip(self.added.clone())
            .zip(ended_us)
            .collect();
        // Apart from the cameras' tasks, which must not be delayed.
        spawn_blocking(move || {
            cameras
                .iter()
                .map(|((handle, camera), ended_us)| {
                    loss(handle, &stamps(&new, camera.id)?, *ended_us)
                })
                .collect()
        })
        .await?
    }
}

fn loss(camera: &CameraHandle, recorded: &[Stamp], ended_us: u64) -> Outcome<Loss> {
    let captured = || {
        recorded
            .iter()
            .filter(|stamp| stamp.camera == camera.id())
            .map(|stamp| stamp.captured_us)
    };
    let (Some(first_us), Some(last_us)) = (captured().min(), captured().max()) else {
        return Err(format!("nothing was recorded of camera {}", camera.id()).into());
    };
    let whole = count(
        camera.id(),
        &camera.sent_between(first_us, ended_us),
        recorded,
    );
    let holes = count(
        camera.id(),
        &camera.sent_between(first_us, last_us.min(ended_us)),
        recorded,
    )
    .lost;
    let tail_ms = ended_us.saturating_sub(last_us) as f64 / 1e3;
    Ok(Loss {
        frames_sent: whole.sent,
        frames_lost: whole.lost,
        tail_ms,
        holes,
    })
}

async fn serve(count: u32) -> Outcome<Handle> {
    let options = Options {
        cameras: (1..=count).map(CameraOptions::new).collect(),
        ..Options::default()
    };
    Ok(CameraServer::start(options).await?)
}

/// Orderly stops of members of a cluster, one after the other, each of the node with the most
/// cameras.
#[derive(Debug, Default, Serialize)]
struct Drains {
    stopped: Vec<String>,
    seconds: Vec<f64>,
    /// Cameras that had to move, all stops together.
    cameras_moved: usize,
    frames_sent: u64,
    /// Of what the cluster serves.
    frames_lost: u64,
    /// Of what is in any node's segment files.
    frames_not_on_disk: u64,
    gaps: BTreeMap<u32, Vec<count::Gap>>,
}

impl Drains {
    async fn run(args: &Args, base: &Path) -> Outcome<Self> {
        let mut drains = Self::default();
        if args.drains == 0 {
            return Ok(drains);
        }
        let cameras = serve(args.cluster_cameras).await?;
        let mut rig = Rig::form(base, 3).await?;
        let added = rig
            .add_cameras(cameras.cameras().map(|camera| cameras.url(camera.id())))
            .await?;
        rig.wait_durable_beyond(0, Timestamp::MIN).await?;
        let from = wall_now();
        for _ in 0..args.drains {
            drains.stop_busiest(&mut rig).await?;
        }
        let to = wall_now();
        rig.wait_durable_beyond(0, to.plus(EXPORT_MARGIN)).await?;
        drains.count(&mut rig, &cameras, &added, from, to).await?;
        Ok(drains)
    }

    async fn stop_busiest(&mut self, rig: &mut Rig) -> Outcome<()> {
        let (index, owned) = busiest(rig).await?;
        let other = (index + 1) % rig.cluster.len();
        let started = clock::now();
        let status = rig.cluster.stop(index, STOP_MAX).await?;
        if !status.success() {
            return Err(format!(
                "the node ended with {status}:\n{}",
                rig.cluster.log_tail(index)
            )
            .into());
        }
        self.seconds.push(started.elapsed().as_secs_f64());
        self.stopped.push(rig.cluster.name(index).to_owned());
        self.cameras_moved += owned;
        rig.wait_durable_beyond(other, wall_now()).await?;
        rig.cluster.start(index)?;
        rig.cluster.wait_ready(index).await?;
        rig.wait_durable_beyond(index, wall_now()).await
    }

    async fn count(
        &mut self,
        rig: &mut Rig,
        cameras: &Handle,
        added: &[Camera],
        from: Timestamp,
        to: Timestamp,
    ) -> Outcome<()> {
        let micros = |time: Timestamp| u64::try_from(time.micros()).unwrap_or(0);
        let margin = i64::try_from(EXPORT_MARGIN.as_micros())?;
        let api = rig.cluster.api(0)?;
        let sent = |camera: &CameraHandle| camera.sent_between(micros(from), micros(to));
        for (handle, camera) in cameras.cameras().zip(added) {
            let served = footage::stamps(
                &api,
                camera.id,
                from.plus_micros(-margin),
                to.plus(EXPORT_MARGIN),
            )
            .await?;
            let loss = count(handle.id(), &sent(&handle), &served);
            self.frames_sent += loss.sent;
            self.frames_lost += loss.lost;
            if loss.lost > 0 {
                self.gaps.insert(handle.id(), loss.gaps);
            }
        }
        let mut files = BTreeSet::new();
        for index in 0..rig.cluster.len() {
            rig.cluster.kill(index).await?;
            files.extend(segments(&rig.volume(index))?);
        }
        for (handle, camera) in cameras.cameras().zip(added) {
            self.frames_not_on_disk +=
                count(handle.id(), &sent(&handle), &stamps(&files, camera.id)?).lost;
        }
        Ok(())
    }

    fn figures(&self) -> Vec<Figure> {
        if self.stopped.is_empty() {
            return Vec::new();
        }
        let stops = self.stopped.len();
        vec![
            Figure::new(
                format!("frames lost by {stops} orderly stops of a member, served"),
                Target::AtMost(0.0),
                self.frames_lost as f64,
                "",
            ),
            Figure::new(
                "the same, on any disk",
                Target::AtMost(0.0),
                self.frames_not_on_disk as f64,
                "",
            ),
            Figure::new(
                "frames sent in the meantime",
                Target::None,
                self.frames_sent as f64,
                "",
            ),
            Figure::new(
                "cameras that had to move",
                Target::AtLeast(stops as f64),
                self.cameras_moved as f64,
                "",
            ),
            Figure::new(
                "time of such a stop, median",
                Target::None,
                median(&self.seconds),
                "s",
            ),
        ]
    }
}

/// The node that owns the most cameras, and how many.
async fn busiest(rig: &Rig) -> Outcome<(usize, usize)> {
    let api = rig.cluster.api(0)?;
    let cluster: ClusterState = api.get(&["cluster"], &[]).await?;
    let mut owned: BTreeMap<NodeId, usize> = BTreeMap::new();
    for owner in ask_cameras(&api)
        .await?
        .iter()
        .filter_map(|camera| camera.assignment.owner)
    {
        *owned.entry(owner).or_default() += 1;
    }
    let (node, count) = owned
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .ok_or("no camera has an owner")?;
    let name = cluster
        .nodes
        .iter()
        .find(|entry| entry.id == node)
        .map(|entry| entry.name.as_str());
    let index = name
        .and_then(|name| rig.cluster.index_of(name))
        .ok_or("an owner is no node of this cluster")?;
    Ok((index, count))
}
