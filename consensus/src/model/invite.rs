//! An invitation: one node may join, once, under this name.

use super::key::KeyHash;
use super::node::{NodeName, NodeSpec, Role};
use super::text::Invalid;
use holdfast_storage::ids::{InviteId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub const INVITES_MAX: usize = 100;

/// How long an invitation is valid without a wish.
pub const INVITE_VALID: Duration = Duration::from_secs(15 * 60);

/// How long it may be valid at most: a token is a secret that lies around.
pub const INVITE_VALID_MAX: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteSpec {
    /// The name that the node must have.
    pub name: NodeName,
    pub role: Role,
    /// The node may become a voter, and then holds the key of the cluster's authority unless it is
    /// a witness.
    pub may_vote: bool,
    /// Of the key that the token contains.
    pub key: KeyHash,
    pub expires: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    pub id: InviteId,
    pub spec: InviteSpec,
    pub created_at: Timestamp,
    /// The member that joined with it.
    pub used_by: Option<NodeId>,
}

impl InviteSpec {
    /// # Errors
    /// It would be valid for too long, or is over at `at`; or a witness that may not vote.
    pub fn check(&self, at: Timestamp) -> Result<(), Invalid> {
        if self.expires <= at || self.expires > at.plus(INVITE_VALID_MAX) {
            let hours = INVITE_VALID_MAX.as_secs() / 3_600;
            let why = format!("must be in the future, and at most {hours} hours away");
            return Err(Invalid::new("expires", why));
        }
        if self.role == Role::Witness && !self.may_vote {
            let why = "is false for a witness, which has no other purpose";
            return Err(Invalid::new("may_vote", why));
        }
        Ok(())
    }

    /// Whether a node that describes itself as `spec` is the one that was invited.
    #[must_use]
    pub fn is_for(&self, spec: &NodeSpec) -> bool {
        spec.name == self.name && spec.role == self.role
    }
}
