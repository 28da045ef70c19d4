//! `holdfast-chaos`: breaks a cluster on a schedule and counts the frames that it lost.

use clap::Parser;
use holdfast_chaos::cli::{Args, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Args::parse())
}
