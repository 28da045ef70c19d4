//! Scenarios of failovers and mirrors, and properties of any recording.

mod seams;
mod sessions;
mod sound;

use super::*;
use crate::chunk::{Access, AccessPoint, ChunkLocation, GapCause, InitId};
use crate::ids::{CameraId, SegmentId, SessionId, StreamKind};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// One camera with GOPs of two chunks of 500 ms; frame times are the camera's, `skew_us` is the
/// recorder's clock.
#[derive(Clone, Copy, Debug)]
struct Recording {
    node: u64,
    epoch: u64,
    rank: Rank,
    skew_us: i64,
}

const CHUNK_US: i64 = 500_000;

impl Recording {
    fn chunk(self, number: u32, session_from: u32, track: TrackKind) -> ChunkEntry {
        // A recorder would not store a session without its keyframe; readers must tolerate it.
        let has_keyframe = track == TrackKind::Video && number - number % 2 >= session_from;
        let meta = ChunkMeta {
            camera: CameraId(1),
            stream: StreamKind::Main,
            track,
            node: NodeId(self.node),
            epoch: Epoch(self.epoch),
            rank: self.rank,
            session: SessionId(u64::from(session_from)),
            sequence: number - session_from,
            init: InitId(0),
            start: Timestamp(i64::from(number) * CHUNK_US + self.skew_us),
            duration_us: CHUNK_US as u32,
            frames: 1,
            access: (track == TrackKind::Video && number.is_multiple_of(2))
                .then_some(Access::sync(number)),
            since_access_ms: has_keyframe.then_some(500 * (number % 2)),
            after_loss: false,
            damaged: false,
        };
        let (segment, offset, holder) =
            (SegmentId(self.node), u64::from(number), NodeId(self.node));
        let location = ChunkLocation {
            volume: 0,
            segment,
            offset,
            payload_bytes: 1,
            holder,
        };
        ChunkEntry { meta, location }
    }

    fn video(self, numbers: std::ops::Range<u32>) -> Vec<ChunkEntry> {
        let from = numbers.start;
        numbers
            .map(|number| self.chunk(number, from, TrackKind::Video))
            .collect()
    }

    fn audio(self, numbers: std::ops::Range<u32>) -> Vec<ChunkEntry> {
        let from = numbers.start;
        numbers
            .map(|number| self.chunk(number, from, TrackKind::Audio))
            .collect()
    }
}

const OWNER: Recording = Recording {
    node: 1,
    epoch: 1,
    rank: Rank::Owner,
    skew_us: 0,
};
const MIRROR: Recording = Recording {
    node: 2,
    epoch: 1,
    rank: Rank::Mirror,
    skew_us: 40_000,
};
const NEXT: Recording = Recording {
    node: 3,
    epoch: 2,
    rank: Rank::Owner,
    skew_us: -30_000,
};

/// The shown chunks: the node, and the camera's own number of the chunk.
fn shown(entries: &[ChunkEntry]) -> Vec<(u64, u64)> {
    entries
        .iter()
        .map(|entry| (entry.meta.node.0, entry.location.offset))
        .collect()
}

fn numbers(entries: &[ChunkEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.location.offset).collect()
}

#[test]
fn the_owner_is_shown_and_not_its_mirror() {
    let merged = merge([MIRROR.video(0..10), OWNER.video(0..10)].concat());
    assert_eq!(
        shown(&merged),
        (0..10).map(|number| (1, number)).collect::<Vec<_>>()
    );
}

#[test]
fn an_outage_of_the_owner_is_filled_from_the_mirror_without_a_frame_lost_or_doubled() {
    let merged = merge([OWNER.video(0..7), OWNER.video(12..20), MIRROR.video(0..20)].concat());
    assert_eq!(numbers(&merged), (0..20).collect::<Vec<_>>());
    let nodes: Vec<u64> = merged.iter().map(|entry| entry.meta.node.0).collect();
    assert_eq!(
        nodes,
        [[1; 6].as_slice(), &[2; 6], &[1; 8]].concat(),
        "left and entered at the shared keyframes 6 and 12"
    );
}

#[test]
fn a_failover_goes_to_the_higher_epoch_at_the_shared_keyframe() {
    let merged = merge([OWNER.video(0..9), NEXT.video(6..15)].concat());
    assert_eq!(numbers(&merged), (0..15).collect::<Vec<_>>());
    assert_eq!(
        merged.iter().position(|entry| entry.meta.node.0 == 3),
        Some(6)
    );
}

#[test]
fn a_recorder_that_begins_within_a_gop_is_entered_at_its_first_keyframe() {
    let merged = merge([OWNER.video(0..9), NEXT.video(5..15)].concat());
    assert_eq!(shown(&merged)[4..8], [(1, 4), (1, 5), (3, 6), (3, 7)]);
}

/// A mirror with a clock `skew_us` off, whose chunk number 7 ends after 80 ms, when it becomes the
/// owner; it continues within the GOP.
fn promoted_mirror(skew_us: i64) -> Vec<ChunkEntry> {
    let mut session = Recording { skew_us, ..MIRROR }.video(0..15);
    session[7].meta.duration_us = 80_000;
    session[8].meta.access = None;
    for owned in &mut session[8..] {
        (owned.meta.epoch, owned.meta.rank) = (Epoch(2), Rank::Owner);
        owned.meta.start = owned.meta.start.plus_micros(-420_000);
    }
    session
}

#[test]
fn a_mirror_that_becomes_the_owner_right_after_the_last_frame_of_the_dead_one_loses_nothing() {
    for skew_us in [-90_000, -10_000, 0, 10_000, 90_000] {
        let merged = merge([OWNER.video(0..7), promoted_mirror(skew_us)].concat());
        assert_eq!(
            numbers(&merged),
            (0..15).collect::<Vec<_>>(),
            "clock off by {skew_us} us"
        );
    }
    // Its last frames were durable on the dead node, too.
    let mut owner = OWNER.video(0..8);
    owner[7].meta.duration_us = 80_000;
    for skew_us in [-10_000, 0, 10_000] {
        let merged = merge([owner.clone(), promoted_mirror(skew_us)].concat());
        assert_eq!(
            numbers(&merged),
            (0..15).collect::<Vec<_>>(),
            "clock off by {skew_us} us"
        );
        let heir = merged
            .iter()
            .position(|entry| entry.meta.node == NodeId(2))
            .unwrap();
        assert!(
            merged[heir].meta.is_access_point(),
            "it is entered at a keyframe"
        );
    }
}

#[test]
fn a_successor_that_is_confirmed_within_a_gop_loses_nothing() {
    let mut session = Recording {
        epoch: 1,
        rank: Rank::Successor,
        ..NEXT
    }
    .video(6..15);
    for confirmed in &mut session[3..] {
        (confirmed.meta.epoch, confirmed.meta.rank) = (Epoch(2), Rank::Owner);
    }
    assert!(!session[3].meta.is_access_point());
    let merged = merge([OWNER.video(0..5), session.clone()].concat());
    assert_eq!(
        shown(&merged)[5..],
        (6..15).map(|number| (3, number)).collect::<Vec<_>>()
    );
    let merged = merge([OWNER.video(0..12), session].concat());
    assert_eq!(
        numbers(&merged),
        (0..15).collect::<Vec<_>>(),
        "nor where the owner lived longer than was thought"
    );
}

#[test]
fn a_handoff_that_is_called_off_within_the_gop_loses_nothing() {
    let mut called_off = Recording {
        epoch: 1,
        rank: Rank::Successor,
        ..NEXT
    }
    .video(6..8);
    (called_off[1].meta.epoch, called_off[1].meta.rank) = (Epoch(2), Rank::Owner);
    called_off[1].meta.duration_us = 40_000;
    called_off[1].meta.frames = 1;
    let mut owner = OWNER.video(4..12);
    owner[3].meta.frames = 12;
    assert_eq!(
        shown(&merge([owner, called_off].concat())),
        (4..12).map(|number| (1, number)).collect::<Vec<_>>()
    );
}

#[test]
fn a_gop_is_shown_from_the_recording_that_has_two_frames_more_of_it() {
    let mut owner = OWNER.video(0..8);
    owner[7].meta.frames = 10;
    owner[7].meta.duration_us = 400_000;
    let mut mirror = Recording {
        skew_us: 2_000,
        ..MIRROR
    }
    .video(0..8);
    mirror[7].meta.frames = 12;
    mirror[7].meta.duration_us = 480_000;
    let merged = merge([owner, mirror].concat());
    assert_eq!(shown(&merged)[5..], [(1, 5), (2, 6), (2, 7)]);
}

#[test]
fn recordings_without_a_shared_keyframe_are_cut_by_time() {
    let mut next = NEXT.video(6..15);
    next.iter_mut()
        .filter(|entry| entry.meta.is_access_point())
        .for_each(|entry| entry.meta.access = Some(Access::sync(99_999)));
    let merged = merge([OWNER.video(0..9), next].concat());
    assert_eq!(numbers(&merged), (0..15).collect::<Vec<_>>());
}

#[test]
fn a_loss_within_the_session_is_filled_from_the_mirror() {
    let mut owner = OWNER.video(0..20);
    owner.remove(7);
    owner[7].meta.after_loss = true;
    let merged = merge([owner, MIRROR.video(0..20)].concat());
    assert_eq!(numbers(&merged), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_view_that_begins_with_what_cannot_be_decoded_leaves_it_to_the_mirror() {
    let mut owner = OWNER.video(1..3);
    for entry in &mut owner {
        (entry.meta.after_loss, entry.meta.access) = (true, None);
    }
    let merged = merge([owner, MIRROR.video(0..8)].concat());
    assert_eq!(
        shown(&merged),
        (0..8).map(|number| (2, number)).collect::<Vec<_>>()
    );
}

#[test]
fn audio_follows_the_recorder_of_the_video() {
    let entries = [
        OWNER.video(0..6),
        OWNER.audio(0..6),
        NEXT.video(6..12),
        NEXT.audio(2..12),
    ]
    .concat();
    let merged = merge(entries);
    let audio: Vec<_> = merged
        .into_iter()
        .filter(|entry| entry.meta.track == TrackKind::Audio)
        .collect();
    assert_eq!(
        shown(&audio),
        (0..12)
            .map(|number| (if number < 6 { 1 } else { 3 }, number))
            .collect::<Vec<_>>()
    );
}

/// Audio in chunks of 400, 400 and 200 ms per GOP, all of it 60 ms late.
#[test]
fn sound_is_neither_lost_nor_doubled_where_one_recorder_gives_way_to_another() {
    let sound = |of: Recording, gops: std::ops::Range<u32>| -> Vec<ChunkEntry> {
        let chunks = gops.flat_map(|gop| [(gop, 0, 400), (gop, 400, 400), (gop, 800, 200)]);
        let chunk = |(number, (gop, at_ms, ms)): (u32, (u32, i64, u32))| {
            let mut entry = of.chunk(number, 0, TrackKind::Audio);
            entry.meta.start =
                Timestamp(i64::from(gop) * 1_000_000 + at_ms * 1000 + of.skew_us + 60_000);
            entry.meta.duration_us = ms * 1000;
            entry.location.offset = u64::from(gop) * 1000 + at_ms as u64;
            entry
        };
        (0..).zip(chunks).map(chunk).collect()
    };
    for recorders in [[OWNER, NEXT], [MIRROR, OWNER], [NEXT, MIRROR]] {
        let [before, after] = recorders;
        let video = [before.video(0..6), after.video(4..12)].concat();
        let merged = merge([video, sound(before, 0..3), sound(after, 2..6)].concat());
        let audio: Vec<_> = merged
            .into_iter()
            .filter(|entry| entry.meta.track == TrackKind::Audio)
            .collect();
        let wanted: Vec<u64> = (0..6)
            .flat_map(|gop| [gop * 1000, gop * 1000 + 400, gop * 1000 + 800])
            .collect();
        assert_eq!(
            numbers(&audio),
            wanted,
            "node {} and node {}",
            before.node,
            after.node
        );
    }
}

#[test]
fn audio_alone_is_merged_too() {
    assert_eq!(
        numbers(&merge([OWNER.audio(0..4), MIRROR.audio(0..8)].concat())).len(),
        8
    );
}

#[test]
fn spans_end_at_holes_and_losses_of_time_but_not_between_consecutive_chunks() {
    let mut late = OWNER.video(0..4);
    late[2].meta.start = late[2].meta.start.plus_micros(200_000);
    assert_eq!(spans_of(&late).len(), 1, "consecutive in its session");
    late[2].meta.after_loss = true;
    assert_eq!(spans_of(&late).len(), 2);
    assert_eq!(
        spans_of(&[OWNER.video(0..4), OWNER.video(6..8)].concat()).len(),
        2
    );
}

/// `[from, to)` in milliseconds of each span.
fn extents(spans: &[Span]) -> Vec<(i64, i64)> {
    spans
        .iter()
        .map(|span| (span.start.0 / 1000, span.end.0 / 1000))
        .collect()
}

/// The same, and whether the span is damaged.
fn marked(spans: &[Span]) -> Vec<(i64, i64, bool)> {
    spans
        .iter()
        .map(|span| (span.start.0 / 1000, span.end.0 / 1000, span.damaged))
        .collect()
}

fn lost(start_ms: i64, end_ms: i64) -> Gap {
    Gap {
        camera: CameraId(1),
        stream: StreamKind::Main,
        node: NodeId(1),
        epoch: Epoch(1),
        start: Timestamp(start_ms * 1000),
        end: Timestamp(end_ms * 1000),
        cause: GapCause::PacketsLost,
        frames_missing: None,
    }
}

/// Loses the first 40 ms of a chunk.
fn lose_before(entry: &mut ChunkEntry) {
    entry.meta.after_loss = true;
    entry.meta.start = entry.meta.start.plus_micros(40_000);
    entry.meta.duration_us -= 40_000;
}

#[test]
fn a_loss_however_short_ends_a_span_and_the_next_one_is_damaged_up_to_the_next_keyframe() {
    let mut owner = OWNER.video(0..8);
    lose_before(&mut owner[3]);
    assert_eq!(
        marked(&spans_of(&owner)),
        [(0, 1500, false), (1540, 2000, true), (2000, 4000, false)]
    );
    let mut owner = OWNER.video(0..8);
    lose_before(&mut owner[4]);
    assert_eq!(
        marked(&spans_of(&owner)),
        [(0, 2000, false), (2040, 4000, false)],
        "a keyframe needs nothing before it"
    );
    let mut owner = OWNER.video(0..8);
    owner.remove(2);
    let damaged = [(0, 1000, false), (1500, 2000, true), (2000, 4000, false)];
    assert_eq!(
        marked(&spans_of(&owner)),
        damaged,
        "a chunk that is gone damages its GOP"
    );
}

#[test]
fn what_is_damaged_is_so_in_the_next_segment_too() {
    let mut owner = OWNER.video(0..8);
    owner[1].meta.after_loss = true;
    assert_eq!(
        marked(&spans_of(&owner[1..])),
        [(500, 1000, true), (1000, 4000, false)]
    );
    let mut owner = OWNER.video(0..8);
    owner[1].meta.damaged = true;
    assert_eq!(
        marked(&spans_of(&owner[1..])),
        [(500, 1000, true), (1000, 4000, false)],
        "its recorder says so"
    );
    assert_eq!(
        marked(&spans_of(&OWNER.video(0..8)[1..])),
        [(500, 4000, false)],
        "it continues what was before"
    );
}

#[test]
fn what_no_keyframe_came_before_is_no_span_and_not_shown() {
    let mut begun = OWNER.video(1..4);
    assert_eq!(marked(&spans_of(&begun)), [(1000, 2000, false)]);
    assert_eq!(numbers(&merge(begun.clone())), [2, 3]);
    begun[2].meta.init = InitId(9);
    assert_eq!(
        marked(&spans_of(&begun)),
        [(1000, 1500, false)],
        "other parameters without a keyframe"
    );
}

fn refresh(frames: u16, slices_crc: u32) -> Option<Access> {
    Some(Access {
        point: AccessPoint::Recovery { frames },
        slices_crc,
    })
}

/// Chunks of ten frames; each GOP is a gradual refresh of 15 frames.
fn refreshing(mut entries: Vec<ChunkEntry>) -> Vec<ChunkEntry> {
    for meta in entries.iter_mut().map(|entry| &mut entry.meta) {
        meta.frames = 10;
        meta.access = meta
            .access
            .and_then(|access| refresh(15, access.slices_crc));
    }
    entries
}

#[test]
fn a_session_that_begins_with_a_gradual_refresh_is_damaged_until_it_has_ended() {
    let recorded = refreshing(OWNER.video(0..8));
    assert_eq!(
        marked(&spans_of(&recorded)),
        [(0, 1000, true), (1000, 4000, false)]
    );
    assert_eq!(merge(recorded.clone()), recorded);
}

#[test]
fn a_refresh_that_another_recorder_has_whole_pictures_at_is_entered_there() {
    let shown_nodes = |entries| -> (Vec<u64>, Vec<u64>) {
        let merged = merge(refreshing(entries));
        (
            numbers(&merged),
            merged.iter().map(|entry| entry.meta.node.0).collect(),
        )
    };
    let all: Vec<u64> = (0..15).collect();
    let next = Recording {
        skew_us: 10_000,
        ..NEXT
    };
    let (numbers, nodes) = shown_nodes([OWNER.video(0..7), next.video(6..15)].concat());
    assert_eq!(
        (numbers, nodes),
        (all.clone(), [[1; 6].as_slice(), &[3; 9]].concat()),
        "both hold that access point"
    );
    let (numbers, nodes) = shown_nodes([OWNER.video(0..9), next.video(6..15)].concat());
    assert_eq!(
        (numbers, nodes),
        (all.clone(), [[1; 8].as_slice(), &[3; 7]].concat()),
        "whole as long as there are any"
    );
    let mut apart = next.video(6..15);
    let points = apart
        .iter_mut()
        .filter_map(|entry| entry.meta.access.as_mut());
    points.for_each(|access| access.slices_crc += 1000);
    let (numbers, nodes) = shown_nodes([OWNER.video(0..7), apart].concat());
    assert_eq!(
        (numbers, nodes),
        (all, [[1; 7].as_slice(), &[3; 8]].concat()),
        "by time"
    );
}

#[test]
fn damaged_footage_is_shown_where_no_recorder_has_it_whole() {
    let mut owner = OWNER.video(0..8);
    lose_before(&mut owner[3]);
    assert_eq!(merge(owner.clone()), owner);
    let shown_nodes = |entries| {
        merge(entries)
            .iter()
            .map(|entry| entry.meta.node.0)
            .collect::<Vec<_>>()
    };
    let with_mirror = [owner.clone(), MIRROR.video(0..8)].concat();
    assert_eq!(
        shown_nodes(with_mirror),
        [1, 1, 2, 2, 1, 1, 1, 1],
        "the lower rank has it whole"
    );
    let with_part = [owner, MIRROR.video(0..3)].concat();
    assert_eq!(shown_nodes(with_part), [1; 8]);
}

#[test]
fn seams_between_segments_are_joined_unless_the_ledger_records_a_loss() {
    let span = |start: i64, end: i64| Span {
        start: Timestamp(start * 1000),
        end: Timestamp(end * 1000),
        node: NodeId(1),
        epoch: Epoch(1),
        rank: Rank::Owner,
        damaged: false,
    };
    let joined =
        |ledger: &[Gap]| extents(&join_seams(vec![span(1040, 2000), span(0, 1000)], ledger));
    assert_eq!(joined(&[]), [(0, 2000)]);
    assert_eq!(joined(&[lost(1000, 1040)]), [(0, 1000), (1040, 2000)]);
    assert_eq!(
        joined(&[lost(0, 1040)]),
        [(0, 2000)],
        "a longer outage is another one"
    );
    assert_eq!(
        extents(&join_seams(vec![span(0, 1000), span(1101, 2000)], &[])),
        [(0, 1000), (1101, 2000)]
    );
    let damaged = Span {
        damaged: true,
        ..span(1000, 2000)
    };
    assert_eq!(
        marked(&join_seams(vec![span(0, 1000), damaged], &[])),
        [(0, 1000, false), (1000, 2000, true)]
    );
}

#[test]
fn a_loss_that_another_recorder_fills_is_no_hole_and_any_other_is_however_short() {
    let mut owner = OWNER.video(0..8);
    lose_before(&mut owner[4]);
    let ledger = [lost(2000, 2040)];
    let all = |spans: &[Span]| holes(spans, &ledger, Timestamp(0), Timestamp(4_000_000));
    assert_eq!(
        all(&spans_of(&owner)),
        [(Timestamp(2_000_000), Timestamp(2_040_000))]
    );
    assert_eq!(all(&spans_of(&[owner, MIRROR.video(0..8)].concat())), []);
}

#[test]
fn merged_spans_prefer_the_higher_epoch_and_holes_are_what_is_left() {
    let span = |node, epoch, start, end| Span {
        start: Timestamp(start),
        end: Timestamp(end),
        node: NodeId(node),
        epoch: Epoch(epoch),
        rank: Rank::Owner,
        damaged: false,
    };
    let damaged = Span {
        damaged: true,
        ..span(2, 2, 0, 6_000_000)
    };
    let mixed = merge_spans(vec![span(1, 1, 1_000_000, 5_000_000), damaged]);
    let expected = [(0, 1000, true), (1000, 5000, false), (5000, 6000, true)];
    assert_eq!(
        marked(&mixed),
        expected,
        "whole before damaged, whatever the epoch"
    );
    let merged = merge_spans(vec![
        span(1, 1, 0, 5_000_000),
        span(2, 2, 4_000_000, 9_000_000),
    ]);
    assert_eq!(
        merged,
        [span(1, 1, 0, 4_000_000), span(2, 2, 4_000_000, 9_000_000)]
    );
    let holes = holes(&merged, &[], Timestamp(-50_000), Timestamp(10_000_000));
    assert_eq!(
        holes,
        [(Timestamp(9_000_000), Timestamp(10_000_000))],
        "50 ms at the edge is no hole"
    );
}

fn recordings() -> impl Strategy<Value = Vec<ChunkEntry>> {
    let piece = (0..3_usize, 0..40_u32, 1..20_u32);
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| {
        let who = [OWNER, MIRROR, NEXT];
        let mut seen = BTreeSet::new();
        let all = pieces
            .into_iter()
            .flat_map(|(recorder, from, length)| who[recorder].video(from..from + length));
        all.filter(|entry| seen.insert((entry.meta.node, entry.location.offset)))
            .collect()
    })
}

proptest! {
    /// Recorders agree on keyframes here, so the view never doubles a frame, and loses none that
    /// any recorder's GOP holds from its keyframe on.
    #[test]
    fn a_merge_doubles_nothing_and_invents_nothing(entries in recordings()) {
        let merged = merge(entries.clone());
        let shown = numbers(&merged);
        prop_assert!(shown.windows(2).all(|pair| pair[0] < pair[1]), "{shown:?}");
        prop_assert!(merged.iter().all(|entry| entries.contains(entry)));
    }

    #[test]
    fn a_merge_is_the_same_whatever_the_order_and_merging_again_changes_nothing(
        entries in recordings(),
    ) {
        let merged = merge(entries.clone());
        prop_assert_eq!(&merge(entries.into_iter().rev().collect()), &merged);
        prop_assert_eq!(merge(merged.clone()), merged);
    }

    #[test]
    fn merged_spans_never_overlap_and_cover_what_any_recorder_covers(entries in recordings()) {
        let spans = spans_of(&entries);
        let merged = merge_spans(spans.clone());
        prop_assert!(merged.windows(2).all(|pair| pair[0].end <= pair[1].start));
        let covered = |at: i64, spans: &[Span]| {
            spans
                .iter()
                .any(|span| span.start.0 <= at && at < span.end.0)
        };
        for at in (0..35_000_000).step_by(25_000) {
            prop_assert!(!covered(at, &spans) || covered(at, &merged), "at {}", at);
        }
    }
}

/// After a clock step every recording begins again, without a hole of noticeable length.
#[test]
fn two_sessions_of_one_node_with_the_same_picture_are_both_shown() {
    let picture = |mut entries: Vec<ChunkEntry>| {
        let keyframes = entries
            .iter_mut()
            .filter_map(|entry| entry.meta.access.as_mut());
        keyframes.for_each(|access| access.slices_crc = 7);
        entries
    };
    let again = Recording {
        skew_us: 20_000,
        ..OWNER
    };
    let recorded = picture([OWNER.video(0..10), again.video(10..20)].concat());
    assert_eq!(merge(recorded.clone()), recorded);
}
