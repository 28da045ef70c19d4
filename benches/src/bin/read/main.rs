//! The cost of reading: the first byte of a random instant, exports compared with the disk's own
//! rate and in CPU, and whether players delay recording.
//!
//! `cargo build --release -p holdfast -p holdfast-camera && cargo run --release -p holdfast-benches
//! --bin read -- [--dir DIR] [--chunks N] [--minutes N] [--cameras N] [--seconds N] [--json]`;
//! writes about 2 KB a chunk, and 15 MB for each minute of each camera (5 GB by default), and
//! removes it.
//!
//! - **Instants.** A volume holds N small chunks of 100 cameras. For a random camera and instant,
//!   the program does what playback does: entries from ten seconds before, the keyframe before the
//!   instant, its payload. Warm is with the files in the page cache; cold, with their pages dropped
//!   (`posix_fadvise`). Through the API the same is an export of one second, up to the first byte
//!   of its body.
//! - **Exports.** Whole ranges of cameras of 2 Mbit/s, with cold files, by as many reads at once as
//!   an export uses, compared with fio, which reads the same segment files from beginning to end
//!   (io_uring, `O_DIRECT`, 1 MiB blocks, four in flight) before and after. Through the API, CPU is
//!   the node's, minus its CPU while idle; its scrub is off.
//! - **Playback.** A node records 100 cameras of 2 Mbit/s, which another process serves; then 20
//!   players follow live HLS playlists at the same time. The lag is
//!   `holdfast_watermark_lag_seconds`, the largest of all cameras in all scrapes, four a second.

mod api;
mod footage;
mod playback;
mod store;

use clap::Parser;
use footage::Footage;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::fio::read_speed;
use holdfast_benches::footage::segments;
use holdfast_benches::machine::Machine;
use holdfast_benches::numbers::{quantile, rounded, worst};
use holdfast_benches::rig::Rig;
use holdfast_benches::{Outcome, clock};
use holdfast_control_api::wire::Cluster as ClusterState;
use holdfast_node::terminal::clock::wall_now;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Volume, VolumeHandle, VolumeOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const STOP_MAX: Duration = Duration::from_secs(40);
const LIST_MAX: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

const WARM_INSTANTS: usize = 3_000;
const COLD_INSTANTS: usize = 300;
const PLAYERS: u32 = 20;

#[derive(Debug, Parser)]
struct Args {
    /// Where the volumes are made; the disk under test
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Small chunks among which instants are looked up
    #[arg(long, default_value_t = 1_000_000)]
    chunks: u64,
    /// Of each exported camera
    #[arg(long, default_value_t = 10)]
    minutes: i64,
    /// Cameras whose footage is interleaved in the segments that are exported from
    #[arg(long, default_value_t = 20)]
    cameras: u32,
    /// Of these, how many are exported
    #[arg(long, default_value_t = 6)]
    exports: usize,
    /// Cameras that are recorded while players watch; 0 leaves playback out
    #[arg(long, default_value_t = 100)]
    recorded: u32,
    /// Of each window of playback
    #[arg(long, default_value_t = 40)]
    seconds: u64,
    #[arg(long)]
    json: bool,
}

/// Draws by a seed, so that every run looks up the same instants.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn instant(&mut self, footage: &Footage) -> (CameraId, Timestamp) {
        let cameras = u64::from(footage.cameras.end - footage.cameras.start);
        let camera = CameraId(footage.cameras.start + (self.next() % cameras) as u32);
        let within_us = (self.next() % (footage.seconds.unsigned_abs() * 1_000_000)) as i64;
        (camera, footage.from.plus_micros(within_us))
    }
}

/// Milliseconds each.
pub(crate) struct Instants(pub(crate) Vec<f64>);

impl Instants {
    fn p99(&self) -> f64 {
        quantile(&self.0, 0.99)
    }

    fn json(&self) -> serde_json::Value {
        let p = |share| rounded(quantile(&self.0, share));
        serde_json::json!({
            "p50_ms": p(0.5), "p99_ms": p(0.99), "worst_ms": rounded(worst(&self.0)),
        })
    }
}

/// A long range, read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
}

impl Reading {
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.took.as_secs_f64()
    }

    fn cpu_per_gb(&self) -> f64 {
        self.cpu.as_secs_f64() / (self.bytes as f64 / 1e9)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "mb_per_s": rounded(self.rate() / 1e6), "cpu_s_per_gb": rounded(self.cpu_per_gb()),
        })
    }
}

/// Of one way to read the footage.
struct Way {
    warm: Instants,
    cold: Instants,
    export_cold: Reading,
    export_warm: Reading,
}

impl Way {
    fn json(&self) -> serde_json::Value {
        let Self {
            warm,
            cold,
            export_cold,
            export_warm,
        } = self;
        serde_json::json!({
            "instants_warm": warm.json(), "instants_cold": cold.json(),
            "export_cold": export_cold.json(), "export_warm": export_warm.json(),
        })
    }
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let base = args.dir.canonicalize()?;
    let machine = Machine::read(&base);
    let mut bench = Bench::prepare(&args, &base).await?;
    let disk_before = bench.disk_rate()?;
    let store = bench.through_the_store().await?;
    eprintln!("store: {}", store.json());
    let api = bench.through_the_api().await?;
    eprintln!("API: {}", api.json());
    let disk_after = bench.disk_rate()?;
    drop(bench);
    let playback = match args.recorded {
        0 => None,
        cameras => Some(
            playback::measure(&base, cameras, PLAYERS, Duration::from_secs(args.seconds)).await?,
        ),
    };
    // The faster one: if other work slowed the machine down, it slowed only one of them.
    let disk = disk_before.max(disk_after);
    let details = serde_json::json!({
        "chunks": args.chunks, "minutes": args.minutes, "cameras": args.cameras,
        "exports": args.exports,
        "disk_mb_per_s": [rounded(disk_before / 1e6), rounded(disk_after / 1e6)],
        "store": store.json(), "api": api.json(), "playback": playback,
    });
    let mut figures = figures(disk, &store, &api);
    figures.extend(playback.iter().flat_map(playback_figures));
    Ok(Report {
        bench: "read",
        machine,
        figures,
        details,
    }
    .publish(args.json))
}

fn figures(disk: f64, store: &Way, api: &Way) -> Vec<Figure> {
    let plain = |name: &str, value: f64, unit| Figure::new(name, Target::None, value, unit);
    let at_most = |name: &str, most: f64, value: f64, unit| {
        Figure::new(name, Target::AtMost(most), value, unit)
    };
    vec![
        at_most(
            "instant, warm, through the store, p99",
            10.0,
            store.warm.p99(),
            "ms",
        ),
        at_most(
            "instant, warm, through the API, p99",
            10.0,
            api.warm.p99(),
            "ms",
        ),
        plain(
            "instant, cold, through the store, p99",
            store.cold.p99(),
            "ms",
        ),
        plain("instant, cold, through the API, p99", api.cold.p99(), "ms"),
        Figure::new(
            "export, cold, through the store, of the disk's rate",
            Target::AtLeast(0.5),
            store.export_cold.rate() / disk,
            "x",
        ),
        plain(
            "export, cold, through the API, of the disk's rate",
            api.export_cold.rate() / disk,
            "x",
        ),
        plain("the disk's rate (fio)", disk / 1e6, "MB/s"),
        plain(
            "export, warm, through the API",
            api.export_warm.rate() / 1e6,
            "MB/s",
        ),
        plain(
            "export, cold, through the store, CPU",
            store.export_cold.cpu_per_gb(),
            "s/GB",
        ),
        at_most(
            "export, cold, through the API, CPU",
            0.8,
            api.export_cold.cpu_per_gb(),
            "s/GB",
        ),
        at_most(
            "export, warm, through the API, CPU",
            0.8,
            api.export_warm.cpu_per_gb(),
            "s/GB",
        ),
    ]
}

fn playback_figures([alone, watched]: &[playback::Window; 2]) -> [Figure; 4] {
    let ratio = watched.received_mb_per_s / alone.received_mb_per_s;
    [
        Figure::new(
            "watermark lag, worst, without players",
            Target::None,
            alone.lag_max,
            "s",
        ),
        Figure::new(
            "watermark lag, worst, with players",
            Target::AtMost(1.5),
            watched.lag_max,
            "s",
        ),
        Figure::new(
            "recorded with players against without",
            Target::AtLeast(0.95),
            ratio,
            "x",
        ),
        Figure::new("played", Target::None, watched.played_mb_per_s, "MB/s"),
    ]
}

struct Bench {
    rig: Rig,
    options: VolumeOptions,
    small: Footage,
    usual: Footage,
    exports: usize,
    random: Random,
}

impl Bench {
    /// A stopped node that was given the footage.
    async fn prepare(args: &Args, base: &Path) -> Outcome<Self> {
        let mut rig = Rig::form_without_scrub(base, 1).await?;
        let cluster: ClusterState = rig.cluster.api(0)?.get(&["cluster"], &[]).await?;
        let (id, node) = (
            cluster.id.ok_or("no cluster")?.parse()?,
            cluster.this_node.ok_or("no node")?,
        );
        rig.cluster.stop(0, STOP_MAX).await?;
        let options = VolumeOptions::new(rig.volume(0), node, id);
        let small = Footage::small(args.chunks, wall_now().plus_micros(-7_200_000_000))?;
        let usual = Footage::usual(args.cameras, args.minutes, small.from);
        let started = clock::now();
        small.write(options.clone()).await?;
        usual.write(options.clone()).await?;
        let took = started.elapsed().as_secs_f64();
        eprintln!(
            "{} small and {} usual chunks written in {took:.1} s",
            small.chunks(),
            usual.chunks()
        );
        Ok(Self {
            rig,
            options,
            small,
            usual,
            exports: args.exports,
            random: Random(0x2545_f491_4f6c_dd1d),
        })
    }

    fn files(&self) -> Outcome<Vec<PathBuf>> {
        Ok(segments(&self.options.path)?.into_iter().collect())
    }

    /// Bytes per second of fio on the longest segments.
    fn disk_rate(&self) -> Outcome<f64> {
        let mut files = self.files()?;
        files.retain(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.len() >= self.usual.segment_bytes / 2)
        });
        Ok(read_speed(&files)?.bytes_per_second)
    }

    async fn through_the_store(&mut self) -> Outcome<Way> {
        let (volume, handle) = Volume::open(VolumeOptions {
            free_bytes_min: 64 << 20,
            ..self.options.clone()
        })?;
        timeout(LIST_MAX, wait_recovered(&handle))
            .await
            .map_err(|_| "the volume does not list its segments")?;
        let files = self.files()?;
        store::chill(&files)?;
        let cold = store::instants(&handle, &self.small, COLD_INSTANTS, &mut self.random)?;
        store::chill(&files)?;
        let export_cold = store::export(&handle, &self.usual, self.exports)?;
        store::warm(&files)?;
        let warm = store::instants(&handle, &self.small, WARM_INSTANTS, &mut self.random)?;
        let export_warm = store::export(&handle, &self.usual, self.exports)?;
        handle.close().await?;
        volume.run().await?;
        Ok(Way {
            warm,
            cold,
            export_cold,
            export_warm,
        })
    }

    async fn through_the_api(&mut self) -> Outcome<Way> {
        self.rig.cluster.start(0)?;
        self.rig.cluster.wait_ready(0).await?;
        let client = api::Client::of(&self.rig)?;
        client.wait_listed().await?;
        let idle_share = api::idle_share(&self.rig).await?;
        eprintln!("the idle node takes {idle_share:.3} of a core");
        let files = self.files()?;
        store::chill(&files)?;
        let cold = api::instants(&client, &self.small, COLD_INSTANTS, &mut self.random).await?;
        store::chill(&files)?;
        let export_cold =
            api::export(&self.rig, &client, &self.usual, self.exports, idle_share).await?;
        store::warm(&files)?;
        let warm = api::instants(&client, &self.small, WARM_INSTANTS, &mut self.random).await?;
        let export_warm =
            api::export(&self.rig, &client, &self.usual, self.exports, idle_share).await?;
        Ok(Way {
            warm,
            cold,
            export_cold,
            export_warm,
        })
    }
}

async fn wait_recovered(handle: &VolumeHandle) {
    while !handle.stats().is_recovered() {
        sleep(LOOK_INTERVAL).await;
    }
}
