//! The writer's requests to the keeper.

use crate::ids::SegmentId;

#[derive(Debug)]
pub(crate) enum Job {
    /// The segment is complete.
    Seal(SegmentId),
    /// The disk is full.
    Reclaim,
    /// The writer has stopped.
    Stop,
}
