//! Cameras that are no longer recorded, in JSON.

use crate::schema;
use holdfast_consensus::model::{FormerCamera, Origin};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The origin of a camera's footage, for a camera that this cluster never recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CameraOrigin {
    pub cluster: String,
    /// Its number in that cluster.
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
}

/// From the first to the last existing footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FootageExtent {
    #[schema(value_type = schema::Timestamp)]
    pub from: Timestamp,
    #[schema(value_type = schema::Timestamp)]
    pub to: Timestamp,
}

/// An element of `GET /cameras/deleted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedCamera {
    #[schema(value_type = schema::CameraId)]
    pub id: CameraId,
    pub name: String,
    /// When it was deleted, or its footage adopted.
    #[schema(value_type = schema::Timestamp)]
    pub deleted_at: Timestamp,
    /// Who did that.
    pub by: String,
    /// `null` for a camera that was recorded here.
    pub origin: Option<CameraOrigin>,
    /// Whether `POST /cameras/{id}/restore` can restore it.
    pub restorable: bool,
    /// `null` if no node that answers has any.
    pub footage: Option<FootageExtent>,
    /// Whether every node has reported its footage.
    pub complete: bool,
}

impl DeletedCamera {
    #[must_use]
    pub fn of(former: &FormerCamera, footage: Option<FootageExtent>, complete: bool) -> Self {
        let origin = former.origin();
        Self {
            id: former.id,
            name: former.name.to_string(),
            deleted_at: former.since,
            by: former.by.to_string(),
            origin: origin.map(|Origin { cluster, camera }| CameraOrigin {
                cluster: cluster.to_string(),
                camera,
            }),
            restorable: origin.is_none(),
            footage,
            complete,
        }
    }
}

/// Body of `POST /cameras/{id}/restore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreCamera {
    /// Another name, if its own is in use now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::CameraName>)]
    pub name: Option<String>,
}

/// Body of `POST /cameras/adopt`: adopts footage of another cluster's cameras.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptCameras {
    /// That cluster's id.
    #[schema(value_type = schema::ClusterId)]
    pub cluster: String,
    pub cameras: Vec<AdoptCamera>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptCamera {
    /// Its number in that cluster.
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    #[schema(value_type = schema::CameraName)]
    pub name: String,
}

/// An element of the answer, in the order of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CameraNumber {
    /// Its number in that cluster.
    #[schema(value_type = schema::CameraId)]
    pub camera: CameraId,
    /// Its number here, the same for every request.
    #[schema(value_type = schema::CameraId)]
    pub id: CameraId,
}
