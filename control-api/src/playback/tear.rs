//! Which chunks of a file are left out if some are lost. Pure; the same rule applies to chunks that
//! are known to be lost when the file is laid out and to those that are found lost when they are
//! read.

use holdfast_storage::chunk::ChunkMeta;
use holdfast_storage::ids::TrackKind;

/// Why a chunk is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is stored and damaged.
    Damaged,
    /// Retention deleted it.
    Deleted,
    /// It cannot be shown without a lost one before it.
    Torn,
}

/// Processes chunks in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tear {
    /// Frames that refer to lost ones are left out.
    strict: bool,
    /// Video is left out until the next access point.
    is_torn: bool,
    /// There was video before.
    has_begun: bool,
}

impl Tear {
    #[must_use]
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            is_torn: false,
            has_begun: false,
        }
    }

    /// Why the next chunk is left out; `None` if it is sent.
    pub fn next(&mut self, meta: &ChunkMeta, lost: Option<Absent>) -> Option<Absent> {
        if meta.track != TrackKind::Video {
            return lost;
        }
        if self.is_torn && !meta.is_access_point() {
            return lost.or(Some(Absent::Torn));
        }
        match lost {
            None => (self.is_torn, self.has_begun) = (false, true),
            Some(_) => self.is_torn |= self.strict || !self.has_begun,
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::session;
    use holdfast_storage::ids::TrackKind::{Audio, Video};

    /// `*` for sent, `x` for lost, `t` for torn.
    fn left_out(letters: &str, lost: &[usize], strict: bool) -> String {
        let mut tear = Tear::new(strict);
        let chunks = session(1, Video, 1, 0, letters);
        let next = |(index, chunk): (usize, &holdfast_storage::chunk::ChunkEntry)| {
            let lost = lost.contains(&index).then_some(Absent::Damaged);
            match tear.next(&chunk.meta, lost) {
                None => '*',
                Some(Absent::Torn) => 't',
                Some(_) => 'x',
            }
        };
        chunks.iter().enumerate().map(next).collect()
    }

    #[test]
    fn video_continues_after_a_loss_but_where_it_must_be_whole_or_has_not_begun() {
        assert_eq!(left_out("KdddKd", &[1], false), "*x****");
        assert_eq!(left_out("KdddKd", &[1], true), "*xtt**");
        assert_eq!(left_out("KdddKd", &[0, 2], false), "xtxt**");
        assert_eq!(left_out("KddKdd", &[0, 3], false), "xttxtt");
        assert_eq!(left_out("KddKdd", &[3], false), "***x**");
    }

    #[test]
    fn sound_tears_nothing_and_is_not_torn() {
        let mut tear = Tear::new(true);
        let (video, sound) = (session(1, Video, 1, 0, "Kdd"), session(1, Audio, 2, 0, "K"));
        assert_eq!(
            tear.next(&sound[0].meta, Some(Absent::Deleted)),
            Some(Absent::Deleted)
        );
        assert_eq!(tear.next(&video[0].meta, None), None);
        assert_eq!(
            tear.next(&video[1].meta, Some(Absent::Deleted)),
            Some(Absent::Deleted)
        );
        assert_eq!(tear.next(&sound[0].meta, None), None);
        assert_eq!(tear.next(&video[2].meta, None), Some(Absent::Torn));
    }
}
