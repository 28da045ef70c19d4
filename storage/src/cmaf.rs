//! Fragmented MP4 (ISO/IEC 14496-12, CMAF ISO/IEC 23000-19): building init segments and chunks, and
//! reading, merging and patching stored ones.
//!
//! Pure: bytes in, bytes out. All functions that read stored bytes are bounded and return [`Error`]
//! for damaged input; nothing here panics.

mod boxes;
pub mod chunk;
mod groups;
pub mod init;
pub mod merge;
pub mod patch;
pub mod probe;
pub mod sidx;

pub use chunk::{Frame, build_chunk};
pub use init::{AudioCodec, AudioParameters, VideoCodec, VideoParameters, audio_init, video_init};

/// Why bytes could not be built or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller's input cannot be expressed.
    #[error("cannot build {what}: {why}")]
    Unbuildable { what: &'static str, why: String },
    /// Stored bytes are not what this module writes.
    #[error("damaged {what} at byte {at}: {why}")]
    Damaged {
        what: &'static str,
        at: usize,
        why: &'static str,
    },
}

impl Error {
    /// Something other than what this module writes, at this byte of the box or table `what`.
    #[must_use]
    pub const fn damaged(what: &'static str, at: usize, why: &'static str) -> Self {
        Self::Damaged { what, at, why }
    }

    pub(crate) fn unbuildable(what: &'static str, why: impl ToString) -> Self {
        Self::Unbuildable {
            what,
            why: why.to_string(),
        }
    }
}
