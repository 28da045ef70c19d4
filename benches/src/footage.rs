//! A node's recordings, read from its segment files while no process has them open: the stamps of
//! all frames.

use crate::Outcome;
use holdfast_camera::{Stamp, stamp};
use holdfast_storage::cmaf::probe;
use holdfast_storage::ids::{CameraId, StreamKind, TrackKind};
use holdfast_storage::offline::footage;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The segment files of a volume, in the order in which they were opened within each class.
///
/// # Errors
/// A directory cannot be read.
pub fn segments(volume: &Path) -> Outcome<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let root = volume.join("segments");
    if !root.exists() {
        return Ok(found);
    }
    for class in std::fs::read_dir(root)? {
        for file in std::fs::read_dir(class?.path())? {
            let path = file?.path();
            found.extend(
                path.extension()
                    .is_some_and(|end| end == "hfs")
                    .then_some(path),
            );
        }
    }
    Ok(found)
}

/// The stamps of one camera's video, in the order of recording.
///
/// # Errors
/// A file cannot be read or is damaged.
pub fn stamps<'a>(
    segments: impl IntoIterator<Item = &'a PathBuf>,
    camera: CameraId,
) -> Outcome<Vec<Stamp>> {
    let mut found = Vec::new();
    for path in segments {
        let recorded = footage(path, camera, StreamKind::Main, |_, _| {})?;
        for entry in recorded
            .entries()
            .iter()
            .filter(|entry| entry.meta.track == TrackKind::Video)
        {
            let payload = recorded.read(entry)?;
            let samples =
                probe::samples(&payload).map_err(|error| format!("{}: {error}", path.display()))?;
            let frames = samples
                .iter()
                .map(|sample| &payload[sample.offset..sample.offset + sample.size]);
            found.extend(frames.filter_map(stamp::find));
        }
    }
    Ok(found)
}
