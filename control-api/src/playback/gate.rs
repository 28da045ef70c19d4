//! The rule for where playback begins and resumes: at access points. After a loss it continues with
//! the next frame; a decoder conceals the missing parts of its pictures. If that is not wanted
//! (*strict*), video before the next access point is left out.

use holdfast_storage::chunk::{AccessPoint, ChunkEntry, ChunkMeta, InitId};
use holdfast_storage::time::Timestamp;

/// How far before a range playback begins so that a gradual refresh is complete there, in
/// microseconds.
const REFRESH_US_MAX: i64 = 10_000_000;

/// The decision about a video chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Played, but does not continue what was played before it. Begins with an access point.
    Begin,
    /// Played immediately after the previous one.
    Continue,
    /// Played after a hole, although it refers to what is missing there.
    Resume,
    /// Left out.
    Skip,
}

/// Admits a track's video chunks in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyframeGate {
    strict: bool,
    last: Option<ChunkMeta>,
    open: bool,
    /// The init that decodes the last played chunk.
    played: Option<InitId>,
}

impl KeyframeGate {
    #[must_use]
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    /// The following chunks continue chunks of this init that were played elsewhere.
    #[must_use]
    pub fn within(self, init: InitId) -> Self {
        Self {
            played: Some(init),
            ..self
        }
    }

    pub fn admit(&mut self, next: &ChunkMeta) -> Admission {
        let last = self.last.replace(*next).filter(|_| self.open);
        let continues = last.is_some_and(|last| {
            last.is_followed_by(next) && (last.init == next.init || next.is_access_point())
        });
        let resumes =
            !self.strict && self.played == Some(next.init) && next.since_access_ms.is_some();
        let admission = match (continues, next.is_access_point(), resumes) {
            (true, _, _) => Admission::Continue,
            (false, true, _) => Admission::Begin,
            (false, false, true) => Admission::Resume,
            (false, false, false) => Admission::Skip,
        };
        self.open = admission != Admission::Skip;
        if self.open {
            self.played = Some(next.init);
        }
        admission
    }
}

/// The part of sorted video entries that shows everything from `from` on. It begins at the access
/// point before `from` if a decodable sequence leads from there to `from`, else at the first chunk
/// that reaches beyond `from`.
#[must_use]
pub fn from_keyframe_before(video: &[ChunkEntry], from: Timestamp, strict: bool) -> &[ChunkEntry] {
    let (reaches, begin) = walk_back(video, from, strict);
    let decodable = video
        .get(begin)
        .is_some_and(|entry| entry.meta.is_access_point());
    &video[if decodable {
        refreshed_from(video, (reaches, begin), strict)
    } else {
        reaches
    }..]
}

/// From when entries are needed if the access point that decodes `from` is earlier than these: the
/// time that its session gives for it.
#[must_use]
pub fn needs_earlier(video: &[ChunkEntry], from: Timestamp, strict: bool) -> Option<Timestamp> {
    let (_, begin) = walk_back(video, from, strict);
    let first = &video.first().filter(|_| begin == 0)?.meta;
    let leads_there = !first.is_access_point() && (first.start <= from || !strict);
    first.access_start().filter(|_| leads_there)
}

/// The first chunk that reaches beyond `from`, and the access point before it or, if there is none,
/// the first chunk that leads to it.
fn walk_back(video: &[ChunkEntry], from: Timestamp, strict: bool) -> (usize, usize) {
    let reaches = video.partition_point(|entry| entry.meta.end() <= from);
    let mut begin = reaches;
    while video
        .get(begin)
        .is_some_and(|entry| !entry.meta.is_access_point())
        && is_led_to(video, begin, strict)
    {
        begin -= 1;
    }
    (reaches, begin)
}

/// Where to begin so that pictures are complete at `reaches`, if `begin` is too late for that and
/// an earlier beginning is possible.
fn refreshed_from(video: &[ChunkEntry], (reaches, begin): (usize, usize), strict: bool) -> usize {
    let earliest = video.get(reaches).map_or(Timestamp::MAX, |entry| {
        entry.meta.start.plus_micros(-REFRESH_US_MAX)
    });
    let (mut at, mut frames) = (begin, 0);
    frames += video[begin..reaches]
        .iter()
        .map(|entry| u64::from(entry.meta.frames))
        .sum::<u64>();
    loop {
        match video[at].meta.access.map(|access| access.point) {
            Some(AccessPoint::Recovery { frames: needed }) if frames < u64::from(needed) => {}
            Some(_) => return at,
            None => {}
        }
        if !is_led_to(video, at, strict) || video[at - 1].meta.start < earliest {
            return begin;
        }
        at -= 1;
        frames += u64::from(video[at].meta.frames);
    }
}

/// Whether the chunk immediately before the one at `index` is played before it.
fn is_led_to(video: &[ChunkEntry], index: usize, strict: bool) -> bool {
    let (Some(before), Some(next)) = (
        index.checked_sub(1).and_then(|before| video.get(before)),
        video.get(index),
    ) else {
        return false;
    };
    let (before, next) = (&before.meta, &next.meta);
    before.is_followed_by(next)
        || (!strict && before.init == next.init && next.since_access_ms.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::{session, starts_ms};
    use Admission::{Begin, Continue, Resume, Skip};
    use holdfast_storage::chunk::Access;
    use holdfast_storage::ids::TrackKind::Video;

    fn strict(entries: &[ChunkEntry]) -> Vec<Admission> {
        admitted(entries, true)
    }

    fn admissions(entries: &[ChunkEntry]) -> Vec<Admission> {
        admitted(entries, false)
    }

    fn admitted(entries: &[ChunkEntry], strict: bool) -> Vec<Admission> {
        let mut gate = KeyframeGate::new(strict);
        entries
            .iter()
            .map(|entry| gate.admit(&entry.meta))
            .collect()
    }

    #[test]
    fn playback_begins_at_a_keyframe() {
        assert_eq!(
            admissions(&session(1, Video, 1, 0, "ddKdK")),
            [Skip, Skip, Begin, Continue, Continue]
        );
    }

    #[test]
    fn after_a_loss_or_a_missing_chunk_it_continues_at_once_or_at_the_next_keyframe() {
        let lost = session(1, Video, 1, 0, "KdldKd");
        assert_eq!(
            admissions(&lost),
            [Begin, Continue, Resume, Continue, Continue, Continue]
        );
        assert_eq!(
            strict(&lost),
            [Begin, Continue, Skip, Skip, Begin, Continue]
        );
        let missing = session(1, Video, 1, 0, "Kd.dLd");
        assert_eq!(
            admissions(&missing),
            [Begin, Continue, Resume, Begin, Continue]
        );
        assert_eq!(strict(&missing), [Begin, Continue, Skip, Begin, Continue]);
    }

    #[test]
    fn what_no_access_point_came_before_is_not_played() {
        let mut entries = session(1, Video, 1, 0, "Kdldd");
        entries[3].meta.since_access_ms = None;
        assert_eq!(
            admissions(&entries[1..]),
            [Skip; 4],
            "its keyframe is not there"
        );
        entries[3].meta.after_loss = true;
        assert_eq!(
            admissions(&entries),
            [Begin, Continue, Resume, Skip, Resume]
        );
    }

    #[test]
    fn a_handover_to_a_recorder_that_begins_with_a_keyframe_loses_nothing() {
        let entries = [
            session(1, Video, 1, 0, "Kdd"),
            session(2, Video, 1, 1500, "Kd"),
        ]
        .concat();
        assert_eq!(
            admissions(&entries),
            [Begin, Continue, Continue, Begin, Continue]
        );
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
        assert_eq!(
            starts_ms(from_keyframe_before(&entries, Timestamp(2_700_000), false))[0],
            1500
        );
        assert_eq!(
            starts_ms(from_keyframe_before(&entries, Timestamp(0), false))[0],
            0
        );
        let torn = session(1, Video, 1, 0, "Kd.dddK");
        assert_eq!(
            starts_ms(from_keyframe_before(&torn, Timestamp(2_100_000), true))[0],
            2000
        );
        assert_eq!(
            starts_ms(from_keyframe_before(&torn, Timestamp(2_100_000), false))[0],
            0
        );
        assert!(from_keyframe_before(&torn, Timestamp(9_000_000), false).is_empty());
    }

    #[test]
    fn a_range_within_a_gradual_refresh_begins_where_it_is_whole() {
        let mut entries = session(1, Video, 1, 0, "KdddKdddKddd");
        let refresh = |frames| {
            Some(Access {
                point: AccessPoint::Recovery { frames },
                slices_crc: 7,
            })
        };
        // 12 frames per chunk.
        (entries[4].meta.access, entries[8].meta.access) = (refresh(20), refresh(20));
        let begins = |entries: &[ChunkEntry], ms: i64| {
            starts_ms(from_keyframe_before(entries, Timestamp(ms * 1000), false))[0]
        };
        assert_eq!(
            begins(&entries, 4100),
            2000,
            "none of the refresh's frames is before it"
        );
        assert_eq!(begins(&entries, 4600), 2000, "12 frames are");
        assert_eq!(begins(&entries, 5100), 4000, "24 frames are");
        assert_eq!(begins(&entries[8..], 4600), 4000, "there is no other");
        entries[4].meta.access = refresh(u16::MAX);
        assert_eq!(begins(&entries, 4600), 0);
    }

    #[test]
    fn earlier_entries_are_asked_for_only_where_they_can_help() {
        let session = session(1, Video, 1, 0, "KdddKd");
        let at = Timestamp(1_200_000);
        let needs = |entries: &[ChunkEntry], strict| needs_earlier(entries, at, strict);
        let keyframe = Some(Timestamp(0));
        for strict in [false, true] {
            assert_eq!(
                needs(&session[1..], strict),
                keyframe,
                "its keyframe lies before"
            );
            assert_eq!(needs(&session, strict), None, "its keyframe is there");
            assert_eq!(needs(&[], strict), None);
        }
        assert_eq!(
            [false, true].map(|strict| needs(&session[3..], strict)),
            [keyframe, None],
            "nothing was recorded then"
        );
        let torn = [&session[1..2], &session[3..]].concat();
        assert_eq!(
            [false, true].map(|strict| needs(&torn, strict)),
            [keyframe, None],
            "the recording is torn in between"
        );
        let mut begun = session[1..].to_vec();
        begun
            .iter_mut()
            .for_each(|entry| entry.meta.since_access_ms = None);
        assert_eq!(needs(&begun, false), None, "there is no keyframe");
    }
}
