//! Progress bars on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar over bytes.
pub(super) fn bytes_bar(total: u64) -> ProgressBar {
    bar(
        Some(total),
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
    )
}

/// A bar over the bytes of a transfer, whose length is set when it is known.
pub(super) fn transfer_bar() -> ProgressBar {
    bar(
        Some(0),
        "{wide_bar} {percent} % {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    )
}

/// A bar over the bytes of a whole volume; its message counts segments.
pub(super) fn volume_bar() -> ProgressBar {
    bar(
        Some(0),
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}",
    )
}

/// A bar over segments.
pub(super) fn segments_bar() -> ProgressBar {
    bar(Some(0), "{wide_bar} {pos}/{len} segments {eta}")
}

fn bar(total: Option<u64>, template: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(total, target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The templates are constants; a bar in the default style would do as well.
        Err(_) => bar,
    }
}
