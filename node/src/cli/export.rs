//! `holdfast export`: footage to one MP4 file that appears under its name only when it is complete,
//! or to standard output; and what of it is missing.

mod reached;

use super::args::ExportArgs;
use super::client::{Api, ApiOptions};
use super::error::CliError;
use super::output::Output;
use super::output_file::OutputFile;
use super::progress::time_bar;
use super::resolve;
use super::table::or_dash;
use super::timeline::{range, seconds};
use holdfast_control_api::wire::{Gap, Timeline};
use holdfast_storage::time::Timestamp;
use reached::Reached;
use reqwest::Response;
use serde::Serialize;
use std::path::PathBuf;

/// Gaps that are listed in words; `--json` has them all.
const GAPS_MAX: usize = 20;

#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    bytes: u64,
    #[serde(flatten)]
    told: Told,
    missing: Missing,
}

/// What the node says of an export.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// Wall time of the file's time 0.
    start: Option<String>,
    /// How long that is before the asked range.
    lead_in_ms: Option<i64>,
    gap_ms: Option<i64>,
    damaged_ms: Option<i64>,
}

/// What of the asked range is not in the file, as the timeline has it.
#[derive(Debug, Serialize)]
struct Missing {
    gaps: Vec<Gap>,
    /// Recorded, and on nodes that are down: not in the file either.
    not_available_ms: i64,
    /// Why that is not known.
    error: Option<String>,
}

pub(super) async fn run(args: ExportArgs, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let (from, to) = range(&args.from, &args.to)?;
    let file = OutputFile::create(&args.output, args.force)?;
    let api = Api::new(&options)?;
    let camera = resolve::footage(&api, &args.camera).await?;
    let (from_text, to_text) = (from.to_string(), to.to_string());
    let path = |last| ["cameras".to_owned(), camera.to_string(), last];
    let (export, timeline) = (path("export.mp4".to_owned()), path("timeline".to_owned()));
    let range = [("from", from_text.as_str()), ("to", to_text.as_str())];
    let strict = [("strict", if args.strict { "true" } else { "false" })];
    let response = api.download(&export.each_ref().map(String::as_str), &[&range[..], &strict].concat()).await?;
    let told = Told::by(&response);
    let bytes = save(response, file, (from, to)).await?;
    let missing = Missing::of(api.get(&timeline.each_ref().map(String::as_str), &range).await);
    let exported = Exported { file: args.output, bytes, told, missing };
    if OutputFile::is_stdout(&exported.file) {
        out.print_aside(&exported, describe)
    } else {
        out.print(&exported, describe)
    }
}

fn describe(exported: &Exported) -> String {
    let Exported { file, bytes, told, missing } = exported;
    let mut text = format!("wrote {} ({bytes} bytes)", file.display());
    if let Some((start, lead_in_ms)) = told.start.as_deref().zip(told.lead_in_ms).filter(|(_, ms)| *ms > 0) {
        let lead_in = seconds(lead_in_ms * 1000);
        text.push_str(&format!(
            "\nbegins at {start}, {lead_in} s before, with the keyframe that what you asked for is decoded from"
        ));
    }
    if let Some(damaged_ms) = told.damaged_ms.filter(|ms| *ms > 0) {
        let damaged = seconds(damaged_ms * 1000);
        text.push_str(&format!(
            "\n{damaged} s of it refer to lost frames, and players conceal what is missing; --strict leaves them out"
        ));
    }
    text.push_str(&describe_missing(missing, told.gap_ms));
    text
}

fn describe_missing(missing: &Missing, gap_ms: Option<i64>) -> String {
    let total_us: i64 = missing.gaps.iter().map(|gap| gap.end.micros_since(gap.start)).sum();
    let mut text = String::new();
    if total_us > 0 {
        text.push_str(&format!("\nMISSING {} s of what you asked for:", seconds(total_us)));
    } else if let Some(gap_ms) = gap_ms.filter(|ms| *ms > 0) {
        text.push_str(&format!("\nMISSING {} s of what you asked for", seconds(gap_ms * 1000)));
    }
    for gap in missing.gaps.iter().take(GAPS_MAX) {
        let length = seconds(gap.end.micros_since(gap.start));
        text.push_str(&format!("\n  {}  {length} s  {}  node {}", gap.start, gap.cause.name(), or_dash(gap.node)));
    }
    if missing.gaps.len() > GAPS_MAX {
        text.push_str(&format!("\n  and {} more; `holdfast gaps` lists them", missing.gaps.len() - GAPS_MAX));
    }
    if missing.not_available_ms > 0 {
        let away = seconds(missing.not_available_ms * 1000);
        text.push_str(&format!("\n{away} s were recorded by nodes that are down; export again when they are back"));
    }
    if let Some(error) = &missing.error {
        text.push_str(&format!("\nwhat is missing cannot be listed: {error}"));
    }
    text
}

impl Told {
    fn by(response: &Response) -> Self {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let ms = |name: &str| header(name).and_then(|value| value.parse().ok());
        Self {
            start: header("x-holdfast-start").map(str::to_owned),
            lead_in_ms: ms("x-holdfast-lead-in-ms"),
            gap_ms: ms("x-holdfast-gap-ms"),
            damaged_ms: ms("x-holdfast-damaged-ms"),
        }
    }
}

impl Missing {
    fn of(timeline: Result<Timeline, CliError>) -> Self {
        match timeline {
            Ok(timeline) => {
                let away = timeline.spans.iter().filter(|span| !span.available);
                let away_us: i64 = away.map(|span| span.end.micros_since(span.start)).sum();
                Self { gaps: timeline.gaps, not_available_ms: away_us / 1000, error: None }
            }
            Err(error) => Self { gaps: Vec::new(), not_available_ms: 0, error: Some(error.message) },
        }
    }
}

async fn save(
    mut response: Response,
    mut file: OutputFile,
    (from, to): (Timestamp, Timestamp),
) -> Result<u64, CliError> {
    let micros = |time: Timestamp| u64::try_from(time.micros_since(from)).unwrap_or(0);
    let bar = time_bar(micros(to));
    let mut reached = Reached::default();
    while let Some(piece) = next_piece(&mut response).await? {
        file.write(&piece)?;
        reached.read(&piece);
        bar.set_position(reached.until().map_or(0, micros));
        bar.set_message(format!("{:.1} MB", file.bytes() as f64 / 1e6));
    }
    bar.finish_and_clear();
    file.finish()
}

async fn next_piece(response: &mut Response) -> Result<Option<bytes::Bytes>, CliError> {
    response.chunk().await.map_err(|error| {
        CliError::failed(format!("the export broke off: {error}"))
            .hint("nothing was kept; `holdfast timeline` shows what is available")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::chunk::GapCause;
    use holdfast_storage::ids::NodeId;

    #[test]
    fn what_is_missing_is_told_with_its_cause() {
        let gap = |from, to| Gap {
            start: Timestamp(from),
            end: Timestamp(to),
            cause: GapCause::CameraUnreachable,
            node: Some(NodeId(2)),
            frames_missing: None,
        };
        let gaps = (0..25).map(|n| gap(n * 10_000_000, n * 10_000_000 + 500_000)).collect();
        let missing = Missing { gaps, not_available_ms: 1500, error: None };
        let told = Told { damaged_ms: Some(250), ..Told::default() };
        let exported = Exported { file: "a.mp4".into(), bytes: 7, told, missing };
        let text = describe(&exported);
        assert!(text.contains("MISSING 12.500 s"), "{text}");
        assert!(text.contains("1970-01-01T00:00:00.000000Z  0.500 s  camera_unreachable  node 2"), "{text}");
        assert!(text.contains("and 5 more") && text.contains("1.500 s were recorded by nodes that are down"), "{text}");
        assert!(text.contains("0.250 s of it refer to lost frames"), "{text}");
        let json = serde_json::to_value(&exported).unwrap();
        assert_eq!(json["missing"]["gaps"][0]["cause"], "camera_unreachable", "{json}");
        assert_eq!(json["damaged_ms"], 250);
    }

    #[test]
    fn a_whole_export_says_nothing_of_gaps() {
        let missing = Missing { gaps: Vec::new(), not_available_ms: 0, error: None };
        let exported = Exported { file: "a.mp4".into(), bytes: 7, told: Told::default(), missing };
        assert_eq!(describe(&exported), "wrote a.mp4 (7 bytes)");
    }
}
