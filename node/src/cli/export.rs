//! `holdfast export`: footage to one MP4 file that appears under its name only when it is complete.

use super::args::ExportArgs;
use super::client::{Api, ApiOptions};
use super::error::CliError;
use super::output::Output;
use super::resolve;
use super::timeline::range;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::Response;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    bytes: u64,
}

pub(super) async fn run(args: ExportArgs, options: ApiOptions, out: Output) -> Result<(), CliError> {
    let (from, to) = range(&args.from, &args.to)?;
    if args.output.exists() && !args.force {
        return Err(CliError::failed(format!("{} exists", args.output.display())).hint("--force replaces it"));
    }
    let api = Api::new(&options)?;
    let camera = resolve::camera(&api, &args.camera).await?;
    let query = [("from", &*from.to_string()), ("to", &*to.to_string())];
    let response = api.download(&["cameras", &camera.id.to_string(), "export.mp4"], &query).await?;
    let bytes = save(response, &args.output, args.force).await?;
    let exported = Exported { file: args.output, bytes };
    out.print(&exported, |exported| format!("wrote {} ({} bytes)", exported.file.display(), exported.bytes))
}

/// Downloads beside the target and renames: a failed export leaves nothing behind.
async fn save(mut response: Response, target: &Path, replace: bool) -> Result<u64, CliError> {
    let failed = |error: std::io::Error| CliError::failed(format!("cannot write {}: {error}", target.display()));
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".holdfast-export-").tempfile_in(dir).map_err(failed)?;
    let bar = progress_bar(response.content_length());
    let mut bytes = 0;
    while let Some(piece) = next_piece(&mut response).await? {
        file.write_all(&piece).map_err(failed)?;
        bytes += piece.len() as u64;
        bar.set_position(bytes);
    }
    bar.finish_and_clear();
    file.as_file().sync_all().map_err(failed)?;
    let persisted = if replace { file.persist(target) } else { file.persist_noclobber(target) };
    persisted.map_err(|error| failed(error.error))?;
    Ok(bytes)
}

async fn next_piece(response: &mut Response) -> Result<Option<bytes::Bytes>, CliError> {
    response.chunk().await.map_err(|error| {
        CliError::failed(format!("the export broke off: {error}"))
            .hint("nothing was kept; `holdfast timeline` shows what is available")
    })
}

/// On standard error, where that is a terminal.
fn progress_bar(total: Option<u64>) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(total, target);
    let template = if total.is_some() {
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}"
    } else {
        "{spinner} {bytes} {bytes_per_sec}"
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The templates are constants; a bar in the default style would still be right.
        Err(_) => bar,
    }
}
