//! `cargo xtask verify`: format, lints, tests, crash exploration, simulated failover and consensus,
//! interop tests, power cuts, chaos scenarios and odd cameras, with a summary at the end.
//!
//! Steps that need one processor, or wait for most of their time, run in parallel with others of
//! their kind; tests have the machine to themselves, because some of them have deadlines.

use crate::chaos;
use crate::debian::{self, Packages};
use crate::explore;
use crate::power;
use crate::simulate;
use crate::steps::{Outcome, Steps};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Usage: cargo xtask verify [--quick] [--keep-going]

Runs every check that CI runs: format, clippy with warnings as errors, all tests, doc tests, crash
exploration of the store (2,000 seeds), simulated failover (400 seeds), simulated consensus (12
seeds), interop tests, power cuts, chaos scenarios. As root it installs the Debian packages that
interop tests, faulty disks, power cuts and network namespaces need; else it prints the line that
would, and leaves those tests out.

  --quick        without the interop tests, the power cuts and the scenarios, with a quarter of the
                 seeds; installs nothing
  --keep-going   run the remaining steps after one has failed

Exit codes: 0 passed, 1 a step failed, 2 wrong usage";

/// `--quick` runs this part of the seeds.
const QUICK_SHARE: u64 = 4;

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    quick: bool,
    keep_going: bool,
}

pub(crate) fn run(args: &[&str]) -> ExitCode {
    if args.iter().any(|arg| matches!(*arg, "-h" | "--help")) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match parse(args) {
        Ok(options) => verify(&options),
        Err(unknown) => {
            eprintln!("unknown argument `{unknown}`\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse<'a>(args: &[&'a str]) -> Result<Options, &'a str> {
    let mut options = Options::default();
    for arg in args {
        match *arg {
            "--quick" => options.quick = true,
            "--keep-going" => options.keep_going = true,
            unknown => return Err(unknown),
        }
    }
    Ok(options)
}

fn verify(options: &Options) -> ExitCode {
    let mut steps = Steps::new(options.keep_going);
    steps.command("format", cargo(&["fmt", "--all", "--check"]));
    steps.command(
        "clippy",
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    );
    let simulated = [
        "clippy",
        "-p",
        "holdfast-consensus-simulator",
        "--features",
        simulate::FEATURE,
        "--all-targets",
    ];
    steps.command(
        "clippy of simulated consensus",
        cargo(&[&simulated[..], &["--", "-D", "warnings"]].concat()),
    );
    // The integration tests start the binary in the same target folder. Cargo unifies features over
    // everything that one command builds: every step builds the whole workspace, so that nothing is
    // compiled twice.
    steps.command("build", cargo(&["build", "--workspace", "--all-targets"]));
    if !options.quick {
        disks(&mut steps);
    }
    // Without interop tests: these are ignored unless asked for.
    let tests = if has_nextest() {
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        plain_tests()
    };
    steps.command("tests", tests);
    steps.command("doc tests", cargo(&["test", "--workspace", "--doc"]));
    let share = if options.quick { QUICK_SHARE } else { 1 };
    steps.command_alongside(
        "explore",
        explore::SEARCH.bounded(share),
        vec![
            ("simulate", simulate::SEARCH.bounded(share)),
            ("simulate consensus", simulate::consensus_tests()),
        ],
    );
    if options.quick {
        steps.note("interop", Outcome::LeftOut("--quick".to_owned()));
        steps.note("power cuts", Outcome::LeftOut("--quick".to_owned()));
        steps.note("chaos", Outcome::LeftOut("--quick".to_owned()));
        steps.note("odd cameras", Outcome::LeftOut("--quick".to_owned()));
    } else {
        interop(&mut steps);
        // Not with scenarios: it keeps the disk busy for seconds, and cameras leave slow volumes.
        if let Some(power_cuts) = power::in_verify(&mut steps) {
            steps.command(power::NAME, power_cuts);
        }
        let scenarios = chaos::scenarios(&mut steps);
        steps.command(chaos::NAME, scenarios);
        steps.command("odd cameras", odd_camera_tests());
    }
    steps.summary()
}

/// If these packages are missing, the tests that need them skip themselves.
fn disks(steps: &mut Steps) {
    if let Some(Packages::Missing { install_line }) = steps
        .step("debian packages for faulty disks", || {
            debian::ensure(&debian::DISKS)
        })
    {
        steps.note(
            "faulty disks",
            Outcome::LeftOut(format!("need packages and root; as root: {install_line}")),
        );
    }
}

fn interop(steps: &mut Steps) {
    match steps.step("debian packages", debian::ensure_interop) {
        Some(Packages::Present) => steps.command("interop", interop_tests()),
        Some(Packages::Missing { install_line }) => {
            steps.note(
                "interop",
                Outcome::LeftOut(format!("needs packages; as root: {install_line}")),
            );
        }
        None => {}
    }
}

fn plain_tests() -> Command {
    cargo(&[
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--examples",
        "--tests",
        "--no-fail-fast",
    ])
}

/// The targets `tests/tests/interop*.rs`. Their tests need foreign programs and are marked
/// `#[ignore]`.
fn interop_tests() -> Command {
    cargo(&[
        "test",
        "--workspace",
        "--test",
        "interop*",
        "--",
        "--include-ignored",
    ])
}

/// A dozen cameras at a time, and players that decode the recordings: two tests at once keep the
/// machine busy.
fn odd_camera_tests() -> Command {
    cargo(&[
        "test",
        "--workspace",
        "--test",
        "oddities",
        "--",
        "--ignored",
        "--test-threads",
        "2",
    ])
}

fn has_nextest() -> bool {
    let asked = cargo(&["nextest", "--version"]).output();
    asked.is_ok_and(|output| output.status.success())
}

pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// The workspace's folder, even if called from within it.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_named() {
        assert_eq!(parse(&[]), Ok(Options::default()));
        assert_eq!(
            parse(&["--keep-going", "--quick"]),
            Ok(Options {
                quick: true,
                keep_going: true
            })
        );
        assert_eq!(parse(&["--fast"]), Err("--fast"));
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("xtask/Cargo.toml").exists());
    }
}
