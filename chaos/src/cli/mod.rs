//! The command line of `holdfast-chaos`: arguments in, exit code out.

mod args;
mod execute;
mod jobs;

pub use args::Args;

use crate::report::{Report, table};
use crate::scenario::{SHIPPED, Scenario};
use crate::{Error, Result, history, io_error, stage};
use args::{Command, ReportArgs};
use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Holds = 0,
    Broken = 1,
    Usage = 2,
    CouldNotRun = 3,
}

/// Executes the command; errors go to standard error.
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

/// First removes what killed runs left behind.
fn clean() {
    for said in stage::clean() {
        eprintln!("{said}");
    }
}

fn list(json: bool) -> Result<Ending> {
    let scenarios: Vec<Scenario> = SHIPPED
        .iter()
        .map(|(name, _)| Scenario::load(name))
        .collect::<std::result::Result<_, _>>()?;
    for scenario in &scenarios {
        let (name, about) = (&scenario.name, &scenario.about);
        let place = format!("{:?}", scenario.on).to_lowercase();
        if json {
            let line = serde_json::json!({
                "name": name, "about": about, "on": place, "seconds": scenario.seconds,
            });
            println!("{line}");
        } else {
            println!("{name:<22}{place:<11}{:>5} s  {about}", scenario.seconds);
        }
    }
    Ok(Ending::Holds)
}

fn report(args: &ReportArgs) -> Result<Ending> {
    let mut reports = Vec::new();
    for folder in &args.folders {
        let mut report = Report::read(folder)?;
        report.count_again(&history::read(&folder.join("history.jsonl"))?);
        report.write_to(folder)?;
        print!("{}", report.summary());
        println!("the page: {}", folder.join("report.html").display());
        if args.json {
            println!("{}", report.json_line());
        }
        reports.push(report);
    }
    if let Some(path) = &args.table {
        std::fs::write(path, table::write(&reports, &execute::command_line()))
            .map_err(io_error(format!("write {}", path.display())))?;
    }
    Ok(if reports.iter().all(Report::holds) {
        Ending::Holds
    } else {
        Ending::Broken
    })
}
