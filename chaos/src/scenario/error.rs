//! Mistakes in a scenario file, with their places.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error(
        "there is no scenario `{name}`; `holdfast-chaos list` names those that are built in, and a \
         file's name ends with .toml"
    )]
    Unknown { name: String },
    #[error("{path}: cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// One mistake on each line, as `file:line: reason`.
    #[error("{0}")]
    Wrong(String),
}

/// A mistake that TOML's own grammar does not rule out.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Byte range of the table; `None` if the mistake has no single place.
    pub(super) at: Option<Range<usize>>,
    pub(super) what: String,
}

impl ScenarioError {
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim().replace('\n', "; ");
        Self::Wrong(line(path, text, error.span().as_ref(), &message))
    }

    pub(super) fn wrong(path: &Path, text: &str, mistakes: &[Mistake]) -> Self {
        let lines = mistakes
            .iter()
            .map(|mistake| line(path, text, mistake.at.as_ref(), &mistake.what));
        Self::Wrong(lines.collect::<Vec<_>>().join("\n"))
    }
}

fn line(path: &Path, text: &str, at: Option<&Range<usize>>, what: &str) -> String {
    match at {
        Some(span) => {
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let number = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            format!("{}:{number}: {what}", path.display())
        }
        None => format!("{}: {what}", path.display()),
    }
}
