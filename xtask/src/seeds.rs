//! Searches by seed that are tests of other crates: passes the seeds to run from the command line
//! to the environment of the test.

use crate::verify::cargo;
use std::process::{Command, ExitCode};

/// A test that runs the seeds named in its environment, until one fails.
pub(crate) struct Search {
    pub(crate) help: &'static str,
    pub(crate) target: &'static str,
    /// The target's features in addition to the workspace's defaults.
    pub(crate) features: &'static str,
    pub(crate) test: &'static str,
    /// The prefix of its environment variables.
    pub(crate) variables: &'static str,
    /// The default number of seeds.
    pub(crate) seeds: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    first: u64,
    /// 0: without end.
    seeds: u64,
    is_release: bool,
}

impl Search {
    pub(crate) fn run(&self, args: &[&str]) -> ExitCode {
        let help = self.help;
        if args.iter().any(|arg| matches!(*arg, "-h" | "--help")) {
            println!("{help}");
            return ExitCode::SUCCESS;
        }
        match parse(args, self.seeds) {
            Ok(options) => match self.command(&options).status() {
                Ok(status) if status.success() => ExitCode::SUCCESS,
                Ok(_) => ExitCode::FAILURE,
                Err(error) => {
                    eprintln!("cannot run cargo: {error}");
                    ExitCode::FAILURE
                }
            },
            Err(problem) => {
                eprintln!("{problem}\n\n{help}");
                ExitCode::from(2)
            }
        }
    }

    /// The bounded run that is part of `cargo xtask verify`: one of `share` seeds.
    pub(crate) fn bounded(&self, share: u64) -> Command {
        self.command(&Options {
            first: 0,
            seeds: self.seeds / share,
            is_release: false,
        })
    }

    fn command(&self, options: &Options) -> Command {
        let mut command = cargo(&["test", "--quiet", "--workspace", "--test", self.target]);
        if !self.features.is_empty() {
            command.args(["--features", self.features]);
        }
        if options.is_release {
            command.arg("--release");
        }
        command.args(["--", "--exact", "--nocapture", self.test]);
        command.env(
            format!("{}_FIRST", self.variables),
            options.first.to_string(),
        );
        command.env(
            format!("{}_SEEDS", self.variables),
            options.seeds.to_string(),
        );
        command
    }
}

fn parse(args: &[&str], seeds: u64) -> Result<Options, String> {
    let mut options = Options {
        first: 0,
        seeds,
        is_release: false,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--seed" => {
                options = Options {
                    first: number(arg, args.next())?,
                    seeds: 1,
                    ..options
                }
            }
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
    value
        .parse()
        .map_err(|_| format!("`{option}` needs a number, not `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_understood_or_named() {
        let options = |first, seeds, is_release| {
            Ok(Options {
                first,
                seeds,
                is_release,
            })
        };
        assert_eq!(parse(&[], 50), options(0, 50, false));
        assert_eq!(parse(&["--seed", "7"], 50), options(7, 1, false));
        assert_eq!(
            parse(&["--first", "9", "--forever", "--release"], 50),
            options(9, 0, true)
        );
        for wrong in [&["--seed"][..], &["--seeds", "many"], &["--fast"]] {
            assert!(parse(wrong, 50).is_err(), "{wrong:?}");
        }
    }
}
