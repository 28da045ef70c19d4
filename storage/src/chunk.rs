//! What a recorder writes to the store: chunks, the init segments that decode them, and gaps.

use crate::ids::{
    CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamId, StreamKind, TrackKind, from_u8,
};
use crate::time::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The longest payload of a chunk, in bytes (1 MiB), unless a single frame is longer.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The usual length of a chunk in milliseconds, if a GOP is longer.
pub const CHUNK_MS_DEFAULT: u64 = 360;

/// The longest single frame that is accepted, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(FRAME_BYTES_MAX > CHUNK_BYTES_MAX);

/// Names an init segment by its content: CRC-32 in the upper half, length in bytes in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InitId(pub u64);

impl InitId {
    #[must_use]
    pub fn of(init: &[u8]) -> Self {
        Self(u64::from(crc32fast::hash(init)) << 32 | (init.len() as u64 & 0xffff_ffff))
    }
}

/// How decoding can begin at a frame of video (ISO/IEC 14496-12, 8.6.2 and 10.1 and 10.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AccessPoint {
    /// Its picture, and all that follow it in decoding order, are complete: IDR (ITU-T H.264, 3.69;
    /// H.265, 3.68), and BLA or CRA (H.265, 3.15 and 3.29) whose leading pictures, if any, refer to
    /// nothing before it.
    Sync,
    /// Its picture is complete immediately. Pictures that follow it in decoding order and precede
    /// it in output order may refer to earlier pictures and are then not decodable: CRA with such
    /// leading pictures, and I pictures of an open GOP with a recovery point SEI message whose
    /// `recovery_frame_cnt` is 0 (H.264, D.2.8).
    Open,
    /// Gradual refresh: pictures are complete after this many more frames in decoding order,
    /// according to a recovery point SEI message (`recovery_frame_cnt` of H.264, D.2.8;
    /// `recovery_poc_cnt` of H.265, D.3.8).
    Recovery { frames: u16 },
}

/// A chunk whose first frame is an access point; every audio frame is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    pub point: AccessPoint,
    /// CRC-32 of the first frame's coded slices: its VCL NAL units (ITU-T H.264, table 7-1; H.265,
    /// table 7-1), concatenated without their lengths. It is the same for two recorders of one
    /// camera, so their recordings can be spliced; parameter sets and SEI messages are left out
    /// because a camera may add them to each session. For audio, the CRC-32 of the whole first
    /// frame.
    pub slices_crc: u32,
}

impl Access {
    #[must_use]
    pub const fn sync(slices_crc: u32) -> Self {
        Self {
            point: AccessPoint::Sync,
            slices_crc,
        }
    }

    /// The access point of an audio chunk.
    #[must_use]
    pub fn of_sound(first_frame: &[u8]) -> Self {
        Self::sync(crc32fast::hash(first_frame))
    }
}

/// The greatest value of [`ChunkMeta::since_access_ms`]: 49 days.
pub const SINCE_ACCESS_MS_MAX: u32 = u32::MAX - 1;

/// Everything known of a chunk except its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMeta {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub track: TrackKind,
    pub node: NodeId,
    pub epoch: Epoch,
    pub rank: Rank,
    pub session: SessionId,
    /// Number of this chunk among its session's chunks of the same track, from 0 without holes.
    pub sequence: u32,
    /// The init segment that decodes this chunk.
    pub init: InitId,
    /// Wall time of the first frame.
    pub start: Timestamp,
    /// From the first frame to the end of the last, in microseconds.
    pub duration_us: u32,
    pub frames: u32,
    /// Set if the first frame is an access point of video; always set for audio.
    pub access: Option<Access>,
    /// Time from the session's last stored access point to `start`, in milliseconds and rounded up;
    /// 0 if the chunk begins with it. `None` for tracks other than video, and if there was no
    /// access point since the session began or its parameters changed: then nothing in the chunk
    /// can be decoded.
    pub since_access_ms: Option<u32>,
    /// Frames were lost immediately before this chunk.
    pub after_loss: bool,
    /// Its pictures refer to frames that were lost since the last access point, or belong to a
    /// gradual refresh that did not begin with complete pictures; a decoder conceals what is
    /// missing.
    pub damaged: bool,
}

impl ChunkMeta {
    /// The stream that it is of.
    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        StreamId {
            camera: self.camera,
            kind: self.stream,
        }
    }

    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.start.plus_micros(i64::from(self.duration_us))
    }

    /// The earliest possible time of the session's last access point; `None` if there is none.
    #[must_use]
    pub fn access_start(&self) -> Option<Timestamp> {
        self.since_access_ms
            .map(|ms| self.start.plus_micros(-1000 * i64::from(ms)))
    }

    /// Whether decoding can begin with this chunk of video. In other tracks every frame is
    /// independent.
    #[must_use]
    pub fn is_access_point(&self) -> bool {
        self.access.is_some()
    }

    /// Whether `next` is the chunk that the same recorder wrote immediately after this one, with
    /// nothing lost in between.
    #[must_use]
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.stream_id() == next.stream_id()
            && self.track == next.track
            && self.node == next.node
            && self.session == next.session
            && self.sequence.checked_add(1) == Some(next.sequence)
            && !next.after_loss
    }
}

/// A chunk to be written: CMAF `prft`+`moof`+`mdat` (ISO/IEC 23000-19, 7.3.2.3) in parts, so that a
/// frame's bytes are copied only once more, into the disk's buffer.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub meta: ChunkMeta,
    pub parts: Vec<Bytes>,
}

impl Chunk {
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// The CMAF header (`ftyp`+`moov`) of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub track: TrackKind,
    pub bytes: Bytes,
}

impl Init {
    /// The stream that it is of.
    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        StreamId {
            camera: self.camera,
            kind: self.stream,
        }
    }

    #[must_use]
    pub fn id(&self) -> InitId {
        InitId::of(&self.bytes)
    }
}

/// Why an interval was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum GapCause {
    /// No session could be opened: no route, connection refused, no answer.
    CameraUnreachable = 1,
    /// The session was open, but no frame arrived.
    CameraStalled = 2,
    /// The camera or the network lost packets within a session. Frames up to the next access point
    /// refer to the lost ones: they are recorded and marked as damaged.
    PacketsLost = 3,
    /// The node that should have recorded was down.
    NodeDown = 4,
    /// The volume could not be written.
    VolumeFailed = 5,
    /// Dropped because a bounded queue or buffer was full.
    Overload = 6,
    /// Recording was stopped on purpose and resumed later.
    RecorderStopped = 7,
    /// Stored, but later found damaged.
    Damaged = 8,
    /// Nothing was recorded, and no cause is known.
    Unknown = 9,
    /// The camera answers, but refuses a request or violates the protocol.
    CameraProtocol = 10,
    /// Frames arrive, but no access point at which decoding could begin.
    AwaitsKeyframe = 11,
    /// The camera exceeded its budget.
    OverBudget = 12,
    /// Processes ended while recording the camera, so it was not recorded: as a suspect that waited
    /// for its turn, or in quarantine.
    Quarantined = 13,
}

impl GapCause {
    pub const ALL: [Self; 13] = [
        Self::CameraUnreachable,
        Self::CameraProtocol,
        Self::CameraStalled,
        Self::PacketsLost,
        Self::AwaitsKeyframe,
        Self::OverBudget,
        Self::Quarantined,
        Self::NodeDown,
        Self::VolumeFailed,
        Self::Overload,
        Self::RecorderStopped,
        Self::Damaged,
        Self::Unknown,
    ];

    /// The name in the API, the command line and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CameraUnreachable => "camera_unreachable",
            Self::CameraStalled => "camera_stalled",
            Self::PacketsLost => "packets_lost",
            Self::NodeDown => "node_down",
            Self::VolumeFailed => "volume_failed",
            Self::Overload => "overload",
            Self::RecorderStopped => "recorder_stopped",
            Self::Damaged => "damaged",
            Self::Unknown => "unknown",
            Self::CameraProtocol => "camera_protocol",
            Self::AwaitsKeyframe => "awaits_keyframe",
            Self::OverBudget => "over_budget",
            Self::Quarantined => "quarantined",
        }
    }
}

from_u8!(GapCause {
    CameraUnreachable,
    CameraStalled,
    PacketsLost,
    NodeDown,
    VolumeFailed,
    Overload,
    RecorderStopped,
    Damaged,
    Unknown,
    CameraProtocol,
    AwaitsKeyframe,
    OverBudget,
    Quarantined
});

/// An entry of the gap ledger: this node did not record this interval of this camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub camera: CameraId,
    pub stream: StreamKind,
    pub node: NodeId,
    pub epoch: Epoch,
    pub start: Timestamp,
    pub end: Timestamp,
    pub cause: GapCause,
    /// How many frames of video are missing, where that is known; never `Some(0)`.
    pub frames_missing: Option<u16>,
}

impl Gap {
    /// The stream that it is of.
    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        StreamId {
            camera: self.camera,
            kind: self.stream,
        }
    }
}

/// Anything that a volume writer appends.
#[derive(Clone, Debug)]
pub enum Record {
    Chunk(Chunk),
    Init(Init),
    Gap(Gap),
}

impl Record {
    /// The stream that it is of.
    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        match self {
            Self::Chunk(chunk) => chunk.meta.stream_id(),
            Self::Init(init) => init.stream_id(),
            Self::Gap(gap) => gap.stream_id(),
        }
    }
}

/// The place of a durable chunk's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkLocation {
    /// The volume's index on its node, constant while the volume exists.
    pub volume: u16,
    pub segment: SegmentId,
    /// Offset of the chunk's record in the segment file, in bytes.
    pub offset: u64,
    /// Length of the payload in bytes.
    pub payload_bytes: u32,
    /// The node that has the volume. Another node may have recorded the chunk: disks are moved.
    pub holder: NodeId,
}

/// A durable chunk: its metadata and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkEntry {
    pub meta: ChunkMeta,
    pub location: ChunkLocation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_one_name_and_all_are_listed() {
        for cause in GapCause::ALL {
            assert_eq!(serde_json::to_value(cause).ok(), Some(cause.name().into()));
        }
        let stored: Vec<GapCause> = (0..=u8::MAX)
            .filter_map(|number| GapCause::try_from(number).ok())
            .collect();
        assert!(
            stored.iter().all(|cause| GapCause::ALL.contains(cause))
                && stored.len() == GapCause::ALL.len()
        );
    }
}
