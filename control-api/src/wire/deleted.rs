//! Cameras that are recorded no more, in JSON.

use holdfast_consensus::model::{FormerCamera, Origin};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a camera's footage came from, of one that this cluster never recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraOrigin {
    pub cluster: String,
    /// Its number there.
    pub camera: CameraId,
}

/// From the first to the last of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FootageExtent {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// One of `GET /cameras/deleted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedCamera {
    pub id: CameraId,
    pub name: String,
    /// When it was deleted, or its footage taken over.
    pub deleted_at: Timestamp,
    /// Who did that.
    pub by: String,
    /// `None` of one that was recorded here.
    pub origin: Option<CameraOrigin>,
    /// Whether `POST /cameras/{id}/restore` brings it back.
    pub restorable: bool,
    /// `None` where no node that answers has any.
    pub footage: Option<FootageExtent>,
    /// Whether every node has said all that it has.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreCamera {
    /// Another name, where its own is taken by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Body of `POST /cameras/adopt`: footage of another cluster's cameras is taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptCameras {
    /// That cluster's id.
    pub cluster: String,
    pub cameras: Vec<AdoptCamera>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptCamera {
    /// Its number there.
    pub camera: CameraId,
    pub name: String,
}

/// One of the answer, in the order of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraNumber {
    /// Its number there.
    pub camera: CameraId,
    /// Its number here, the same whenever it is asked for.
    pub id: CameraId,
}
