//! The JSON of `/api/v1`. Times are RFC 3339 UTC; passwords are accepted and never returned.

mod backup;
mod camera;
mod deleted;
mod drills;
mod exports;
mod retention;
mod status;

pub use backup::{NewBackup, NewRestore, RestoreOutcome, Restored, RestoredItem, RestoredKind};
pub use camera::{
    Assignment, Camera, CameraPatch, HeldAs, HeldBack, NewCamera, NewSource, Recording, Source,
    SourcePatch,
};
pub use deleted::{
    AdoptCamera, AdoptCameras, CameraNumber, CameraOrigin, DeletedCamera, FootageExtent,
    RestoreCamera,
};
pub use drills::{CameraDrill, Drill, DrillOf, DrillPhase, NewDrill};
pub use exports::{
    Export, ExportFile, ExportGap, ExportManifest, ExportState, ExportStatus, NewExport,
};
pub use retention::{
    AnnouncedDeletion, FutureFootage, RetentionPause, RetentionTarget, VolumeRetention,
};
pub use status::{Disk, Finding, Mode, NextFailure, Severity, Status, StatusState};

use crate::schema;
use holdfast_consensus::model::{Duty, Failback, HeadroomRule, Role};
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{
    CameraId, Epoch, HoldId, NodeId, Rank, SegmentId, StreamKind, TrackKind,
};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// `GET /cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// `null` while this node belongs to no cluster.
    pub id: Option<String>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub this_node: Option<NodeId>,
    #[schema(value_type = Option<schema::NodeId>)]
    pub leader: Option<NodeId>,
    pub term: u64,
    #[schema(value_type = Vec<schema::NodeId>)]
    pub voters: Vec<NodeId>,
    pub nodes: Vec<Node>,
    pub cameras: usize,
    /// Cameras whose watermark advances.
    pub cameras_recording: usize,
    /// The cost of the next failure, as of about a second ago; `null` until it is computed.
    #[serde(default)]
    pub failover_headroom: Option<FailoverHeadroom>,
    /// A rebalance is in progress.
    #[serde(default)]
    pub rebalancing: bool,
    /// The newest version of the cluster's commands that is finalised; 0 while this node belongs
    /// to no cluster.
    #[serde(default)]
    pub version: u16,
    /// Why this node can make no changes now, as in `readyz`; `null` if it can.
    #[serde(default)]
    pub no_part: Option<String>,
    /// Starts at 1; grows by one with each recovery from the loss of a majority. 0 while this node
    /// belongs to no cluster.
    #[serde(default)]
    pub generation: u64,
}

/// Whether every camera would still be recorded if a node died now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverHeadroom {
    pub survives_any_node: bool,
    /// `null` if the settings do not require it.
    pub survives_any_domain: Option<bool>,
    /// The loss that would cost the most cameras; `null` if none would cost a camera.
    pub worst: Option<WorstLoss>,
    /// How many cameras of 4 Mbit/s could be added.
    pub spare_cameras: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorstLoss {
    /// `null` if the loss is that of a whole failure domain, or if cameras are already not
    /// recorded.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    pub failure_domain: Option<String>,
    /// How many cameras would not be recorded.
    pub cameras_lost: usize,
}

/// `GET /settings`: settings of the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    #[schema(value_type = schema::HeadroomRule)]
    pub headroom: HeadroomRule,
    /// The site has to survive the loss of any failure domain, not only of any node.
    pub headroom_over_domains: bool,
    #[schema(value_type = schema::Failback)]
    pub failback: Failback,
    /// How many seconds a preferred node must have been well.
    pub failback_after_s: u32,
    /// The number of seconds within which each camera's failover is drilled once; 0: no scheduled
    /// drills.
    #[serde(default)]
    pub drill_every_s: u32,
}

/// Body of `PATCH /settings`: absent fields stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsPatch {
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::HeadroomRule)]
    pub headroom: Option<HeadroomRule>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = bool)]
    pub headroom_over_domains: Option<bool>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::Failback)]
    pub failback: Option<Failback>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::FailbackAfter)]
    pub failback_after_s: Option<u32>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = schema::DrillEvery)]
    pub drill_every_s: Option<u32>,
}

/// An element of `GET /nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    #[schema(value_type = schema::NodeId)]
    pub id: NodeId,
    pub name: String,
    #[schema(value_type = schema::Role)]
    pub role: Role,
    #[schema(value_type = schema::Duty)]
    pub duty: Duty,
    pub voter: bool,
    /// As seen by the answering node.
    pub alive: bool,
    pub peer_addr: String,
    pub api_addr: String,
    pub failure_domain: String,
    pub camera_capacity: u32,
    /// The most bits per second of all cameras that it may record; `null`: no limit except
    /// `camera_capacity`.
    #[serde(default)]
    pub bitrate_capacity_bps: Option<u64>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many cameras it owns.
    pub cameras: usize,
    /// How many of them it records, or is beginning to: a drain waits until there are none.
    #[serde(default)]
    pub cameras_recorded: usize,
    /// How far its clock is ahead of the answering node's, in milliseconds; `null` for that node
    /// itself, and while it is not known.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
    /// Bits per second of the cameras that it owns; those without a measurement count as 4 Mbit/s.
    #[serde(default)]
    pub bitrate_bps: u64,
    /// The newest version of the cluster's commands that it understands.
    #[serde(default)]
    pub version: u16,
    /// Why the answering node refuses a process of this node: its data directory is old, or exists
    /// twice.
    #[serde(default)]
    pub refused: Option<String>,
}

/// A node, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NodeRef {
    Id(NodeId),
    Name(String),
}

/// An element of `GET /nodes/{id}/volumes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// The volume's number on its node, constant while the volume exists.
    pub index: u16,
    pub path: String,
    /// `active`, `slow`, `retiring`, `retired`, `full`, `hung`, `failed`, `away`, `opening` or
    /// `adopted`.
    pub state: String,
    /// The problem, as text for the operator.
    pub error: Option<String>,
    /// How many cameras are recorded to it now.
    pub cameras: u64,
    /// How long records wait until they are durable.
    pub lag_seconds: f64,
    /// Free space and size of the filesystem, in bytes.
    pub free_bytes: u64,
    pub size_bytes: u64,
    /// How often it failed, hung or could not be opened, and how often it was used again, since the
    /// node started.
    pub failures: u64,
    pub reattachments: u64,
    /// The volume's own id, wherever its disk is; `null` while it is not open.
    #[serde(default)]
    pub id: Option<String>,
}

/// Body of `POST /cluster/init`: this node becomes the first member of a new cluster. Empty today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitCluster {}

/// Body of `POST /cluster/join`: this node joins the cluster that `peer` (`host:port` of a member's
/// peer address) belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinCluster {
    #[schema(min_length = 1)]
    pub peer: String,
}

/// A field that is present in a patch: `null` is not a value.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value = Option::<T>::deserialize(deserializer)?;
    value
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("null is not a value; leave the field out"))
}

/// An element of `GET /scrub`: the scrub of one volume, and the damage found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeScrub {
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    /// Its index in the node's configuration.
    pub volume: u16,
    /// 0: the scrub is off.
    pub bytes_per_second_max: u64,
    /// It pauses because the disk is behind with recording.
    pub is_held_back: bool,
    /// `null` between passes.
    pub pass: Option<ScrubPass>,
    /// Start of the last complete pass; `null` before the first.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub last_started_at: Option<Timestamp>,
    #[schema(value_type = Option<schema::Timestamp>)]
    pub last_ended_at: Option<Timestamp>,
    /// Segments that could not be read, since the node started.
    pub failed_segments: u64,
    /// Segments whose header, footer or init segments are damaged, since the node started.
    pub damaged_segments: u64,
    /// Stored, but not served; a gap in the timeline unless another node recorded the same.
    pub damaged: Vec<DamagedChunk>,
    /// How many chunks the list has no room for.
    pub damaged_left_out: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScrubPass {
    #[schema(value_type = schema::Timestamp)]
    pub started_at: Timestamp,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub done_segments: u64,
    pub total_segments: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamagedChunk {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::StreamKind)]
    pub stream: StreamKind,
    #[schema(value_type = schema::TrackKind)]
    pub track: TrackKind,
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    /// Number of the segment, and offset of the record in it.
    #[schema(value_type = schema::SegmentId)]
    pub segment: SegmentId,
    pub offset: u64,
}

/// `GET /cameras/{id}/timeline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    pub spans: Vec<Span>,
    pub gaps: Vec<Gap>,
    /// Members that did not answer: what they hold is included as far as other nodes know it.
    #[serde(default)]
    #[schema(value_type = Vec<schema::NodeId>)]
    pub nodes_left_out: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    #[schema(value_type = schema::Epoch)]
    pub epoch: Epoch,
    #[schema(value_type = schema::Rank)]
    pub rank: Rank,
    /// Whether it can be played now; `false` while its node is down.
    pub available: bool,
    /// Its pictures refer to missing frames; players conceal what is missing.
    #[serde(default)]
    pub damaged: bool,
    /// Its times are in the future: it was recorded while a clock was ahead.
    #[serde(default)]
    pub in_future: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    #[schema(value_type = schema::GapCause)]
    pub cause: GapCause,
    /// The node that did not record; `null` if no node was assigned.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    /// How many frames are missing, if that is known: packets were lost, or frames that had arrived
    /// were not stored.
    pub frames_missing: Option<u64>,
}

/// `GET /gaps`: what was not recorded of many cameras. The same gaps as in the cameras' timelines
/// of the same range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GapLedger {
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    /// By camera, then by start.
    pub gaps: Vec<CameraGap>,
    /// Totals of `gaps`, one for each cause among them.
    pub sums: Vec<GapSum>,
    /// Members that did not answer: what they hold is included as far as other nodes know it.
    #[schema(value_type = Vec<schema::NodeId>)]
    pub nodes_left_out: Vec<NodeId>,
    /// The last camera of this page if more follow: request the next page with `after` set to it.
    #[schema(value_type = Option<schema::CameraId>)]
    pub next_after: Option<CameraId>,
}

/// Every frame of the camera in `start..end` is missing: `start` is the end of the last existing
/// frame before it, `end` the start of the keyframe after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CameraGap {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub start: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub end: Timestamp,
    pub duration_us: i64,
    #[schema(value_type = schema::GapCause)]
    pub cause: GapCause,
    /// The node that did not record; `null` if no node was assigned.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    /// How many frames are missing, if that is known: packets were lost, or frames that had arrived
    /// were not stored.
    pub frames_missing: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GapSum {
    #[schema(value_type = schema::GapCause)]
    pub cause: GapCause,
    pub gaps: usize,
    pub duration_us: i64,
}

/// Body of `POST /holds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    #[schema(value_type = schema::HoldReason)]
    pub reason: String,
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    /// Absent or `null`: all future footage, until the hold is removed.
    #[serde(default)]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub to: Option<Timestamp>,
}

/// Footage that no retention may delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    #[schema(value_type = schema::HoldId)]
    pub id: HoldId,
    pub reason: String,
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = Option<schema::Timestamp>)]
    pub to: Option<Timestamp>,
    #[schema(value_type = schema::Timestamp)]
    pub created_at: Timestamp,
}
