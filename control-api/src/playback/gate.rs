//! The rule of where playback begins and resumes: at keyframes. After a discontinuity, video before the next keyframe is left out,
//! because no decoder can show it.

use holdfast_storage::chunk::{ChunkEntry, ChunkMeta};
use holdfast_storage::time::Timestamp;

/// What becomes of a video chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Played, and not a continuation of what was played before it. Begins with a keyframe.
    Begin,
    /// Played right after the one before.
    Continue,
    /// Left out.
    Skip,
}

/// Admits a track's video chunks one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyframeGate {
    last: Option<ChunkMeta>,
    open: bool,
}

impl KeyframeGate {
    pub fn admit(&mut self, next: &ChunkMeta) -> Admission {
        let continues = self.open
            && self
                .last
                .is_some_and(|last| last.is_followed_by(next) && (last.init == next.init || next.is_access_point()));
        self.last = Some(*next);
        self.open = continues || next.is_access_point();
        match (continues, self.open) {
            (true, _) => Admission::Continue,
            (false, true) => Admission::Begin,
            (false, false) => Admission::Skip,
        }
    }
}

/// The part of sorted video entries that shows everything from `from` on: begins at the keyframe before it where the recording is whole from
/// there, else at the first chunk that reaches beyond it.
#[must_use]
pub fn from_keyframe_before(video: &[ChunkEntry], from: Timestamp) -> &[ChunkEntry] {
    let (reaches, begin) = walk_back(video, from);
    let decodable = video.get(begin).is_some_and(|entry| entry.meta.is_access_point());
    &video[if decodable { begin } else { reaches }..]
}

/// Whether the keyframe that decodes `from` may lie before these entries.
#[must_use]
pub fn needs_earlier(video: &[ChunkEntry], from: Timestamp) -> bool {
    let (_, begin) = walk_back(video, from);
    begin == 0
        && video
            .first()
            .is_some_and(|entry| entry.meta.start <= from && !entry.meta.is_access_point() && entry.meta.sequence > 0)
}

/// The first chunk that reaches beyond `from`, and the keyframe before it or, failing that, where its uninterrupted recording begins.
fn walk_back(video: &[ChunkEntry], from: Timestamp) -> (usize, usize) {
    let reaches = video.partition_point(|entry| entry.meta.end() <= from);
    let mut begin = reaches;
    while video.get(begin).is_some_and(|entry| {
        !entry.meta.is_access_point() && begin > 0 && video[begin - 1].meta.is_followed_by(&entry.meta)
    }) {
        begin -= 1;
    }
    (reaches, begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::{session, starts_ms};
    use Admission::{Begin, Continue, Skip};
    use holdfast_storage::ids::TrackKind::Video;

    fn admissions(entries: &[ChunkEntry]) -> Vec<Admission> {
        let mut gate = KeyframeGate::default();
        entries.iter().map(|entry| gate.admit(&entry.meta)).collect()
    }

    #[test]
    fn playback_begins_at_a_keyframe() {
        assert_eq!(admissions(&session(1, Video, 1, 0, "ddKdK")), [Skip, Skip, Begin, Continue, Continue]);
    }

    #[test]
    fn after_a_loss_or_a_missing_chunk_it_resumes_at_the_next_keyframe() {
        assert_eq!(admissions(&session(1, Video, 1, 0, "KdldKd")), [Begin, Continue, Skip, Skip, Begin, Continue]);
        assert_eq!(admissions(&session(1, Video, 1, 0, "Kd.dLd")), [Begin, Continue, Skip, Begin, Continue]);
    }

    #[test]
    fn a_handover_to_a_recorder_that_begins_with_a_keyframe_loses_nothing() {
        let entries = [session(1, Video, 1, 0, "Kdd"), session(2, Video, 1, 1500, "Kd")].concat();
        assert_eq!(admissions(&entries), [Begin, Continue, Continue, Begin, Continue]);
    }

    #[test]
    fn other_parameters_without_a_keyframe_are_not_decodable() {
        let mut entries = session(1, Video, 1, 0, "KddK");
        entries[2].meta.init = holdfast_storage::chunk::InitId(2);
        assert_eq!(admissions(&entries), [Begin, Continue, Skip, Begin]);
    }

    #[test]
    fn a_range_begins_at_the_keyframe_before_it() {
        let entries = session(1, Video, 1, 0, "KddKddd");
        assert_eq!(starts_ms(from_keyframe_before(&entries, Timestamp(2_700_000)))[0], 1500);
        assert_eq!(starts_ms(from_keyframe_before(&entries, Timestamp(0)))[0], 0);
        let torn = session(1, Video, 1, 0, "Kd.dddK");
        assert_eq!(starts_ms(from_keyframe_before(&torn, Timestamp(2_100_000)))[0], 2000);
        assert!(from_keyframe_before(&torn, Timestamp(9_000_000)).is_empty());
    }

    #[test]
    fn earlier_entries_are_asked_for_only_where_they_can_help() {
        let session = session(1, Video, 1, 0, "KdddKd");
        let at = Timestamp(1_200_000);
        assert!(needs_earlier(&session[1..], at), "its keyframe lies before");
        assert!(!needs_earlier(&session, at), "its keyframe is there");
        assert!(!needs_earlier(&session[3..], at), "nothing was recorded then");
        assert!(!needs_earlier(&[&session[..1], &session[2..]].concat(), at), "the recording is torn in between");
        assert!(!needs_earlier(&[], at));
    }
}
