//! Steps one after the other, each with its time, and what became of them.

use std::fmt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// Not run, on purpose or for want of something; why.
    LeftOut(String),
}

#[derive(Debug)]
struct Step {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// What ran so far. After a failure nothing more runs, unless told to keep going.
#[derive(Debug)]
pub(crate) struct Steps {
    keep_going: bool,
    done: Vec<Step>,
}

impl Steps {
    pub(crate) fn new(keep_going: bool) -> Self {
        Self { keep_going, done: Vec::new() }
    }

    /// Runs a command with its output on the terminal.
    pub(crate) fn command(&mut self, name: &str, mut command: Command) {
        let shown = shown(&command);
        self.step(name, || match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{shown}` ended with {status}")),
            Err(error) => Err(format!("cannot run `{shown}`: {error}")),
        });
    }

    /// Runs a step, unless one before it failed. Its value, where it ran and passed.
    pub(crate) fn step<T>(&mut self, name: &str, run: impl FnOnce() -> Result<T, String>) -> Option<T> {
        if self.failed() > 0 && !self.keep_going {
            self.note(name, Outcome::LeftOut("a step before it failed".to_owned()));
            return None;
        }
        println!("\n==> {name}");
        let started = now();
        let (outcome, value) = match run() {
            Ok(value) => (Outcome::Passed, Some(value)),
            Err(reason) => (Outcome::Failed(reason), None),
        };
        self.done.push(Step { name: name.to_owned(), outcome, took: started.elapsed() });
        println!("<== {}", self.done[self.done.len() - 1]);
        value
    }

    /// Records a step that did not run.
    pub(crate) fn note(&mut self, name: &str, outcome: Outcome) {
        self.done.push(Step { name: name.to_owned(), outcome, took: Duration::ZERO });
    }

    /// Prints every step and the sum, and says with which code to exit.
    pub(crate) fn summary(&self) -> ExitCode {
        println!("\nverify:");
        self.done.iter().for_each(|step| println!("  {step}"));
        println!("{}", self.sum());
        if self.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn sum(&self) -> String {
        let left_out = self.count(|outcome| matches!(outcome, Outcome::LeftOut(_)));
        let passed = self.count(|outcome| *outcome == Outcome::Passed);
        let seconds: f64 = self.done.iter().map(|step| step.took.as_secs_f64()).sum();
        format!("{passed} passed, {} failed, {left_out} left out, in {seconds:.1} s", self.failed())
    }

    fn failed(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.done.iter().filter(|step| is(&step.outcome)).count()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, reason) = match &self.outcome {
            Outcome::Passed => ("passed", ""),
            Outcome::Failed(reason) => ("FAILED", reason.as_str()),
            Outcome::LeftOut(reason) => ("left out", reason.as_str()),
        };
        let line = format!("{:<16} {verdict:<8} {:>7.1} s  {reason}", self.name, self.took.as_secs_f64());
        f.write_str(line.trim_end())
    }
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[expect(clippy::disallowed_methods, reason = "the edge: a chore that measures its own steps")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keep_going: bool) -> Steps {
        let mut steps = Steps::new(keep_going);
        steps.step("good", || Ok(()));
        steps.command("bad", Command::new("false"));
        steps.command("absent", Command::new("/nonexistent/program"));
        steps
    }

    #[test]
    fn a_failure_ends_the_run() {
        let steps = run(false);
        assert!(steps.sum().starts_with("1 passed, 1 failed, 1 left out"), "{}", steps.sum());
        assert!(steps.done[1].to_string().contains("FAILED"));
    }

    #[test]
    fn keep_going_runs_the_rest() {
        let steps = run(true);
        assert!(steps.sum().starts_with("1 passed, 2 failed, 0 left out"), "{}", steps.sum());
        assert!(steps.done[2].to_string().contains("cannot run `program`"));
    }
}
