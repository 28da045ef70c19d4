//! What nodes tell each other four times a second: that they live, and how far their recordings are durable.

use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often a node sends heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// Silence after which a node is suspect.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// What a recorder is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecorderState {
    /// Connecting for the first time, or waiting for the first durable keyframe.
    Starting,
    /// The watermark moves.
    Recording,
    /// It did record or try to, and cannot now; it keeps trying.
    Failing,
}

/// How far one recorder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub camera: CameraId,
    pub epoch: Epoch,
    pub rank: Rank,
    pub state: RecorderState,
    /// Everything of this epoch up to here is durable and indexed, from the first durable keyframe on; `None` before that keyframe.
    pub watermark: Option<Timestamp>,
    /// Start of the first durable keyframe in this epoch.
    pub first_keyframe: Option<Timestamp>,
    /// Why it is failing, in words for the operator, without credentials.
    pub error: Option<String>,
    /// What the camera sends, as measured over the last seconds, in bits per second; `None` where nothing comes.
    pub bitrate_bps: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub from: NodeId,
    /// When the sending process started, in microseconds since the Unix epoch: a change tells a restart.
    pub boot: u64,
    pub sequence: u64,
    pub sent_at: Timestamp,
    /// At least one of its volumes can be written. A node that says no keeps what it has until others have it, and is given nothing more.
    pub writable: bool,
    pub recorders: Vec<Progress>,
}
