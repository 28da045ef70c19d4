//! The cost of recording: one node compared with ffmpeg processes that copy the same streams at the
//! same time, in CPU per GB; and the node's memory.
//!
//! `cargo build --release -p holdfast -p holdfast-camera`, then `cargo run --release -p
//! holdfast-benches --bin recording -- [--source own|gstreamer] [--cameras N] [--json]`
//!
//! Cameras of 2 Mbit/s at random phases run in processes of their own, which do not count. The
//! node's bytes are those of the frames it received (no headers, no padding), ffmpeg's those of its
//! files. Both are measured over the same window. `--cameras 0` measures an idle node.

use clap::Parser;
use holdfast_benches::cameras::{Cameras, Make, Process};
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::machine::Machine;
use holdfast_benches::numbers::{median, ratios, rounded, worst};
use holdfast_benches::rig::{Rig, SETTLE_TIMEOUT};
use holdfast_benches::{Outcome, clock, process};
use holdfast_storage::time::Timestamp;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Until connections are open and the first keyframes have arrived.
const WARM_UP: Duration = Duration::from_secs(5);

const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Parser)]
struct Args {
    /// Where both record to
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[arg(long, default_value_t = 20)]
    cameras: u32,
    /// The make of the cameras
    #[arg(long, value_enum, default_value_t = Make::Own)]
    source: Make,
    /// Length of the window
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long)]
    json: bool,
}

/// CPU and bytes so far.
#[derive(Clone, Copy, Debug)]
struct Meter {
    cpu: Duration,
    bytes: u64,
}

/// Of one window.
#[derive(Debug, Default)]
struct Series {
    cpu_seconds_per_gb: Vec<f64>,
    /// Of one core.
    cpu_ms_per_second: Vec<f64>,
    megabytes: Vec<f64>,
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let base = args.dir.canonicalize()?;
    let machine = Machine::read(&base);
    let (mut node, mut ffmpeg, mut memory) = (Series::default(), Series::default(), Vec::new());
    for round in 0..args.rounds {
        let bench = Bench::start(&base, args.source, args.cameras).await?;
        memory.push(
            bench
                .measure(Duration::from_secs(args.seconds), &mut node, &mut ffmpeg)
                .await?,
        );
        eprintln!("round {round}: node {node:?}, ffmpeg {ffmpeg:?}, memory {memory:?} MiB");
    }
    let details = serde_json::json!({
        "cameras": args.cameras, "source": format!("{:?}", args.source), "seconds": args.seconds,
        "node": node.json(), "ffmpeg": ffmpeg.json(), "node_resident_mib_max": memory,
    });
    let report = Report {
        bench: "recording",
        machine,
        figures: figures(&args, &node, &ffmpeg, &memory),
        details,
    };
    Ok(report.publish(args.json))
}

fn figures(args: &Args, node: &Series, ffmpeg: &Series, memory: &[f64]) -> Vec<Figure> {
    let idle = median(&node.cpu_ms_per_second);
    let peak = |at_most| {
        Figure::new(
            "peak resident memory of the node",
            Target::AtMost(at_most),
            worst(memory),
            "MiB",
        )
    };
    if args.cameras == 0 {
        return vec![
            Figure::new(
                "node without cameras, CPU",
                Target::AtMost(2.0),
                idle,
                "ms/s",
            ),
            peak(60.0),
        ];
    }
    let cost = median(&ratios(
        &node.cpu_seconds_per_gb,
        &ffmpeg.cpu_seconds_per_gb,
    ));
    let completeness = median(&ratios(&node.megabytes, &ffmpeg.megabytes));
    let (cost_max, memory_max) = goals(args.source, args.cameras);
    vec![
        Figure::new(
            "CPU per GB against ffmpeg -c copy",
            Target::AtMost(cost_max),
            cost,
            "x",
        ),
        peak(memory_max),
        Figure::new(
            "node, CPU",
            Target::None,
            median(&node.cpu_seconds_per_gb),
            "s/GB",
        ),
        Figure::new("node, CPU per time", Target::None, idle, "ms/s"),
        Figure::new(
            "ffmpeg, CPU",
            Target::None,
            median(&ffmpeg.cpu_seconds_per_gb),
            "s/GB",
        ),
        Figure::new(
            "bytes recorded against ffmpeg",
            Target::AtLeast(0.95),
            completeness,
            "x",
        ),
    ]
}

/// CPU relative to ffmpeg's, and MiB.
fn goals(source: Make, cameras: u32) -> (f64, f64) {
    match source {
        Make::Gstreamer => (0.21, 60.0),
        Make::Own if cameras < 100 => (0.21, 60.0),
        Make::Own => (0.16, 80.0),
    }
}

impl Series {
    fn push(&mut self, before: Meter, after: Meter, window: Duration) {
        let gigabytes = after.bytes.saturating_sub(before.bytes) as f64 / 1e9;
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        self.cpu_seconds_per_gb.push(cpu / gigabytes);
        self.cpu_ms_per_second
            .push(cpu * 1e3 / window.as_secs_f64());
        self.megabytes.push(gigabytes * 1e3);
    }

    fn json(&self) -> serde_json::Value {
        let round = |values: &[f64]| values.iter().copied().map(rounded).collect::<Vec<_>>();
        serde_json::json!({
            "cpu_s_per_gb": round(&self.cpu_seconds_per_gb),
            "cpu_ms_per_s": round(&self.cpu_ms_per_second),
            "mb": round(&self.megabytes),
        })
    }
}

/// Fields are dropped in order: the recorders before the cameras.
struct Bench {
    ffmpeg: Vec<Process>,
    ffmpeg_dir: PathBuf,
    rig: Rig,
    _cameras: Cameras,
}

impl Bench {
    async fn start(base: &Path, source: Make, count: u32) -> Outcome<Self> {
        let rig = Rig::form(base, 1).await?;
        let cameras = Cameras::serve(source, count, rig.dir.path())?;
        rig.add_cameras(cameras.urls.clone()).await?;
        let ffmpeg_dir = rig.dir.path().join("ffmpeg");
        std::fs::create_dir(&ffmpeg_dir)?;
        let copies = (1..)
            .zip(&cameras.urls)
            .map(|(id, url)| copy_stream(&ffmpeg_dir, id, url));
        let ffmpeg = copies.collect::<Outcome<_>>()?;
        let bench = Self {
            ffmpeg,
            ffmpeg_dir,
            rig,
            _cameras: cameras,
        };
        if count > 0 {
            bench.rig.wait_durable_beyond(0, Timestamp::MIN).await?;
            timeout(SETTLE_TIMEOUT, bench.wait_files(count as usize))
                .await
                .map_err(|_| "ffmpeg does not record")??;
        }
        sleep(WARM_UP).await;
        Ok(bench)
    }

    /// Waits until every stream has a file with content.
    async fn wait_files(&self, count: usize) -> Outcome<()> {
        while files(&self.ffmpeg_dir)?
            .iter()
            .filter(|bytes| **bytes > 0)
            .count()
            < count
        {
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Returns the node's peak memory in MiB.
    async fn measure(
        &self,
        window: Duration,
        node: &mut Series,
        ffmpeg: &mut Series,
    ) -> Outcome<f64> {
        // The scrapes are outside of the measured window: bytes before CPU at the start, CPU before
        // bytes at the end.
        let node_bytes = self.received_bytes().await?;
        let before = (
            Meter {
                cpu: self.node_cpu()?,
                bytes: node_bytes,
            },
            self.ffmpeg_meter()?,
        );
        let started = clock::now();
        sleep(window.saturating_sub(started.elapsed())).await;
        let (node_cpu, ffmpeg_after) = (self.node_cpu()?, self.ffmpeg_meter()?);
        let node_after = Meter {
            cpu: node_cpu,
            bytes: self.received_bytes().await?,
        };
        node.push(before.0, node_after, window);
        ffmpeg.push(before.1, ffmpeg_after, window);
        Ok(rounded(
            process::resident_bytes_max(self.node_pid()?)? as f64 / f64::from(1 << 20),
        ))
    }

    fn node_pid(&self) -> Outcome<u32> {
        Ok(self.rig.cluster.pid(0).ok_or("the node has ended")?)
    }

    fn node_cpu(&self) -> Outcome<Duration> {
        process::cpu(self.node_pid()?)
    }

    fn ffmpeg_meter(&self) -> Outcome<Meter> {
        let cpu = process::cpu_of_all(self.ffmpeg.iter().map(|process| process.0.id()))?;
        Ok(Meter {
            cpu,
            bytes: files(&self.ffmpeg_dir)?.iter().sum(),
        })
    }

    async fn received_bytes(&self) -> Outcome<u64> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(SCRAPE_TIMEOUT)
            .build()?;
        let text = client
            .get(format!("{}/metrics", self.rig.cluster.api_url(0)))
            .send()
            .await?
            .text()
            .await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("holdfast_received_bytes_total "));
        Ok(value
            .ok_or("the node exports no holdfast_received_bytes_total")?
            .trim()
            .parse::<f64>()? as u64)
    }
}

fn copy_stream(dir: &Path, id: u32, url: &str) -> Outcome<Process> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args([
        "-nostdin",
        "-loglevel",
        "fatal",
        "-rtsp_transport",
        "tcp",
        "-i",
        url,
    ]);
    ffmpeg
        .args(["-c", "copy", "-f", "segment", "-segment_time", "10"])
        .arg(dir.join(format!("{id}-%05d.mp4")));
    ffmpeg.stdin(Stdio::null()).stdout(Stdio::null());
    let missing = |error| format!("cannot start ffmpeg (Debian package `ffmpeg`): {error}");
    Ok(Process(ffmpeg.spawn().map_err(missing)?))
}

/// Lengths in bytes.
fn files(dir: &Path) -> Outcome<Vec<u64>> {
    std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .collect()
}
