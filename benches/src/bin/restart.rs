//! How long a node with many sealed segments takes to record again after its process starts: with
//! its catalogue intact, deleted, and filled with noise.
//!
//! `cargo build --release -p holdfast && cargo run --release -p holdfast-benches --bin restart --
//! [--segments N] [--rounds N] [--json]`
//!
//! "Recording again" is the time from the start of the process to the capture of the first recorded
//! frame, of the camera where it is longest. It includes the wait for a camera's next keyframe (up
//! to 1 s): a recording begins with one.

use bytes::Bytes;
use clap::Parser;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::footage::{segments, stamps};
use holdfast_benches::machine::Machine;
use holdfast_benches::numbers::{median, rounded, worst};
use holdfast_benches::rig::Rig;
use holdfast_benches::{Outcome, clock};
use holdfast_camera::{CameraOptions, CameraServer, Handle, Options};
use holdfast_control_api::wire::{Camera, Cluster as ClusterState};
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Volume, VolumeHandle, VolumeOptions};
use serde::Serialize;
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

const STOP_MAX: Duration = Duration::from_secs(40);

/// How long the store may take to seal its records, and a node to list the segments.
const LIST_MAX: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Segments on their way to the disk at a time while they are created.
const FLUSHES_IN_FLIGHT: usize = 8;

/// A segment takes further batches while the next one's file is created.
const BATCHES_PER_SEGMENT_MAX: usize = 16;

/// One old batch stands for a minute, as in a real store.
const SEGMENT_US: i64 = 60_000_000;

const PAYLOAD_BYTES: usize = 2_000;

#[derive(Debug, Parser)]
struct Args {
    /// Where the node records to
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[arg(long, default_value_t = 10_000)]
    segments: usize,
    #[arg(long, default_value_t = 12)]
    cameras: u32,
    /// Of each kind
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Catalogue {
    Intact,
    Deleted,
    Noise,
}

const KINDS: [Catalogue; 3] = [Catalogue::Intact, Catalogue::Deleted, Catalogue::Noise];

/// One start, in seconds from the start of the process.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    /// Until the first recorded frame of the last camera.
    recording: f64,
    /// Until a client sees that everything is durable.
    durable: f64,
    /// Until all old segments are listed.
    listed: f64,
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let base = args.dir.canonicalize()?;
    let machine = Machine::read(&base);
    let mut bench = Bench::prepare(&args, &base).await?;
    let mut figures = Vec::new();
    let mut details = serde_json::Map::new();
    for kind in KINDS {
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(bench.start(kind).await?);
            eprintln!("{kind:?}: {rounds:?}");
        }
        figures.extend(kind_figures(kind, &rounds));
        details.insert(
            format!("{kind:?}").to_lowercase(),
            serde_json::json!(rounds),
        );
    }
    let report = Report {
        bench: "restart",
        machine,
        figures,
        details: details.into(),
    };
    Ok(report.publish(args.json))
}

fn kind_figures(kind: Catalogue, rounds: &[Round]) -> Vec<Figure> {
    let of = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let name = |what| format!("catalogue {kind:?}: {what}").to_lowercase();
    vec![
        Figure::new(
            name("recording again, worst"),
            Target::AtMost(2.0),
            worst(&of(|round| round.recording)),
            "s",
        ),
        Figure::new(
            name("seen durable, median"),
            Target::None,
            median(&of(|round| round.durable)),
            "s",
        ),
        Figure::new(
            name("old segments listed, median"),
            Target::None,
            median(&of(|round| round.listed)),
            "s",
        ),
    ]
}

struct Bench {
    rig: Rig,
    cameras: Handle,
    added: Vec<Camera>,
    segments: usize,
}

impl Bench {
    /// A node that has recorded its cameras before, was stopped, and was given the old segments.
    async fn prepare(args: &Args, base: &Path) -> Outcome<Self> {
        let options = Options {
            cameras: (1..=args.cameras).map(CameraOptions::new).collect(),
            ..Options::default()
        };
        let cameras = CameraServer::start(options).await?;
        let mut rig = Rig::form(base, 1).await?;
        let added = rig
            .add_cameras(cameras.cameras().map(|camera| cameras.url(camera.id())))
            .await?;
        rig.wait_durable_beyond(0, Timestamp::MIN).await?;
        let cluster: ClusterState = rig.cluster.api(0)?.get(&["cluster"], &[]).await?;
        let (id, node) = (
            cluster.id.ok_or("no cluster")?.parse()?,
            cluster.this_node.ok_or("no node")?,
        );
        rig.cluster.stop(0, STOP_MAX).await?;
        let started = clock::now();
        let (old, of, count) = (
            VolumeOptions::new(rig.volume(0), node, id),
            added.clone(),
            args.segments,
        );
        spawn_blocking(move || {
            Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(fill(old, &of, count))
        })
        .await??;
        eprintln!(
            "{} segments made in {:.1} s",
            args.segments,
            started.elapsed().as_secs_f64()
        );
        Ok(Self {
            rig,
            cameras,
            added,
            segments: args.segments,
        })
    }

    async fn start(&mut self, kind: Catalogue) -> Outcome<Round> {
        spoil(&self.rig.volume(0).join("catalogue"), kind)?;
        let before = segments(&self.rig.volume(0))?;
        if before.len() < self.segments {
            return Err(format!("only {} segments are there", before.len()).into());
        }
        let (started, started_at, started_us) = (clock::now(), wall_now(), self.now_us()?);
        self.rig.cluster.start(0)?;
        self.rig.wait_durable_beyond(0, started_at).await?;
        let durable = started.elapsed().as_secs_f64();
        self.wait_listed().await?;
        let listed = started.elapsed().as_secs_f64();
        self.rig.cluster.stop(0, STOP_MAX).await?;
        let recording = self.recording_since(&before, started_us)?;
        Ok(Round {
            recording: rounded(recording),
            durable: rounded(durable),
            listed: rounded(listed),
        })
    }

    fn now_us(&self) -> Outcome<u64> {
        Ok(self.cameras.cameras().next().ok_or("no camera")?.now_us())
    }

    async fn wait_listed(&self) -> Outcome<()> {
        let url = format!("{}/metrics", self.rig.cluster.api_url(0));
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let waiting = async {
            loop {
                let text = client.get(&url).send().await?.text().await?;
                let value = |name: &str| {
                    let line = text.lines().find(|line| line.starts_with(name))?;
                    line.rsplit(' ').next()?.parse::<f64>().ok()
                };
                let unlisted = value("holdfast_volume_unlisted_segments");
                let sealed = value("holdfast_volume_sealed_segments").unwrap_or(0.0);
                if unlisted == Some(0.0) && sealed >= self.segments as f64 {
                    return Ok(());
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        timeout(LIST_MAX, waiting)
            .await
            .map_err(|_| "the node does not list all segments")?
    }

    /// Seconds to the first recorded frame of the camera that came last.
    fn recording_since(&self, before: &BTreeSet<PathBuf>, started_us: u64) -> Outcome<f64> {
        let all = segments(&self.rig.volume(0))?;
        let new: Vec<&PathBuf> = all.difference(before).collect();
        let mut latest_us = 0;
        for camera in &self.added {
            let found = stamps(new.iter().copied(), camera.id)?;
            let first = found.iter().map(|stamp| stamp.captured_us).min();
            latest_us = latest_us.max(first.ok_or("a camera was not recorded")?);
        }
        Ok(latest_us.saturating_sub(started_us) as f64 / 1e6)
    }
}

fn spoil(catalogue: &Path, kind: Catalogue) -> Outcome<()> {
    match kind {
        Catalogue::Intact => Ok(()),
        Catalogue::Deleted => Ok(std::fs::remove_dir_all(catalogue)?),
        Catalogue::Noise => fill_with_noise(catalogue),
    }
}

/// Every file keeps its length and loses its content.
fn fill_with_noise(dir: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            fill_with_noise(&path)?;
        } else {
            let bytes = usize::try_from(path.metadata()?.len())?;
            let noise = (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
            std::fs::write(&path, noise.collect::<Vec<u8>>())?;
        }
    }
    Ok(())
}

/// Makes small sealed segments with the store itself, of batches with a chunk of every camera.
/// Needs a runtime of one thread, which begins tasks in the order of their creation: each must
/// flush what it appended, and no more.
async fn fill(options: VolumeOptions, cameras: &[Camera], count: usize) -> Outcome<()> {
    let options = VolumeOptions {
        // The next batch goes to another segment as soon as that segment's file is created.
        segment_time_max: Duration::from_micros(1),
        segment_bytes_max: 2 << 20,
        free_bytes_min: 64 << 20,
        ..options
    };
    let (volume, handle) = Volume::open(options)?;
    let batches_max = count * BATCHES_PER_SEGMENT_MAX;
    let first = wall_now().plus_micros(-(i64::try_from(batches_max)? + 60) * SEGMENT_US);
    let init = Bytes::from(vec![1; 700]);
    for camera in cameras {
        append(
            &handle,
            Record::Init(Init {
                camera: camera.id,
                stream: StreamKind::Main,
                track: TrackKind::Video,
                bytes: init.clone(),
            }),
        )?;
    }
    let mut flushes = VecDeque::new();
    for number in 0..batches_max {
        if handle.stats().segments_sealed >= count as u64 {
            break;
        }
        let start = first.plus_micros(i64::try_from(number)? * SEGMENT_US);
        let chunks: Vec<_> = cameras
            .iter()
            .map(|camera| chunk(camera.id, handle.options().node, start, InitId::of(&init)))
            .collect();
        flushes.push_back(tokio::spawn(append_and_flush(handle.clone(), chunks)));
        if flushes.len() >= FLUSHES_IN_FLIGHT
            && let Some(flush) = flushes.pop_front()
        {
            flush.await??;
        }
    }
    for flush in flushes {
        flush.await??;
    }
    let sealed = async {
        while handle.stats().segments_sealed < count as u64 {
            sleep(POLL_INTERVAL).await;
        }
    };
    timeout(LIST_MAX, sealed)
        .await
        .map_err(|_| format!("the segments are not sealed in time: {:?}", handle.stats()))?;
    handle.close().await?;
    Ok(volume.run().await?)
}

async fn append_and_flush(volume: VolumeHandle, records: Vec<Record>) -> Outcome<()> {
    for record in records {
        append(&volume, record)?;
    }
    Ok(volume.flush().await?)
}

fn append(volume: &VolumeHandle, record: Record) -> Outcome<()> {
    let class = volume.class("default").ok_or("no class")?;
    Ok(volume.append(class, record)?)
}

fn chunk(camera: CameraId, node: NodeId, start: Timestamp, init: InitId) -> Record {
    let meta = ChunkMeta {
        camera,
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node,
        epoch: Epoch(1),
        rank: Rank::Owner,
        session: SessionId(start.micros().unsigned_abs()),
        sequence: 0,
        init,
        start,
        duration_us: 500_000,
        frames: 12,
        access: Some(Access::sync(1)),
        since_access_ms: Some(0),
        after_loss: false,
        damaged: false,
    };
    Record::Chunk(Chunk {
        meta,
        parts: vec![Bytes::from(vec![7; PAYLOAD_BYTES])],
    })
}
