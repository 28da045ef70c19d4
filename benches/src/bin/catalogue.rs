//! The cost of the catalogue of many segments: time until recording begins, rate of a rebuild,
//! resident memory, bytes of sled, and time of timeline queries.
//!
//! `cargo run --release -p holdfast-benches --bin catalogue -- [--segments N] [--cameras N] [--dir
//! DIR] [--keep] [--json]`
//!
//! The claim is for 100,000 segments of 100 cameras (3 GB of footers in DIR); the default is a
//! small run. Segments have true headers and footers and holes for payloads. Each measurement is a
//! process of its own, so that memory is that of one opening. `--keep` leaves the volume in
//! DIR/catalogue-N-N, and uses an existing one.

use clap::Parser;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::machine::Machine;
use holdfast_benches::{Outcome, clock, process};
use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::format::{BLOCK, Footer, SegmentHeader, encode_footer};
use holdfast_storage::ids::{
    CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamKind, TrackKind,
};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{
    ChunkRow, InitRow, Range, Row, SegmentIndex, TrackKey, Volume, VolumeHandle, VolumeOptions,
};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(1);
const VOLUME: Uuid = Uuid::from_u128(2);
const NODE: NodeId = NodeId(1);
const FIRST: i64 = 1_790_000_000_000_000;
const SEGMENT_US: i64 = 60_000_000;

/// A hole in each file in place of the batches.
const HOLE_BYTES: u64 = 256 << 10;

const MIB: f64 = 1_048_576.0;
const DAY_US: i64 = 86_400_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// How long a rebuild may take at all.
const LISTED_MAX: Duration = Duration::from_secs(3600);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, Parser)]
struct Args {
    /// Where the volume is created
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[arg(long, default_value_t = 2_000)]
    segments: u64,
    #[arg(long, default_value_t = 100)]
    cameras: u32,
    /// Leave the volume for the next run, and use the last one's
    #[arg(long)]
    keep: bool,
    #[arg(long)]
    json: bool,
    /// Used by the program for its own child processes: open this volume and report
    #[arg(long, hide = true)]
    open: Option<PathBuf>,
}

/// One opening.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Opening {
    /// Seconds until the first chunk is durable.
    recording: f64,
    /// Seconds until every segment is listed.
    listed: f64,
    recovered: u64,
    resident_mib_max: f64,
    resident_mib: f64,
    sled_mib: f64,
    timeline_30_days: f64,
    timeline_hour: f64,
    timelines_day: f64,
    /// CPU seconds of the process up to the listing's end.
    cpu: f64,
}

fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    if let Some(volume) = &args.open {
        println!(
            "{}",
            serde_json::to_string(&open(volume, args.segments, args.cameras)?)?
        );
        return Ok(ExitCode::SUCCESS);
    }
    let base = args.dir.canonicalize()?;
    let machine = Machine::read(&base);
    let dir = place(&base, &args)?;
    let is_made = dir.path().join("volume.json").exists();
    if !is_made {
        let started = clock::now();
        make(dir.path(), args.segments, args.cameras)?;
        let took = started.elapsed().as_secs_f64();
        eprintln!(
            "{} segments of {} cameras made in {took:.1} s",
            args.segments, args.cameras
        );
    }
    let catalogue = dir.path().join("catalogue");
    if catalogue.exists() {
        std::fs::remove_dir_all(&catalogue)?;
    }
    let deleted = measure(dir.path(), &args)?;
    let intact = measure(dir.path(), &args)?;
    fill_with_noise(&catalogue)?;
    let noise = measure(dir.path(), &args)?;
    let figures = figures(&args, &deleted, &intact, &noise);
    let details = serde_json::json!({
        "segments": args.segments, "cameras": args.cameras, "deleted": deleted, "intact": intact,
        "noise": noise,
    });
    Ok(Report {
        bench: "catalogue",
        machine,
        figures,
        details,
    }
    .publish(args.json))
}

fn figures(args: &Args, deleted: &Opening, intact: &Opening, noise: &Opening) -> Vec<Figure> {
    let per_minute = deleted.recovered as f64 / deleted.listed * 60.0;
    let at_most = |name: &str, most: f64, value: f64, unit| {
        Figure::new(name, Target::AtMost(most), value, unit)
    };
    let plain = |name: &str, value: f64, unit| Figure::new(name, Target::None, value, unit);
    let rows = args.segments as f64 * f64::from(args.cameras);
    vec![
        at_most(
            "first chunk durable, catalogue deleted",
            2.0,
            deleted.recording,
            "s",
        ),
        at_most(
            "first chunk durable, catalogue intact",
            2.0,
            intact.recording,
            "s",
        ),
        at_most(
            "first chunk durable, catalogue of noise",
            2.0,
            noise.recording,
            "s",
        ),
        Figure::new("rebuild", Target::AtLeast(20_000.0), per_minute, "1/min"),
        plain(
            "CPU of a rebuild, of each segment",
            deleted.cpu * 1000.0 / args.segments as f64,
            "ms",
        ),
        at_most(
            "resident, after an intact start",
            64.0,
            intact.resident_mib,
            "MiB",
        ),
        plain(
            "resident, most of an intact start",
            intact.resident_mib_max,
            "MiB",
        ),
        at_most(
            "resident, after a rebuild",
            64.0,
            deleted.resident_mib,
            "MiB",
        ),
        plain(
            "resident, most of a rebuild",
            deleted.resident_mib_max,
            "MiB",
        ),
        plain("sled", intact.sled_mib, "MiB"),
        at_most(
            "sled, of each segment and camera",
            64.0,
            intact.sled_mib * MIB / rows,
            "B",
        ),
        at_most(
            "timeline of a camera, 30 days",
            100.0,
            intact.timeline_30_days * 1000.0,
            "ms",
        ),
        at_most(
            "timeline of a camera, 30 days, after a rebuild",
            100.0,
            deleted.timeline_30_days * 1000.0,
            "ms",
        ),
        at_most(
            "timeline of a camera, an hour",
            5.0,
            intact.timeline_hour * 1000.0,
            "ms",
        ),
        at_most(
            "timelines of a day, of all cameras (up to 100)",
            1000.0,
            intact.timelines_day * 1000.0,
            "ms",
        ),
    ]
}

/// The place of the volume; removed unless it is to stay.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }
}

fn place(base: &Path, args: &Args) -> Outcome<Place> {
    if args.keep {
        return Ok(Place::Kept(
            base.join(format!("catalogue-{}-{}", args.segments, args.cameras)),
        ));
    }
    Ok(Place::Temporary(
        tempfile::Builder::new()
            .prefix("holdfast-catalogue-")
            .tempdir_in(base)?,
    ))
}

fn measure(volume: &Path, args: &Args) -> Outcome<Opening> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "--segments",
        &args.segments.to_string(),
        "--cameras",
        &args.cameras.to_string(),
    ]);
    let output = command.arg("--open").arg(volume).output()?;
    if !output.status.success() {
        return Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let opening = serde_json::from_slice(&output.stdout)?;
    eprintln!("{opening:?}");
    Ok(opening)
}

/// Runs in the process that is measured.
fn open(path: &Path, segments: u64, cameras: u32) -> Outcome<Opening> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let started = clock::now();
    let (volume, handle) = Volume::open(VolumeOptions {
        free_bytes_min: 64 << 20,
        ..VolumeOptions::new(path, NODE, CLUSTER)
    })?;
    record(&handle)?;
    runtime.block_on(handle.flush())?;
    let recording = started.elapsed().as_secs_f64();
    while !handle.stats().is_recovered() {
        if started.elapsed() > LISTED_MAX {
            return Err(format!("not listed in time: {:?}", handle.stats()).into());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    let listed = started.elapsed().as_secs_f64();
    let stats = handle.stats();
    if stats.segments_sealed < segments {
        return Err(format!("only {} segments are listed", stats.segments_sealed).into());
    }
    let end = FIRST + i64::try_from(segments)? * SEGMENT_US;
    // The process's own cost, before it answers anything.
    let cpu = process::own_cpu()?.as_secs_f64();
    let resident_mib = mib(process::resident_bytes(std::process::id())?);
    let opening = Opening {
        recording,
        listed,
        recovered: stats.segments_recovered,
        resident_mib,
        resident_mib_max: mib(process::resident_bytes_max(std::process::id())?),
        sled_mib: 0.0,
        timeline_30_days: timelines(&handle, 1..=1, end - 30 * DAY_US, end)?,
        timeline_hour: timelines(&handle, 1..=1, end - 100 * HOUR_US, end - 99 * HOUR_US)?,
        timelines_day: timelines(
            &handle,
            1..=cameras.min(100),
            end - 20 * DAY_US,
            end - 19 * DAY_US,
        )?,
        cpu,
    };
    runtime.block_on(handle.close())?;
    runtime.block_on(volume.run())?;
    Ok(Opening {
        sled_mib: mib(bytes_below(&path.join("catalogue"))?),
        ..opening
    })
}

/// Seconds for the spans of these cameras, one after the other.
fn timelines(
    handle: &VolumeHandle,
    cameras: RangeInclusive<u32>,
    from: i64,
    to: i64,
) -> Outcome<f64> {
    let started = clock::now();
    for camera in cameras {
        let (from, to) = (Timestamp(from.max(FIRST)), Timestamp(to.max(FIRST)));
        let spans = handle.spans(Range {
            camera: CameraId(camera),
            stream: StreamKind::Main,
            from,
            to,
        })?;
        if from < to && spans.is_empty() {
            return Err("a camera has no footage".into());
        }
    }
    Ok(started.elapsed().as_secs_f64())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

fn bytes_below(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            bytes_below(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}

fn fill_with_noise(dir: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            fill_with_noise(&path)?;
        } else {
            let bytes = u32::try_from(path.metadata()?.len().min(64 << 20))?;
            let noise = (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
            std::fs::write(&path, noise.collect::<Vec<u8>>())?;
        }
    }
    Ok(())
}

/// A volume with sealed segments, one after the other a minute long, each with every camera in it.
fn make(dir: &Path, segments: u64, cameras: u32) -> Outcome<()> {
    let class = dir.join("segments/default");
    std::fs::create_dir_all(&class)?;
    std::fs::write(
        dir.join("volume.json"),
        format!("{{\"version\":1,\"volume\":\"{VOLUME}\",\"cluster\":\"{CLUSTER}\"}}\n"),
    )?;
    for number in 0..segments {
        let segment = SegmentId(number + 1);
        let start = Timestamp(FIRST + i64::try_from(number)? * SEGMENT_US);
        let header = SegmentHeader {
            cluster: CLUSTER,
            volume: VOLUME,
            node: NODE,
            segment,
            opened_at: start,
            class: "default".to_owned(),
        };
        let footer = Footer {
            segment,
            volume: VOLUME,
            offset: BLOCK + HOLE_BYTES,
            closed_at: start.plus_micros(SEGMENT_US),
            batches: 1,
            damaged_batches: 0,
        };
        let file = File::create_new(class.join(format!("{:010}.hfs", segment.0)))?;
        file.write_all_at(&header.encode()?[..], 0)?;
        file.write_all_at(
            &encode_footer(&footer, &index(start, cameras)).0,
            footer.offset,
        )?;
    }
    Ok(())
}

fn index(start: Timestamp, cameras: u32) -> SegmentIndex {
    let mut index = SegmentIndex::default();
    for camera in 1..=cameras {
        let init = InitId(u64::from(camera) << 32 | 700);
        let offset = BLOCK + u64::from(camera) * 2048;
        let key = TrackKey {
            camera: CameraId(camera),
            stream: StreamKind::Main,
            track: TrackKind::Video,
        };
        index.add(Row::Init(InitRow {
            key,
            id: init,
            offset,
            bytes: 700,
        }));
        // Each camera's keyframes have times of their own.
        let meta = meta(
            camera,
            init,
            start.plus_micros(i64::from(camera) * 1234),
            SEGMENT_US,
        );
        index.add(Row::Chunk(ChunkRow {
            meta,
            offset: offset + 1024,
            payload_bytes: 15_000_000,
        }));
    }
    index
}

fn meta(camera: u32, init: InitId, start: Timestamp, duration_us: i64) -> ChunkMeta {
    ChunkMeta {
        camera: CameraId(camera),
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node: NODE,
        epoch: Epoch(3),
        rank: Rank::Owner,
        session: SessionId(FIRST.unsigned_abs()),
        sequence: 0,
        init,
        start,
        duration_us: duration_us as u32,
        frames: 1500,
        access: Some(Access::sync(camera)),
        since_access_ms: Some(0),
        after_loss: false,
        damaged: false,
    }
}

/// One chunk of a camera of its own.
fn record(handle: &VolumeHandle) -> Outcome<()> {
    let class = handle.class("default").ok_or("no class")?;
    let (camera, bytes) = (CameraId(999_999), bytes::Bytes::from(vec![1; 700]));
    let init = Init {
        camera,
        stream: StreamKind::Main,
        track: TrackKind::Video,
        bytes,
    };
    let id = init.id();
    handle.append(class, Record::Init(init))?;
    let meta = meta(camera.0, id, Timestamp(FIRST), 500_000);
    handle.append(
        class,
        Record::Chunk(Chunk {
            meta,
            parts: vec![bytes::Bytes::from(vec![7; 2000])],
        }),
    )?;
    Ok(())
}
