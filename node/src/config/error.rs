//! What is wrong with a configuration file, and where: file, line, column, key, and what to do.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing to change in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Dotted, for example `storage.flush_interval_ms`.
    pub key: Option<String>,
    /// From 1; `None` if the problem is not at one place.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    pub message: String,
}

impl Problem {
    pub(crate) fn of_key(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            line: None,
            column: None,
            message: message.into(),
        }
    }
}

#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file is not valid; at least one problem.
    Invalid {
        path: PathBuf,
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// The changes to make, one by one.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Read { source, .. } => {
                vec![Problem {
                    key: None,
                    line: None,
                    column: None,
                    message: format!("cannot be read: {source}"),
                }]
            }
            Self::Invalid { problems, .. } => problems.clone(),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. } | Self::Invalid { path, .. } => path,
        }
    }
}

impl fmt::Display for ConfigError {
    /// One line a problem, each as `file:line:column: key: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems().iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.path().display())?;
            if let (Some(line), Some(column)) = (problem.line, problem.column) {
                write!(f, ":{line}:{column}")?;
            }
            if let Some(key) = &problem.key {
                write!(f, ": {key}")?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Invalid { .. } => None,
        }
    }
}

/// Mistakes of one file that are listed at once.
const PROBLEMS_MAX: usize = 32;

/// All mistakes in the text, and the configuration without them: after each mistake the parser
/// continues without the line that has it. `None` if nothing remains; then there is at least one
/// problem.
pub(super) fn parse_all<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Problem>) {
    let mut left = text.to_owned();
    let mut problems: Vec<Problem> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let error = match toml::from_str(&left) {
            Ok(parsed) => return (Some(parsed), problems),
            Err(error) => error,
        };
        let problem = locate(text, &error);
        // A key whose line was left out is not missing.
        let follows = problem.line.is_none() && !problems.is_empty();
        let without = problem.line.and_then(|line| without_line(&left, line));
        if !follows {
            problems.push(problem);
        }
        match without {
            Some(without) => left = without,
            None => break,
        }
    }
    (None, problems)
}

/// The text with this line blank; `None` if the line is a table's header, without which the next
/// lines would belong to another table, or empty already.
fn without_line(text: &str, number: usize) -> Option<String> {
    let start: usize = text
        .split_inclusive('\n')
        .take(number.checked_sub(1)?)
        .map(str::len)
        .sum();
    let line = text.get(start..)?.lines().next()?;
    if line.trim().is_empty() || line.trim_start().starts_with('[') {
        return None;
    }
    // As long as before: so later offsets stay valid.
    let end = start + line.len();
    Some(format!(
        "{}{}{}",
        text.get(..start)?,
        " ".repeat(line.len()),
        text.get(end..)?
    ))
}

/// Turns the parser's error into a problem with its place and key.
fn locate(text: &str, error: &toml::de::Error) -> Problem {
    let message = error
        .message()
        .trim()
        .replace("unknown field", "unknown key")
        .replace("missing field", "missing key");
    // A missing key has no place of its own: the parser points at the whole table.
    let offset = error
        .span()
        .map(|span| span.start)
        .filter(|_| !message.starts_with("missing key"));
    let (line, column) = offset.map(|offset| line_and_column(text, offset)).unzip();
    Problem {
        key: offset.and_then(|offset| key_at(text, offset)),
        line,
        column,
        message,
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The dotted key on the line at `offset`, from that line and the nearest table header above it.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let line_index = line_and_column(text, offset).0 - 1;
    let mut above = text.lines().take(line_index + 1);
    let (name, value) = text.lines().nth(line_index)?.split_once('=')?;
    let header = above
        .by_ref()
        .filter_map(|line| line.trim().strip_prefix('['))
        .last();
    let table = header.map(|header| {
        header
            .trim_start_matches('[')
            .split(']')
            .next()
            .unwrap_or_default()
            .trim()
    });
    (!value.is_empty()).then(|| match table {
        Some(table) => format!("{table}.{}", name.trim()),
        None => name.trim().to_owned(),
    })
}
