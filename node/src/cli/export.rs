//! `holdfast export`: writes footage to one MP4 file that appears under its name only when it is
//! complete, or to standard output; and reports what is missing.

mod furthest;
mod left_out;
mod part_file;
mod transfer;

use super::args::ExportArgs;
use super::output_file::{OutputFile, plain_file};
use super::table::or_dash;
use super::timeline::{range, seconds};
use super::{exports, resolve};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_control_api::wire::{Cluster, Gap, Timeline};
pub(super) use part_file::PartFile;
use reqwest::Response;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
pub(super) use transfer::{Came, Sink, Transfer};

/// Gaps that the text lists; `--json` has them all.
const GAPS_MAX: usize = 20;

#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    bytes: u64,
    #[serde(flatten)]
    headers: ExportHeaders,
    /// Chunks that turned out damaged, or were deleted during the transfer.
    chunks_left_out: u64,
    missing: Missing,
}

/// The node's description of an export, from the headers of its answer.
#[derive(Debug, Default, Serialize)]
pub(super) struct ExportHeaders {
    /// Wall time of the file's time 0.
    start: Option<String>,
    /// How much earlier than the requested range that is.
    lead_in_ms: Option<i64>,
    gap_ms: Option<i64>,
    damaged_ms: Option<i64>,
    /// Who may have more in a moment.
    late: Option<String>,
}

/// The parts of the requested range that are not in the file, by the timeline.
#[derive(Debug, Serialize)]
struct Missing {
    gaps: Vec<Gap>,
    /// Recorded, but on nodes that are down: not in the file either.
    not_available_ms: i64,
    /// Why that is not known.
    error: Option<String>,
}

pub(super) async fn run(
    args: ExportArgs,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    if let Some(name) = &args.job {
        return exports::create(name.clone(), &args, &options, out).await;
    }
    let ([camera], Some(output)) = (&args.cameras[..], args.output.clone()) else {
        return Err(CliError::usage(
            "a file holds one camera; --job has the cluster keep several",
        ));
    };
    let (from, to) = range(&args.from, &args.to)?;
    if !OutputFile::is_stdout(&output) {
        plain_file(&output, args.force)?;
    }
    let api = Api::new(&options)?;
    let camera = resolve::footage(&api, camera).await?;
    // Not before it is known that there is something to write.
    let sink = if OutputFile::is_stdout(&output) {
        Sink::Stdout {
            out: OutputFile::create(&output, args.force)?,
            tag: None,
        }
    } else {
        Sink::Part(PartFile::open(&output, args.force)?)
    };
    let (from_text, to_text) = (from.to_string(), to.to_string());
    let path = |last| ["cameras".to_owned(), camera.to_string(), last];
    let (export, timeline) = (path("export.mp4".to_owned()), path("timeline".to_owned()));
    let range = [("from", from_text.as_str()), ("to", to_text.as_str())];
    let strict = [("strict", if args.strict { "true" } else { "false" })];
    let transfer = Transfer {
        apis: every_node(&api).await,
        path: &export.each_ref().map(String::as_str),
        query: &[&range[..], &strict].concat(),
        patience: Duration::from_secs(args.retry),
    };
    let Came {
        bytes,
        headers,
        left_out,
    } = transfer.run(sink).await?;
    let missing = Missing::of(
        api.get(&timeline.each_ref().map(String::as_str), &range)
            .await,
    );
    let exported = Exported {
        file: output,
        bytes,
        headers,
        chunks_left_out: left_out,
        missing,
    };
    if OutputFile::is_stdout(&exported.file) {
        out.print_aside(&exported, describe)
    } else {
        out.print(&exported, describe)
    }
}

fn describe(exported: &Exported) -> String {
    let Exported {
        file,
        bytes,
        headers,
        chunks_left_out,
        missing,
    } = exported;
    let mut text = format!("wrote {} ({bytes} bytes)", file.display());
    if let Some((start, lead_in_ms)) = headers
        .start
        .as_deref()
        .zip(headers.lead_in_ms)
        .filter(|(_, ms)| *ms > 0)
    {
        let lead_in = seconds(lead_in_ms * 1000);
        text.push_str(&format!(
            "\nbegins at {start}, {lead_in} s before, with the keyframe that what you asked for is \
             decoded from"
        ));
    }
    if let Some(damaged_ms) = headers.damaged_ms.filter(|ms| *ms > 0) {
        let damaged = seconds(damaged_ms * 1000);
        text.push_str(&format!(
            "\n{damaged} s of it refer to lost frames, and players conceal what is missing; \
             --strict leaves them out"
        ));
    }
    if *chunks_left_out > 0 {
        text.push_str(&format!(
            "\n{chunks_left_out} chunks of less than half a second are left out: they are damaged, \
             or were deleted during the transfer"
        ));
    }
    if let Some(late) = &headers.late {
        text.push_str(&format!(
            "\n{late}: the file may lack what is stored there; export again in a moment"
        ));
    }
    text.push_str(&describe_missing(missing, headers.gap_ms));
    text
}

/// The node at the configured address first, then the others, which can answer for the cluster as
/// well.
pub(super) async fn every_node(api: &Api) -> Vec<Api> {
    let cluster: Result<Cluster, CliError> = api.get(&["cluster"], &[]).await;
    let mut apis = vec![api.clone()];
    if let Ok(cluster) = cluster {
        let others = cluster
            .nodes
            .iter()
            .filter(|node| node.alive && Some(node.id) != cluster.this_node);
        apis.extend(others.filter_map(|node| api.at(&node.api_addr)));
    }
    apis
}

fn describe_missing(missing: &Missing, gap_ms: Option<i64>) -> String {
    let total_us: i64 = missing
        .gaps
        .iter()
        .map(|gap| gap.end.micros_since(gap.start))
        .sum();
    let mut text = String::new();
    if total_us > 0 {
        text.push_str(&format!(
            "\nMISSING {} s of what you asked for:",
            seconds(total_us)
        ));
    } else if let Some(gap_ms) = gap_ms.filter(|ms| *ms > 0) {
        text.push_str(&format!(
            "\nMISSING {} s of what you asked for",
            seconds(gap_ms * 1000)
        ));
    }
    for gap in missing.gaps.iter().take(GAPS_MAX) {
        let length = seconds(gap.end.micros_since(gap.start));
        text.push_str(&format!(
            "\n  {}  {length} s  {}  node {}",
            gap.start,
            gap.cause.name(),
            or_dash(gap.node)
        ));
    }
    if missing.gaps.len() > GAPS_MAX {
        text.push_str(&format!(
            "\n  and {} more; `holdfast gaps` lists them",
            missing.gaps.len() - GAPS_MAX
        ));
    }
    if missing.not_available_ms > 0 {
        let away = seconds(missing.not_available_ms * 1000);
        text.push_str(&format!(
            "\n{away} s were recorded by nodes that are down; export again when they are back"
        ));
    }
    if let Some(error) = &missing.error {
        text.push_str(&format!("\nwhat is missing cannot be listed: {error}"));
    }
    text
}

impl ExportHeaders {
    fn by(response: &Response) -> Self {
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let ms = |name: &str| header(name).and_then(|value| value.parse().ok());
        Self {
            start: header("x-holdfast-start").map(str::to_owned),
            lead_in_ms: ms("x-holdfast-lead-in-ms"),
            gap_ms: ms("x-holdfast-gap-ms"),
            damaged_ms: ms("x-holdfast-damaged-ms"),
            late: header("x-holdfast-late").map(str::to_owned),
        }
    }
}

impl Missing {
    fn of(timeline: Result<Timeline, CliError>) -> Self {
        match timeline {
            Ok(timeline) => {
                let away = timeline.spans.iter().filter(|span| !span.available);
                let away_us: i64 = away.map(|span| span.end.micros_since(span.start)).sum();
                Self {
                    gaps: timeline.gaps,
                    not_available_ms: away_us / 1000,
                    error: None,
                }
            }
            Err(error) => Self {
                gaps: Vec::new(),
                not_available_ms: 0,
                error: Some(error.message),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::chunk::GapCause;
    use holdfast_storage::ids::NodeId;
    use holdfast_storage::time::Timestamp;

    #[test]
    fn what_is_missing_is_listed_with_its_cause() {
        let gap = |from, to| Gap {
            start: Timestamp(from),
            end: Timestamp(to),
            cause: GapCause::CameraUnreachable,
            node: Some(NodeId(2)),
            frames_missing: None,
        };
        let gaps = (0..25)
            .map(|n| gap(n * 10_000_000, n * 10_000_000 + 500_000))
            .collect();
        let missing = Missing {
            gaps,
            not_available_ms: 1500,
            error: None,
        };
        let headers = ExportHeaders {
            damaged_ms: Some(250),
            late: Some("node 3 does not answer in time".to_owned()),
            ..ExportHeaders::default()
        };
        let exported = Exported {
            file: "a.mp4".into(),
            bytes: 7,
            headers,
            chunks_left_out: 3,
            missing,
        };
        let text = describe(&exported);
        assert!(text.contains("MISSING 12.500 s"), "{text}");
        assert!(
            text.contains("node 3 does not answer in time: the file may lack"),
            "{text}"
        );
        assert!(
            text.contains("1970-01-01T00:00:00.000000Z  0.500 s  camera_unreachable  node 2"),
            "{text}"
        );
        assert!(
            text.contains("and 5 more")
                && text.contains("1.500 s were recorded by nodes that are down"),
            "{text}"
        );
        assert!(
            text.contains("0.250 s of it refer to lost frames") && text.contains("\n3 chunks"),
            "{text}"
        );
        let json = serde_json::to_value(&exported).unwrap();
        assert_eq!(
            json["missing"]["gaps"][0]["cause"], "camera_unreachable",
            "{json}"
        );
        assert_eq!(json["damaged_ms"], 250);
    }

    #[test]
    fn a_whole_export_says_nothing_of_gaps() {
        let missing = Missing {
            gaps: Vec::new(),
            not_available_ms: 0,
            error: None,
        };
        let exported = Exported {
            file: "a.mp4".into(),
            bytes: 7,
            headers: ExportHeaders::default(),
            chunks_left_out: 0,
            missing,
        };
        assert_eq!(describe(&exported), "wrote a.mp4 (7 bytes)");
    }
}
