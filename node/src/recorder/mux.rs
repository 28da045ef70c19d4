//! How frames become CMAF bytes: the seam to the fMP4 builder.

use crate::ingest::media::TrackParameters;
use bytes::Bytes;
use holdfast_storage::ids::TrackKind;

/// One sample of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// NAL units with four-byte lengths, or raw audio.
    pub data: Bytes,
    /// Ticks of the track's timescale since the Unix epoch.
    pub decode_time: u64,
    /// Ticks.
    pub duration: u32,
    /// Presentation minus decode time, in ticks.
    pub composition_offset: i32,
    /// A sync sample (ISO/IEC 14496-12, 8.6.2). Every audio frame is one.
    pub keyframe: bool,
}

/// A track's parameters that no init segment can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no init segment can be made of the track's parameters: {0}")]
pub struct Error(pub String);

pub trait Mux: Send + Sync {
    /// The CMAF header (`ftyp`+`moov`) of a track.
    ///
    /// # Errors
    /// The parameters are damaged or not supported.
    fn init(&self, parameters: &TrackParameters) -> Result<Bytes, Error>;

    /// A chunk (`prft`+`moof`+`mdat`) in parts; a frame's bytes are a part of their own and are not copied.
    fn chunk(&self, track: TrackKind, timescale: u32, sequence: u32, frames: &[Frame]) -> Vec<Bytes>;
}
