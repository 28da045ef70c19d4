//! From RTP payloads to frames: the payload formats of H.264 (RFC 6184), H.265 (RFC 7798), AAC (RFC
//! 3640) and G.711 (RFC 3551), as cameras send them. Pure: packets carry their time of arrival.
//!
//! Deviations from the standards are accepted as ffmpeg accepts them. Unusable data is counted as a
//! [`Fault`] and costs only the unit in which it occurs.

mod access_unit;
mod annex_b;
pub(crate) mod audio;
mod bits;
mod h264;
mod h265;
pub(crate) mod nal;
pub(crate) mod parameter_sets;
pub(crate) mod slices;
pub(crate) mod video;

use holdfast_storage::time::Timestamp;
use std::time::Instant;

/// When something was read from a socket.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub instant: Instant,
    pub wall: Timestamp,
}

/// An RTP packet of a track, in order.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub payload: &'a [u8],
    /// RTP time with its wraps undone.
    pub rtp: i64,
    pub marker: bool,
    /// Packets that were lost right before this one.
    pub lost: u16,
    pub arrival: Arrival,
}

/// What was wrong with a packet or its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Bytes between messages that belong to none.
    Framing,
    /// Data on a channel that no track has.
    Channel,
    /// No RTP packet.
    NotRtp,
    /// A payload type that the track does not have.
    PayloadType,
    /// From another source than the track's: its SSRC or its address.
    Source,
    /// It came before, or too late.
    Duplicate,
    /// Without payload, or with an empty NAL unit.
    Empty,
    /// A structure of the payload format that is not defined, or does not add up.
    Payload,
    /// A fragment whose begin is missing.
    Fragment,
    /// An access unit above the bound.
    Oversize,
    /// A parameter set that cannot be read.
    ParameterSet,
    /// RTCP that cannot be read.
    Rtcp,
}

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::Framing,
        Self::Channel,
        Self::NotRtp,
        Self::PayloadType,
        Self::Source,
        Self::Duplicate,
        Self::Empty,
        Self::Payload,
        Self::Fragment,
        Self::Oversize,
        Self::ParameterSet,
        Self::Rtcp,
    ];

    /// A stable name for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Channel => "channel",
            Self::NotRtp => "not_rtp",
            Self::PayloadType => "payload_type",
            Self::Source => "source",
            Self::Duplicate => "duplicate",
            Self::Empty => "empty",
            Self::Payload => "payload",
            Self::Fragment => "fragment",
            Self::Oversize => "oversize",
            Self::ParameterSet => "parameter_set",
            Self::Rtcp => "rtcp",
        }
    }
}
