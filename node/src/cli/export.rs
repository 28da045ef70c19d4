//! `holdfast export`: footage to one MP4 file that appears under its name only when it is complete.

use super::args::ExportArgs;
use super::client::{Api, ApiOptions};
use super::error::CliError;
use super::output::Output;
use super::output_file::OutputFile;
use super::progress::bytes_bar;
use super::resolve;
use super::timeline::{range, seconds};
use reqwest::Response;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    bytes: u64,
    #[serde(flatten)]
    told: Told,
}

/// What the node says of an export.
#[derive(Debug, Serialize)]
struct Told {
    /// Wall time of the file's time 0.
    start: Option<String>,
    /// How long that is before the asked range.
    lead_in_ms: Option<i64>,
    gap_ms: Option<i64>,
    damaged_ms: Option<i64>,
}

pub(super) async fn run(args: ExportArgs, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let (from, to) = range(&args.from, &args.to)?;
    let file = OutputFile::create(&args.output, args.force)?;
    let api = Api::new(&options)?;
    let camera = resolve::camera(&api, &args.camera).await?;
    let query = [
        ("from", &*from.to_string()),
        ("to", &*to.to_string()),
        ("strict", if args.strict { "true" } else { "false" }),
    ];
    let response = api.download(&["cameras", &camera.id.to_string(), "export.mp4"], &query).await?;
    let told = Told::by(&response);
    let bytes = save(response, file).await?;
    let exported = Exported { file: args.output, bytes, told };
    out.print(&exported, describe)
}

fn describe(exported: &Exported) -> String {
    let Exported { file, bytes, told } = exported;
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

async fn save(mut response: Response, mut file: OutputFile) -> Result<u64, CliError> {
    let bar = bytes_bar(response.content_length());
    while let Some(piece) = next_piece(&mut response).await? {
        file.write(&piece)?;
        bar.set_position(file.bytes());
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
