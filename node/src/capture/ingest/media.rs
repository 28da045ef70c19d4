//! What a session yields: frames, and the parameters to decode them.

use bytes::Bytes;
use holdfast_storage::chunk::{AccessPoint, GapCause};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    H264,
    H265,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    Aac,
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
}

/// What an init segment is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackParameters {
    Video {
        codec: VideoCodec,
        /// `AVCDecoderConfigurationRecord` or `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15,
        /// 5.3.3.1 and 8.3.3.1).
        config: Bytes,
        /// Cropped, in pixels.
        width: u16,
        height: u16,
        /// Sample aspect ratio, if the stream has one.
        pixel_aspect_ratio: Option<(u32, u32)>,
        /// RTP clock rate, in Hz.
        timescale: u32,
    },
    Audio {
        codec: AudioCodec,
        /// `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1) for AAC, else empty.
        config: Bytes,
        channels: u16,
        /// RTP clock rate and sampling rate, in Hz.
        timescale: u32,
    },
}

impl TrackParameters {
    /// Of video.
    #[must_use]
    pub fn video_codec(&self) -> Option<VideoCodec> {
        match self {
            Self::Video { codec, .. } => Some(*codec),
            Self::Audio { .. } => None,
        }
    }

    /// Ticks per second of the track.
    #[must_use]
    pub fn timescale(&self) -> u32 {
        match self {
            Self::Video { timescale, .. } | Self::Audio { timescale, .. } => *timescale,
        }
    }
}

/// Why none of a camera's frames can be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It may come with a later keyframe.
    #[error("no {0} was sent; set the camera to send its parameter sets with every keyframe")]
    Missing(&'static str),
    #[error("{0}; set the camera to another profile, resolution or codec, or update its firmware")]
    Unusable(String),
}

impl Undecodable {
    /// The cause that the gap ledger names for the time without footage.
    #[must_use]
    pub fn gap_cause(&self) -> GapCause {
        match self {
            Self::Missing(_) => GapCause::AwaitsKeyframe,
            Self::Unusable(_) => GapCause::CameraProtocol,
        }
    }
}

/// One access unit, as it came.
#[derive(Clone, Debug)]
pub struct MediaFrame {
    pub track: TrackKind,
    /// RTP time with its wraps undone, in ticks of `timescale` per second.
    pub rtp: i64,
    pub timescale: u32,
    /// When its first packet was read, on the monotonic clock and on the system's wall clock.
    pub received: Instant,
    pub received_wall: Timestamp,
    /// NAL units with four-byte lengths, as they came, or raw audio.
    pub data: Bytes,
    /// How decoding can begin at this frame, if it can; every frame of audio is
    /// [`AccessPoint::Sync`].
    pub access: Option<AccessPoint>,
    /// RTP packets that were lost right before this frame or within it.
    pub lost_packets: u16,
    /// A part of the frame is missing.
    pub is_damaged: bool,
    /// Its length in ticks, if the codec defines it (audio).
    pub length: Option<u32>,
    /// The parameters to decode this frame and those after it: with the first frame, and whenever
    /// they change.
    pub parameters: Option<Arc<TrackParameters>>,
}

/// RTCP sender report (RFC 3550, 6.4.1): the camera's clock and the track's RTP time at one
/// instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// The camera's clock, in microseconds since the Unix epoch; only differences are used.
    pub ntp_us: i64,
    pub rtp: i64,
}

#[derive(Clone, Debug)]
pub enum SessionItem {
    Frame(MediaFrame),
    Report(TrackKind, SenderReport),
}
