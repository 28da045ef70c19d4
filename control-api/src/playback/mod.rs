//! Which of a camera's merged chunks are played, in which order and at which times. Pure: plans
//! over [`ChunkEntry`]s; `routes` fetches and sends.

pub mod export;
pub mod gate;
pub mod grid;
pub mod growing;
pub mod hls;
pub mod iframes;
pub mod layout;
pub mod playlist;
pub mod rebase;
pub mod runs;
pub mod schedule;
pub mod tear;

use holdfast_storage::chunk::ChunkEntry;
use holdfast_storage::ids::TrackKind;
use std::time::Duration;

/// How far before the requested range entries are searched for at first, so that playback can begin
/// at the access point before it: enough for cameras with usual GOPs. If it is further back, the
/// chunks say where it is ([`gate::needs_earlier`]).
pub const LOOKBACK: Duration = Duration::from_secs(10);

/// How far beyond a range its entries are merged.
pub const LOOKAHEAD: Duration = Duration::from_secs(10);

/// A presentation that begins at least this long before the requested range is shown from the range
/// on.
pub const LEAD_IN_SHOWN_MAX: Duration = Duration::from_secs(10);

/// Time without video that counts as a gap in playback, in microseconds: longer than the interval
/// that jitter and a low frame rate leave between two chunks.
pub const GAP_MICROS_MIN: i64 = 200_000;

/// The entries of a stream by track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    pub video: Vec<ChunkEntry>,
    pub audio: Vec<ChunkEntry>,
}

impl Tracks {
    /// Splits merged entries by track; metadata is not played.
    #[must_use]
    pub fn of(entries: Vec<ChunkEntry>) -> Self {
        let (video, rest): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.meta.track == TrackKind::Video);
        Self {
            video,
            audio: rest
                .into_iter()
                .filter(|entry| entry.meta.track == TrackKind::Audio)
                .collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Entries for the planners' tests, written as sessions of chunks.

    use super::*;
    use holdfast_storage::chunk::{Access, ChunkLocation, ChunkMeta, InitId};
    use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamKind};
    use holdfast_storage::time::Timestamp;

    /// A session's chunks of half a second from `start_ms`; each letter is one chunk: `K` begins
    /// with a keyframe, `d` does not, `L` and `l` are the same after a loss, `.` is a missing
    /// chunk.
    pub(crate) fn session(
        node: u64,
        track: TrackKind,
        init: u64,
        start_ms: i64,
        chunks: &str,
    ) -> Vec<ChunkEntry> {
        let (mut access_at, mut damaged) = (None, false);
        let entry = |(index, letter): (usize, char)| {
            let (is_access_point, after_loss) = (
                letter.is_ascii_uppercase(),
                letter.eq_ignore_ascii_case(&'l'),
            );
            access_at = if is_access_point {
                Some(index)
            } else {
                access_at
            };
            damaged = (damaged || after_loss) && !is_access_point;
            let meta = ChunkMeta {
                camera: CameraId(1),
                stream: StreamKind::Main,
                track,
                node: NodeId(node),
                epoch: Epoch(1),
                rank: Rank::Owner,
                session: SessionId(start_ms as u64),
                sequence: index as u32,
                init: InitId(init),
                start: Timestamp((start_ms + index as i64 * 500) * 1000),
                duration_us: 500_000,
                frames: 12,
                access: is_access_point.then_some(Access::sync(7)),
                since_access_ms: access_at.map(|at| 500 * (index - at) as u32),
                after_loss,
                damaged,
            };
            let (segment, offset, holder) = (SegmentId(1), index as u64, NodeId(node));
            let location = ChunkLocation {
                volume: 0,
                segment,
                offset,
                payload_bytes: 100,
                holder,
            };
            (letter != '.').then_some(ChunkEntry { meta, location })
        };
        chunks.chars().enumerate().filter_map(entry).collect()
    }

    pub(crate) fn starts_ms(entries: &[ChunkEntry]) -> Vec<i64> {
        entries
            .iter()
            .map(|entry| entry.meta.start.micros() / 1000)
            .collect()
    }
}
