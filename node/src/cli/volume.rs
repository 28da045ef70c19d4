//! `holdfast volume`: a whole data directory without its node, and how nodes scrub theirs.

use super::args::ScrubCommand;
use super::progress::volume_bar;
use super::resolve;
use super::table::{Table, or_dash, printable};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_control_api::wire::VolumeScrub;
use holdfast_storage::disk::{Root, mark_new};
use holdfast_storage::offline::{
    self, DamagedSegment, FailedSegment, RebuildReport, Report, VolumeProgress, VolumeReport,
};
use holdfast_storage::{Error, open_root, volume_in};
use indicatif::ProgressBar;
use reqwest::Method;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Segments and chunks that the text names; the JSON has all.
const LINES_MAX: usize = 20;

/// # Errors
/// Something is damaged, missing, in use, or cannot be read. The findings are printed first.
pub(super) fn verify(dir: &Path, out: Output) -> Result<(), CliError> {
    let bar = volume_bar();
    let report = offline::verify_volume(dir, |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = report.map_err(|error| volume_error(&error))?;
    let verdict = Verdict {
        is_sound: report.is_sound(),
        report,
    };
    out.print(&verdict, |verdict| judge(&verdict.report))?;
    let report = &verdict.report;
    if !report.damaged.is_empty() {
        return Err(CliError::failed(format!("{} is damaged", dir.display())).hint(
            "damaged chunks are never served; a timeline fills them from other nodes that recorded \
             the camera.\n      \
             Save what is sound of a segment with `holdfast segment extract`, look at the disk \
             (`dmesg`, `smartctl -a`), and replace it if it happens again",
        ));
    }
    if !report.failed.is_empty() {
        return Err(CliError::failed(format!(
            "{} segments of {} could not be judged",
            report.failed.len(),
            dir.display()
        ))
        .hint("are they readable by this user, and of a version that this release reads?"));
    }
    Ok(())
}

/// # Errors
/// A node has the volume open, or segments could not be listed.
pub(super) fn rebuild_catalogue(dir: &Path, out: Output) -> Result<(), CliError> {
    let bar = volume_bar();
    let report = offline::rebuild_catalogue(dir, |progress| show(&bar, progress));
    bar.finish_and_clear();
    let report = report.map_err(|error| volume_error(&error))?;
    out.print(&report, rebuilt)?;
    match report.failed.len() {
        0 => Ok(()),
        failed => Err(CliError::failed(format!(
            "{failed} segments are not listed; they are left as they are"
        ))
        .hint("`holdfast segment verify` says what is wrong with each")),
    }
}

/// Marks a folder as one in which a new volume is wanted. The node that has it in its configuration
/// starts to use it.
///
/// # Errors
/// The folder is missing, holds a volume already, or cannot be written.
pub(super) fn init(dir: &Path, out: Output) -> Result<(), CliError> {
    let root = open_root(dir, false).map_err(|error| volume_error(&error))?;
    let root = root.ok_or_else(|| {
        CliError::new(
            ExitKind::NotFound,
            format!("{} is not there", dir.display()),
        )
    })?;
    if let Some(volume) = volume_in(&root).map_err(|error| volume_error(&error))? {
        return Err(
            CliError::failed(format!("{} holds volume {volume} already", dir.display())).hint(
                "the node takes it up by itself; a volume of another cluster has to be removed \
                 first",
            ),
        );
    }
    mark_new(dir).map_err(|error| {
        CliError::failed(format!("{} cannot be written: {error}", dir.display()))
    })?;
    let is_on_system_disk =
        Root::open(Path::new("/")).is_ok_and(|system| system.id().device == root.id().device);
    let marked = Marked {
        path: dir.to_owned(),
        is_on_system_disk,
    };
    out.print(&marked, |marked| {
        let path = marked.path.display();
        let warning = "\nwarning: it lies on the disk of the system: is the new disk mounted?";
        let warning = if marked.is_on_system_disk {
            warning
        } else {
            ""
        };
        format!(
            "{path} is used as a new volume by the node that has it in its configuration, \
                 within seconds if it runs{warning}"
        )
    })?;
    Ok(())
}

/// What `init` prints as JSON.
#[derive(Debug, Serialize)]
struct Marked {
    path: PathBuf,
    is_on_system_disk: bool,
}

pub(super) async fn scrub(
    command: &ScrubCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    if let ScrubCommand::Start { node } = command {
        let node = resolve::node(&api, node).await?;
        api.call(
            Method::POST,
            &["nodes", &node.id.to_string(), "scrub"],
            None::<&()>,
        )
        .await?;
    }
    let volumes: Vec<VolumeScrub> = api.get(&["scrub"], &[]).await?;
    out.print(&volumes, |volumes| scrub_table(volumes))
}

/// What `verify` prints as JSON.
#[derive(Debug, Serialize)]
struct Verdict {
    is_sound: bool,
    #[serde(flatten)]
    report: VolumeReport,
}

fn show(bar: &ProgressBar, progress: &VolumeProgress<'_>) {
    bar.set_length(progress.total_bytes);
    bar.set_position(progress.done_bytes);
    bar.set_message(format!(
        "{}/{} segments",
        progress.done_segments, progress.total_segments
    ));
}

fn volume_error(error: &Error) -> CliError {
    match error {
        Error::NoVolume { .. } => CliError::new(ExitKind::NotFound, error.to_string()),
        Error::Locked { .. } => CliError::failed(error.to_string())
            .hint("a running node rebuilds its catalogue by itself where that is needed"),
        _ => CliError::failed(error.to_string()),
    }
}

fn judge(report: &VolumeReport) -> String {
    let unsealed = match (&report.in_use_by, report.unsealed_segments) {
        (_, 0) => "none".to_owned(),
        (Some(pid), count) => format!("{count}, being written by process {pid}: left out"),
        (None, count) => format!("{count}: a node was killed; it closes them when it starts"),
    };
    let lines = [
        ("sound", format!("{} segments", report.sound_segments)),
        ("damaged", format!("{} segments", report.damaged.len())),
        ("not judged", format!("{} segments", report.failed.len())),
        ("not sealed", unsealed),
        (
            "chunks",
            format!("{} sound, {} lost", report.sound_chunks, report.lost_chunks),
        ),
        ("bytes", report.read_bytes.to_string()),
    ];
    let mut text = lines
        .map(|(key, value)| format!("{key:<14}{value}\n"))
        .concat();
    for loss in &report.losses {
        let stream = format!("{:?}", loss.stream).to_lowercase();
        let (camera, chunks, first, last) = (loss.camera, loss.chunks, loss.first, loss.last);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<14}camera {camera}, {stream}: {chunks} chunks between {first} and {last}",
            "lost"
        );
    }
    text.extend(report.damaged.iter().take(LINES_MAX).map(damaged_line));
    text.push_str(&more(report.damaged.len()));
    text.extend(failed_lines(&report.failed));
    text
}

fn damaged_line(damaged: &DamagedSegment) -> String {
    format!(
        "{:<14}{}: {}\n",
        "damaged",
        printable(&damaged.path.display().to_string()),
        what(&damaged.report)
    )
}

/// What is wrong with a segment, in a few words.
fn what(report: &Report) -> String {
    let mut parts = Vec::new();
    if !report.is_header_sound {
        parts.push("header".to_owned());
    }
    if report.is_footer_sound == Some(false) {
        parts.push("footer".to_owned());
    }
    if report.inits_lost > 0 {
        parts.push(format!("{} init segments", report.inits_lost));
    }
    if report.is_cut_short {
        parts.push("cut short".to_owned());
    }
    if report.chunks_lost > 0 {
        parts.push(format!("{} chunks", report.chunks_lost));
    }
    if parts.is_empty() {
        parts.push(format!("{} batches", report.damaged_batches));
    }
    parts.join(", ")
}

fn more(count: usize) -> String {
    match count.checked_sub(LINES_MAX) {
        Some(left @ 1..) => format!("{:<14}{left} more; --json names all\n", ""),
        _ => String::new(),
    }
}

fn failed_lines(failed: &[FailedSegment]) -> Vec<String> {
    let line =
        |failed: &FailedSegment| format!("{:<14}{}\n", "not judged", printable(&failed.error));
    failed
        .iter()
        .take(LINES_MAX)
        .map(line)
        .chain([more(failed.len())])
        .collect()
}

fn rebuilt(report: &RebuildReport) -> String {
    let mut text = format!("{:<14}{} segments\n", "listed", report.listed_segments);
    if report.unsealed_segments > 0 {
        let _ = writeln!(
            text,
            "{:<14}{} segments; the node closes and lists them when it starts",
            "not sealed", report.unsealed_segments
        );
    }
    text.extend(failed_lines(&report.failed));
    text
}

fn scrub_table(volumes: &[VolumeScrub]) -> String {
    let mut table = Table::new(&[
        "NODE",
        "VOLUME",
        "PASS",
        "BEGAN",
        "LAST ENDED",
        "DAMAGED CHUNKS",
    ]);
    for volume in volumes {
        table.row(vec![
            volume.node.to_string(),
            volume.volume.to_string(),
            pass(volume),
            or_dash(volume.pass.map(|pass| pass.started_at)),
            or_dash(volume.last_ended_at),
            (volume.damaged.len() as u64 + volume.damaged_left_out).to_string(),
        ]);
    }
    let mut text = table.to_string();
    let damaged = volumes
        .iter()
        .flat_map(|volume| volume.damaged.iter().map(move |chunk| (volume, chunk)));
    for (volume, chunk) in damaged.clone().take(LINES_MAX) {
        let (camera, start, end, segment) = (chunk.camera, chunk.start, chunk.end, chunk.segment);
        let (node, index) = (volume.node, volume.volume);
        let _ = writeln!(
            text,
            "damaged: camera {camera}, {start} to {end} (node {node}, volume {index}, segment \
             {segment})"
        );
    }
    text + &more(damaged.count())
}

fn pass(volume: &VolumeScrub) -> String {
    match volume.pass {
        None if volume.bytes_per_second_max == 0 => "off".to_owned(),
        None => "-".to_owned(),
        Some(pass) => {
            let percent = pass.done_bytes * 100 / pass.total_bytes.max(1);
            let held = if volume.is_held_back { ", waits" } else { "" };
            format!(
                "{percent} %, {} of {} segments{held}",
                pass.done_segments, pass.total_segments
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_is_lost_and_what_to_leave() {
        let report = VolumeReport {
            in_use_by: Some("77".to_owned()),
            unsealed_segments: 1,
            failed: vec![FailedSegment {
                path: "a".into(),
                error: "a is of version 9".to_owned(),
            }],
            ..VolumeReport::default()
        };
        let text = judge(&report);
        assert!(
            text.contains("1, being written by process 77: left out")
                && text.contains("a is of version 9"),
            "{text}"
        );
        let report = Report {
            is_header_sound: true,
            is_footer_sound: Some(false),
            chunks_lost: 3,
            ..Report::default()
        };
        assert_eq!(what(&report), "footer, 3 chunks");
        assert_eq!(
            (more(20), more(22).trim()),
            (String::new(), "2 more; --json names all")
        );
    }
}
