//! The header of every message between members.

use crate::codec::{self, CodecError, Finalized, Format, first_version};
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Precedes every message, except those of nodes that are no members yet, and names the intended
/// receiver, so that a request is refused if another node (or cluster) now has its address. The
/// body after it has its own version.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) cluster: Uuid,
    pub(crate) to: NodeId,
    /// The id of the sender's [`crate::generation::ClusterGeneration`].
    pub(crate) generation: Uuid,
}

impl Envelope {
    /// # Errors
    /// See [`codec::encode`].
    pub(crate) fn seal<T: Format>(
        &self,
        body: &T,
        finalized: &Finalized,
    ) -> Result<Vec<u8>, CodecError> {
        Ok([
            codec::encode(self, finalized)?,
            codec::encode(body, finalized)?,
        ]
        .concat())
    }
}

first_version!(
    Envelope => "the envelope of a message",
);
