//! How far each stream is durable. Pure.

use crate::chunk::ChunkMeta;
use crate::ids::{CameraId, Epoch, Rank, StreamId, TrackKind};
use crate::time::Timestamp;
use std::collections::HashMap;

/// How many epochs and ranks of one stream are remembered.
const KEPT_MAX: usize = 4;

/// How far one stream is durable and indexed on this volume, by its video, in one epoch and rank of
/// this node. Never decreases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    pub epoch: Epoch,
    pub rank: Rank,
    pub durable_end: Timestamp,
    /// Start of the first durable keyframe of this epoch and rank.
    pub first_keyframe: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Watermarks {
    streams: HashMap<StreamId, Vec<Watermark>>,
}

impl Watermarks {
    /// Notes a durable chunk. Tracks other than video do not count: their ends are ahead or behind.
    pub(crate) fn observe(&mut self, meta: &ChunkMeta) {
        if meta.track != TrackKind::Video {
            return;
        }
        let keyframe = meta.is_access_point().then_some(meta.start);
        let marks = self.streams.entry(meta.stream_id()).or_default();
        match marks
            .iter_mut()
            .find(|mark| mark.epoch == meta.epoch && mark.rank == meta.rank)
        {
            Some(mark) => {
                mark.durable_end = mark.durable_end.max(meta.end());
                mark.first_keyframe = earlier(mark.first_keyframe, keyframe);
            }
            None => insert(
                marks,
                Watermark {
                    epoch: meta.epoch,
                    rank: meta.rank,
                    durable_end: meta.end(),
                    first_keyframe: keyframe,
                },
            ),
        }
    }

    /// The highest number of a camera that this process recorded.
    pub(crate) fn camera_highest(&self) -> Option<CameraId> {
        self.streams.keys().map(|stream| stream.camera).max()
    }

    /// The newest watermark: of the highest epoch, then the lowest rank.
    pub(crate) fn newest(&self, stream: StreamId) -> Option<Watermark> {
        self.streams.get(&stream)?.last().copied()
    }

    /// End of the durable footage of the newest epoch, in any rank: earlier epochs may have been
    /// ahead of true time.
    pub(crate) fn durable_until(&self, stream: StreamId) -> Option<Timestamp> {
        let marks = self.streams.get(&stream)?;
        let newest = marks.last()?.epoch;
        marks
            .iter()
            .filter(|mark| mark.epoch == newest)
            .map(|mark| mark.durable_end)
            .max()
    }

    pub(crate) fn of(&self, stream: StreamId, epoch: Epoch, rank: Rank) -> Option<Watermark> {
        let marks = self.streams.get(&stream)?;
        marks
            .iter()
            .find(|mark| mark.epoch == epoch && mark.rank == rank)
            .copied()
    }
}

fn insert(marks: &mut Vec<Watermark>, mark: Watermark) {
    marks.push(mark);
    marks.sort_by_key(|mark| (mark.epoch, std::cmp::Reverse(mark.rank)));
    if marks.len() > KEPT_MAX {
        marks.remove(0);
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
