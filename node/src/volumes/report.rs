//! What this node's volumes report of themselves and of their recordings, as peers read it.

use holdfast_storage::chunk::Gap;
use holdfast_storage::timeline::Span;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Spans and ledger entries of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) spans: Vec<Span>,
    pub(crate) gaps: Vec<Gap>,
    /// Whether this is all that the node holds: no volume is away, and all segments of former
    /// processes are listed. If not, a hole in the spans may be no gap.
    pub(crate) complete: bool,
}

/// The state of one volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VolumeReport {
    pub(crate) index: u16,
    pub(crate) path: String,
    pub(crate) state: String,
    pub(crate) error: Option<String>,
    pub(crate) cameras: u64,
    pub(crate) lag_seconds: f64,
    pub(crate) free_bytes: u64,
    pub(crate) size_bytes: u64,
    pub(crate) failures: u64,
    pub(crate) reattachments: u64,
    /// How long free and deletable space lasts; `None` while nothing is written.
    pub(crate) full_in_s: Option<u64>,
    /// The volume's own id, while it is open.
    pub(crate) id: Option<Uuid>,
}
