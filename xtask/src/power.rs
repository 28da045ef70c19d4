//! `cargo xtask power`: power cuts on real filesystems, a few in `verify`, hundreds by hand.

use crate::debian::{self, Packages};
use crate::steps::{Outcome, Steps};
use crate::verify::cargo;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

const HELP: &str = "\
Usage: cargo xtask power [--cuts N] [--replays N] [--seed N]

Records hundreds of cameras to ext4 and xfs, with io_uring and plain I/O, cuts the power, and
compares what is found with what was reported durable. Prints how much of a stream was lost at most.
Needs root, loop devices and FUSE.

  --cuts N      power cuts of each kind by FS_IOC_SHUTDOWN (default 100): 2 to 3 s each, four kinds
  --replays N   moments of each kind at which a disk loses half of what was not flushed (default
                125): about 1 s each
  --seed N      another choice of moments

Exit codes: 0 passed, 1 failed or cannot run here, 2 wrong usage";

pub(crate) const NAME: &str = "power cuts";

/// The number of each kind in `verify`.
const IN_VERIFY: Numbers = Numbers {
    cuts: 6,
    replays: 8,
    seed: 1,
};

const BY_HAND: Numbers = Numbers {
    cuts: 100,
    replays: 125,
    seed: 1,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    cuts: u64,
    replays: u64,
    seed: u64,
}

pub(crate) fn run(args: &[&str]) -> ExitCode {
    if args.iter().any(|arg| matches!(*arg, "-h" | "--help")) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match parse(args) {
        Ok(numbers) => {
            let mut steps = Steps::new(false);
            match tests(&mut steps, numbers) {
                Ok(tests) => steps.command(NAME, tests),
                Err(why) => drop(steps.step(NAME, || Err::<(), _>(why))),
            }
            steps.summary()
        }
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(args: &[&str]) -> Result<Numbers, String> {
    let mut numbers = BY_HAND;
    for pair in args.chunks(2) {
        let [name, value] = pair else {
            return Err(format!("`{}` without a number", pair[0]));
        };
        let field = match *name {
            "--cuts" => &mut numbers.cuts,
            "--replays" => &mut numbers.replays,
            "--seed" => &mut numbers.seed,
            unknown => return Err(format!("unknown argument `{unknown}`")),
        };
        *field = value
            .parse()
            .map_err(|_| format!("`{value}` is no number"))?;
    }
    Ok(numbers)
}

/// The run in `verify`: if it cannot run, it is left out, with a visible note.
pub(crate) fn in_verify(steps: &mut Steps) -> Option<Command> {
    match tests(steps, IN_VERIFY) {
        Ok(tests) => Some(tests),
        Err(why) => {
            println!("\n*** power cuts are LEFT OUT: {why} ***");
            steps.note(NAME, Outcome::LeftOut(why));
            None
        }
    }
}

/// Or why they cannot run here.
fn tests(steps: &mut Steps, numbers: Numbers) -> Result<Command, String> {
    match steps.step("disk packages", || debian::ensure(&debian::DISKS)) {
        Some(Packages::Missing { install_line }) => {
            return Err(format!("needs root, and packages: {install_line}"));
        }
        Some(Packages::Present) if !debian::is_root() => {
            return Err("only root may mount loop devices".to_owned());
        }
        Some(Packages::Present) => {}
        None => {
            return Err(
                "a step before it failed, or the packages could not be installed".to_owned(),
            );
        }
    }
    let has_loops = Command::new("losetup")
        .arg("-f")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_loops || !Path::new("/dev/fuse").exists() {
        return Err("this machine has no loop devices or no /dev/fuse".to_owned());
    }
    Ok(command(numbers))
}

/// Their tests need root and are marked `#[ignore]`; one at a time, because each is a load of its
/// own.
fn command(numbers: Numbers) -> Command {
    let mut command = cargo(&[
        "test",
        "--workspace",
        "--test",
        "power",
        "--",
        "--ignored",
        "--nocapture",
    ]);
    command
        .arg("--test-threads=1")
        .env("HOLDFAST_POWER_CUTS", numbers.cuts.to_string());
    command.env("HOLDFAST_POWER_REPLAYS", numbers.replays.to_string());
    command.env("HOLDFAST_POWER_SEED", numbers.seed.to_string());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_understood_or_named() {
        assert_eq!(parse(&[]), Ok(BY_HAND));
        assert_eq!(
            parse(&["--cuts", "7", "--seed", "2"]),
            Ok(Numbers {
                cuts: 7,
                seed: 2,
                ..BY_HAND
            })
        );
        assert_eq!(
            parse(&["--cuts"]),
            Err("`--cuts` without a number".to_owned())
        );
        assert_eq!(
            parse(&["--cuts", "many"]),
            Err("`many` is no number".to_owned())
        );
        assert_eq!(
            parse(&["--cut", "7"]),
            Err("unknown argument `--cut`".to_owned())
        );
    }
}
