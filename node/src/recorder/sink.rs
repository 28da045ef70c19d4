//! Where records go: the seam to the volume writer.

use holdfast_storage::chunk::Record;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// A bounded buffer is full; later records may be accepted.
    #[error("the volume writer's buffer is full; the disk is too slow for what is recorded")]
    Full,
    /// The volume cannot be written.
    #[error("the volume cannot be written: {0}")]
    Failed(String),
}

pub trait RecordSink: Send + Sync {
    /// Hands a record over without waiting.
    ///
    /// # Errors
    /// The record is not taken, and nothing of it is stored.
    fn append(&self, retention_class: &str, record: Record) -> Result<(), SinkError>;
}
