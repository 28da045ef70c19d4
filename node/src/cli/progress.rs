//! Progress bars on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar that counts bytes; a spinner where their number is not known.
pub(super) fn bytes_bar(total: Option<u64>) -> ProgressBar {
    let template = if total.is_some() {
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}"
    } else {
        "{spinner} {bytes} {bytes_per_sec}"
    };
    bar(total, template)
}

/// A bar over the bytes of a whole volume; its message counts segments.
pub(super) fn volume_bar() -> ProgressBar {
    bar(Some(0), "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}")
}

fn bar(total: Option<u64>, template: &str) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(total, target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The templates are constants; a bar in the default style would still be right.
        Err(_) => bar,
    }
}
