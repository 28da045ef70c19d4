//! How a command fails: what happened, what to do, and with which exit code.

use holdfast_control_api::wire::Problem;
use std::process::ExitCode;

/// Which exit code; `holdfast --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unavailable = 4,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    pub kind: ExitKind,
    pub message: String,
    /// What the user can do.
    pub hint: Option<String>,
}

impl CliError {
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ExitKind::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitKind::Usage, message)
    }

    pub fn new(kind: ExitKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error of an answer that is a problem document (RFC 9457).
    #[must_use]
    pub fn of_problem(problem: &Problem) -> Self {
        let (kind, hint) = match problem.status {
            401 | 403 => (ExitKind::Failed, Some("give the admin token with --token-file or HOLDFAST_ADMIN_TOKEN")),
            404 => (ExitKind::NotFound, None),
            503 => (
                ExitKind::Unavailable,
                Some("recording goes on; `holdfast cluster status` shows who is missing. Try again"),
            ),
            504 => (ExitKind::Unavailable, Some("it may or may not have happened: look before you try again")),
            _ => (ExitKind::Failed, None),
        };
        let message = if problem.detail.is_empty() {
            problem.title.clone()
        } else {
            format!("{}: {}", problem.title, problem.detail)
        };
        Self { kind, message, hint: hint.map(str::to_owned) }
    }

    pub(super) fn print(&self) {
        eprintln!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16) -> CliError {
        let text = |text: &str| text.to_owned();
        CliError::of_problem(&Problem {
            kind: text("urn:x"),
            title: text("T"),
            status,
            detail: text("d"),
            code: text("x"),
        })
    }

    #[test]
    fn exit_codes_follow_the_status() {
        let kinds = [401, 404, 409, 422, 500, 503, 504].map(|status| of(status).kind as u8);
        assert_eq!(kinds, [1, 3, 1, 1, 1, 4, 4]);
        assert_eq!(of(404).message, "T: d");
    }
}
