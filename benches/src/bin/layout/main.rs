//! How many cameras of 2 Mbit/s a disk with slow seeks takes with at most 1 s of video at risk: all
//! in one log (this store), or a file for each camera.
//!
//! `cargo run --release -p holdfast-benches --bin layout -- --dir DIR [--seconds N] [--cameras-max
//! N] [--json]`; DIR is on the disk under test, preferably one that is slowed down artificially
//! (RESULTS.md says how). The count is doubled until a trial fails, then halved in between to
//! within a tenth.
//!
//! A frame is at risk from its arrival until it is durable, wherever it waits: in a recorder's
//! memory, in the page cache, in the disk's cache. A trial passes if no frame was ever at risk for
//! longer than 1 s after a warm-up. Both layouts see the same frames at the same moments.

mod separate;
mod shared;

use clap::Parser;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::machine::Machine;
use holdfast_benches::{Outcome, clock};
use separate::Separate;
use shared::Shared;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// 2 Mbit/s at 25 frames a second.
pub(crate) const FRAME_BYTES: usize = 10_000;
pub(crate) const FRAME_INTERVAL: Duration = Duration::from_millis(40);
const AT_RISK_MAX: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(3);
/// Cameras' phases differ by steps of this; frames are handed over as often.
const TICK: Duration = Duration::from_millis(10);
/// A trial that is this far beyond its bound need not continue.
const HOPELESS: Duration = Duration::from_secs(3);

#[derive(Debug, Parser)]
struct Args {
    /// On the disk under test
    #[arg(long)]
    dir: PathBuf,
    /// Of each trial, after its warm-up
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Greater counts are not tried
    #[arg(long, default_value_t = 2000)]
    cameras_max: u32,
    #[arg(long)]
    json: bool,
}

/// A way to lay recordings out on a disk.
pub(crate) trait Layout: Sized {
    /// # Errors
    /// The disk refuses a write.
    fn open(dir: &Path, cameras: u32) -> Outcome<Self>;
    /// A frame of `camera` has arrived, `at` after the start. Never waits for the disk.
    fn frame(&mut self, camera: u32, at: Duration) -> Outcome<()>;
    /// When the oldest frame arrived that is not durable yet.
    fn oldest_at_risk(&mut self) -> Option<Duration>;
    fn close(self) -> Outcome<()>;
}

fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let machine = Machine::read(&args.dir.canonicalize()?);
    let shared = most::<Shared>("one log", &args)?;
    let separate = most::<Separate>("a file for each camera", &args)?;
    let cameras = |trials: &[Trial]| {
        f64::from(
            trials
                .iter()
                .filter(|trial| trial.passed())
                .map(|trial| trial.cameras)
                .max()
                .unwrap_or(0),
        )
    };
    let figures = vec![
        Figure::new(
            "cameras with at most 1 s at risk, one log",
            Target::None,
            cameras(&shared),
            "",
        ),
        Figure::new(
            "cameras with at most 1 s at risk, a file for each",
            Target::None,
            cameras(&separate),
            "",
        ),
        Figure::new(
            "one log against a file for each",
            Target::AtLeast(2.0),
            cameras(&shared) / cameras(&separate).max(1.0),
            "x",
        ),
    ];
    let json = |trials: &[Trial]| {
        trials
            .iter()
            .map(|trial| {
                serde_json::json!({
                    "cameras": trial.cameras, "worst_at_risk_s": trial.worst.as_secs_f64(),
                })
            })
            .collect::<Vec<_>>()
    };
    let details = serde_json::json!({ "one_log": json(&shared), "file_each": json(&separate) });
    Ok(Report {
        bench: "layout",
        machine,
        figures,
        details,
    }
    .publish(args.json))
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    cameras: u32,
    worst: Duration,
}

impl Trial {
    fn passed(self) -> bool {
        self.worst <= AT_RISK_MAX
    }
}

/// All trials of one layout, in the order in which they were made.
fn most<L: Layout>(name: &str, args: &Args) -> Outcome<Vec<Trial>> {
    let mut trials: Vec<Trial> = Vec::new();
    let (mut passed, mut failed) = (0, args.cameras_max.saturating_add(1));
    while let Some(cameras) = next_count(passed, failed, args.cameras_max) {
        let trial = Trial {
            cameras,
            worst: trial::<L>(args, cameras)?,
        };
        eprintln!(
            "{name}: {cameras} cameras: at most {:.2} s at risk",
            trial.worst.as_secs_f64()
        );
        if trial.passed() {
            passed = cameras;
        } else {
            failed = cameras;
        }
        trials.push(trial);
    }
    Ok(trials)
}

/// Doubles until a trial fails, then halves the difference until it is a tenth. Pure.
fn next_count(passed: u32, failed: u32, cameras_max: u32) -> Option<u32> {
    let is_unbounded = failed > cameras_max;
    match (passed, is_unbounded) {
        (0, true) => Some(1),
        (passed, true) if passed < cameras_max => Some((passed * 2).min(cameras_max)),
        (_, true) => None,
        (passed, false) => {
            (failed - passed > (passed / 10).max(1)).then_some(passed.midpoint(failed))
        }
    }
}

/// The longest that any frame was at risk.
fn trial<L: Layout>(args: &Args, cameras: u32) -> Outcome<Duration> {
    let dir = tempfile::Builder::new()
        .prefix("holdfast-bench-layout-")
        .tempdir_in(&args.dir)?;
    let mut layout = L::open(dir.path(), cameras)?;
    let worst = record(
        &mut layout,
        cameras,
        WARM_UP + Duration::from_secs(args.seconds),
    );
    layout.close()?;
    worst
}

fn record(layout: &mut impl Layout, cameras: u32, lasts: Duration) -> Outcome<Duration> {
    let started = clock::now();
    let mut worst = Duration::ZERO;
    // By camera: how many frames it has sent.
    let mut sent = vec![0_u32; cameras as usize];
    loop {
        let now = started.elapsed();
        for (camera, sent) in (0..cameras).zip(&mut sent) {
            while let Some(at) = due(camera, *sent).filter(|at| *at <= now) {
                layout.frame(camera, at)?;
                *sent += 1;
            }
        }
        if now > WARM_UP {
            worst = worst.max(
                layout
                    .oldest_at_risk()
                    .map_or(Duration::ZERO, |at| started.elapsed().saturating_sub(at)),
            );
        }
        if now >= lasts || worst > HOPELESS {
            return Ok(worst);
        }
        sleep_until(started + now + TICK);
    }
}

/// When a camera's frame number `frame` arrives. Phases are spread over a keyframe interval of 1 s,
/// so that chunks do not end all at once.
fn due(camera: u32, frame: u32) -> Option<Duration> {
    let phase = TICK * (camera.wrapping_mul(37) % 100);
    FRAME_INTERVAL.checked_mul(frame).map(|at| at + phase)
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(clock::now()));
}

#[cfg(test)]
mod tests {
    use super::next_count;

    #[test]
    fn the_count_doubles_until_a_trial_fails_and_then_closes_in() {
        let found = |limit: u32, cameras_max: u32| {
            let (mut passed, mut failed, mut trials) = (0, cameras_max + 1, 0);
            while let Some(cameras) = next_count(passed, failed, cameras_max) {
                trials += 1;
                if cameras <= limit {
                    passed = cameras;
                } else {
                    failed = cameras;
                }
            }
            assert!(trials < 30);
            passed
        };
        assert_eq!(found(0, 100), 0);
        assert_eq!(found(1, 100), 1);
        assert_eq!(found(7, 100), 7);
        assert!((900..=1000).contains(&found(1000, 4000)));
        assert_eq!(found(5000, 2000), 2000);
    }
}
