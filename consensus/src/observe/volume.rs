//! What a node reports of its volumes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The state of one volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeReport {
    pub index: u16,
    pub path: String,
    pub state: String,
    pub error: Option<String>,
    pub cameras: u64,
    pub lag_seconds: f64,
    pub free_bytes: u64,
    pub size_bytes: u64,
    pub failures: u64,
    pub reattachments: u64,
    /// How long free and deletable space lasts; `None` while nothing is written.
    pub full_in_s: Option<u64>,
    /// The volume's own id, while it is open.
    pub id: Option<Uuid>,
}
