//! A camera that is recorded no more, and whose footage may still be there: one that was deleted,
//! or one of another cluster whose disks were taken over.

use super::{Actor, CameraName, CameraSpec};
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Of more than these the one that was deleted first is forgotten.
pub const FORMER_CAMERAS_MAX: usize = 1024;

/// A camera's number in another cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    pub cluster: Uuid,
    pub camera: CameraId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Was {
    /// What brings it back.
    Recorded {
        spec: Box<CameraSpec>,
        revision: u64,
    },
    /// Its footage came with a disk, and its settings did not.
    Elsewhere(Origin),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerCamera {
    pub id: CameraId,
    pub name: CameraName,
    /// When it was deleted, or its footage taken over.
    pub since: Timestamp,
    pub by: Actor,
    pub was: Was,
}

/// A time in which a camera was deleted: nothing was to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub from: Timestamp,
    /// When it was restored; [`Timestamp::MAX`] where it was not.
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
