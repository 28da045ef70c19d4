//! How a decoder sees one recorder's video chunks, one after the other. Pure: recorders mark what
//! they store accordingly, and readers determine how later losses affect the chunks after them.

use crate::chunk::{AccessPoint, ChunkMeta};

/// The state of a chunk's pictures after decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// Everything that they refer to is present.
    Whole,
    /// A decoder conceals what is missing: they refer to missing frames, or a gradual refresh is
    /// not complete.
    Damaged,
    /// Not decodable: no access point precedes them.
    Nothing,
}

/// The state of a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pictures {
    /// There was no access point yet.
    #[default]
    Nothing,
    /// Frames are missing since the last access point.
    Damaged,
    /// Gradual refresh: complete after this many more frames.
    Refreshing {
        frames: u32,
    },
    Whole,
}

impl Pictures {
    /// Frames are missing before the next chunk.
    pub fn lose(&mut self) {
        if *self != Self::Nothing {
            *self = Self::Damaged;
        }
    }

    /// Decodes a chunk of `frames` frames; `access` is set if the first is an access point.
    pub fn show(&mut self, access: Option<AccessPoint>, frames: u32) -> Shown {
        *self = match (access, *self) {
            (Some(AccessPoint::Sync | AccessPoint::Open), _) => Self::Whole,
            (Some(AccessPoint::Recovery { frames }), Self::Nothing | Self::Damaged) => {
                Self::Refreshing {
                    frames: u32::from(frames),
                }
            }
            (Some(AccessPoint::Recovery { frames }), Self::Refreshing { frames: left }) => {
                Self::Refreshing {
                    frames: left.min(u32::from(frames)),
                }
            }
            (Some(AccessPoint::Recovery { .. }) | None, now) => now,
        };
        match *self {
            Self::Nothing => Shown::Nothing,
            Self::Damaged => Shown::Damaged,
            Self::Whole | Self::Refreshing { frames: 0 } => {
                *self = Self::Whole;
                Shown::Whole
            }
            Self::Refreshing { frames: left } => {
                *self = Self::Refreshing {
                    frames: left.saturating_sub(frames),
                };
                Shown::Damaged
            }
        }
    }
}

/// Follows the stored chunks of one video track, in the order of their sequence, and detects
/// missing ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoding {
    last: Option<ChunkMeta>,
    pictures: Pictures,
}

impl Decoding {
    /// The state of the next chunk's pictures. The first known chunk of a session is assumed to
    /// continue what is stored elsewhere, unless it says otherwise itself.
    pub fn next(&mut self, meta: &ChunkMeta) -> Shown {
        match self.last.replace(*meta) {
            Some(last) if !is_of_one_session(&last, meta) => self.pictures = taken_up(meta),
            None => self.pictures = taken_up(meta),
            Some(last) if last.init != meta.init => self.pictures = Pictures::Nothing,
            Some(last) if last.is_followed_by(meta) => {}
            Some(_) => self.pictures.lose(),
        }
        match self
            .pictures
            .show(meta.access.map(|access| access.point), meta.frames)
        {
            Shown::Whole if meta.damaged => Shown::Damaged,
            shown => shown,
        }
    }

    /// This chunk was stored and is lost.
    pub fn miss(&mut self, meta: &ChunkMeta) {
        (self.last, self.pictures) = (Some(*meta), Pictures::Damaged);
    }
}

fn is_of_one_session(one: &ChunkMeta, other: &ChunkMeta) -> bool {
    (one.node, one.session, one.track) == (other.node, other.session, other.track)
}

fn taken_up(meta: &ChunkMeta) -> Pictures {
    match meta.since_access_ms {
        // A session begins.
        _ if meta.sequence == 0 => Pictures::Nothing,
        None => Pictures::Nothing,
        Some(_) if meta.after_loss => Pictures::Damaged,
        Some(_) => Pictures::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AccessPoint::{Open, Recovery, Sync};
    use Shown::{Damaged, Nothing, Whole};

    /// Chunks of ten frames each; a loss precedes those that are `true`.
    fn shown(chunks: &[(bool, Option<AccessPoint>)]) -> Vec<Shown> {
        let mut pictures = Pictures::default();
        let show = |(lost, access): &(bool, Option<AccessPoint>)| {
            if *lost {
                pictures.lose();
            }
            pictures.show(*access, 10)
        };
        chunks.iter().map(show).collect()
    }

    #[test]
    fn before_the_first_access_point_there_is_nothing_and_a_loss_changes_nothing() {
        let chunks = [
            (false, None),
            (true, None),
            (false, Some(Sync)),
            (false, None),
        ];
        assert_eq!(shown(&chunks), [Nothing, Nothing, Whole, Whole]);
    }

    #[test]
    fn a_loss_damages_what_follows_up_to_the_next_access_point() {
        for point in [Sync, Open, Recovery { frames: 0 }] {
            let chunks = [
                (false, Some(Sync)),
                (true, None),
                (false, None),
                (false, Some(point)),
                (false, None),
            ];
            assert_eq!(
                shown(&chunks),
                [Whole, Damaged, Damaged, Whole, Whole],
                "{point:?}"
            );
            assert_eq!(
                shown(&[(false, Some(Sync)), (true, Some(point))]),
                [Whole; 2],
                "{point:?}"
            );
        }
    }

    #[test]
    fn a_gradual_refresh_makes_whole_after_its_frames() {
        let refresh = Some(Recovery { frames: 15 });
        let begun = [(false, refresh), (false, None), (false, None)];
        assert_eq!(shown(&begun), [Damaged, Damaged, Whole]);
        let lost = [
            (false, Some(Sync)),
            (true, refresh),
            (false, None),
            (false, refresh),
            (false, None),
        ];
        assert_eq!(
            shown(&lost),
            [Whole, Damaged, Damaged, Whole, Whole],
            "whole pictures stay so at the next one"
        );
        let torn = [
            (false, refresh),
            (true, None),
            (false, refresh),
            (false, None),
            (false, None),
        ];
        assert_eq!(
            shown(&torn),
            [Damaged, Damaged, Damaged, Damaged, Whole],
            "a loss within it begins it again"
        );
    }

    #[test]
    fn refreshes_that_overlap_end_with_the_first() {
        let chunks = [
            (false, Some(Recovery { frames: 25 })),
            (false, Some(Recovery { frames: 25 })),
            (false, None),
        ];
        assert_eq!(shown(&chunks), [Damaged, Damaged, Damaged]);
        let chunks = [
            (false, Some(Recovery { frames: 25 })),
            (false, Some(Recovery { frames: 10 })),
            (false, None),
        ];
        assert_eq!(shown(&chunks), [Damaged, Damaged, Whole]);
    }
}
