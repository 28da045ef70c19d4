//! Where chunks end, and that they tile time.

use super::*;
use holdfast_control_api::limits::CHUNKS_PER_SECOND;
use holdfast_storage::chunk::CHUNK_MS_DEFAULT;
use proptest::prelude::*;

const START: Timestamp = Timestamp(1_795_341_600_000_000);

fn video() -> Chunker {
    Chunker::new(Some(VideoCodec::H264), 90_000, Limits::default())
}

fn frame(at_ms: i64, keyframe: bool) -> TimedFrame {
    sized(at_ms, keyframe, 100)
}

fn sized(at_ms: i64, keyframe: bool, bytes: usize) -> TimedFrame {
    static ZEROS: [u8; 4 << 20] = [0; 4 << 20];
    let data = Bytes::from_static(&ZEROS[..bytes]);
    let access = keyframe.then_some(AccessPoint::Sync);
    TimedFrame {
        data,
        decode: START.plus_micros(at_ms * 1000),
        composition_us: 0,
        access,
        length_us: None,
    }
}

fn at(ms: i64) -> Timestamp {
    START.plus_micros(ms * 1000)
}

/// Pushes frames 40 ms apart, a keyframe each `gop` frames, and returns the chunks.
fn stream(chunker: &mut Chunker, frames: i64, gop: i64) -> Vec<Cut> {
    (0..frames)
        .filter_map(|n| chunker.push(frame(n * 40, n % gop == 0), false).cut)
        .collect()
}

#[test]
fn a_chunk_ends_at_half_a_second_or_a_keyframe() {
    let mut chunker = video();
    let cuts = stream(&mut chunker, 51, 25);
    let lengths: Vec<_> = cuts
        .iter()
        .map(|cut| (cut.frames.len(), cut.access.is_some()))
        .collect();
    assert_eq!(
        lengths,
        [
            (12, true),
            (12, false),
            (1, false),
            (12, true),
            (12, false),
            (1, false)
        ]
    );
    assert!(cuts.iter().all(|cut| cut.duration_us <= 500_000));
}

/// The bound by which exports are counted (`control-api`'s limits).
#[test]
fn a_camera_makes_no_more_chunks_than_an_export_counts_on() {
    let limits = Limits {
        duration_us: CHUNK_MS_DEFAULT as i64 * 1000,
        ..Limits::default()
    };
    for gop in [25, 50, 100] {
        let mut chunker = Chunker::new(Some(VideoCodec::H264), 90_000, limits);
        let chunks = stream(&mut chunker, 60 * 25, gop).len();
        // Sound is cut with each GOP, too.
        assert!(
            2 * chunks <= 60 * CHUNKS_PER_SECOND,
            "{chunks} chunks of video in a minute, GOPs of {gop}"
        );
        assert!(2 * chunks > 50 * CHUNKS_PER_SECOND || gop > 25, "{chunks}");
    }
}

#[test]
fn an_access_point_is_named_by_its_slices() {
    let mut chunker = video();
    let idr = Bytes::from_static(&[0, 0, 0, 2, 0x67, 1, 0, 0, 0, 3, 0x65, 8, 9]);
    chunker.push(
        TimedFrame {
            data: idr,
            ..frame(0, true)
        },
        false,
    );
    let point = AccessPoint::Sync;
    let cut = chunker.flush().unwrap();
    assert_eq!(
        cut.access,
        Some(Access {
            point,
            slices_crc: crc32fast::hash(&[0x65, 8, 9])
        })
    );
}

#[test]
fn a_chunk_is_no_larger_than_its_limit_unless_one_frame_is() {
    let mut chunker = video();
    let cuts: Vec<_> = [400, 700, 300, 2000, 10]
        .into_iter()
        .enumerate()
        .filter_map(|(n, kib)| {
            chunker
                .push(sized(n as i64 * 40, n == 0, kib << 10), false)
                .cut
        })
        .collect();
    assert_eq!(
        cuts.iter().map(|cut| cut.frames.len()).collect::<Vec<_>>(),
        [1, 2, 1]
    );
}

#[test]
fn a_chunk_has_a_bounded_number_of_frames() {
    let mut chunker = video();
    let tiny = |n: i64| TimedFrame {
        decode: START.plus_micros(n * 20),
        ..sized(0, n == 0, 1)
    };
    let cuts: Vec<_> = (0..1200)
        .filter_map(|n| chunker.push(tiny(n), false).cut)
        .collect();
    assert_eq!(
        cuts.iter().map(|cut| cut.frames.len()).collect::<Vec<_>>(),
        [CHUNK_FRAMES_MAX; 2]
    );
}

#[test]
fn a_flood_of_keyframes_shares_chunks_and_a_fast_camera_does_not() {
    let keyframes = |every_us: i64| {
        let mut chunker = video();
        let keyframe = |n: i64| TimedFrame {
            decode: START.plus_micros(n * every_us),
            ..sized(0, true, 1)
        };
        (0..1200)
            .filter_map(|n| chunker.push(keyframe(n), false).cut)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keyframes(1_000_000 / 180).len(),
        1199,
        "180 frames a second, each an access point"
    );
    let flood = keyframes(100);
    assert_eq!(flood.len(), 1200 / 50 - 1, "10,000 a second");
    assert!(flood.iter().all(|cut| cut.access.is_some()));
}

#[test]
fn a_chunk_ends_when_no_frame_comes_and_its_last_frame_lasts_like_the_one_before() {
    let mut chunker = video();
    stream(&mut chunker, 3, 25);
    assert_eq!(chunker.idle(at(679)), None);
    let cut = chunker.idle(at(680)).unwrap();
    assert_eq!((cut.frames.len(), cut.end()), (3, at(120)));
    assert_eq!(chunker.idle(at(9000)), None);
    let pushed = chunker.push(frame(900, false), false);
    assert_eq!(
        pushed.hole,
        Some((at(120), at(900))),
        "what is missing is known"
    );
    assert_eq!(pushed.lost_frames, None, "it may have sent none");
}

#[test]
fn a_lost_frame_ends_the_chunk_and_marks_the_next() {
    let mut chunker = video();
    stream(&mut chunker, 3, 25);
    let pushed = chunker.push(frame(200, false), true);
    assert_eq!(
        pushed.cut.map(|cut| (cut.end(), cut.after_loss)),
        Some((at(120), false))
    );
    assert_eq!(
        (pushed.hole, pushed.lost_frames),
        (Some((at(120), at(200))), Some(2))
    );
    assert!(chunker.flush().unwrap().after_loss);
}

#[test]
fn lost_frames_are_not_counted_where_frames_come_unevenly() {
    let lost = |times: &[i64]| {
        let mut chunker = video();
        let pushed = times
            .iter()
            .map(|ms| chunker.push(frame(*ms, *ms == 0), *ms >= 500));
        pushed.last().unwrap().lost_frames
    };
    assert_eq!(lost(&[0, 40, 80, 520]), Some(10));
    assert_eq!(lost(&[0, 40, 80, 500]), None, "nine and a half");
    assert_eq!(lost(&[0, 40, 110, 500]), None);
    assert_eq!(lost(&[0, 40, 500]), None, "one distance proves nothing");
}

#[test]
fn a_frame_lasts_until_the_next_one_but_not_longer_than_a_stall() {
    let mut chunker = video();
    stream(&mut chunker, 2, 25);
    let held = chunker.push(frame(2_000, false), false);
    assert_eq!(held.cut.map(|cut| cut.end()), Some(at(2_000)));
    let stalled = chunker.push(frame(6_000, false), false);
    assert!(
        stalled
            .hole
            .is_some_and(|(from, to)| from < at(5_000) && to == at(6_000))
    );
}

#[test]
fn a_camera_of_few_frames_has_no_holes_and_its_pauses_are_some() {
    let mut chunker = video();
    for n in 0..6 {
        let pushed = chunker.push(frame(n * 10_000, true), false);
        assert_eq!(pushed.hole, None, "frame {n}");
        chunker.idle(at(n * 10_000 + 700));
    }
    assert!(
        chunker.push(frame(90_000, true), false).hole.is_some(),
        "four times its distance"
    );
}

#[test]
fn slow_streams_keep_their_frames_length_across_idle_chunks() {
    let mut chunker = video();
    let mut ends = Vec::new();
    for n in 0..5 {
        let pushed = chunker.push(frame(n * 1000, n == 0), false);
        assert_eq!(pushed.hole, None, "frame {n}");
        ends.extend(chunker.idle(at(n * 1000 + 700)).map(|cut| cut.end()));
    }
    assert_eq!(ends[2..], [at(3000), at(4000), at(5000)]);
}

#[test]
fn audio_ends_by_time_only_and_is_named_by_its_first_frame() {
    let mut chunker = Chunker::new(None, 8000, Limits::default());
    let cuts: Vec<_> = (0..60)
        .filter_map(|n| {
            chunker
                .push(
                    TimedFrame {
                        length_us: Some(20_000),
                        ..frame(n * 20, true)
                    },
                    false,
                )
                .cut
        })
        .collect();
    assert_eq!(
        cuts.iter().map(|cut| cut.frames.len()).collect::<Vec<_>>(),
        [25, 25]
    );
    let named = |cut: &Cut| cut.access == Some(Access::of_sound(&cut.frames[0].data));
    assert!(
        cuts.iter()
            .all(|cut| named(cut) && cut.frames.iter().all(|frame| frame.duration == 160))
    );
}

#[test]
fn a_chunk_ends_before_a_time_where_a_frame_has_come_so_far() {
    let mut chunker = Chunker::new(None, 8000, Limits::default());
    for n in 0..10 {
        chunker.push(
            TimedFrame {
                length_us: Some(20_000),
                ..frame(n * 20, true)
            },
            false,
        );
    }
    let frames = |cut: Option<Cut>| cut.map(|cut| (cut.start, cut.frames.len(), cut.end()));
    assert_eq!(chunker.flush_before(at(181)), Err(NotReached));
    assert_eq!(
        chunker.flush_before(at(130)).map(frames),
        Ok(Some((at(0), 7, at(140))))
    );
    assert_eq!(
        (chunker.flush_before(at(140)), chunker.open_us()),
        (Ok(None), 40_000),
        "it begins there"
    );
    assert_eq!(frames(chunker.flush()), Some((at(140), 3, at(200))));
}

proptest! {
    /// Whatever comes, chunks do not overlap, their frames tile them, and every frame is in exactly
    /// one.
    #[test]
    fn chunks_tile_time(
        frames in prop::collection::vec(
            (-50_000_i64..900_000, any::<bool>(), 0_usize..600_000, 0_u8..20),
            1..120,
        ),
        timescale in prop::sample::select(vec![8_000_u32, 44_100, 90_000]),
    ) {
        let mut chunker = Chunker::new(Some(VideoCodec::H264), timescale, Limits::default());
        let (mut now, mut pushed, mut cuts) = (START, 0, Vec::new());
        for (step_us, keyframe, bytes, event) in frames {
            now = now.plus_micros(step_us);
            match event {
                0 => cuts.extend(chunker.idle(now)),
                1 => cuts.extend(chunker.flush()),
                3 => cuts.extend(chunker.flush_before(now.plus_micros(-300_000)).ok().flatten()),
                _ => {
                    let frame = TimedFrame { decode: now, ..sized(0, keyframe, bytes) };
                    cuts.extend(chunker.push(frame, event == 2).cut);
                    pushed += 1;
                }
            }
        }
        cuts.extend(chunker.flush());
        prop_assert_eq!(cuts.iter().map(|cut| cut.frames.len()).sum::<usize>(), pushed);
        for cut in &cuts {
            let mut at = cut.start.ticks(timescale);
            for frame in &cut.frames {
                prop_assert_eq!(frame.decode_time, at);
                prop_assert!(frame.duration > 0);
                at += u64::from(frame.duration);
            }
            prop_assert_eq!(cut.end().ticks(timescale), at);
            let bytes: usize = cut.frames.iter().map(|frame| frame.data.len()).sum();
            prop_assert!(bytes <= CHUNK_BYTES_MAX || cut.frames.len() == 1);
        }
        for pair in cuts.windows(2) {
            prop_assert!(pair[0].end() <= pair[1].start);
        }
    }
}
