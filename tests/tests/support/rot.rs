//! Flips bits in stored data.

use holdfast_chaos::{Error, Result};
use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::ids::{CameraId, StreamKind, TrackKind};
use holdfast_storage::offline;
use std::fs;
use std::path::Path;

/// Number of bytes before a chunk's payload: the record's head and the chunk's.
const HEADS_BYTES: u64 = 16 + 72;

/// Flips a bit in the middle of a video chunk that is neither the camera's first in the segment nor
/// its last, and does not begin with a keyframe.
pub(crate) fn turn_a_bit(segment: &Path, camera: CameraId) -> Result<ChunkEntry> {
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
    let found = inner.iter().find(|entry| !entry.meta.is_access_point());
    let entry = **found
        .ok_or_else(|| Error::Wrong(format!("no chunk to damage in {}", segment.display())))?;
    let mut bytes = fs::read(segment).expect("a segment");
    bytes[(entry.location.offset + HEADS_BYTES) as usize
        + entry.location.payload_bytes as usize / 2] ^= 4;
    fs::write(segment, bytes).expect("a segment");
    Ok(entry)
}
