//! `holdfast exports` and `holdfast export --job`: footage of several cameras, or of many hours,
//! that is kept for a day and downloaded file by file.

use super::args::{ExportArgs, ExportsCommand, ExportsDownloadArgs};
use super::export::{Came, PartFile, Sink, Transfer, every_node};
use super::resolve;
use super::table::Table;
use super::timeline::{range, seconds};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::{CliError, ExitKind};
use crate::terminal::output::Output;
use holdfast_control_api::wire::{
    ExportFile, ExportManifest, ExportState, ExportStatus, NewExport,
};
use holdfast_storage::ids::ExportId;
use reqwest::Method;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the folder of the files that it lists.
const MANIFEST: &str = "manifest.json";

pub(super) async fn run(
    command: ExportsCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    match command {
        ExportsCommand::List => {
            let exports: Vec<ExportStatus> = api.get(&["exports"], &[]).await?;
            out.print(&exports, |exports| table(exports))
        }
        ExportsCommand::Show { export } => {
            let manifest: ExportManifest = api
                .get(&["exports", &export.to_string(), MANIFEST], &[])
                .await?;
            out.print(&manifest, describe)
        }
        ExportsCommand::Download(args) => download(args, &api, out).await,
        ExportsCommand::Remove { export } => {
            let id = export.to_string();
            let status: ExportStatus = api.get(&["exports", &id], &[]).await?;
            api.delete(&["exports", &id], &[]).await?;
            out.print(&status, |status| {
                format!(
                    "removed export {}: its footage is kept no longer than other",
                    status.export.id
                )
            })
        }
    }
}

/// `holdfast export --job NAME`.
pub(super) async fn create(
    name: String,
    args: &ExportArgs,
    options: &ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let (from, to) = range(&args.from, &args.to)?;
    let api = Api::new(options)?;
    let mut cameras = Vec::with_capacity(args.cameras.len());
    for camera in &args.cameras {
        cameras.push(resolve::footage(&api, camera).await?);
    }
    let new = NewExport {
        name,
        cameras,
        from,
        to,
        strict: args.strict,
    };
    let answer = api.call(Method::POST, &["exports"], Some(&new)).await?;
    let created: ExportStatus = serde_json::from_value(answer).map_err(|error| {
        CliError::failed(format!(
            "the export was made, but the answer cannot be read: {error}"
        ))
    })?;
    out.print(&created, |status| {
        let (id, until, files) = (
            status.export.id,
            status.export.expires_at,
            status.files.len(),
        );
        format!(
            "export {id}: {files} files, kept until {until}\n\
             holdfast exports download {id} --dir DIR gets them"
        )
    })
}

/// The outcome for each file.
#[derive(Debug, Serialize)]
struct Downloaded {
    dir: PathBuf,
    files: Vec<File>,
}

#[derive(Debug, Default, Serialize)]
struct File {
    name: String,
    bytes: u64,
    chunks_left_out: u64,
    /// Why it is missing: nothing was recorded, for example.
    error: Option<String>,
    #[serde(skip)]
    is_there_already: bool,
}

async fn download(args: ExportsDownloadArgs, api: &Api, out: Output) -> Result<(), CliError> {
    let ExportsDownloadArgs { export, dir, retry } = args;
    std::fs::create_dir_all(&dir)
        .map_err(|error| CliError::failed(format!("cannot make {}: {error}", dir.display())))?;
    let manifest: ExportManifest = api
        .get(&["exports", &export.to_string(), MANIFEST], &[])
        .await?;
    write_manifest(&dir.join(MANIFEST), &manifest)?;
    let download = Download {
        export,
        apis: every_node(api).await,
        patience: Duration::from_secs(retry),
        dir: &dir,
    };
    let (mut files, mut failure) = (Vec::new(), None);
    for listed in &manifest.status.files {
        let (file, error) = download.fetch(listed).await?;
        files.push(file);
        failure = failure.or(error);
    }
    out.print(&Downloaded { dir, files }, lines)?;
    failure.map_or(Ok(()), Err)
}

fn write_manifest(path: &Path, manifest: &ExportManifest) -> Result<(), CliError> {
    let text =
        serde_json::to_vec_pretty(manifest).map_err(|error| CliError::failed(error.to_string()))?;
    check_folder(path, manifest)?;
    std::fs::write(path, text)
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

/// Files of two exports have the same names: one folder holds one export.
fn check_folder(listed: &Path, manifest: &ExportManifest) -> Result<(), CliError> {
    let text = match std::fs::read(listed) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(CliError::failed(format!(
                "cannot read {}: {error}",
                listed.display()
            )));
        }
    };
    let (export, there) = (
        &manifest.status.export,
        serde_json::from_slice::<ExportManifest>(&text),
    );
    if there.is_ok_and(|there| there.status.export == *export) {
        return Ok(());
    }
    let name = listed.display();
    Err(CliError::usage(format!(
        "{name} is not that of export {}: choose another folder with --dir",
        export.id
    )))
}

/// Fetches the files of one export, from any node, into one folder.
struct Download<'a> {
    export: ExportId,
    apis: Vec<Api>,
    patience: Duration,
    dir: &'a Path,
}

impl Download<'_> {
    /// The outcome for one file, and its failure if the command is to end with one.
    ///
    /// # Errors
    /// The others are not downloaded either.
    async fn fetch(&self, listed: &ExportFile) -> Result<(File, Option<CliError>), CliError> {
        if !is_plain(&listed.name) {
            return Err(CliError::failed(format!(
                "the node names a file {:?}, which is no plain name",
                listed.name
            )));
        }
        if !listed.ready {
            return Ok(not_whole_yet(listed));
        }
        let target = self.dir.join(&listed.name);
        if target.exists() {
            let there = File {
                name: listed.name.clone(),
                bytes: target.metadata().map_or(0, |found| found.len()),
                is_there_already: true,
                ..File::default()
            };
            return Ok((there, None));
        }
        self.transfer(&listed.name, &target).await
    }

    async fn transfer(
        &self,
        name: &str,
        target: &Path,
    ) -> Result<(File, Option<CliError>), CliError> {
        let transfer = Transfer {
            apis: self.apis.clone(),
            path: &["exports", &self.export.to_string(), name],
            query: &[],
            patience: self.patience,
        };
        let came = transfer
            .run(Sink::Part(PartFile::open(target, false)?))
            .await;
        let (came, error) = match came {
            Ok(came) => (came, None),
            Err(error) => (Came::default(), Some(error)),
        };
        let file = File {
            name: name.to_owned(),
            bytes: came.bytes,
            chunks_left_out: came.left_out,
            error: error.as_ref().map(|error| error.message.clone()),
            is_there_already: false,
        };
        // A camera that recorded nothing has no file.
        Ok((file, error.filter(|error| error.kind != ExitKind::NotFound)))
    }
}

fn not_whole_yet(listed: &ExportFile) -> (File, Option<CliError>) {
    let (name, to) = (&listed.name, listed.to);
    let why = format!("its range ends at {to}: download it again after that");
    let failure = CliError::failed(format!("{name} is not whole yet: {why}"));
    let file = File {
        name: name.clone(),
        error: Some(why),
        ..File::default()
    };
    (file, Some(failure))
}

/// Whether a name stays in its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !name.starts_with('.')
}

fn lines(downloaded: &Downloaded) -> String {
    let line = |file: &File| match &file.error {
        Some(error) => format!("{}: NOT THERE: {error}", file.name),
        None if file.is_there_already => format!("{}: is there already", file.name),
        None if file.chunks_left_out > 0 => {
            format!(
                "{}: {} bytes, {} damaged chunks left out",
                file.name, file.bytes, file.chunks_left_out
            )
        }
        None => format!("{}: {} bytes", file.name, file.bytes),
    };
    let lines: Vec<String> = downloaded.files.iter().map(line).collect();
    format!(
        "{}\n{MANIFEST} in {} lists the files and what is missing",
        lines.join("\n"),
        downloaded.dir.display()
    )
}

fn table(exports: &[ExportStatus]) -> String {
    let mut table = Table::new(&["ID", "CAMERAS", "FROM", "TO", "STATE", "KEPT UNTIL", "NAME"]);
    for ExportStatus {
        export,
        state,
        progress,
        ..
    } in exports
    {
        let state = match state {
            ExportState::Ready => "ready".to_owned(),
            ExportState::Recording => format!("recording, {:.0} %", progress * 100.0),
        };
        table.row(vec![
            export.id.to_string(),
            export
                .cameras
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(","),
            export.from.to_string(),
            export.to.to_string(),
            state,
            export.expires_at.to_string(),
            export.name.clone(),
        ]);
    }
    table.to_string()
}

fn describe(manifest: &ExportManifest) -> String {
    let mut text = table(std::slice::from_ref(&manifest.status));
    let mut files = Table::new(&["FILE", "CAMERA", "FROM", "TO"]);
    for file in &manifest.status.files {
        files.row(vec![
            file.name.clone(),
            file.camera.to_string(),
            file.from.to_string(),
            file.to.to_string(),
        ]);
    }
    text.push_str(&format!("\n{files}"));
    for gap in &manifest.gaps {
        let length = seconds(gap.gap.end.micros_since(gap.gap.start));
        text.push_str(&format!(
            "\nMISSING camera {}  {}  {length} s  {}",
            gap.camera,
            gap.gap.start,
            gap.gap.cause.name()
        ));
    }
    if manifest.gaps_left_out > 0 {
        text.push_str(&format!("\nand {} gaps more", manifest.gaps_left_out));
    }
    text
}

/// The number of an export.
pub(super) fn number(text: &str) -> Result<ExportId, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is no number of an export; `holdfast exports list` shows them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_in_their_folder() {
        assert!(["1.mp4", "12-3.mp4"].iter().all(|name| is_plain(name)));
        assert!(
            ["", "..", "../1.mp4", "/etc/passwd", ".x", "a/b"]
                .iter()
                .all(|name| !is_plain(name))
        );
    }
}
