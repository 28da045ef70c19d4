//! The gap that kill -9 of the leader leaves, by the cameras' own time, over several runs of
//! `holdfast demo`; and that no other camera loses a frame.
//!
//! `cargo build --release -p holdfast && cargo run --release -p holdfast-benches --bin failover --
//! [--runs N] [--json]`
//!
//! Each run is a new cluster. Gaps are those of the killed node's cameras, all runs together.

use clap::Parser;
use holdfast_benches::Outcome;
use holdfast_benches::figure::{Figure, Report, Target};
use holdfast_benches::machine::Machine;
use holdfast_benches::numbers::{median, worst};
use holdfast_node::demo::binary::holdfast_next_to_this;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 10)]
    runs: usize,
    #[arg(long, default_value_t = 12)]
    cameras: u32,
    #[arg(long, default_value_t = 3)]
    nodes: u32,
    /// Length of each run
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    #[arg(long)]
    json: bool,
}

/// The parts of the demo's report that matter here.
#[derive(Debug, Deserialize, Serialize)]
struct Run {
    killed: Option<String>,
    median_gap_ms: Option<u64>,
    worst_gap_ms: Option<u64>,
    cameras: Vec<Camera>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Camera {
    name: String,
    frames_recorded: u64,
    frames_lost: u64,
    gap_ms: u64,
    owner_before: Option<String>,
    owner_after: Option<String>,
}

fn main() -> Outcome<ExitCode> {
    let args = Args::parse();
    let machine = Machine::read(&std::env::temp_dir());
    let program = holdfast_next_to_this()?;
    let mut runs = Vec::new();
    for number in 1..=args.runs {
        let run = demo(&program, &args)?;
        eprintln!(
            "run {number}: median {:?} ms, worst {:?} ms",
            run.median_gap_ms, run.worst_gap_ms
        );
        runs.push(run);
    }
    let report = Report {
        bench: "failover",
        machine,
        figures: figures(&runs),
        details: serde_json::json!(runs),
    };
    Ok(report.publish(args.json))
}

fn demo(program: &Path, args: &Args) -> Outcome<Run> {
    let mut demo = Command::new(program);
    demo.args([
        "demo",
        "--kill",
        "leader",
        "--report",
        "json",
        "--for",
        &args.seconds.to_string(),
    ]);
    demo.args([
        "--cameras",
        &args.cameras.to_string(),
        "--nodes",
        &args.nodes.to_string(),
    ]);
    let output = demo.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!(
            "the demo failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(serde_json::from_str(
        text.lines().last().ok_or("the demo said nothing")?,
    )?)
}

impl Run {
    fn cameras(&self, moved: bool) -> impl Iterator<Item = &Camera> {
        self.cameras
            .iter()
            .filter(move |camera| (camera.owner_before == self.killed) == moved)
    }
}

fn figures(runs: &[Run]) -> Vec<Figure> {
    let gaps: Vec<f64> = runs
        .iter()
        .flat_map(|run| run.cameras(true))
        .map(|camera| camera.gap_ms as f64 / 1e3)
        .collect();
    let stayed = || runs.iter().flat_map(|run| run.cameras(false));
    let lost: u64 = stayed().map(|camera| camera.frames_lost).sum();
    let unrecorded = runs
        .iter()
        .flat_map(|run| &run.cameras)
        .filter(|camera| camera.frames_recorded == 0)
        .count();
    vec![
        Figure::new(
            "gap of moved cameras, median",
            Target::AtMost(1.5),
            median(&gaps),
            "s",
        ),
        Figure::new(
            "gap of moved cameras, worst",
            Target::AtMost(2.5),
            worst(&gaps),
            "s",
        ),
        Figure::new(
            "frames lost by cameras that did not move",
            Target::AtMost(0.0),
            lost as f64,
            "",
        ),
        Figure::new(
            "cameras not recorded",
            Target::AtMost(0.0),
            unrecorded as f64,
            "",
        ),
        Figure::new(
            "cameras that moved",
            Target::AtLeast(runs.len() as f64),
            gaps.len() as f64,
            "",
        ),
        Figure::new(
            "cameras that did not move",
            Target::None,
            stayed().count() as f64,
            "",
        ),
    ]
}
