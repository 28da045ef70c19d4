//! The recorder's part: hundreds of cameras in real time through the store's public API, until the
//! power is cut.

use super::footage::{self, Session};
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::{CameraId, StreamId};
use holdfast_storage::{AppendError, ClassId, Volume, VolumeHandle, VolumeOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// About 0.5 Mbit/s each: as much as an unoptimised build can handle on a busy machine.
pub(crate) const CAMERAS: u32 = 300;

/// How often frames are processed, as in ingest.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// Segments are begun and sealed three times a second: each created file makes the filesystem
/// commit.
pub(crate) const SEGMENT_BYTES_SHORT: u64 = 6 << 20;

/// One segment lasts longer than the run: only the writer's own flushes make it durable.
pub(crate) const SEGMENT_BYTES_LONG: u64 = 256 << 20;

const VOLUME: &str = "HOLDFAST_POWER_VOLUME";
const IO: &str = "HOLDFAST_POWER_IO";
const CAMERA_COUNT: &str = "HOLDFAST_POWER_CAMERAS";
const EPOCH: &str = "HOLDFAST_POWER_EPOCH";
const SEGMENT_BYTES: &str = "HOLDFAST_POWER_SEGMENT_BYTES";

#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) volume: PathBuf,
    pub(crate) io: IoChoice,
    pub(crate) cameras: u32,
    pub(crate) epoch: u64,
    pub(crate) segment_bytes_max: u64,
}

impl Orders {
    pub(crate) fn from_environment() -> Option<Self> {
        let number = |variable| std::env::var(variable).unwrap().parse::<u64>().unwrap();
        Some(Self {
            volume: std::env::var_os(VOLUME)?.into(),
            io: if std::env::var(IO).unwrap() == "plain" {
                IoChoice::Plain
            } else {
                IoChoice::Uring
            },
            cameras: number(CAMERA_COUNT) as u32,
            epoch: number(EPOCH),
            segment_bytes_max: number(SEGMENT_BYTES),
        })
    }

    /// Starts the recorder as a separate process; its standard output is its testimony.
    pub(crate) fn start(&self) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "recorder", "--nocapture"])
            .env(VOLUME, &self.volume);
        command.env(
            IO,
            if self.io == IoChoice::Plain {
                "plain"
            } else {
                "uring"
            },
        );
        command
            .env(CAMERA_COUNT, self.cameras.to_string())
            .env(EPOCH, self.epoch.to_string());
        command.env(SEGMENT_BYTES, self.segment_bytes_max.to_string());
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

pub(crate) fn options(volume: &Path, io: IoChoice) -> VolumeOptions {
    VolumeOptions {
        io,
        free_bytes_min: 0,
        ..VolumeOptions::new(volume, footage::NODE, Uuid::from_u128(1))
    }
}

pub(crate) fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64
}

/// Records and prints what is durable, until it is killed.
pub(crate) async fn record(orders: &Orders) {
    let options = VolumeOptions {
        segment_bytes_max: orders.segment_bytes_max,
        ..options(&orders.volume, orders.io)
    };
    let (_volume, handle) = Volume::open(options).unwrap();
    let session = Session {
        began_us: now_us(),
        epoch: orders.epoch,
    };
    let mut recorder = Recorder::new(handle.clone(), session, orders.cameras);
    // Output of the test harness before this ends with this line.
    println!("\nbegan {} {}", session.began_us, session.epoch);
    let mut progress = handle.progress();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => recorder.take_in(now_us()),
            Ok(()) = progress.changed() => recorder.report(),
        }
    }
}

struct Recorder {
    handle: VolumeHandle,
    class: ClassId,
    session: Session,
    /// By camera, from 1: its next chunk, and how far it was reported durable.
    streams: Vec<(u32, i64)>,
    has_failed: bool,
}

impl Recorder {
    fn new(handle: VolumeHandle, session: Session, cameras: u32) -> Self {
        let class = handle.class("default").unwrap();
        for camera in 1..=cameras {
            handle
                .append(class, footage::init(camera, session))
                .unwrap();
        }
        Self {
            handle,
            class,
            session,
            streams: vec![(0, 0); cameras as usize],
            has_failed: false,
        }
    }

    /// Appends every chunk that has ended by then.
    fn take_in(&mut self, until_us: i64) {
        for index in 0..self.streams.len() {
            let camera = index as u32 + 1;
            while !self.has_failed
                && self.session.end_of(camera, self.streams[index].0).micros() <= until_us
            {
                let chunk = footage::chunk(camera, self.session, self.streams[index].0);
                if let Err(error) = self.handle.append(self.class, chunk) {
                    println!("refused {} {error}", now_us());
                    self.has_failed = matches!(error, AppendError::Failed(_));
                    break;
                }
                self.streams[index].0 += 1;
            }
        }
        println!("tick {until_us} {}", self.handle.stats().flush_us_last);
    }

    /// One line for all watermarks that have advanced.
    fn report(&mut self) {
        let mut line = String::from("durable");
        for (camera, (_, reported)) in (1_u32..).zip(&mut self.streams) {
            let Some(mark) = self.handle.watermark(StreamId::main(CameraId(camera))) else {
                continue;
            };
            let is_ours = mark.epoch.0 == self.session.epoch;
            if is_ours && mark.durable_end.micros() != *reported {
                *reported = mark.durable_end.micros();
                line.push_str(&format!(" {camera}:{reported}"));
            }
        }
        println!("{line}");
    }
}
