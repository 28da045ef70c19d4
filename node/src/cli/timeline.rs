//! `holdfast timeline`: what was recorded of a camera, by which nodes, and every gap.

use super::args::TimelineArgs;
use super::table::{Table, or_dash};
use super::{resolve, when};
use crate::client::{Api, ApiOptions};
use crate::terminal::clock::wall_now;
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_control_api::wire::Timeline;
use holdfast_storage::time::Timestamp;

pub(super) async fn run(
    args: TimelineArgs,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let (from, to) = range(&args.from, &args.to)?;
    let api = Api::new(&options)?;
    let camera = resolve::footage(&api, &args.camera).await?;
    let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
    let timeline: Timeline = api
        .get(&["cameras", &camera.to_string(), "timeline"], &query)
        .await?;
    out.print(&timeline, table)
}

/// Both ends of a range, of which the first must be the earlier.
pub(super) fn range(from: &str, to: &str) -> Result<(Timestamp, Timestamp), CliError> {
    let now = wall_now();
    let from =
        when::parse(from, now).map_err(|error| CliError::usage(format!("--from: {error}")))?;
    let to = when::parse(to, now).map_err(|error| CliError::usage(format!("--to: {error}")))?;
    if from >= to {
        return Err(CliError::usage(format!(
            "--from ({from}) is not before --to ({to})"
        )));
    }
    Ok((from, to))
}

fn table(timeline: &Timeline) -> String {
    let mut rows: Vec<(Timestamp, Vec<String>)> = Vec::new();
    for span in &timeline.spans {
        let (what, note) = match (span.available, span.damaged) {
            (false, _) => ("recorded", "not available: its node is down"),
            (true, _) if span.in_future => {
                ("recorded", "its times have yet to come: a clock was ahead")
            }
            (true, true) => (
                "damaged",
                "refers to lost frames; players conceal what is missing",
            ),
            (true, false) => ("recorded", ""),
        };
        rows.push((
            span.start,
            row(
                what,
                span.start,
                span.end,
                span.node.to_string(),
                span.epoch.to_string(),
                note,
            ),
        ));
    }
    for gap in &timeline.gaps {
        let cause = gap.cause.name();
        rows.push((
            gap.start,
            row(
                "GAP",
                gap.start,
                gap.end,
                or_dash(gap.node),
                "-".to_owned(),
                cause,
            ),
        ));
    }
    rows.sort_by_key(|(start, _)| *start);
    if rows.is_empty() {
        return format!(
            "nothing recorded between {} and {}",
            timeline.from, timeline.to
        );
    }
    let mut table = Table::new(&["WHAT", "START", "END", "SECONDS", "NODE", "EPOCH", "NOTE"]);
    rows.into_iter().for_each(|(_, cells)| table.row(cells));
    table.to_string()
}

fn row(
    what: &str,
    start: Timestamp,
    end: Timestamp,
    node: String,
    epoch: String,
    note: &str,
) -> Vec<String> {
    let seconds = seconds(end.micros_since(start));
    vec![
        what.to_owned(),
        start.to_string(),
        end.to_string(),
        seconds,
        node,
        epoch,
        note.to_owned(),
    ]
}

pub(super) fn seconds(micros: i64) -> String {
    let millis = micros / 1000;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
