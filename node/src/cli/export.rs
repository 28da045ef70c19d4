//! `holdfast export`: footage to one MP4 file that appears under its name only when it is complete.

use super::args::ExportArgs;
use super::client::{Api, ApiOptions};
use super::error::CliError;
use super::output::Output;
use super::output_file::OutputFile;
use super::progress::bytes_bar;
use super::resolve;
use super::timeline::range;
use reqwest::Response;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    bytes: u64,
}

pub(super) async fn run(args: ExportArgs, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let (from, to) = range(&args.from, &args.to)?;
    let file = OutputFile::create(&args.output, args.force)?;
    let api = Api::new(&options)?;
    let camera = resolve::camera(&api, &args.camera).await?;
    let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
    let response = api.download(&["cameras", &camera.id.to_string(), "export.mp4"], &query).await?;
    let bytes = save(response, file).await?;
    let exported = Exported { file: args.output, bytes };
    out.print(&exported, |exported| format!("wrote {} ({} bytes)", exported.file.display(), exported.bytes))
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
