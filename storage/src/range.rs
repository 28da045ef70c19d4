//! The range of a reader's request: an interval of one camera's stream.

use crate::format::index::overlaps;
use crate::ids::{CameraId, StreamId, StreamKind};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// `[from, to)` of one stream of one camera; empty if `from` is not before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Range {
    /// All of a stream, at any time.
    #[must_use]
    pub fn all(camera: CameraId, stream: StreamKind) -> Self {
        Self {
            camera,
            stream,
            from: Timestamp::MIN,
            to: Timestamp::MAX,
        }
    }

    /// The stream that it is of.
    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        StreamId {
            camera: self.camera,
            kind: self.stream,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Whether `[start, end)` and the range share an instant; an empty interval counts as its
    /// start.
    #[must_use]
    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        overlaps(start, end, self.from, self.to)
    }
}
