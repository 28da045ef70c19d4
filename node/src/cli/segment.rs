//! `holdfast segment`: examines a segment file, or all of whole volumes, without a running node.
//! Files are only read.

mod extract;
pub(super) mod list;
pub(super) mod shelf;
#[cfg(test)]
mod tests;
mod whole;

use super::args::SegmentCommand;
use super::progress::bytes_bar;
use super::table::{Table, or_dash, printable};
use crate::client::ApiOptions;
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_storage::offline::{self, LostChunk, Report, StreamSummary, Summary};
use serde::Serialize;
use std::io::ErrorKind;
use std::path::Path;

/// Lost chunks that the text names; the JSON has all.
const LOST_LINES_MAX: usize = 20;

/// # Errors
/// The file is damaged, missing, no segment, or cannot be read. The findings are printed first.
pub(super) fn run(command: &SegmentCommand, api: ApiOptions, out: Output) -> Result<(), CliError> {
    match command {
        SegmentCommand::Inspect { file } => inspect(file, out),
        SegmentCommand::Verify { file } => verify(file, out),
        SegmentCommand::List { dirs } => list::run(dirs, out),
        SegmentCommand::Extract(args) => match &args.sources[..] {
            [file] if !args.all && !file.is_dir() => extract::run(file, args, api, out),
            dirs => whole::run(dirs, args, out),
        },
    }
}

fn inspect(file: &Path, out: Output) -> Result<(), CliError> {
    readable(file)?;
    let summary = offline::inspect(file).map_err(|error| storage_error(&error))?;
    out.print(&summary, describe)?;
    if summary.node.is_some() && summary.damaged_batches == 0 {
        return Ok(());
    }
    Err(damaged(file).hint(
        "`holdfast segment verify` says what is lost, `holdfast segment extract` saves the rest",
    ))
}

/// What `verify` prints as JSON.
#[derive(Debug, Serialize)]
struct Verdict {
    is_sound: bool,
    #[serde(flatten)]
    report: Report,
}

fn verify(file: &Path, out: Output) -> Result<(), CliError> {
    readable(file)?;
    let bar = bytes_bar(0);
    let report = offline::verify(file, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| storage_error(&error))?;
    let verdict = Verdict {
        is_sound: report.is_sound(),
        report,
    };
    out.print(&verdict, |verdict| judge(&verdict.report))?;
    if verdict.is_sound {
        return Ok(());
    }
    Err(damaged(file).hint(
        "damaged chunks are never served; a timeline fills them from other nodes that recorded the \
         camera.\n      \
         Save what is sound with `holdfast segment extract`, look at the disk (`dmesg`, `smartctl \
         -a`), and replace it if it happens again",
    ))
}

/// Reports a missing file and a missing permission as such, and not as damage.
fn readable(file: &Path) -> Result<(), CliError> {
    let opened = std::fs::File::open(file).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(CliError::usage(format!("{} is not a file", file.display()))
            .hint("a whole volume: `holdfast volume verify`")),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(CliError::new(
            ExitKind::NotFound,
            format!("there is no file {}", file.display()),
        )
        .hint(
            "segments lie below `segments` in a volume's folder; retention may have deleted this \
             one",
        )),
        Err(error) => Err(CliError::failed(format!(
            "cannot read {}: {error}",
            file.display()
        ))),
    }
}

fn storage_error(error: &holdfast_storage::Error) -> CliError {
    CliError::failed(error.to_string())
        .hint("is it a segment (*.hfs) that this version of Holdfast can read?")
}

fn damaged(file: &Path) -> CliError {
    CliError::failed(format!("{} is damaged", file.display()))
}

fn describe(summary: &Summary) -> String {
    let header = if summary.node.is_some() {
        "sound"
    } else {
        "DAMAGED: node, volume and times are not known"
    };
    let sealed = if summary.is_sealed {
        "yes"
    } else {
        "no: being written, or its node was killed"
    };
    let lines = [
        ("segment", summary.segment.to_string()),
        ("class", summary.class.clone()),
        ("header", header.to_owned()),
        ("node", or_dash(summary.node)),
        ("cluster", or_dash(summary.cluster)),
        ("volume", or_dash(summary.volume)),
        ("opened", or_dash(summary.opened_at)),
        ("last written", summary.closed_at.to_string()),
        ("sealed", sealed.to_owned()),
        ("bytes", summary.file_bytes.to_string()),
        (
            "batches",
            format!("{}, {} damaged", summary.batches, summary.damaged_batches),
        ),
        ("chunks", summary.chunks.to_string()),
    ];
    let head = lines
        .map(|(key, value)| format!("{key:<14}{}\n", printable(&value)))
        .concat();
    format!("{head}\n{}", streams(&summary.streams))
}

fn streams(streams: &[StreamSummary]) -> String {
    if streams.is_empty() {
        return "no camera's footage in it\n".to_owned();
    }
    let mut table = Table::new(&[
        "CAMERA", "STREAM", "START", "END", "SECONDS", "EPOCH", "RANK",
    ]);
    for stream in streams {
        for span in &stream.spans {
            let millis = span.end.micros_since(span.start) / 1000;
            table.row(vec![
                stream.camera.to_string(),
                format!("{:?}", stream.stream).to_lowercase(),
                span.start.to_string(),
                span.end.to_string(),
                format!("{}.{:03}", millis / 1000, millis % 1000),
                span.epoch.to_string(),
                format!("{:?}", span.rank).to_lowercase(),
            ]);
        }
    }
    table.to_string()
}

fn judge(report: &Report) -> String {
    let word = |is_sound| if is_sound { "sound" } else { "DAMAGED" };
    let footer = match report.is_footer_sound {
        Some(is_sound) => word(is_sound).to_owned(),
        None => "none: being written, its node was killed, or the file was cut short".to_owned(),
    };
    let lines = [
        ("header", word(report.is_header_sound).to_owned()),
        ("footer", footer),
        ("batches", batches(report)),
        (
            "chunks",
            format!("{} sound, {} lost", report.chunks_sound, report.chunks_lost),
        ),
        (
            "init segments",
            if report.inits_lost == 0 {
                "sound".to_owned()
            } else {
                format!("{} lost", report.inits_lost)
            },
        ),
    ];
    let mut text = lines
        .map(|(key, value)| format!("{key:<14}{value}\n"))
        .concat();
    text.extend(report.lost.iter().take(LOST_LINES_MAX).map(lost));
    if report.lost.len() > LOST_LINES_MAX {
        text.push_str(&format!(
            "{:<14}{} more; --json names all\n",
            "",
            report.lost.len() - LOST_LINES_MAX
        ));
    }
    text
}

/// Damage that a crash left is normal.
fn batches(report: &Report) -> String {
    let known = match report.damaged_at_sealing {
        _ if report.is_cut_short => {
            " (the file is cut short: the rest of the last is missing, and whatever followed)"
                .to_owned()
        }
        0 if report.is_footer_sound.is_none() && report.torn_batches > 0 => {
            format!(
                " ({} at the end, as a crash leaves it)",
                report.torn_batches
            )
        }
        0 => String::new(),
        count => format!(" ({count} of them when the segment was closed after a crash)"),
    };
    format!(
        "{}, {} damaged{known}",
        report.batches, report.damaged_batches
    )
}

fn lost(chunk: &LostChunk) -> String {
    let track = format!("{:?}", chunk.track).to_lowercase();
    format!(
        "{:<14}camera {}, {track}, {} to {}\n",
        "lost", chunk.camera, chunk.start, chunk.end
    )
}
