//! The harness's own player: it reads playlists and fetches their entries, as players do, and keeps
//! every frame, for comparison with the cameras' frames.
//!
//! `playlist`, `media` and `judge` are pure; `fetch`, `walk` and `watch` do I/O.

mod fetch;
mod judge;
mod media;
mod playlist;
mod walk;
mod watch;

pub(crate) use fetch::{Fetcher, Node};
pub(crate) use judge::{Aspect, Truth, judge};
pub(crate) use walk::{closed, grown};
pub(crate) use watch::{Watch, Watching};

use holdfast_camera::Stamp;

/// Which presentation was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A range that has ended: times of media continue over gaps.
    Closed,
    /// A list that has grown, read when nothing more came: times of media are wall times.
    Grown,
    /// A list that grows, each entry fetched when it was first listed.
    Growing,
    /// The same for live footage, in a window.
    Live,
}

impl Kind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed range",
            Self::Grown => "range that has grown",
            Self::Growing => "growing range",
            Self::Live => "live",
        }
    }

    /// Whether it was read when every node was there.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Closed | Self::Grown)
    }
}

/// Everything that a player got of one camera.
#[derive(Clone, Debug)]
pub struct Showing {
    pub camera: String,
    pub kind: Kind,
    /// The node or nodes that it asked.
    pub asked: String,
    /// Where the requested range begins.
    pub from_us: i64,
    /// In the order of the presentation.
    pub entries: Vec<Entry>,
    /// Errors in the lists and the answers themselves.
    pub wrong: Vec<String>,
}

/// An entry of a playlist, with what its URI answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub sequence: u64,
    /// Without the token.
    pub uri: String,
    pub wall_us: i64,
    pub duration_us: i64,
    /// Which wall time is time 0 for it, as its URI says.
    pub base_us: i64,
    /// `None` for a gap.
    pub media: Option<Media>,
    pub fetched_us: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    pub video: Vec<Sample>,
    pub sound: Vec<Sample>,
}

/// One frame as it is decoded, times in microseconds of the presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// `None` if it carries none, or is damaged.
    pub stamp: Option<Stamp>,
    pub decode_us: i64,
    pub duration_us: i64,
}

#[cfg(test)]
mod tests;
