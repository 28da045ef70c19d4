//! A camera: the settings of its user.

use super::text::{Invalid, TextRule, checked_text};
use super::{Labels, RetentionClassName, Source};
use holdfast_storage::ids::{CameraId, NodeId, StreamId};
use serde::{Deserialize, Serialize};

pub const CAMERAS_MAX: usize = 10_000;
/// The priority of a camera without an explicit one.
pub const PRIORITY_DEFAULT: u8 = 100;
const NAME_CHARS_MAX: usize = 128;

checked_text!(
    /// A camera's name, for people: 1 to 128 characters, not only blanks, without control
    /// characters.
    CameraName,
    "name",
    rule TextRule::ForPeople {
        chars_max: NAME_CHARS_MAX
    }
);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// One recorder; a successor takes over when it fails.
    #[default]
    Standard,
    /// Owner and mirror in different failure domains both record.
    Gapless,
}

/// A user's settings of a camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraSpec {
    pub name: CameraName,
    pub source: Source,
    pub protection: Protection,
    /// 0 to 255; the highest is served first and shed last.
    pub priority: u8,
    pub retention_class: RetentionClassName,
    pub labels: Labels,
    /// Only nodes that have all of these labels can reach the camera; if empty, any node can.
    pub node_labels: Labels,
    /// Preferred node; used whenever it is able to record this camera.
    pub preferred_node: Option<NodeId>,
}

impl CameraSpec {
    /// A camera with the defaults except for name and URL.
    ///
    /// # Errors
    /// One of the two is not valid.
    pub fn new(name: &str, url: &str) -> Result<Self, Invalid> {
        Ok(Self {
            name: name.parse()?,
            source: Source::new(url).map_err(|error| error.within("source"))?,
            protection: Protection::default(),
            priority: PRIORITY_DEFAULT,
            retention_class: RetentionClassName::default(),
            labels: Labels::default(),
            node_labels: Labels::default(),
            preferred_node: None,
        })
    }

    /// # Errors
    /// Its source is not valid.
    pub fn check(&self) -> Result<(), Invalid> {
        self.source.check().map_err(|error| error.within("source"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Camera {
    pub id: CameraId,
    pub spec: CameraSpec,
    /// Grows by one with each change of `spec`.
    pub revision: u64,
}

/// One of a camera's streams, as it is to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedStream<'a> {
    pub id: StreamId,
    pub source: &'a Source,
    pub retention_class: &'a RetentionClassName,
}

impl Camera {
    /// The streams to record, the main one first: whichever node has a part in the camera records
    /// all of them.
    pub fn streams(&self) -> impl Iterator<Item = RecordedStream<'_>> {
        std::iter::once(RecordedStream {
            id: StreamId::main(self.id),
            source: &self.spec.source,
            retention_class: &self.spec.retention_class,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_camera_has_the_defaults() {
        let camera = CameraSpec::new("gate", "rtsp://h/").unwrap();
        assert_eq!(
            (camera.priority, camera.retention_class.as_str()),
            (100, "default")
        );
        assert_eq!(
            CameraSpec::new("gate", "http://h/").unwrap_err().field,
            "source.url"
        );
        assert_eq!(
            CameraSpec::new(&"é".repeat(129), "rtsp://h/")
                .unwrap_err()
                .field,
            "name"
        );
        assert!(CameraSpec::new(&"é".repeat(128), "rtsp://h/").is_ok());
    }
}
