//! How a command fails: what happened, what to do, and with which exit code.

use holdfast_control_api::error::Problem;
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
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error of an answer that is a problem document (RFC 9457).
    #[must_use]
    pub fn of_problem(problem: &Problem) -> Self {
        let (kind, hint) = match (problem.status, problem.code.as_str()) {
            (401 | 403, _) => (
                ExitKind::Failed,
                Some("give the admin token with --token-file or HOLDFAST_ADMIN_TOKEN"),
            ),
            (404, _) => (ExitKind::NotFound, None),
            // Its detail already says what to do.
            (503, "no-cluster") => (ExitKind::Unavailable, None),
            (503, "cannot-join") => (
                ExitKind::Unavailable,
                Some(
                    "--peer takes a member's peer address: its port is 8481, where 8480 is the \
                     API's, unless set otherwise",
                ),
            ),
            (503, "no-leader") => (
                ExitKind::Unavailable,
                Some(
                    "recordings continue; `holdfast status` shows which nodes are down. Try again",
                ),
            ),
            (503, _) => (
                ExitKind::Unavailable,
                Some("try again, or ask another node with --api"),
            ),
            (504, _) => (
                ExitKind::Unavailable,
                Some("it may or may not have happened: look before you try again"),
            ),
            _ => (ExitKind::Failed, None),
        };
        let message = if problem.detail.is_empty() {
            problem.title.clone()
        } else {
            format!("{}: {}", problem.title, problem.detail)
        };
        Self {
            kind,
            message,
            hint: hint.map(str::to_owned),
        }
    }

    pub(crate) fn print(&self) {
        eprintln!("error: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
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

    fn problem(status: u16) -> Problem {
        let text = |text: &str| text.to_owned();
        Problem {
            kind: text("urn:x"),
            title: text("T"),
            status,
            detail: text("d"),
            code: text("x"),
        }
    }

    fn of(status: u16) -> CliError {
        CliError::of_problem(&problem(status))
    }

    #[test]
    fn exit_codes_follow_the_status() {
        let kinds = [401, 404, 409, 422, 500, 503, 504].map(|status| of(status).kind as u8);
        assert_eq!(kinds, [1, 3, 1, 1, 1, 4, 4]);
        assert_eq!(of(404).message, "T: d");
    }

    #[test]
    fn a_hint_fits_what_happened() {
        let hint = |code: &str| {
            let problem = Problem {
                code: code.to_owned(),
                ..problem(503)
            };
            CliError::of_problem(&problem).hint.unwrap_or_default()
        };
        assert_eq!(hint("no-cluster"), "", "it says itself what to do");
        assert!(
            hint("cannot-join").contains("8481") && hint("no-leader").contains("holdfast status")
        );
        assert!(hint("overloaded").contains("--api"));
    }
}
