//! Standard output: JSON where asked for, text else.

use super::error::CliError;
use serde::Serialize;
use std::io::Write;

#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints `data` as one JSON document, or the text that `human` makes of it.
    ///
    /// # Errors
    /// Where standard output cannot be written; a reader that went away is none.
    pub(super) fn print<T: Serialize>(self, data: &T, human: impl FnOnce(&T) -> String) -> Result<(), CliError> {
        let text = if self.json {
            serde_json::to_string_pretty(data)
                .map_err(|error| CliError::failed(format!("cannot write JSON: {error}")))?
        } else {
            human(data)
        };
        write_line(text.trim_end())
    }
}

/// One line or several to standard output.
///
/// # Errors
/// Where it cannot be written; a reader that went away is none.
pub(crate) fn write_line(text: &str) -> Result<(), CliError> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
