//! What volumes delete, and what they do not delete yet.

use super::{NodeRef, Span};
use crate::schema;
use holdfast_storage::ids::{CameraId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An element of `GET /retention`: one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeRetention {
    #[schema(value_type = schema::NodeId)]
    pub node: NodeId,
    /// Its number on the node.
    pub volume: u16,
    pub path: String,
    /// Whether the node's wall clock may decide what is old.
    pub time_is_certain: bool,
    /// Why nothing is deleted for its age; `null` if footage is.
    pub paused: Option<RetentionPause>,
    pub announced: Vec<AnnouncedDeletion>,
    /// What stays free if `free_bytes_min` is more than half of the volume.
    pub clamped_free_bytes_min: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetentionPause {
    /// `settling`, `peers_awaited`, `peers_disagree`, `ahead`, `behind`.
    pub reason: String,
    /// A description, with what to do.
    pub detail: String,
}

/// A deletion that is larger than usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnnouncedDeletion {
    /// The retention class; `null`: free space that has to be kept.
    pub class: Option<String>,
    pub bytes: u64,
    /// The stored bytes of the class, or of the volume, when it was announced.
    pub stored_bytes: u64,
    /// `waiting`, `running`, `cancelled`.
    pub state: String,
    /// 0 while it runs, `null` if it was cancelled.
    pub begins_in_s: Option<u64>,
}

/// An element of `GET /retention/future`: footage with times in the future.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FutureFootage {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[serde(flatten)]
    pub span: Span,
}

/// The body of `POST /retention/release` and `/retention/cancel`; an absent field means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionTarget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::NodeRef>)]
    pub node: Option<NodeRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 65_535)]
    pub volume: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}
