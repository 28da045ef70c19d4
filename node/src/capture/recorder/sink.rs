//! Where records go: the seam to the volume writer.

use holdfast_storage::chunk::Record;
use holdfast_storage::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// A bounded buffer is full; later records may be accepted.
    #[error("the volume writer's buffer is full; the disk is too slow for what is recorded")]
    Full,
    /// The volume's disk is full, and nothing on it may be deleted; later records may be accepted.
    #[error(
        "the volume's disk is full and nothing on it may be deleted; make room, or remove holds"
    )]
    NoSpace,
    /// The volume cannot be written.
    #[error("the volume cannot be written: {0}")]
    Failed(String),
    /// From now on the camera's records go to another volume, which has nothing of this session:
    /// send the init segments again. Returned once. `lost` is what the previous volume had accepted
    /// and did not make durable.
    #[error("the camera's volume has failed; recording continues on another one")]
    Moved {
        lost: Option<(Timestamp, Timestamp)>,
    },
}

pub trait RecordSink: Send + Sync {
    /// Hands over a record without waiting.
    ///
    /// # Errors
    /// The sink rejects the record, and nothing of it is stored.
    fn append(&self, retention_class: &str, record: Record) -> Result<(), SinkError>;
}
