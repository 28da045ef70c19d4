//! What subscribers receive: frames as the recorder stores them, and what happens between them.

use bytes::Bytes;
use holdfast_storage::chunk::{AccessPoint, GapCause, Init, InitId};
use holdfast_storage::ids::{Epoch, NodeId, Rank, SessionId, TrackKind};
use holdfast_storage::time::Timestamp;

/// The recording that frames are part of, as the chunks name it that hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub node: NodeId,
    pub epoch: Epoch,
    pub rank: Rank,
    /// When a volume fails, frames up to the next chunk that begins at a keyframe still have the
    /// session that they would have been stored in.
    pub session: SessionId,
}

/// One access unit, byte for byte as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub track: TrackKind,
    /// Shared with the recorder and with all subscribers.
    pub data: Bytes,
    /// In its chunk, this time in ticks of `timescale` ([`Timestamp::ticks`]).
    pub decode: Timestamp,
    pub composition_us: i32,
    pub timescale: u32,
    /// How decoding can begin here; meaningless for tracks other than video.
    pub access: Option<AccessPoint>,
    /// Known for some codecs.
    pub length_us: Option<i64>,
    /// Frames right before it, or parts of it, were lost.
    pub after_loss: bool,
}

/// What a subscriber receives next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Frames that follow are part of this recording.
    Origin(Origin),
    /// What decodes the frames that follow, of one track.
    Init(Init),
    Frame(Frame),
    /// Nothing is recorded since then, for this reason; the next frame ends the gap.
    Gap {
        since: Timestamp,
        cause: GapCause,
    },
    /// This node does not record the stream any more, or does not do so yet. If a recorder of it
    /// starts here, its frames follow.
    Ended,
    /// The subscriber was too slow for this many frames. The next frame is a keyframe.
    Skipped {
        frames: u64,
    },
}

/// What happens between frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Gap { since: Timestamp, cause: GapCause },
    Ended,
}

/// What a reader must know before the frames that share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) origin: Origin,
    /// Of video and of audio.
    pub(super) inits: [Option<(InitId, Init)>; 2],
}

impl Frame {
    /// Whether a reader can begin here.
    #[must_use]
    pub fn is_keyframe(&self) -> bool {
        self.track == TrackKind::Video && self.access.is_some()
    }
}

impl From<Mark> for Published {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Gap { since, cause } => Self::Gap { since, cause },
            Mark::Ended => Self::Ended,
        }
    }
}
