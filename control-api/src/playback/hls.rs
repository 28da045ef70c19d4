//! Cuts a range into HLS segments at access points, and finds the chunks of a requested segment
//! again. A GOP that is too long for one segment, or has a hole, is cut too: the next segment then
//! continues within it.

use super::export::interleave;
use super::gate::{Admission, KeyframeGate, from_keyframe_before};
use super::{GAP_MICROS_MIN, Tracks};
use crate::range::Range;
use holdfast_storage::chunk::{AccessPoint, ChunkEntry, Gap, InitId};

/// A segment ends at the first access point after this time, in microseconds.
pub const SEGMENT_MICROS_TARGET: i64 = 4_000_000;

/// No segment is longer, in microseconds, unless one chunk is.
pub const SEGMENT_MICROS_MAX: i64 = 10_400_000;

/// A segment of another recording that is shorter, in microseconds, may lack audio by chance.
const SILENT_MICROS_MIN: i64 = 1_000_000;

/// The inits that decode a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitPair {
    pub video: InitId,
    pub audio: Option<InitId>,
}

/// A segment of a playlist: the chunks that begin within `range` and are decoded with `inits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub range: Range,
    pub inits: InitPair,
    /// What it begins with; `None` if it continues the previous segment within its GOP.
    pub access: Option<AccessPoint>,
    /// Continues the recording of the previous segment.
    pub continues: bool,
    /// Has other tracks than the previous segment. A change of recorder or of parameters is no
    /// discontinuity: VLC stops at discontinuities, and no player needs one there
    /// (`docs/decisions/2026-11-30-gaps-in-hls.md`).
    pub discontinuity: bool,
}

/// An entry of a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Segment(Segment),
    /// Nothing can be played here.
    Gap(Range),
}

/// The playlist's items for a range, from entries that begin with the access point before it. After
/// the last segment only entries of the gap ledger are gaps: other footage may still arrive.
/// `strict`: frames that refer to lost ones are left out.
#[must_use]
pub fn plan_playlist(tracks: &Tracks, gaps: &[Gap], range: Range, strict: bool) -> Vec<Item> {
    let mut segments = cut(&tracks.video, range, strict);
    assign_audio(&mut segments, &tracks.audio);
    let mut items = Vec::with_capacity(segments.len() + 8);
    let mut at = range.from;
    for segment in segments {
        if segment.range.from.micros_since(at) >= GAP_MICROS_MIN {
            items.push(Item::Gap(Range {
                from: at,
                to: segment.range.from,
            }));
        }
        at = segment.range.to;
        items.push(Item::Segment(segment));
    }
    let known = gaps
        .iter()
        .filter(|gap| gap.start <= range.to)
        .map(|gap| gap.end.min(range.to))
        .max()
        .unwrap_or(at);
    if !items.is_empty() && known.micros_since(at) >= GAP_MICROS_MIN {
        items.push(Item::Gap(Range {
            from: at,
            to: known,
        }));
    }
    items
}

/// The requested segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub range: Range,
    pub inits: InitPair,
    /// It continues the previous segment.
    pub within_gop: bool,
    pub strict: bool,
}

/// The chunks of one segment in the order of sending. The merged recordings may have changed since
/// the playlist was made; chunks that need other inits than the playlist announced, and video that
/// cannot be decoded, are left out.
#[must_use]
pub fn segment_chunks(tracks: &Tracks, wanted: &Wanted) -> Vec<ChunkEntry> {
    let Wanted {
        range,
        inits,
        within_gop,
        strict,
    } = *wanted;
    let within = |entry: &&ChunkEntry, init| {
        range.from <= entry.meta.start
            && entry.meta.start < range.to
            && Some(entry.meta.init) == init
    };
    let gate = KeyframeGate::new(strict);
    let mut gate = if within_gop {
        gate.within(inits.video)
    } else {
        gate
    };
    let video = tracks.video.iter().filter(|entry| {
        within(entry, Some(inits.video)) && gate.admit(&entry.meta) != Admission::Skip
    });
    let audio = tracks
        .audio
        .iter()
        .filter(|entry| within(entry, inits.audio));
    interleave(video.copied().collect(), audio.copied().collect())
}

fn cut(video: &[ChunkEntry], range: Range, strict: bool) -> Vec<Segment> {
    let mut gate = KeyframeGate::new(strict);
    let mut segments = Vec::new();
    for entry in from_keyframe_before(video, range.from, strict)
        .iter()
        .take_while(|entry| entry.meta.start < range.to)
    {
        match gate.admit(&entry.meta) {
            Admission::Skip => {}
            Admission::Begin => begin(&mut segments, entry, false),
            Admission::Continue => append_video(&mut segments, entry),
            Admission::Resume => resume(&mut segments, entry),
        }
    }
    segments
}

fn begin(segments: &mut Vec<Segment>, entry: &ChunkEntry, continues: bool) {
    let meta = &entry.meta;
    if let Some(before) = segments.last_mut() {
        // So that no chunk is in two segments.
        before.range.to = before.range.to.min(meta.start);
    }
    // A chunk without duration still needs a range that holds it.
    let range = Range {
        from: meta.start,
        to: meta.end().max(meta.start.plus_micros(1)),
    };
    let (inits, access) = (
        InitPair {
            video: meta.init,
            audio: None,
        },
        meta.access.map(|access| access.point),
    );
    segments.push(Segment {
        range,
        inits,
        access,
        continues,
        discontinuity: false,
    });
}

fn append_video(segments: &mut Vec<Segment>, entry: &ChunkEntry) {
    let meta = &entry.meta;
    let Some(open) = segments.last_mut() else {
        return begin(segments, entry, false);
    };
    let other_init = open.inits.video != meta.init;
    let long_enough = meta.start.micros_since(open.range.from) >= SEGMENT_MICROS_TARGET;
    let too_long = meta.end().micros_since(open.range.from) > SEGMENT_MICROS_MAX;
    if too_long || (meta.is_access_point() && (other_init || long_enough)) {
        open.range.to = meta.start;
        begin(segments, entry, !other_init);
    } else {
        open.range.to = open.range.to.max(meta.end());
    }
}

/// Continues after a hole: within the segment if the hole is short, else the playlist has a gap
/// there.
fn resume(segments: &mut Vec<Segment>, entry: &ChunkEntry) {
    match segments.last() {
        Some(open) if entry.meta.start.micros_since(open.range.to) >= GAP_MICROS_MIN => {
            begin(segments, entry, true)
        }
        _ => append_video(segments, entry),
    }
}

/// Each segment takes the init of the first audio chunk that begins in it; a segment that is too
/// short for one takes its predecessor's.
fn assign_audio(segments: &mut [Segment], audio: &[ChunkEntry]) {
    let mut before: Option<InitPair> = None;
    for segment in segments {
        let first = audio.partition_point(|entry| entry.meta.start < segment.range.from);
        let own = audio
            .get(first)
            .filter(|entry| entry.meta.start < segment.range.to)
            .map(|entry| entry.meta.init);
        let is_short = segment.range.to.micros_since(segment.range.from) < SILENT_MICROS_MIN;
        let kept = before.filter(|_| segment.continues || is_short);
        segment.inits.audio = own.or(kept.and_then(|before| before.audio));
        segment.discontinuity =
            before.is_some_and(|before| before.audio.is_some() != segment.inits.audio.is_some());
        before = Some(segment.inits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::export::plan_export;
    use crate::playback::testing::{session, starts_ms};
    use holdfast_storage::chunk::Access;
    use holdfast_storage::ids::TrackKind::{Audio, Video};
    use holdfast_storage::time::Timestamp;
    use proptest::prelude::*;

    fn range(from_ms: i64, to_ms: i64) -> Range {
        Range {
            from: Timestamp(from_ms * 1000),
            to: Timestamp(to_ms * 1000),
        }
    }

    fn wanted(segment: &Segment) -> Wanted {
        let Segment {
            range,
            inits,
            access,
            ..
        } = *segment;
        Wanted {
            range,
            inits,
            within_gop: access.is_none(),
            strict: false,
        }
    }

    /// `from-to` in milliseconds, `!` before a discontinuity, `|` before another recording or other
    /// parameters, `+` if it continues within a GOP, `gap` before a gap.
    fn sketch(items: &[Item]) -> Vec<String> {
        let ms = |range: &Range| {
            format!(
                "{}-{}",
                range.from.micros() / 1000,
                range.to.micros() / 1000
            )
        };
        let show = |item: &Item| match item {
            Item::Segment(segment) => {
                let within = if segment.access.is_none() { "+" } else { "" };
                let joint = match (segment.discontinuity, segment.continues) {
                    (true, _) => "!",
                    (false, false) => "|",
                    (false, true) => "",
                };
                format!("{joint}{within}{}", ms(&segment.range))
            }
            Item::Gap(range) => format!("gap {}", ms(range)),
        };
        items.iter().map(show).collect()
    }

    #[test]
    fn segments_are_cut_at_the_first_keyframe_after_the_target() {
        let video = session(1, Video, 1, 0, "KdKdKdKdKdKdKd");
        let items = plan_playlist(
            &Tracks {
                video,
                audio: vec![],
            },
            &[],
            range(0, 60_000),
            false,
        );
        assert_eq!(sketch(&items), ["|0-4000", "4000-7000"]);
    }

    #[test]
    fn gaps_and_changes_of_recorder_are_seen() {
        let video = [
            session(1, Video, 1, 1000, "Kdld"),
            session(2, Video, 1, 6000, "dKd"),
            session(1, Video, 1, 7500, "K"),
        ]
        .concat();
        let tracks = Tracks {
            video,
            audio: vec![],
        };
        let items = |strict| sketch(&plan_playlist(&tracks, &[], range(0, 60_000), strict));
        assert_eq!(
            items(false),
            [
                "gap 0-1000",
                "|1000-3000",
                "gap 3000-6500",
                "|6500-7500",
                "|7500-8000"
            ]
        );
        assert_eq!(
            items(true),
            [
                "gap 0-1000",
                "|1000-2000",
                "gap 2000-6500",
                "|6500-7500",
                "|7500-8000"
            ]
        );
    }

    #[test]
    fn a_hole_within_a_gop_is_a_gap_within_one_recording() {
        let video = session(1, Video, 1, 0, "Kd.ddK");
        let items = plan_playlist(
            &Tracks {
                video,
                audio: vec![],
            },
            &[],
            range(0, 3000),
            false,
        );
        assert_eq!(sketch(&items), ["|0-1000", "gap 1000-1500", "+1500-3000"]);
    }

    #[test]
    fn a_long_gop_is_cut_and_continues_within_it() {
        let video = session(1, Video, 1, 0, &format!("K{}", "d".repeat(59)));
        let tracks = Tracks {
            video,
            audio: session(1, Audio, 2, 0, &"K".repeat(60)),
        };
        let items = plan_playlist(&tracks, &[], range(0, 30_000), false);
        assert_eq!(sketch(&items), ["|0-10000", "+10000-20000", "+20000-30000"]);
        let chunks = |items: &[Item]| -> Vec<ChunkEntry> {
            let of = |item: &Item| match item {
                Item::Segment(segment) => segment_chunks(&tracks, &wanted(segment)),
                Item::Gap(_) => vec![],
            };
            items.iter().flat_map(of).collect()
        };
        assert_eq!(
            chunks(&items),
            interleave(tracks.video.clone(), tracks.audio.clone())
        );
    }

    #[test]
    fn where_recorders_overlap_a_little_no_instant_is_in_two_segments() {
        let video = [
            session(1, Video, 1, 0, "Kd"),
            session(2, Video, 1, 900, "Kd"),
        ]
        .concat();
        let items = plan_playlist(
            &Tracks {
                video,
                audio: vec![],
            },
            &[],
            range(0, 60_000),
            false,
        );
        assert_eq!(sketch(&items), ["|0-900", "|900-1900"]);
    }

    #[test]
    fn other_parameters_begin_a_segment() {
        let mut video = session(1, Video, 1, 0, "KdKd");
        video[2..]
            .iter_mut()
            .for_each(|entry| entry.meta.init = InitId(2));
        let items = plan_playlist(
            &Tracks {
                video,
                audio: vec![],
            },
            &[],
            range(0, 60_000),
            false,
        );
        assert_eq!(sketch(&items), ["|0-1000", "|1000-2000"]);
    }

    #[test]
    fn a_segment_too_short_for_audio_keeps_its_predecessors() {
        let tracks = Tracks {
            video: session(1, Video, 1, 0, "KdddddddK"),
            audio: session(1, Audio, 9, 100, "KKKKKKKK"),
        };
        let items = plan_playlist(&tracks, &[], range(0, 60_000), false);
        assert_eq!(sketch(&items), ["|0-4000", "4000-4500"]);
        assert!(items.iter().all(|item| matches!(
            item,
            Item::Segment(Segment {
                inits: InitPair {
                    audio: Some(InitId(9)),
                    ..
                },
                ..
            })
        )));
    }

    #[test]
    fn sound_that_begins_or_ends_is_a_discontinuity() {
        let video = [
            session(1, Video, 1, 0, "Kddd"),
            session(2, Video, 1, 2000, "Kddd"),
            session(1, Video, 1, 4000, "K"),
        ];
        let tracks = Tracks {
            video: video.concat(),
            audio: session(2, Audio, 9, 2100, "KKK"),
        };
        let items = plan_playlist(&tracks, &[], range(0, 60_000), false);
        assert_eq!(
            sketch(&items),
            ["|0-2000", "!2000-4000", "|4000-4500"],
            "half a second without sound is none"
        );
    }

    #[test]
    fn the_segments_of_a_playlist_hold_every_playable_chunk_once() {
        let video = [
            session(1, Video, 1, 0, "ddKdKdKddlKd"),
            session(2, Video, 1, 6500, "KdKdKdKdKdKdK"),
        ]
        .concat();
        let tracks = Tracks {
            video,
            audio: session(1, Audio, 2, 950, "KKKKKKKKKKKKKKKKKKKKKKK"),
        };
        let mut served = Vec::new();
        for item in plan_playlist(&tracks, &[], range(0, 60_000), false) {
            if let Item::Segment(segment) = item {
                let chunks = segment_chunks(&tracks, &wanted(&segment));
                assert!(chunks[0].meta.is_access_point() && chunks[0].meta.track == Video);
                served.extend(chunks.into_iter().filter(|chunk| chunk.meta.track == Video));
            }
        }
        let mut gate = KeyframeGate::new(false);
        let playable: Vec<_> = tracks
            .video
            .iter()
            .filter(|entry| gate.admit(&entry.meta) != Admission::Skip)
            .copied()
            .collect();
        assert_eq!(starts_ms(&served), starts_ms(&playable));
    }

    proptest! {
        /// Timeline, playlist and export get the same chunks of what one recorder stored.
        #[test]
        fn the_timeline_shows_exactly_what_can_be_played(
            sessions in prop::collection::vec(("[KL][Kdl.]{0,20}", 1i64..7), 1..5),
        ) {
            let (mut entries, mut at) = (Vec::new(), 0);
            for (chunks, pause_chunks) in &sessions {
                at += pause_chunks * 500;
                entries.extend(session(1, Video, 1, at, chunks));
                at += chunks.len() as i64 * 500;
            }
            // No two keyframes are alike.
            for (number, entry) in (0..).zip(&mut entries) {
                entry.meta.access = entry.meta.access.map(|_| Access::sync(number));
            }
            let recorded = holdfast_storage::timeline::spans_of(&entries);
            let video = holdfast_storage::timeline::merge(entries);
            let plan = plan_export(&Tracks { video, audio: vec![] }, range(0, at + 500), false);
            let played = plan.map_or(vec![], |plan| plan.chunks);
            let is_played = |at: Timestamp| {
                played
                    .iter()
                    .any(|entry| entry.meta.start <= at && at < entry.meta.end())
            };
            let is_recorded = |at: Timestamp| {
                recorded
                    .iter()
                    .any(|span| span.start <= at && at < span.end)
            };
            for at_ms in (0..at).step_by(250) {
                let at = Timestamp(at_ms * 1000);
                prop_assert_eq!(is_played(at), is_recorded(at), "at {} ms: {:?}", at_ms, &recorded);
            }
        }

        #[test]
        fn whatever_was_recorded_each_playable_chunk_is_in_one_segment(
            sessions in prop::collection::vec(("[Kdl.]{1,20}", 0i64..3000, 1u64..3), 1..6),
            from_ms in 0i64..9000,
        ) {
            let (mut video, mut at) = (Vec::new(), 0);
            for (node, (chunks, pause_ms, init)) in sessions.iter().enumerate() {
                at += pause_ms;
                video.extend(session(node as u64, Video, *init, at, chunks));
                at += chunks.len() as i64 * 500;
            }
            let tracks = Tracks { video, audio: session(1, Audio, 9, 40, "KKKKKKKKKKKK") };
            let mut gate = KeyframeGate::new(false);
            let candidates =
                from_keyframe_before(&tracks.video, Timestamp(from_ms * 1000), false).iter();
            let playable: Vec<_> = candidates
                .filter(|entry| gate.admit(&entry.meta) != Admission::Skip)
                .copied()
                .collect();
            let (mut served, mut end) = (Vec::new(), Timestamp::MIN);
            for item in plan_playlist(&tracks, &[], range(from_ms, 600_000), false) {
                let (Item::Gap(span) | Item::Segment(Segment { range: span, .. })) = item;
                prop_assert!(end <= span.from && span.from < span.to);
                end = span.to;
                if let Item::Segment(segment) = item {
                    let chunks = segment_chunks(&tracks, &wanted(&segment));
                    let begins = chunks[0].meta.is_access_point() || segment.access.is_none();
                    prop_assert!(begins && chunks[0].meta.track == Video);
                    served.extend(chunks.into_iter().filter(|chunk| chunk.meta.track == Video));
                }
            }
            prop_assert_eq!(served, playable);
        }
    }
}
