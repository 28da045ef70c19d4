//! `holdfast config check`: would a node start with this file?

use super::error::CliError;
use super::output::Output;
use crate::config::{Config, ConfigError, Problem, Secrets};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    valid: bool,
    problems: Vec<Problem>,
    /// What may be as intended where the file is checked on another machine than it is used on.
    warnings: Vec<String>,
    /// With all defaults filled in.
    effective: Option<Config>,
}

pub(super) fn run(file: &Path, out: Output) -> Result<(), CliError> {
    let loaded = Config::load(file).and_then(|config| {
        let problems = config.room_problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { path: file.to_owned(), problems }) }
    });
    let report = report(file, &loaded, |name| std::env::var(name).ok());
    out.print(&report, |report| describe(report, &loaded))?;
    match loaded {
        Ok(_) => Ok(()),
        Err(_) => Err(CliError::failed(format!("{} is not valid", file.display()))),
    }
}

fn report(file: &Path, loaded: &Result<Config, ConfigError>, env: impl Fn(&str) -> Option<String>) -> Report {
    let (problems, effective) = match loaded {
        Ok(config) => (Vec::new(), Some(config.clone())),
        Err(error) => (error.problems(), None),
    };
    let warnings =
        effective.iter().filter_map(|config| Secrets::load(config, &env).err()).map(|error| error.to_string());
    Report { file: file.to_owned(), valid: problems.is_empty(), warnings: warnings.collect(), problems, effective }
}

fn describe(report: &Report, loaded: &Result<Config, ConfigError>) -> String {
    let verdict = match loaded {
        Ok(_) => format!("{} is valid", report.file.display()),
        Err(error) => error.to_string(),
    };
    report.warnings.iter().fold(verdict, |text, warning| format!("{text}\nwarning: {warning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_secrets_are_warnings_only() {
        let report = report(Path::new("n.toml"), &Ok(Config::new("a", "/d")), |_| None);
        assert!(report.valid && report.warnings.len() == 1);
    }

    #[test]
    fn problems_carry_their_place() {
        let report = report(Path::new("n.toml"), &Config::parse(Path::new("n.toml"), "name = 1"), |_| None);
        assert!(!report.valid && report.problems[0].line == Some(1) && report.effective.is_none());
    }
}
