//! Steps one after the other or in parallel, each with its time and outcome.

use std::fmt;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// Not run, on purpose or because something is missing; why.
    LeftOut(String),
}

#[derive(Debug)]
struct Step {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// The steps so far. After a failure nothing more runs, unless all steps are to run.
#[derive(Debug)]
pub(crate) struct Steps {
    keep_going: bool,
    began: Instant,
    done: Vec<Step>,
}

impl Steps {
    pub(crate) fn new(keep_going: bool) -> Self {
        Self {
            keep_going,
            began: now(),
            done: Vec::new(),
        }
    }

    /// Runs a command with its output on the terminal.
    pub(crate) fn command(&mut self, name: &str, command: Command) {
        self.step(name, || status(command));
    }

    /// Runs a command with its output on the terminal, and others in parallel, whose output follows
    /// in one piece when they have ended.
    pub(crate) fn command_alongside(
        &mut self,
        name: &str,
        command: Command,
        others: Vec<(&str, Command)>,
    ) {
        if self.failed() > 0 && !self.keep_going {
            for name in others.iter().map(|(name, _)| *name).chain([name]) {
                self.leave_out(name);
            }
            return;
        }
        let ended: Vec<Step> = thread::scope(|scope| {
            let start = |(name, command)| scope.spawn(move || in_one_piece(name, command));
            let others: Vec<_> = others.into_iter().map(start).collect();
            self.command(name, command);
            // A panic there was printed already.
            others
                .into_iter()
                .filter_map(|other| other.join().ok())
                .collect()
        });
        self.done.extend(ended);
    }

    /// Runs a step, unless an earlier one failed. Returns its value if it ran and passed.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        run: impl FnOnce() -> Result<T, String>,
    ) -> Option<T> {
        if self.failed() > 0 && !self.keep_going {
            self.leave_out(name);
            return None;
        }
        println!("\n==> {name}");
        let started = now();
        let (outcome, value) = match run() {
            Ok(value) => (Outcome::Passed, Some(value)),
            Err(reason) => (Outcome::Failed(reason), None),
        };
        self.done.push(Step {
            name: name.to_owned(),
            outcome,
            took: started.elapsed(),
        });
        println!("<== {}", self.done[self.done.len() - 1]);
        value
    }

    fn leave_out(&mut self, name: &str) {
        self.note(name, Outcome::LeftOut("a step before it failed".to_owned()));
    }

    /// Records a step that did not run.
    pub(crate) fn note(&mut self, name: &str, outcome: Outcome) {
        self.done.push(Step {
            name: name.to_owned(),
            outcome,
            took: Duration::ZERO,
        });
    }

    /// Prints every step and the sum, and returns the exit code.
    pub(crate) fn summary(&self) -> ExitCode {
        println!("\nverify:");
        self.done.iter().for_each(|step| println!("  {step}"));
        println!("{}", self.sum());
        if self.failed() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn sum(&self) -> String {
        let left_out = self.count(|outcome| matches!(outcome, Outcome::LeftOut(_)));
        let passed = self.count(|outcome| *outcome == Outcome::Passed);
        let seconds = self.began.elapsed().as_secs_f64();
        format!(
            "{passed} passed, {} failed, {left_out} left out, in {seconds:.1} s",
            self.failed()
        )
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
        let line = format!(
            "{:<16} {verdict:<8} {:>7.1} s  {reason}",
            self.name,
            self.took.as_secs_f64()
        );
        f.write_str(line.trim_end())
    }
}

fn status(mut command: Command) -> Result<(), String> {
    let shown = shown(&command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(error) => Err(format!("cannot run `{shown}`: {error}")),
    }
}

/// Runs a command and shows its output when it has ended.
fn in_one_piece(name: &str, mut command: Command) -> Step {
    let (shown, started) = (shown(&command), now());
    let (output, outcome) = match command.output() {
        Ok(output) if output.status.success() => (Some(output), Outcome::Passed),
        Ok(output) => {
            let reason = format!("`{shown}` ended with {}", output.status);
            (Some(output), Outcome::Failed(reason))
        }
        Err(error) => (
            None,
            Outcome::Failed(format!("cannot run `{shown}`: {error}")),
        ),
    };
    let step = Step {
        name: name.to_owned(),
        outcome,
        took: started.elapsed(),
    };
    let mut terminal = std::io::stdout().lock();
    let mut show = || {
        writeln!(terminal, "\n==> {name}, in parallel with others")?;
        for text in output
            .iter()
            .flat_map(|output| [&output.stdout, &output.stderr])
        {
            terminal.write_all(text)?;
        }
        writeln!(terminal, "<== {step}")
    };
    if let Err(error) = show() {
        eprintln!("the output of {name} is lost: {error}");
    }
    step
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: a chore that measures its own steps"
)]
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
        assert!(
            steps.sum().starts_with("1 passed, 1 failed, 1 left out"),
            "{}",
            steps.sum()
        );
        assert!(steps.done[1].to_string().contains("FAILED"));
    }

    #[test]
    fn what_runs_alongside_counts_as_much() {
        let mut steps = Steps::new(false);
        steps.command_alongside(
            "good",
            Command::new("true"),
            vec![("bad", Command::new("false"))],
        );
        steps.command_alongside(
            "late",
            Command::new("true"),
            vec![("later", Command::new("true"))],
        );
        assert!(
            steps.sum().starts_with("1 passed, 1 failed, 2 left out"),
            "{}",
            steps.sum()
        );
        assert_eq!(steps.done[1].name, "bad");
        let mut both = Steps::new(false);
        let absent = Command::new("/nonexistent/program");
        both.command_alongside(
            "bad",
            Command::new("false"),
            vec![("absent", absent), ("good", Command::new("true"))],
        );
        assert!(
            both.sum().starts_with("1 passed, 2 failed, 0 left out"),
            "{}",
            both.sum()
        );
    }

    #[test]
    fn keep_going_runs_the_rest() {
        let steps = run(true);
        assert!(
            steps.sum().starts_with("1 passed, 2 failed, 0 left out"),
            "{}",
            steps.sum()
        );
        assert!(steps.done[2].to_string().contains("cannot run `program`"));
    }
}
