//! The replicated vocabulary: what a node, a camera and an assignment are. Types only; `state` changes them, `placement` chooses them.

use holdfast_storage::ids::{CameraId, Epoch, HoldId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Text that never reaches a log: `Debug` hides it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How RTP reaches the recorder (RFC 2326 clause 10.12 interleaved TCP, or UDP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// Where a camera's stream comes from. The URL carries no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub url: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub transport: Transport,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// One recorder; a successor takes over when it fails.
    #[default]
    Standard,
    /// Owner and mirror in different failure domains both record.
    Gapless,
}

/// What the user set of a camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraSpec {
    pub name: String,
    pub source: Source,
    pub protection: Protection,
    /// 0 to 255; the highest is served first and shed last.
    pub priority: u8,
    pub retention_class: String,
    pub labels: BTreeMap<String, String>,
}

/// Where a camera may and should be recorded: what the user set beside its [`CameraSpec`]. A change of it restarts no session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRules {
    /// Only nodes that have all of these labels can reach the camera; empty: any node can.
    pub node_labels: BTreeMap<String, String>,
    /// The node that should record it where that can.
    pub preferred_node: Option<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Camera {
    pub id: CameraId,
    pub spec: CameraSpec,
    /// Grows by one with each change of `spec`; a recorder restarts its session when it does.
    pub revision: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    #[default]
    Recorder,
    /// Votes, records nothing.
    Witness,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// May own cameras.
    #[default]
    Active,
    /// An operator asked that it own none.
    Draining,
    /// Its process is on the way out and owns none until it reports for duty again.
    Stopping,
}

/// What a node says of itself when it joins or starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub name: String,
    /// `host:port` at which other members reach it (Raft, heartbeats, chunk reads).
    pub peer_addr: String,
    /// `host:port` of its API.
    pub api_addr: String,
    pub role: Role,
    pub failure_domain: String,
    /// Cameras that it may record at once.
    pub camera_capacity: u32,
}

/// What a node says of itself beside its [`NodeSpec`], when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTraits {
    /// What cameras may ask for ([`PlacementRules::node_labels`]).
    pub labels: BTreeMap<String, String>,
    /// Bits per second of all cameras that it may record at once; `None`: as many as `camera_capacity` allows.
    pub bitrate_capacity_bps: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub spec: NodeSpec,
    pub duty: Duty,
}

/// Footage that no retention may delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldSpec {
    /// For people: whose wish it is, and why.
    pub reason: String,
    /// May be a camera that was deleted.
    pub camera: CameraId,
    pub from: Timestamp,
    /// `None`: all that comes, until the hold is removed.
    pub to: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub id: HoldId,
    pub spec: HoldSpec,
    pub created_at: Timestamp,
}

/// A move under way while the old owner still records: `to` records in `epoch` already and must prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    pub to: NodeId,
    pub epoch: Epoch,
    /// When the leader began it, for its deadline.
    pub since: Timestamp,
}

/// Who records a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The owner's epoch.
    pub epoch: Epoch,
    pub owner: Option<NodeId>,
    pub mirror: Option<NodeId>,
    pub successor: Option<NodeId>,
    pub handoff: Option<Handoff>,
    /// When the owner last changed, for the limit on moves.
    pub moved_at: Option<Timestamp>,
}

/// One owner's time with a camera, kept so that the timeline can name footage on a node that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    pub epoch: Epoch,
    pub node: NodeId,
    pub from: Timestamp,
    /// Last known durable watermark of the owner when it lost the camera; `None` while it owns it.
    pub until: Option<Timestamp>,
}
