//! The demo's output, all on standard error: events as lines, and on a terminal a table that stays
//! below them.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;

pub(super) struct Screen {
    table: Option<MultiProgress>,
    rows: Vec<ProgressBar>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            table: std::io::stderr().is_terminal().then(MultiProgress::new),
            rows: Vec::new(),
        }
    }

    /// One line above the table.
    pub(super) fn say(&self, line: &str) {
        match &self.table {
            Some(table) if table.println(line).is_ok() => {}
            _ => eprintln!("{line}"),
        }
    }

    /// Replaces the table; does nothing without a terminal.
    pub(super) fn show(&mut self, lines: &[String]) {
        let Some(table) = &self.table else { return };
        while self.rows.len() < lines.len() {
            let style = ProgressStyle::with_template("{msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.rows
                .push(table.add(ProgressBar::no_length().with_style(style)));
        }
        for (row, line) in self.rows.iter().zip(lines) {
            row.set_message(line.clone());
        }
    }

    /// Removes the table, so that the next output begins on a clean line.
    pub(super) fn clear(&mut self) {
        self.rows.drain(..).for_each(|row| row.finish_and_clear());
    }
}
