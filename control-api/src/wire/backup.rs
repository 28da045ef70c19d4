//! The configuration of the cluster, sealed, and what came of putting it back.

use holdfast_consensus::model::Secret;
use serde::{Deserialize, Serialize};

/// Body of `POST /backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// Seals it. Without it the backup cannot be read.
    pub passphrase: Secret,
}

/// Body of `POST /restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRestore {
    pub passphrase: Secret,
    /// What `POST /backup` answered, in base64 (RFC 4648 clause 4).
    pub backup: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Also change what differs.
    #[serde(default)]
    pub overwrite: bool,
    /// What comes before this one was dealt with by a request before: it is neither done nor
    /// answered again.
    #[serde(default)]
    pub from: usize,
}

/// Answer of `POST /restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    pub dry_run: bool,
    /// When the backup was made, and of which cluster.
    pub made_at: holdfast_storage::time::Timestamp,
    pub cluster: String,
    pub items: Vec<RestoredItem>,
    /// Time was up before these were looked at: a request with `from` past those that were does
    /// them.
    pub left: usize,
}

/// One thing of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredItem {
    pub kind: RestoredKind,
    pub name: String,
    pub outcome: RestoreOutcome,
    /// In words; empty where there is nothing to say.
    #[serde(default)]
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoredKind {
    RetentionClass,
    Settings,
    Camera,
    Hold,
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreOutcome {
    /// It is there already, as in the backup.
    Same,
    /// It was not there. In a dry run: it would be added.
    Added,
    /// It was otherwise. In a dry run: it would be changed.
    Changed,
    /// It is otherwise, and stays so.
    Differs,
    /// It could not be put back.
    Refused,
}
