//! The command line of `holdfast-chaos`: arguments in, exit code out.

mod args;
mod execute;
mod jobs;

pub use args::Args;

use crate::report::Report;
use crate::scenario::{SHIPPED, Scenario};
use crate::{Error, Result, stage};
use args::{Command, ReportArgs};
use std::process::ExitCode;

/// What the program's end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Holds = 0,
    Broken = 1,
    Usage = 2,
    CouldNotRun = 3,
}

/// Does what the arguments say; errors go to standard error.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let ending = dispatch(args).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ending_of(&error)
    });
    ExitCode::from(ending as u8)
}

fn dispatch(args: Args) -> Result<Ending> {
    match args.command {
        Command::List { json } => list(json),
        Command::Run(args) => {
            clean();
            execute::run(&args)
        }
        Command::Soak(args) => {
            clean();
            execute::soak(&args)
        }
        Command::Report(args) => report(&args),
    }
}

fn ending_of(error: &Error) -> Ending {
    match error {
        Error::Scenario(_) | Error::Usage(_) => Ending::Usage,
        _ => Ending::CouldNotRun,
    }
}

/// What runs that were killed left behind goes first.
fn clean() {
    for said in stage::clean() {
        eprintln!("{said}");
    }
}

fn list(json: bool) -> Result<Ending> {
    let scenarios: Vec<Scenario> =
        SHIPPED.iter().map(|(name, _)| Scenario::load(name)).collect::<std::result::Result<_, _>>()?;
    for scenario in &scenarios {
        let (name, about) = (&scenario.name, &scenario.about);
        let place = format!("{:?}", scenario.on).to_lowercase();
        if json {
            let line = serde_json::json!({ "name": name, "about": about, "on": place, "seconds": scenario.seconds });
            println!("{line}");
        } else {
            println!("{name:<22}{place:<11}{:>5} s  {about}", scenario.seconds);
        }
    }
    Ok(Ending::Holds)
}

fn report(args: &ReportArgs) -> Result<Ending> {
    let report = Report::read(&args.folder)?;
    report.write_to(&args.folder)?;
    print!("{}", report.summary());
    println!("the page: {}", args.folder.join("report.html").display());
    if args.json {
        println!("{}", report.json_line());
    }
    Ok(if report.holds() { Ending::Holds } else { Ending::Broken })
}
