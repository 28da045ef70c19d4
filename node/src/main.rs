//! The `holdfast` binary: parses the command line and leaves the rest to the library.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::cli::run(holdfast::cli::Args::parse())
}
