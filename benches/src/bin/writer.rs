//! The segment writer compared with fio on the same disk in the same run: how much of the disk's
//! speed it reaches with 10, 100 and 1,000 cameras, and what more cameras cost in CPU and memory.
//!
//! `cargo run --release -p holdfast-benches --bin writer -- [--dir DIR] [--rounds N] [--gib N]
//! [--json]`; writes about `4 * rounds * gib` GiB, and removes it.
//!
//! A round is one run each of fio and every number of cameras, in rotating order; figures are
//! medians over rounds of ratios within a round. Throughput is payload (without headers and
//! padding) from the first append until everything is durable. CPU is the whole process: feeding,
//! summing, writing, flushing, sealing. Memory is what became resident beyond the footage that is
//! fed, and what waited in the volume's buffer; that consists of slices of the footage here, and of
//! its own memory in a recorder. It may be 1.5 s of the input, and 64 MiB.

use bytes::Bytes;
use clap::Parser;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::fio::{self, Fio};
use holdfast_benches::machine::Machine;
use holdfast_benches::numbers::{median, ratios, rounded};
use holdfast_benches::{Outcome, clock, process};
use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{
    AppendError, ClassId, Volume, VolumeHandle, VolumeOptions, WRITES_IN_FLIGHT_MAX,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The content of a chunk of 500 ms at 2 Mbit/s: `prft` and `moof`, then its frames. Every second
/// chunk begins with a keyframe.
const CHUNK_BYTES: usize = 125_000;
const HEADER_BYTES: usize = 420;
const CHUNK_FRAMES: usize = 12;
const KEYFRAME_BYTES: usize = 40_000;
const CHUNK_US: i64 = 500_000;

/// More than the processor's caches near a core hold, so that a copy costs as much as in a
/// recorder.
const FOOTAGE_BYTES: usize = 64 << 20;

/// How long the feeder waits while the volume's buffer is full.
const FULL_PAUSE: Duration = Duration::from_micros(500);

/// Small enough that every run closes and seals segments.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Parser)]
struct Args {
    /// Where to write; the disk under test
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Of each run
    #[arg(long, default_value_t = 3)]
    gib: u64,
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Fio,
    Cameras(u32),
}

const CONTENDERS: [Contender; 4] = [
    Contender::Fio,
    Contender::Cameras(10),
    Contender::Cameras(100),
    Contender::Cameras(1000),
];

/// How much of the input may be in memory.
const MEMORY_SECONDS_MAX: f64 = 1.5;
const MEMORY_MIB_MAX: f64 = 64.0;
const MIB: f64 = (1 << 20) as f64;

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    speed: fio::Speed,
    memory_bytes: u64,
}

/// By contender, round by round.
#[derive(Debug, Default)]
struct Series {
    megabytes_per_second: Vec<f64>,
    cpu_seconds_per_gb: Vec<f64>,
    memory_mib: Vec<f64>,
    /// Relative to the allowed memory at that speed.
    memory_share: Vec<f64>,
}

fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let dir = tempfile::Builder::new()
        .prefix("holdfast-bench-writer-")
        .tempdir_in(&args.dir)?;
    let machine = Machine::read(&dir.path().canonicalize()?);
    let bench = Bench::prepare(dir.path(), args.gib << 30)?;
    let mut series: [Series; CONTENDERS.len()] = Default::default();
    for round in 0..args.rounds {
        for turn in 0..CONTENDERS.len() {
            let index = (round + turn) % CONTENDERS.len();
            let run = bench.run(CONTENDERS[index])?;
            eprintln!("round {round}: {:?}: {run:?}", CONTENDERS[index]);
            series[index].push(run);
        }
    }
    let details = serde_json::json!({
        "gib": args.gib, "fio_sync_blocks": bench.sync_blocks,
        "fio": series[0].json(), "cameras_10": series[1].json(), "cameras_100": series[2].json(),
        "cameras_1000": series[3].json(),
    });
    let report = Report {
        bench: "writer",
        machine,
        figures: figures(&series),
        details,
    };
    Ok(report.publish(args.json))
}

fn figures([fio, ten, hundred, thousand]: &[Series; CONTENDERS.len()]) -> Vec<Figure> {
    let throughput = |series: &Series| {
        median(&ratios(
            &series.megabytes_per_second,
            &fio.megabytes_per_second,
        ))
    };
    let cost =
        |series: &Series| median(&ratios(&series.cpu_seconds_per_gb, &ten.cpu_seconds_per_gb));
    let plain =
        |name: &str, values: &[f64], unit| Figure::new(name, Target::None, median(values), unit);
    let of_memory = |name: &str, series: &Series| {
        Figure::new(
            format!("memory of what is allowed, {name}"),
            Target::AtMost(1.0),
            median(&series.memory_share),
            "x",
        )
    };
    vec![
        Figure::new(
            "throughput against fio, 10 cameras",
            Target::AtLeast(0.9),
            throughput(ten),
            "x",
        ),
        Figure::new(
            "throughput against fio, 100 cameras",
            Target::AtLeast(0.9),
            throughput(hundred),
            "x",
        ),
        Figure::new(
            "throughput against fio, 1000 cameras",
            Target::AtLeast(0.9),
            throughput(thousand),
            "x",
        ),
        Figure::new(
            "CPU per GB, 100 cameras against 10",
            Target::AtMost(1.2),
            cost(hundred),
            "x",
        ),
        Figure::new(
            "CPU per GB, 1000 cameras against 10",
            Target::AtMost(1.2),
            cost(thousand),
            "x",
        ),
        of_memory("10 cameras", ten),
        of_memory("100 cameras", hundred),
        of_memory("1000 cameras", thousand),
        plain("fio", &fio.megabytes_per_second, "MB/s"),
        plain("10 cameras", &ten.megabytes_per_second, "MB/s"),
        plain("100 cameras", &hundred.megabytes_per_second, "MB/s"),
        plain("1000 cameras", &thousand.megabytes_per_second, "MB/s"),
        plain("fio, CPU", &fio.cpu_seconds_per_gb, "s/GB"),
        plain("10 cameras, CPU", &ten.cpu_seconds_per_gb, "s/GB"),
        plain("1000 cameras, CPU", &thousand.cpu_seconds_per_gb, "s/GB"),
        plain("10 cameras, memory", &ten.memory_mib, "MiB"),
        plain("100 cameras, memory", &hundred.memory_mib, "MiB"),
        plain("1000 cameras, memory", &thousand.memory_mib, "MiB"),
    ]
}

impl Series {
    fn push(
        &mut self,
        Run {
            speed,
            memory_bytes,
        }: Run,
    ) {
        let memory_mib = memory_bytes as f64 / MIB;
        let allowed_mib = speed.bytes_per_second * MEMORY_SECONDS_MAX / MIB + MEMORY_MIB_MAX;
        self.megabytes_per_second.push(speed.bytes_per_second / 1e6);
        self.cpu_seconds_per_gb.push(speed.cpu_seconds_per_gb);
        self.memory_mib.push(memory_mib);
        self.memory_share.push(memory_mib / allowed_mib);
    }

    fn json(&self) -> serde_json::Value {
        let round = |values: &[f64]| values.iter().copied().map(rounded).collect::<Vec<_>>();
        serde_json::json!({
            "mb_per_s": round(&self.megabytes_per_second),
            "cpu_s_per_gb": round(&self.cpu_seconds_per_gb),
            "memory_mib": round(&self.memory_mib),
        })
    }
}

struct Bench<'a> {
    dir: &'a Path,
    bytes: u64,
    /// fio counts blocks, the writer counts time: the blocks that fio writes in one flush
    /// interval.
    sync_blocks: u64,
    footage: Bytes,
    /// Resident memory before the first run.
    resident_bytes: u64,
}

impl<'a> Bench<'a> {
    fn prepare(dir: &'a Path, bytes: u64) -> Outcome<Self> {
        let (footage, sync_blocks) = (footage(), 512);
        let mut bench = Self {
            dir,
            bytes,
            sync_blocks,
            footage,
            resident_bytes: process::resident_bytes(std::process::id())?,
        };
        let warm = bench.fio()?;
        let interval = VolumeOptions::new(dir, NodeId(1), uuid::Uuid::nil()).flush_interval;
        let blocks = warm.bytes_per_second * interval.as_secs_f64() / fio::BLOCK_BYTES as f64;
        bench.sync_blocks = (blocks as u64).max(1);
        Ok(bench)
    }

    fn run(&self, contender: Contender) -> Outcome<Run> {
        // The kernel finishes the former run's writes before the next run begins.
        rustix::fs::sync();
        match contender {
            Contender::Fio => Ok(Run {
                speed: self.fio()?,
                memory_bytes: 0,
            }),
            Contender::Cameras(cameras) => self.cameras(cameras),
        }
    }

    fn fio(&self) -> Outcome<fio::Speed> {
        let file = self.dir.join("fio.dat");
        Fio {
            file,
            bytes: self.bytes,
            depth: WRITES_IN_FLIGHT_MAX,
            sync_blocks: self.sync_blocks,
        }
        .run()
    }

    fn cameras(&self, cameras: u32) -> Outcome<Run> {
        let dir = self.dir.join("volume");
        let options = VolumeOptions {
            io: IoChoice::Uring,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            free_bytes_min: 64 << 20,
            ..VolumeOptions::new(&dir, NodeId(1), uuid::Uuid::new_v4())
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        process::forget_own_resident_max()?;
        let (cpu, (volume, handle)) = (process::own_cpu()?, Volume::open(options)?);
        let started = clock::now();
        let Fed {
            bytes,
            queued_bytes_max,
        } = Feeder::new(cameras, &self.footage).feed(&handle, self.bytes)?;
        runtime.block_on(handle.flush())?;
        let took = started.elapsed();
        runtime.block_on(handle.close())?;
        runtime.block_on(volume.run())?;
        let cpu = process::own_cpu()?.saturating_sub(cpu);
        let resident_bytes =
            process::resident_bytes_max(std::process::id())?.saturating_sub(self.resident_bytes);
        std::fs::remove_dir_all(&dir)?;
        let speed = fio::Speed {
            bytes_per_second: bytes as f64 / took.as_secs_f64(),
            cpu_seconds_per_gb: cpu.as_secs_f64() / (bytes as f64 / 1e9),
        };
        Ok(Run {
            speed,
            memory_bytes: resident_bytes + queued_bytes_max,
        })
    }
}

/// Incompressible, and the same in each run.
fn footage() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..FOOTAGE_BYTES / 8)
        .flat_map(|_| next().to_le_bytes())
        .collect::<Vec<u8>>()
        .into()
}

/// The result of feeding.
struct Fed {
    /// Of payloads.
    bytes: u64,
    /// The most that waited in the volume's buffer.
    queued_bytes_max: u64,
}

struct Feeder<'a> {
    cameras: u32,
    footage: &'a Bytes,
    /// Where the next part is cut from.
    at: usize,
    init: Bytes,
}

impl<'a> Feeder<'a> {
    fn new(cameras: u32, footage: &'a Bytes) -> Self {
        Self {
            cameras,
            footage,
            at: 0,
            init: footage.slice(..700),
        }
    }

    /// Appends chunks of all cameras in turn, as fast as the volume takes them.
    fn feed(mut self, volume: &VolumeHandle, bytes_min: u64) -> Outcome<Fed> {
        let class = volume.class("default").ok_or("no class")?;
        for camera in 1..=self.cameras {
            append(volume, class, &self.init(camera))?;
        }
        let mut fed = Fed {
            bytes: 0,
            queued_bytes_max: 0,
        };
        for sequence in 0.. {
            for camera in 1..=self.cameras {
                append(volume, class, &self.chunk(camera, sequence))?;
                fed.bytes += CHUNK_BYTES as u64;
                fed.queued_bytes_max = fed.queued_bytes_max.max(volume.queued_bytes());
            }
            if fed.bytes >= bytes_min {
                break;
            }
        }
        Ok(fed)
    }

    fn init(&self, camera: u32) -> Record {
        let (camera, bytes) = (CameraId(camera), self.init.clone());
        Record::Init(Init {
            camera,
            stream: StreamKind::Main,
            track: TrackKind::Video,
            bytes,
        })
    }

    fn chunk(&mut self, camera: u32, sequence: u32) -> Record {
        let is_keyframe = sequence.is_multiple_of(2);
        let meta = ChunkMeta {
            camera: CameraId(camera),
            stream: StreamKind::Main,
            track: TrackKind::Video,
            node: NodeId(1),
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(1),
            sequence,
            init: InitId::of(&self.init),
            start: Timestamp(1_800_000_000_000_000 + i64::from(sequence) * CHUNK_US),
            duration_us: CHUNK_US as u32,
            frames: CHUNK_FRAMES as u32,
            access: is_keyframe.then_some(Access::sync(sequence)),
            since_access_ms: Some(500 * (sequence % 2)),
            after_loss: false,
            damaged: false,
        };
        Record::Chunk(Chunk {
            meta,
            parts: self.parts(is_keyframe),
        })
    }

    fn parts(&mut self, is_keyframe: bool) -> Vec<Bytes> {
        let first = if is_keyframe { KEYFRAME_BYTES } else { 0 };
        let frame = (CHUNK_BYTES - HEADER_BYTES - first) / CHUNK_FRAMES;
        let mut lengths = vec![frame; CHUNK_FRAMES];
        lengths[0] += first;
        lengths[CHUNK_FRAMES - 1] += CHUNK_BYTES - HEADER_BYTES - first - frame * CHUNK_FRAMES;
        std::iter::once(HEADER_BYTES)
            .chain(lengths)
            .map(|length| self.part(length))
            .collect()
    }

    fn part(&mut self, length: usize) -> Bytes {
        if self.at + length > self.footage.len() {
            self.at = 0;
        }
        let part = self.footage.slice(self.at..self.at + length);
        self.at += length;
        part
    }
}

/// Waits while the buffer is full, as long as the disk takes.
fn append(volume: &VolumeHandle, class: ClassId, record: &Record) -> Outcome<()> {
    loop {
        match volume.append(class, record.clone()) {
            Err(AppendError::Full { .. }) => std::thread::sleep(FULL_PAUSE),
            other => return Ok(other?),
        }
    }
}
