//! Exports of several cameras or of many hours, which are kept for a while and fetched file by
//! file.

use super::Gap;
use crate::schema;
use holdfast_storage::ids::{CameraId, ExportId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /exports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewExport {
    #[schema(value_type = schema::ExportName)]
    pub name: String,
    #[schema(value_type = Vec<schema::CameraId>, min_items = 1, max_items = 64)]
    pub cameras: Vec<CameraId>,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    /// Leaves out frames that refer to lost ones.
    #[serde(default)]
    pub strict: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Export {
    #[schema(value_type = schema::ExportId)]
    pub id: ExportId,
    pub name: String,
    #[schema(value_type = Vec<schema::CameraId>)]
    pub cameras: Vec<CameraId>,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    pub strict: bool,
    #[schema(value_type = schema::Timestamp)]
    pub created_at: Timestamp,
    /// Retention does not delete its footage before this time.
    #[schema(value_type = schema::Timestamp)]
    pub expires_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    /// Its range has not ended.
    Recording,
    /// Every file can be fetched.
    Ready,
}

/// An export and its status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExportStatus {
    #[serde(flatten)]
    pub export: Export,
    pub state: ExportState,
    /// How much of its range has passed, from 0 to 1.
    pub progress: f64,
    /// Only for a single export; lists leave them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ExportFile>,
}

/// A file of up to six hours of one camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportFile {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    pub name: String,
    /// Path on every node.
    pub url: String,
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
    /// Its range has ended.
    pub ready: bool,
}

/// What an export contains and what is missing from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExportManifest {
    #[serde(flatten)]
    pub status: ExportStatus,
    pub gaps: Vec<ExportGap>,
    /// How many gaps there are beyond the listed ones.
    pub gaps_left_out: usize,
    /// Members that did not answer: what they hold is not in the files either.
    #[schema(value_type = Vec<schema::NodeId>)]
    pub nodes_left_out: Vec<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportGap {
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[serde(flatten)]
    pub gap: Gap,
}
