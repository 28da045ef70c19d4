//! What this node's volumes report of their recordings, as peers read it.

use holdfast_storage::chunk::Gap;
use holdfast_storage::timeline::Span;
use serde::{Deserialize, Serialize};

/// Spans and ledger entries of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) spans: Vec<Span>,
    pub(crate) gaps: Vec<Gap>,
    /// Whether this is all that the node holds: no volume is away, and all segments of former
    /// processes are listed. If not, a hole in the spans may be no gap.
    pub(crate) complete: bool,
}
