//! `holdfast demo`: a whole cluster with cameras on this machine, in which a node dies and
//! recording continues.
//!
//! Decisions are separate from actions: `script` decides when to kill, restart and end, `view` what
//! changed, `report` what was lost; `session` acts, with `cluster` for the processes and `footage`
//! for what the cluster serves.

pub mod binary;
pub mod cluster;
pub mod footage;
mod keys;
mod ports;
mod report;
mod screen;
mod script;
mod session;
pub mod spawn;
mod view;

use crate::terminal::error::CliError;
use clap::{Args, ValueEnum};
use session::Session;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kill {
    /// The node that leads
    Leader,
    /// The other node with the most cameras
    Follower,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One object on the last line of standard output
    Json,
}

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How many cameras of 2 Mbit/s
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) cameras: u32,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) nodes: u32,
    /// How long to record; without it until `q` or Ctrl-C
    #[arg(
        long = "for",
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(5..=3600)
    )]
    pub(crate) seconds: Option<u64>,
    /// Which node to kill at 40 % of the time; the key `k` kills at any time
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) kill: Kill,
    /// How to report; without it a table for people
    #[arg(long, value_enum)]
    pub(crate) report: Option<ReportFormat>,
}

/// Runs the demo to its end, or until SIGINT or SIGTERM. Leaves no process and no file behind,
/// unless something failed: then the directory with the nodes' logs is kept and named.
///
/// # Errors
/// Nodes or cameras do not start, or a camera was not recorded.
pub(crate) fn run(args: &DemoArgs, json: bool) -> Result<(), CliError> {
    if args.kill != Kill::None && args.nodes < 2 {
        return Err(CliError::usage(
            "--kill needs --nodes 2 or more: another node has to take over",
        ));
    }
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    let json = json || args.report == Some(ReportFormat::Json);
    runtime.block_on(async {
        tokio::select! {
            ended = play(args, json) => ended,
            stopped = stop_signal() => stopped,
        }
    })
}

async fn play(args: &DemoArgs, json: bool) -> Result<(), CliError> {
    let mut session = Session::prepare(args)?;
    match session.play().await {
        Ok(report) => session.publish(&report, json),
        Err(error) => Err(session.keep_evidence(error)),
    }
}

/// Waits, without deadline, until the user wants the end.
async fn stop_signal() -> Result<(), CliError> {
    let failed = |error| CliError::failed(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Err(CliError::failed(
        "interrupted: nodes stopped, files removed",
    ))
}
