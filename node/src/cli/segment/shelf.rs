//! Whole volumes for the commands: opened with a progress bar, cameras by name or number.

use crate::cli::progress::segments_bar;
use crate::terminal::error::{CliError, ExitKind};
use holdfast_storage::Error;
use holdfast_storage::ids::{CameraId, StreamKind};
use holdfast_storage::offline::{Shelf, ShelfProgress, StreamId};
use indicatif::ProgressBar;
use std::collections::BTreeSet;
use std::path::PathBuf;
use uuid::Uuid;

/// # Errors
/// A folder is no volume or cannot be listed, or they belong to different clusters, whose camera
/// numbers mean different cameras.
pub(in crate::cli) fn open(dirs: &[PathBuf]) -> Result<Shelf, CliError> {
    if let Some(file) = dirs.iter().find(|dir| dir.is_file()) {
        return Err(CliError::usage(format!(
            "{} is a file: name folders of volumes, or one segment file",
            file.display()
        )));
    }
    let bar = segments_bar();
    let shelf = Shelf::open(dirs, |progress| show(&bar, progress));
    bar.finish_and_clear();
    let shelf = shelf.map_err(|error| match error {
        Error::NoVolume { .. } => CliError::new(ExitKind::NotFound, error.to_string()),
        _ => CliError::failed(error.to_string()),
    })?;
    let clusters: BTreeSet<Uuid> = shelf
        .volumes()
        .iter()
        .filter_map(|volume| Some(volume.identity?.1))
        .collect();
    if clusters.len() > 1 {
        let listed: Vec<String> = clusters.iter().map(Uuid::to_string).collect();
        return Err(CliError::usage(format!(
            "these volumes are of different clusters: {}",
            listed.join(", ")
        ))
        .hint(
            "the same number is another camera in each: name the volumes of one cluster at a time",
        ));
    }
    Ok(shelf)
}

pub(super) fn show(bar: &ProgressBar, progress: ShelfProgress) {
    bar.set_length(progress.total_segments);
    bar.set_position(progress.done_segments);
}

/// Every name that is kept of a camera, oldest first.
pub(in crate::cli) fn names(shelf: &Shelf, camera: CameraId) -> Vec<String> {
    let mut known: Vec<_> = shelf
        .volumes()
        .iter()
        .filter_map(|volume| volume.names.as_ref()?.of(camera))
        .flat_map(|named| &named.names)
        .collect();
    known.sort_by_key(|known| known.since);
    let mut names: Vec<String> = Vec::new();
    for known in known.into_iter().filter(|known| !known.name.is_empty()) {
        // The name that was given last is the newest, even if it was used before.
        names.retain(|name| *name != known.name);
        names.push(known.name.clone());
    }
    names
}

/// Of the cameras with footage of `stream`: the one with this name or number, or the only one.
///
/// # Errors
/// There is none, or there are several.
pub(super) fn choose(
    shelf: &Shelf,
    asked: Option<&str>,
    stream: StreamKind,
) -> Result<StreamId, CliError> {
    let all: Vec<CameraId> = shelf
        .streams()
        .filter(|(id, _)| id.stream == stream)
        .map(|(id, _)| id.camera)
        .collect();
    let is_asked = |camera: &CameraId, text: &str| match text.parse::<CameraId>() {
        Ok(number) => *camera == number,
        Err(_) => names(shelf, *camera).iter().any(|name| name == text),
    };
    let newest = |camera: &CameraId, text: &str| {
        names(shelf, *camera)
            .last()
            .is_some_and(|name| name == text)
    };
    let mut found: Vec<CameraId> = all
        .iter()
        .filter(|camera| asked.is_none_or(|text| is_asked(camera, text)))
        .copied()
        .collect();
    // One camera has the name now, and others had it before.
    if let Some(text) = asked
        && found.len() > 1
        && found.iter().filter(|camera| newest(camera, text)).count() == 1
    {
        found.retain(|camera| newest(camera, text));
    }
    let listed = |cameras: &[CameraId]| {
        let words: Vec<String> = cameras
            .iter()
            .map(|camera| described(shelf, *camera))
            .collect();
        words.join(", ")
    };
    let hint = "`holdfast segment list` says what there is of each";
    match (found[..].first(), asked) {
        (Some(camera), _) if found.len() == 1 => Ok(StreamId {
            camera: *camera,
            stream,
        }),
        (Some(_), Some(text)) => Err(CliError::usage(format!(
            "`{text}` was the name of several: {}; give a number",
            listed(&found)
        ))
        .hint(hint)),
        (Some(_), None) => Err(CliError::usage(format!(
            "there are {}; choose one with --camera, or --all",
            listed(&found)
        ))
        .hint(hint)),
        (None, Some(text)) if !all.is_empty() => {
            let message = format!(
                "nothing of a camera `{text}` is here; there are {}",
                listed(&all)
            );
            Err(CliError::new(ExitKind::NotFound, message).hint(hint))
        }
        (None, _) => {
            Err(CliError::new(ExitKind::NotFound, "there is no camera's footage").hint(hint))
        }
    }
}

/// The number, with the newest name if one is kept.
pub(in crate::cli) fn described(shelf: &Shelf, camera: CameraId) -> String {
    names(shelf, camera)
        .last()
        .map_or_else(|| camera.to_string(), |name| format!("{camera} ({name})"))
}
