//! What can be asked of `holdfast-chaos`.

use crate::scenario::Place;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Proves a Holdfast cluster: runs real nodes with cameras that stamp every frame, breaks things on
/// a timetable, and compares what is served with what was sent, frame by frame.
///
/// Exit codes: 0 everything holds, 1 something is broken, 2 wrong usage or a wrong scenario file, 3
/// it could not run here.
#[derive(Debug, Parser)]
#[command(name = "holdfast-chaos", version)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Names the scenarios that are built in
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Runs scenarios: built-in ones by name, others by file
    Run(RunArgs),
    /// Runs scenarios that a seed makes, one after the other, until one is broken
    Soak(SoakArgs),
    /// Shows reports of runs again, and writes their pages anew
    Report(ReportArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Names (`holdfast-chaos list`) or files ending with .toml
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(super) scenarios: Vec<String>,
    /// Every scenario that is built in; those that cannot run here are said to be left out
    #[arg(long)]
    pub(super) all: bool,
    /// How often each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) runs: u32,
    /// So many runs beside each other: shorter, where the machine has the cores; figures of time
    /// get worse where it has not
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) jobs: u32,
    /// Decides whom `any` hits, and what cameras begin with; the next run takes the next number
    /// [default: random]
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// So many cameras instead of the scenario's, whose groups keep their shares; several numbers,
    /// as 12,60, run it with each
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) cameras: Vec<u32>,
    /// Where the nodes run, instead of what the scenario says
    #[arg(long, value_enum)]
    pub(super) on: Option<Place>,
    /// Describes the cluster for `--on attach`; docs/chaos.md has an example
    #[arg(long, value_name = "FILE")]
    pub(super) attach: Option<PathBuf>,
    /// Does not judge thresholds of time: for debug builds, and machines that do other things too
    #[arg(long)]
    pub(super) without_timing: bool,
    /// Writes a table over all runs, in markdown
    #[arg(long, value_name = "FILE")]
    pub(super) table: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct SoakArgs {
    /// How many scenarios; 0 for ever
    #[arg(long, default_value_t = 0)]
    pub(super) rounds: u32,
    /// Of the first scenario; the next takes the next number [default: random]
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Of each scenario
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(30..=3600))]
    pub(super) seconds: u32,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(super) cameras: u32,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(super) nodes: u32,
    #[arg(long, value_enum, default_value = "processes")]
    pub(super) on: Place,
    /// Goes on after a scenario that is broken
    #[arg(long)]
    pub(super) keep_going: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Gets a folder for each run
    #[arg(long, value_name = "DIR", default_value = "holdfast-chaos-runs")]
    pub(super) out: PathBuf,
    /// Keeps configurations and recordings too, in the run's folder under `site`
    #[arg(long)]
    pub(super) keep: bool,
    /// Prints report.json's object as the last line of each run
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Folders of runs
    #[arg(required = true)]
    pub(super) folders: Vec<PathBuf>,
    /// Writes a table over all of them, in markdown
    #[arg(long, value_name = "FILE")]
    pub(super) table: Option<PathBuf>,
    /// Prints report.json's object as the last line of each
    #[arg(long)]
    pub(super) json: bool,
}
