//! The JSON of `/drills`.

use super::NodeRef;
use crate::schema;
use holdfast_consensus::model::Outcome;
use holdfast_storage::ids::{CameraId, DrillId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /drills`: one of the two fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDrill {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::CameraId>)]
    pub camera: Option<CameraId>,
    /// All cameras that the node owns, together, as if it died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::NodeRef>)]
    pub node: Option<NodeRef>,
}

/// What is drilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillOf {
    Camera(CameraId),
    Node(NodeRef),
}

/// A drill of failover, running or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drill {
    #[schema(value_type = schema::DrillId)]
    pub id: DrillId,
    /// `null` if a single camera was drilled.
    #[schema(value_type = Option<schema::NodeId>)]
    pub node: Option<NodeId>,
    /// The settings' schedule began it.
    pub scheduled: bool,
    #[schema(value_type = schema::Timestamp)]
    pub began_at: Timestamp,
    pub running: bool,
    /// How many of `cameras` have passed.
    pub passed: usize,
    pub failed: usize,
    pub aborted: usize,
    /// Median of the measured gaps.
    pub median_gap_us: Option<u64>,
    pub worst_gap_us: Option<u64>,
    /// By number.
    pub cameras: Vec<CameraDrill>,
}

/// The phase of one camera's drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillPhase {
    /// The successor records alongside the owner and has no durable keyframe yet.
    TakingOver,
    /// The successor owns the camera.
    TakenOver,
    /// The first owner records alongside the successor and has no durable keyframe yet.
    HandingBack,
    Ended,
}

/// One camera's part in a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CameraDrill {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::DrillId)]
    pub drill: DrillId,
    #[schema(value_type = Option<schema::NodeId>)]
    pub owner: Option<NodeId>,
    /// The node that took it over, or was to.
    #[schema(value_type = Option<schema::NodeId>)]
    pub successor: Option<NodeId>,
    pub phase: DrillPhase,
    #[schema(value_type = schema::Timestamp)]
    pub began_at: Timestamp,
    #[schema(value_type = Option<schema::Timestamp>)]
    pub ended_at: Option<Timestamp>,
    /// `null` before it ended.
    #[schema(value_type = Option<schema::Outcome>)]
    pub outcome: Option<Outcome>,
    /// From the beginning to the successor's first durable keyframe; `null` if there was none
    /// (yet).
    pub gap_us: Option<u64>,
    pub handed_back: bool,
    /// Why it did not pass.
    pub reason: Option<String>,
}
