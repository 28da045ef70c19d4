//! Identifiers. Each is a distinct type, so a camera can never be passed as a node.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

numeric_id!(
    /// A camera of the site. Assigned by the replicated state machine, from 1, never reused.
    CameraId, u32
);
numeric_id!(
    /// A member of the cluster. Assigned by the replicated state machine, from 1, never reused.
    NodeId, u64
);
numeric_id!(
    /// The version of a camera's assignment: grows with every change of owner, never goes back.
    Epoch, u64
);
numeric_id!(
    /// A hold. Assigned by the replicated state machine, from 1, never reused.
    HoldId, u64
);
numeric_id!(
    /// A drill of failover. Assigned by the replicated state machine, from 1, never reused.
    DrillId, u64
);
numeric_id!(
    /// An export. Assigned by the replicated state machine, from 1, never reused.
    ExportId, u64
);
numeric_id!(
    /// An invitation to join the cluster. Assigned by the replicated state machine, from 1, never
    /// reused.
    InviteId, u64
);
numeric_id!(
    /// A segment file of one volume. Grows by one with each segment that the volume opens, never
    /// reused.
    SegmentId, u64
);
numeric_id!(
    /// The recording of one uninterrupted RTSP session, named by its start in microseconds since
    /// the Unix epoch. Chunks of one session are numbered without holes by
    /// [`crate::chunk::ChunkMeta::sequence`].
    SessionId, u64
);

impl Epoch {
    /// The next epoch.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// In which capacity a node records a camera. Readers prefer the higher epoch, then the lower rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Rank {
    /// The assigned recorder.
    Owner = 0,
    /// The second recorder of a gapless camera.
    Mirror = 1,
    /// A provisional recorder that saw the owner die.
    Successor = 2,
}

/// Which of a camera's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum StreamKind {
    Main = 0,
    Sub = 1,
}

impl StreamKind {
    pub const ALL: [Self; 2] = [Self::Main, Self::Sub];

    /// The name in the API, the command line and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One stream of one camera: what is recorded, and how far. Sorts by camera, its main stream first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    pub camera: CameraId,
    pub kind: StreamKind,
}

impl StreamId {
    /// The camera's main stream, whose evidence decides where the camera is recorded.
    #[must_use]
    pub const fn main(camera: CameraId) -> Self {
        Self {
            camera,
            kind: StreamKind::Main,
        }
    }

    #[must_use]
    pub fn is_main(self) -> bool {
        self.kind == StreamKind::Main
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.camera, self.kind)
    }
}

/// A track of a stream. The discriminant plus one is the track's `track_ID` in every MP4 that
/// Holdfast makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum TrackKind {
    Video = 0,
    Audio = 1,
    Metadata = 2,
}

impl TrackKind {
    /// The `track_ID` (ISO/IEC 14496-12, 8.3.2) of this track.
    #[must_use]
    pub fn track_id(self) -> u32 {
        self as u32 + 1
    }
}

macro_rules! from_u8 {
    ($name:ident { $($variant:ident),+ }) => {
        impl TryFrom<u8> for $name {
            type Error = u8;
            /// The variant of this discriminant; if there is none, the error is the byte.
            fn try_from(byte: u8) -> Result<Self, u8> {
                $(if byte == Self::$variant as u8 { return Ok(Self::$variant); })+
                Err(byte)
            }
        }
    };
}
pub(crate) use from_u8;

from_u8!(Rank {
    Owner,
    Mirror,
    Successor
});
from_u8!(StreamKind { Main, Sub });
from_u8!(TrackKind {
    Video,
    Audio,
    Metadata
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_by_camera_and_kind_and_sort_by_them() {
        let stream = |camera, kind| StreamId {
            camera: CameraId(camera),
            kind,
        };
        let main = StreamId::main(CameraId(7));
        let sub = stream(7, StreamKind::Sub);
        assert_eq!([main.to_string(), sub.to_string()], ["7/main", "7/sub"]);
        assert!(main < sub && sub < stream(8, StreamKind::Main));
        assert!(main.is_main() && !sub.is_main());
        for kind in StreamKind::ALL {
            assert_eq!(StreamKind::try_from(kind as u8), Ok(kind));
        }
    }
}
