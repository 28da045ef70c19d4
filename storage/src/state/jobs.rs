//! What the writer asks of the keeper.

use crate::ids::SegmentId;

#[derive(Debug)]
pub(crate) enum Job {
    /// Nothing more comes into this segment.
    Seal(SegmentId),
    /// The disk is full.
    Reclaim,
    /// The writer has stopped.
    Stop,
}
