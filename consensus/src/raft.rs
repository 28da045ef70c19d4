//! The openraft adaptor. No other crate sees openraft's types: they end at `Consensus`.

pub(crate) mod fatal;
pub mod identity;
pub(crate) mod log_store;
pub(crate) mod membership;
pub(crate) mod messages;
pub(crate) mod network;
#[cfg(feature = "simulation")]
pub(crate) mod simulated_disk;
#[cfg(feature = "simulation")]
pub(crate) mod simulated_log;
#[cfg(feature = "simulation")]
pub(crate) mod simulated_runtime;
#[cfg(feature = "simulation")]
mod simulated_watch;
pub(crate) mod snapshot_file;
pub(crate) mod state_machine;
#[cfg(test)]
mod tests;

use crate::command::{LogEntry, Rejection, Response};
use openraft::BasicNode;
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

openraft::declare_raft_types!(
    /// Node ids are those of [`holdfast_storage::ids::NodeId`], as plain numbers.
    pub(crate) TypeConfig:
        D = LogEntry, R = Outcome, NodeId = u64, Node = BasicNode, AsyncRuntime = Runtime
);

#[cfg(not(feature = "simulation"))]
pub(crate) type Runtime = openraft::impls::TokioRuntime;
#[cfg(feature = "simulation")]
pub(crate) type Runtime = simulated_runtime::Runtime;

pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = LogIdOf<TypeConfig>;
pub(crate) type Vote = VoteOf<TypeConfig>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub(crate) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(crate) type Raft = openraft::Raft<TypeConfig, state_machine::StateMachine>;

/// Makes `dir` readable by this user alone: log and snapshot hold the cameras' passwords.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// The result of applying an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome(pub(crate) Result<Response, Rejection>);
