//! The cluster's configuration as a sealed backup, and the result of restoring it.

use crate::schema;
use holdfast_consensus::model::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /backup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// Seals the backup; without it the backup cannot be read.
    #[schema(value_type = schema::Passphrase)]
    pub passphrase: Secret,
}

/// Body of `POST /restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRestore {
    #[schema(value_type = schema::Secret)]
    pub passphrase: Secret,
    /// The answer of `POST /backup`, in base64 (RFC 4648 clause 4).
    pub backup: String,
    /// Only report what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Also change what differs.
    #[serde(default)]
    pub overwrite: bool,
    /// An earlier request processed everything before this item: it is neither repeated nor
    /// reported again.
    #[serde(default)]
    pub from: usize,
}

/// Answer of `POST /restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    pub dry_run: bool,
    /// When the backup was made, and of which cluster.
    #[schema(value_type = schema::Timestamp)]
    pub made_at: holdfast_storage::time::Timestamp,
    pub cluster: String,
    pub items: Vec<RestoredItem>,
    /// How many items were not processed in time: a request with a later `from` processes them.
    pub left: usize,
}

/// One item of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredItem {
    pub kind: RestoredKind,
    pub name: String,
    pub outcome: RestoreOutcome,
    /// A description; empty if there is nothing to say.
    #[serde(default)]
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoredKind {
    RetentionClass,
    Settings,
    Camera,
    Hold,
    Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreOutcome {
    /// It exists already, as in the backup.
    Same,
    /// It did not exist. In a dry run: it would be added.
    Added,
    /// It was different. In a dry run: it would be changed.
    Changed,
    /// It is different, and stays so.
    Differs,
    /// It could not be restored.
    Refused,
}
