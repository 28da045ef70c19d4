//! Standard output: JSON if requested, else text.

use crate::terminal::error::CliError;
use serde::Serialize;
use std::io::Write;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints `data` as one JSON document, or the text that `human` makes of it.
    ///
    /// # Errors
    /// Standard output cannot be written; a reader that went away is no error.
    pub(crate) fn print<T: Serialize>(
        self,
        data: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        write_line(self.text(data, human)?.trim_end())
    }

    /// As [`Self::print`], to standard error: standard output carries something else.
    ///
    /// # Errors
    /// `data` cannot be written as JSON.
    pub(crate) fn print_aside<T: Serialize>(
        self,
        data: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        eprintln!("{}", self.text(data, human)?.trim_end());
        Ok(())
    }

    fn text<T: Serialize>(
        self,
        data: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<String, CliError> {
        if !self.json {
            return Ok(human(data));
        }
        serde_json::to_string_pretty(data)
            .map_err(|error| CliError::failed(format!("cannot write JSON: {error}")))
    }
}

/// Writes one line or several to standard output.
///
/// # Errors
/// It cannot be written; a reader that went away is no error.
pub(crate) fn write_line(text: &str) -> Result<(), CliError> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::failed(
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}
