//! The arguments of `holdfast-chaos`.

use crate::scenario::Place;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Tests a Holdfast cluster: runs real nodes with cameras that stamp every frame, injects faults on
/// a schedule, and compares the footage that is served with what the cameras sent, frame by frame.
///
/// Exit codes: 0 everything holds, 1 an invariant or a threshold is broken, 2 wrong usage or a
/// wrong scenario file, 3 this machine cannot run it.
#[derive(Debug, Parser)]
#[command(name = "holdfast-chaos", version)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the built-in scenarios
    List {
        /// Prints one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Runs scenarios: built-in ones by name, others by file
    Run(RunArgs),
    /// Runs scenarios generated from a seed, one after the other, until one is broken
    Soak(SoakArgs),
    /// Shows the reports of earlier runs, and writes their pages again
    Report(ReportArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Names (`holdfast-chaos list`) or paths of files that end with .toml
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(super) scenarios: Vec<String>,
    /// Runs every built-in scenario; those that cannot run here are reported as left out
    #[arg(long)]
    pub(super) all: bool,
    /// How often each scenario runs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) runs: u32,
    /// Number of runs in parallel: faster on a machine with enough cores; without them, measured
    /// times get worse
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) jobs: u32,
    /// Decides which node or camera `any` hits, and where the cameras' clips begin; each further
    /// run takes the next number [default: random]
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Number of cameras instead of the scenario's, its groups keep their shares; a list such as
    /// 12,60 runs it with each number
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) cameras: Vec<u32>,
    /// Where the nodes run, instead of where the scenario says
    #[arg(long, value_enum)]
    pub(super) on: Option<Place>,
    /// Describes the cluster for `--on attach`; docs/chaos.md has an example
    #[arg(long, value_name = "FILE")]
    pub(super) attach: Option<PathBuf>,
    /// Does not judge time thresholds: for debug builds and busy machines
    #[arg(long)]
    pub(super) without_timing: bool,
    /// Writes a table over all runs, in Markdown
    #[arg(long, value_name = "FILE")]
    pub(super) table: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct SoakArgs {
    /// Number of scenarios; 0 runs until interrupted
    #[arg(long, default_value_t = 0)]
    pub(super) rounds: u32,
    /// Seed of the first scenario; the next takes the next number [default: random]
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Length of each scenario
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(30..=3600))]
    pub(super) seconds: u32,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(super) cameras: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(super) nodes: u32,
    #[arg(long, value_enum, default_value = "processes")]
    pub(super) on: Place,
    /// Continues after a broken scenario
    #[arg(long)]
    pub(super) keep_going: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Directory that gets a folder for each run
    #[arg(long, value_name = "DIR", default_value = "holdfast-chaos-runs")]
    pub(super) out: PathBuf,
    /// Also keeps configurations and recordings, in the run's folder under `site`
    #[arg(long)]
    pub(super) keep: bool,
    /// Prints report.json as one line at the end of each run
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Folders of runs
    #[arg(required = true)]
    pub(super) folders: Vec<PathBuf>,
    /// Writes a table over all of them, in Markdown
    #[arg(long, value_name = "FILE")]
    pub(super) table: Option<PathBuf>,
    /// Prints report.json as one line at the end of each report
    #[arg(long)]
    pub(super) json: bool,
}
