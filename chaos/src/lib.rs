//! A test harness for clusters: drives real processes and cameras, and compares what is served with
//! what was sent.
//!
//! `holdfast-chaos` runs scenarios: `scenario` describes the events, `stage` provides the
//! environment, `run` executes, `invariants` judge the evidence, `report` presents it.
//!
//! `coverage`, `prometheus`, `scenario`, `simulator`, `soak`, `sound`, `invariants` and `report`
//! are functions of their inputs; `site`, `oracle`, `web`, `disk`, `faulty`, `process`,
//! `ffmpeg`, `gate`, `player`, `wait`, `wall`, `stage` and `run` touch the world.

pub mod cli;
pub mod coverage;
pub mod disk;
pub mod evidence;
pub mod faulty;
pub mod ffmpeg;
pub mod figures;
mod files;
pub mod gate;
pub mod history;
pub mod invariants;
pub mod options;
pub mod oracle;
pub mod player;
pub mod process;
pub mod prometheus;
pub mod report;
pub mod run;
pub mod scenario;
pub mod simulator;
pub mod site;
pub mod soak;
mod sockets;
mod sound;
pub mod stage;
pub mod wait;
pub mod wall;
pub mod web;

use holdfast_node::demo::cluster::ClusterError;
use holdfast_node::terminal::error::CliError;
use std::io;

/// Why the harness could not do its work, or what it found wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Api(#[from] CliError),
    #[error(transparent)]
    Cameras(#[from] holdfast_camera::Error),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("after {seconds} s it is still not so that {what}: {why}")]
    TimedOut {
        what: String,
        seconds: u64,
        why: String,
    },
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Scenario(#[from] scenario::ScenarioError),
    /// Invalid arguments or files.
    #[error("{0}")]
    Usage(String),
    /// This machine lacks a requirement.
    #[error("cannot run here: {0}")]
    CannotRun(String),
    #[error("interrupted")]
    Interrupted,
}

pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Io { what, source }
}
