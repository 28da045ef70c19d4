//! How frames become CMAF bytes: the seam to the CMAF builder.

use crate::capture::ingest::media::TrackParameters;
use bytes::Bytes;
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;

pub use holdfast_storage::cmaf::Frame;

/// Something that cannot be expressed in MP4.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be written as MP4: {0}")]
pub struct Error(pub String);

pub trait Mux: Send + Sync {
    /// The CMAF header (`ftyp`+`moov`) of a track.
    ///
    /// # Errors
    /// The parameters are damaged or not supported.
    fn init(&self, parameters: &TrackParameters) -> Result<Bytes, Error>;

    /// A chunk (`prft`+`moof`+`mdat`) of a track that starts at `start`, in parts; a frame's bytes
    /// are a part of their own and are not copied.
    ///
    /// # Errors
    /// The frames cannot be expressed, which the chunker's limits exclude.
    fn chunk(
        &self,
        track: TrackKind,
        sequence: u32,
        start: Timestamp,
        frames: &[Frame],
    ) -> Result<Vec<Bytes>, Error>;
}
