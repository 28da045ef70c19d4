//! A measured value with its target, and the report that a program ends with.

use crate::machine::Machine;
use crate::numbers::rounded;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Reported for its own sake.
    None,
}

#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub target: Target,
    pub measured: f64,
    pub unit: &'static str,
    pub met: bool,
}

impl Figure {
    #[must_use]
    pub fn new(name: impl Into<String>, target: Target, measured: f64, unit: &'static str) -> Self {
        // A value that was not measured (NaN) meets no target.
        let met = match target {
            Target::AtLeast(least) => measured >= least,
            Target::AtMost(most) => measured <= most,
            Target::None => true,
        };
        Self {
            name: name.into(),
            target,
            measured: rounded(measured),
            unit,
            met,
        }
    }

    fn line(&self) -> String {
        let target = match self.target {
            Target::AtLeast(least) => format!(">= {least}"),
            Target::AtMost(most) => format!("<= {most}"),
            Target::None => String::new(),
        };
        let verdict = if self.met { "" } else { "MISSED" };
        format!(
            "{:<64} {:>10.3} {:<6} {target:>10}  {verdict}",
            self.name, self.measured, self.unit
        )
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub bench: &'static str,
    pub machine: Machine,
    pub figures: Vec<Figure>,
    /// Round by round, as it came.
    pub details: serde_json::Value,
}

impl Report {
    /// Prints the figures, and returns the exit code.
    #[must_use]
    pub fn publish(&self, json: bool) -> ExitCode {
        let Machine {
            cores,
            cpu,
            kernel,
            disk,
            load,
        } = &self.machine;
        eprintln!(
            "{}: {cores} cores, {cpu}, kernel {kernel}, {disk}, load before {load}",
            self.bench
        );
        for figure in &self.figures {
            eprintln!("  {}", figure.line());
        }
        if json {
            println!("{}", serde_json::json!(self));
        }
        if self.figures.iter().all(|figure| figure.met) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_without_a_measurement_is_missed() {
        let met = |target, measured| Figure::new("f", target, measured, "s").met;
        assert!(
            met(Target::AtMost(2.0), 2.0)
                && !met(Target::AtMost(2.0), 2.1)
                && !met(Target::AtMost(2.0), f64::NAN)
        );
        assert!(met(Target::AtLeast(2.0), 2.0) && !met(Target::AtLeast(2.0), 1.9));
    }
}
