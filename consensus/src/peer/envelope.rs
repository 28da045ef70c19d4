//! What goes before every message between members.

use crate::codec::{self, CodecError, Format};
use crate::first_version;
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Goes before every message but those of nodes that are no members yet, and says for whom it is,
/// so that an address that another node (or cluster) took over answers no. What follows has a
/// version of its own.
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
    pub(crate) fn seal<T: Format>(&self, body: &T) -> Result<Vec<u8>, CodecError> {
        Ok([codec::encode(self)?, codec::encode(body)?].concat())
    }
}

first_version!(
    Envelope => "the envelope of a message",
);
