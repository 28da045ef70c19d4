//! The openraft adaptor. Nothing outside this crate sees openraft's types: they stop at `Consensus`.

pub(crate) mod fatal;
pub(crate) mod log_store;
pub(crate) mod network;
pub(crate) mod snapshot_file;
pub(crate) mod state_machine;
#[cfg(test)]
mod tests;

use crate::command::{Command, Rejection, Response};
use openraft::BasicNode;
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// Node ids are those of [`holdfast_storage::ids::NodeId`], its number alone.
    pub(crate) TypeConfig: D = Command, R = Outcome, NodeId = u64, Node = BasicNode
);

pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = LogIdOf<TypeConfig>;
pub(crate) type Vote = VoteOf<TypeConfig>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub(crate) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(crate) type Raft = openraft::Raft<TypeConfig, state_machine::StateMachine>;

/// What applying an entry answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome(pub(crate) Result<Response, Rejection>);
