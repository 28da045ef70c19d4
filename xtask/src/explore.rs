//! `cargo xtask explore`: crash exploration of the store, by seed. The exploration itself is `storage/tests/explore.rs`; this starts it.

use crate::verify::cargo;
use std::process::{Command, ExitCode};

pub(crate) const HELP: &str = "\
Usage: cargo xtask explore [--seed N | [--first N] [--seeds N | --forever]] [--release]

Runs the store on a simulated disk, stops it anywhere, and checks after each stop that everything that was reported durable is there, nothing
damaged is served, and a second recovery changes nothing. One seed is one run; a failure prints its seed and the line that repeats it.

  --seed N     this seed alone
  --first N    the first seed [default: 0]
  --seeds N    so many seeds [default: 2000]
  --forever    until one fails
  --release    optimised: slower to build, several times as many seeds a second

Exit codes: 0 nothing found, 1 a seed failed, 2 wrong usage";

/// What `cargo xtask verify` runs, too.
const SEEDS: u64 = 2000;

#[derive(Debug, PartialEq, Eq)]
struct Options {
    first: u64,
    /// 0: without end.
    seeds: u64,
    is_release: bool,
}

pub(crate) fn run(args: &[&str]) -> ExitCode {
    if args.iter().any(|arg| matches!(*arg, "-h" | "--help")) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match parse(args) {
        Ok(options) => match command(&options).status() {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("cannot run cargo: {error}");
                ExitCode::FAILURE
            }
        },
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// The bounded run that is part of `cargo xtask verify`.
pub(crate) fn bounded() -> Command {
    command(&Options { first: 0, seeds: SEEDS, is_release: false })
}

fn parse(args: &[&str]) -> Result<Options, String> {
    let mut options = Options { first: 0, seeds: SEEDS, is_release: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--seed" => options = Options { first: number(arg, args.next())?, seeds: 1, ..options },
            "--first" => options.first = number(arg, args.next())?,
            "--seeds" => options.seeds = number(arg, args.next())?.max(1),
            "--forever" => options.seeds = 0,
            "--release" => options.is_release = true,
            unknown => return Err(format!("unknown argument `{unknown}`")),
        }
    }
    Ok(options)
}

fn number(option: &str, value: Option<&&str>) -> Result<u64, String> {
    let value = value.ok_or_else(|| format!("`{option}` needs a number"))?;
    value.parse().map_err(|_| format!("`{option}` needs a number, not `{value}`"))
}

fn command(options: &Options) -> Command {
    let mut command = cargo(&["test", "--quiet", "--workspace", "--test", "explore"]);
    if options.is_release {
        command.arg("--release");
    }
    command.args(["--", "--exact", "--nocapture", "promises_hold_wherever_the_machine_stops"]);
    command.env("HOLDFAST_EXPLORE_FIRST", options.first.to_string());
    command.env("HOLDFAST_EXPLORE_SEEDS", options.seeds.to_string());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_named() {
        let options = |first, seeds, is_release| Ok(Options { first, seeds, is_release });
        assert_eq!(parse(&[]), options(0, SEEDS, false));
        assert_eq!(parse(&["--seed", "7"]), options(7, 1, false));
        assert_eq!(parse(&["--first", "9", "--forever", "--release"]), options(9, 0, true));
        for wrong in [&["--seed"][..], &["--seeds", "many"], &["--fast"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
