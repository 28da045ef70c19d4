//! `holdfast segment list`: which cameras whole volumes hold, by number and name.

use super::shelf;
use crate::cli::table::{Table, or_dash, printable};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_storage::ids::{CameraId, NodeId, StreamKind};
use holdfast_storage::offline::{FailedSegment, Shelf};
use holdfast_storage::time::Timestamp;
use serde::Serialize;
use std::path::PathBuf;
use uuid::Uuid;

/// Segments that the text names; the JSON has all.
const LINES_MAX: usize = 20;

#[derive(Debug, Serialize)]
pub(super) struct Listing {
    pub(super) volumes: Vec<ListedVolume>,
    pub(super) streams: Vec<ListedStream>,
    /// Segments that could not be read or understood.
    pub(super) failed: Vec<FailedSegment>,
}

#[derive(Debug, Serialize)]
pub(super) struct ListedVolume {
    path: PathBuf,
    volume: Option<Uuid>,
    cluster: Option<Uuid>,
    /// The nodes that recorded the footage.
    nodes: Vec<NodeId>,
    segments: u64,
    bytes: u64,
    in_use_by: Option<String>,
    /// Whether camera names are kept on it.
    has_names: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct ListedStream {
    pub(super) camera: CameraId,
    /// Oldest first; empty if none are kept.
    pub(super) names: Vec<String>,
    pub(super) stream: StreamKind,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

/// # Errors
/// A folder is no volume, or something in it could not be read. The findings are printed first.
pub(super) fn run(dirs: &[PathBuf], out: Output) -> Result<(), CliError> {
    let listing = Listing::of(&shelf::open(dirs)?);
    out.print(&listing, describe)?;
    match listing.failed.len() {
        0 => Ok(()),
        failed => Err(
            CliError::failed(format!("{failed} segments could not be read")).hint(
                "`holdfast segment verify` says what is wrong with each; the rest can be extracted",
            ),
        ),
    }
}

impl Listing {
    pub(super) fn of(shelf: &Shelf) -> Self {
        let volumes = shelf.volumes().iter().map(|volume| ListedVolume {
            path: volume.path.clone(),
            volume: volume.identity.map(|(volume, _)| volume),
            cluster: volume.identity.map(|(_, cluster)| cluster),
            nodes: volume.nodes.iter().copied().collect(),
            segments: volume.segments,
            bytes: volume.bytes,
            in_use_by: volume.in_use_by.clone(),
            has_names: volume.names.is_some(),
        });
        let streams = shelf.streams().map(|(id, held)| ListedStream {
            camera: id.camera,
            names: shelf::names(shelf, id.camera),
            stream: id.stream,
            from: held.from,
            to: held.to,
            chunks: held.chunks,
            bytes: held.payload_bytes,
        });
        Self {
            volumes: volumes.collect(),
            streams: streams.collect(),
            failed: shelf.failed().to_vec(),
        }
    }
}

pub(super) fn describe(listing: &Listing) -> String {
    let mut text = listing.volumes.iter().map(volume).collect::<String>();
    let mut table = Table::new(&["CAMERA", "NAME", "STREAM", "FROM", "TO", "BYTES"]);
    for stream in &listing.streams {
        let mut names = stream.names.clone();
        let name = names.pop().map(|name| match names.len() {
            0 => name,
            _ => format!("{name} (before: {})", names.join(", ")),
        });
        table.row(vec![
            stream.camera.to_string(),
            or_dash(name),
            format!("{:?}", stream.stream).to_lowercase(),
            stream.from.to_string(),
            stream.to.to_string(),
            stream.bytes.to_string(),
        ]);
    }
    match listing.streams.len() {
        0 => text.push_str("no camera's footage\n"),
        _ => text.push_str(&table.to_string()),
    }
    for failed in listing.failed.iter().take(LINES_MAX) {
        text.push_str(&format!("not read: {}\n", printable(&failed.error)));
    }
    if let Some(more @ 1..) = listing.failed.len().checked_sub(LINES_MAX) {
        text.push_str(&format!("not read: {more} more; --json names all\n"));
    }
    text
}

fn volume(volume: &ListedVolume) -> String {
    let nodes: Vec<String> = volume.nodes.iter().map(NodeId::to_string).collect();
    let in_use = volume
        .in_use_by
        .as_ref()
        .map_or_else(String::new, |pid| format!(", in use by process {pid}"));
    format!(
        "{}: volume {} of cluster {}, recorded by node {}, {} segments, {} bytes{in_use}\n",
        printable(&volume.path.display().to_string()),
        or_dash(volume.volume),
        or_dash(volume.cluster),
        if nodes.is_empty() {
            "-".to_owned()
        } else {
            nodes.join(", ")
        },
        volume.segments,
        volume.bytes,
    )
}
