//! A camera that is no longer recorded but may still have footage: a deleted one, or one of another
//! cluster whose disks were adopted.

use super::{Actor, CameraName, CameraSpec};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The most former cameras; beyond that, the one that was deleted first is forgotten.
pub const FORMER_CAMERAS_MAX: usize = 1024;

/// A camera's number in another cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    pub cluster: Uuid,
    pub camera: CameraId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Was {
    /// The settings with which it can be restored.
    Recorded {
        spec: Box<CameraSpec>,
        revision: u64,
    },
    /// Its footage came with a disk, without its settings.
    Elsewhere(Origin),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerCamera {
    pub id: CameraId,
    pub name: CameraName,
    /// When it was deleted, or its footage adopted.
    pub since: Timestamp,
    pub by: Actor,
    pub was: Was,
}

/// A time in which a camera was deleted: nothing was to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub from: Timestamp,
    /// When it was restored; [`Timestamp::MAX`] if it was not.
    pub to: Timestamp,
}

impl FormerCamera {
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        match &self.was {
            Was::Recorded { .. } => None,
            Was::Elsewhere(origin) => Some(*origin),
        }
    }
}
