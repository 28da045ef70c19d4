//! `holdfast config check`: would a node start here with this file?

use super::prepare::prepare;
use crate::config::{Config, ConfigError, Problem};
use crate::host::preflight;
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    valid: bool,
    problems: Vec<Problem>,
    /// Defects with which a node starts all the same.
    warnings: Vec<String>,
    /// With all defaults filled in; `None` if the file itself is wrong.
    effective: Option<Config>,
}

pub(super) fn run(file: &Path, out: Output) -> Result<(), CliError> {
    let (report, verdict) = report(file, |name| std::env::var(name).ok());
    out.print(&report, |report| describe(report, &verdict))?;
    if report.valid {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "a node would not start with {}",
        file.display()
    )))
}

fn report(file: &Path, env: impl Fn(&str) -> Option<String>) -> (Report, String) {
    let (effective, mut problems, mut verdict) = match prepare(file, env) {
        Ok(prepared) => (
            Some(prepared.config),
            Vec::new(),
            format!("{} is valid", file.display()),
        ),
        Err(refused) => (
            refused.config.map(|config| *config),
            refused.error.problems(),
            refused.error.to_string(),
        ),
    };
    // A node that runs makes do with the space that there is.
    let room = effective
        .as_ref()
        .map(Config::room_problems)
        .unwrap_or_default();
    if !room.is_empty() {
        problems.extend(room);
        verdict = ConfigError::Invalid {
            path: file.to_owned(),
            problems: problems.clone(),
        }
        .to_string();
    }
    let warnings = effective
        .as_ref()
        .map(preflight::warnings)
        .unwrap_or_default();
    (
        Report {
            file: file.to_owned(),
            valid: problems.is_empty(),
            problems,
            warnings,
            effective,
        },
        verdict,
    )
}

fn describe(report: &Report, verdict: &str) -> String {
    report
        .warnings
        .iter()
        .fold(verdict.to_owned(), |text, warning| {
            format!("{text}\nwarning: {warning}")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, secret: Option<&str>) -> Report {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n.toml");
        std::fs::write(&file, text).unwrap();
        let env = |name: &str| secret.filter(|_| !name.contains("LOG")).map(str::to_owned);
        report(&file, env).0
    }

    #[test]
    fn a_file_with_which_a_node_would_not_start_is_not_valid() {
        let text = "name = \"a\"\ndata_dir = \"d\"\n";
        assert!(checked(text, Some("0123456789abcdef")).valid);
        let without = checked(text, None);
        assert!(
            !without.valid && without.problems.len() == 1 && without.effective.is_some(),
            "{without:?}"
        );
    }

    #[test]
    fn problems_carry_their_place() {
        let report = checked("name = 1", Some("0123456789abcdef"));
        assert!(!report.valid && report.problems[0].line == Some(1) && report.effective.is_none());
    }
}
