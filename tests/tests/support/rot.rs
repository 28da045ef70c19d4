//! Flips bits in stored data.

use holdfast_chaos::{Error, Result};
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::ids::{CameraId, StreamKind, TrackKind};
use holdfast_storage::offline;
use holdfast_storage::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};

/// Number of bytes before a chunk's payload: the record's head and the chunk's.
const HEADS_BYTES: u64 = 16 + 72;

/// Flips a bit in the middle of a video chunk between `from` and `to` that is neither the camera's
/// first in its segment nor its last, and does not begin with a keyframe. Returns the segment and
/// the chunk.
pub(crate) fn turn_a_bit(
    segments: &[PathBuf],
    camera: CameraId,
    (from, to): (Timestamp, Timestamp),
) -> Result<(PathBuf, ChunkEntry)> {
    for segment in segments {
        if let Some(entry) = inner_chunk(segment, camera, (from, to))? {
            let mut bytes = fs::read(segment).expect("a segment");
            bytes[(entry.location.offset + HEADS_BYTES) as usize
                + entry.location.payload_bytes as usize / 2] ^= 4;
            fs::write(segment, bytes).expect("a segment");
            return Ok((segment.clone(), entry));
        }
    }
    Err(Error::Wrong(format!(
        "no chunk to damage between {from} and {to} in {segments:?}"
    )))
}

fn inner_chunk(
    segment: &Path,
    camera: CameraId,
    (from, to): (Timestamp, Timestamp),
) -> Result<Option<ChunkEntry>> {
    let wrong = |error: holdfast_storage::Error| Error::Wrong(error.to_string());
    let footage = offline::footage(segment, camera, StreamKind::Main, |_, _| {}).map_err(wrong)?;
    let video: Vec<_> = footage
        .entries()
        .iter()
        .filter(|entry| entry.meta.track == TrackKind::Video)
        .collect();
    let inner = video
        .get(1..video.len().saturating_sub(1))
        .unwrap_or_default();
    let fits = |entry: &&&ChunkEntry| {
        !entry.meta.is_access_point() && from < entry.meta.start && entry.meta.end() < to
    };
    Ok(inner.iter().find(fits).map(|entry| **entry))
}
