//! `holdfast segment`: look into a segment file without a running node.

use super::args::SegmentCommand;
use super::error::CliError;
use super::output::Output;

/// # Errors
/// Always, until the store's offline tools are wired in.
pub(super) fn run(command: &SegmentCommand, _out: Output) -> Result<(), CliError> {
    let file = match command {
        SegmentCommand::Inspect { file } | SegmentCommand::Verify { file } | SegmentCommand::Extract { file, .. } => {
            file
        }
    };
    Err(CliError::failed(format!("cannot look into {}: not wired", file.display())))
}
