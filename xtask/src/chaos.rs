//! `cargo xtask chaos`: the short scenarios that `verify` runs, with real nodes: they find what is
//! broken, not how fast it is.

use crate::debian::{self, Packages};
use crate::steps::{Outcome, Steps};
use crate::verify::{cargo, root};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Usage: cargo xtask chaos

Runs a few short scenarios of holdfast-chaos on the debug build (docs/chaos.md), about 4 minutes.
Those that need network namespaces need root; as root the Debian packages that they need are
installed. Thresholds of time are not judged.

Exit codes: 0 passed, 1 failed, 2 wrong usage";

pub(crate) const NAME: &str = "chaos";

/// On loopback.
const PLAIN: [&str; 5] = [
    "hostile-gallery",
    "leader-kill",
    "drain-under-load",
    "camera-faults",
    "suspects",
];

/// In network namespaces.
const WITH_NAMESPACES: [&str; 2] = ["node-silent", "split-brain"];

/// In parallel: they wait for most of their time.
const JOBS: &str = "3";

/// Few, because nodes, cameras and the runner share a machine that may have other work too.
const CAMERAS: &str = "6";

/// Fixed, so that `verify` does the same every time.
const SEED: &str = "1";

pub(crate) fn run(args: &[&str]) -> ExitCode {
    match args {
        [] => {
            let mut steps = Steps::new(true);
            steps.command("build", cargo(&["build", "--workspace", "--all-targets"]));
            let scenarios = scenarios(&mut steps);
            steps.command(NAME, scenarios);
            steps.summary()
        }
        ["-h" | "--help"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        [unknown, ..] => {
            eprintln!("unknown argument `{unknown}`\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// The scenarios of `verify`: those that cannot run here are left out, with a visible note.
pub(crate) fn scenarios(steps: &mut Steps) -> Command {
    let mut command = Command::new(program());
    command.arg("run").args(PLAIN);
    match missing(steps) {
        None => {
            command.args(WITH_NAMESPACES);
        }
        Some(why) => {
            println!("\n*** scenarios in network namespaces are LEFT OUT: {why} ***");
            steps.note("chaos in namespaces", Outcome::LeftOut(why));
        }
    }
    command.args([
        "--jobs",
        JOBS,
        "--cameras",
        CAMERAS,
        "--seed",
        SEED,
        "--without-timing",
        "--out",
    ]);
    command.arg(target().join("chaos")).current_dir(root());
    command
}

fn missing(steps: &mut Steps) -> Option<String> {
    match steps.step("network packages", || debian::ensure(&debian::NETWORK)) {
        Some(Packages::Missing { install_line }) => {
            Some(format!("needs root, and packages: {install_line}"))
        }
        Some(Packages::Present) if !debian::is_root() => {
            Some("only root may make network namespaces".to_owned())
        }
        Some(Packages::Present) => None,
        None => Some("a step before it failed, or the packages could not be installed".to_owned()),
    }
}

/// The nodes run the `holdfast` in the same folder.
fn program() -> PathBuf {
    target().join("debug/holdfast-chaos")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(Path::new(&dir)))
}
