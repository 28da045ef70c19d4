//! How frames become CMAF bytes: the seam to the fMP4 builder.

use crate::ingest::media::TrackParameters;
use bytes::Bytes;
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;

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

/// What cannot be expressed in MP4.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be written as MP4: {0}")]
pub struct Error(pub String);

pub trait Mux: Send + Sync {
    /// The CMAF header (`ftyp`+`moov`) of a track.
    ///
    /// # Errors
    /// The parameters are damaged or not supported.
    fn init(&self, parameters: &TrackParameters) -> Result<Bytes, Error>;

    /// A chunk (`prft`+`moof`+`mdat`) of a track that starts at `start`, in parts; a frame's bytes are a part of their own and are not copied.
    ///
    /// # Errors
    /// The frames cannot be expressed, which the chunker's limits exclude.
    fn chunk(&self, track: TrackKind, sequence: u32, start: Timestamp, frames: &[Frame]) -> Result<Vec<Bytes>, Error>;
}
