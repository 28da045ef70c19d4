//! Decode times that are computed from the catalogue alone equal those of the frames as they are
//! sent.

use super::*;
use crate::playback::testing::session;
use holdfast_storage::chunk::{AccessPoint, ChunkLocation, InitId};
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::cmaf::init::{
    AudioCodec, AudioParameters, VideoCodec, VideoParameters, audio_init, video_init,
};
use holdfast_storage::cmaf::merge::merge_inits;
use holdfast_storage::ids::SegmentId;
use holdfast_storage::ids::TrackKind::{Audio, Video};
use proptest::prelude::*;

const BASE: Timestamp = Timestamp(1_795_341_600_000_000);
const FRAME: u64 = 3600;

fn init() -> (MergedInit, [InitId; 2]) {
    let codec = VideoCodec::Avc {
        avcc: vec![1, 0x64, 0, 30, 0xff, 0xe0, 0],
    };
    let video = video_init(&VideoParameters {
        codec,
        width: 640,
        height: 360,
        pixel_aspect: None,
    })
    .unwrap();
    let audio = AudioParameters {
        codec: AudioCodec::PcmUlaw,
        sample_rate_hz: 8000,
        channels: 1,
    };
    let audio = audio_init(&audio).unwrap();
    let ids = [InitId::of(&video), InitId::of(&audio)];
    (
        merge_inits(&[(ids[0], video)], &[(ids[1], audio)]).unwrap(),
        ids,
    )
}

fn placer(in_frames: bool) -> Placer {
    let (init, _) = init();
    if in_frames {
        Placer::in_frames(BASE, init, Some(40_000_000))
    } else {
        Placer::new(BASE, init)
    }
}

/// A chunk whose frames are at these times, in milliseconds from the base, and its stored bytes.
fn chunk(track: TrackKind, times_ms: &[i64], end_ms: i64, offset: i32) -> (ChunkEntry, Bytes) {
    let timescale = if track == Video { 90_000 } else { 8000 };
    let ticks = |ms: i64| BASE.plus_micros(ms * 1000).ticks(timescale);
    let ends = times_ms.iter().skip(1).chain([&end_ms]);
    let frame = |(at, end): (&i64, &i64)| Frame {
        data: vec![0; 8].into(),
        decode_time: ticks(*at),
        duration: (ticks(*end) - ticks(*at)) as u32,
        composition_offset: offset,
        access: Some(AccessPoint::Sync),
    };
    let frames: Vec<Frame> = times_ms.iter().zip(ends).map(frame).collect();
    let start = BASE.plus_micros(times_ms[0] * 1000);
    let bytes = build_chunk(track, 0, start, &frames).unwrap().concat();
    let mut meta = session(1, track, 1, 0, "K")[0].meta;
    meta.init = init().1[usize::from(track == Audio)];
    (meta.start, meta.frames) = (start, times_ms.len() as u32);
    meta.duration_us = ((end_ms - times_ms[0]) * 1000) as u32;
    let payload_bytes = bytes.len() as u32;
    let location = ChunkLocation {
        volume: 0,
        segment: SegmentId(1),
        offset: 0,
        payload_bytes,
        holder: meta.node,
    };
    (ChunkEntry { meta, location }, bytes.into())
}

/// Decode times and durations of all frames as they are sent, by chunk.
fn sent(placer: &Placer, chunks: &[(ChunkEntry, Bytes)]) -> Vec<Vec<(u64, u32)>> {
    let entries: Vec<ChunkEntry> = chunks.iter().map(|(entry, _)| *entry).collect();
    let places = placer.schedule(&entries);
    let one = |((entry, bytes), place): (&(ChunkEntry, Bytes), &Place)| {
        let placed = placer.place(&entry.meta, *place, 1, bytes.clone()).unwrap();
        samples(&placed)
            .unwrap()
            .iter()
            .map(|sample| (sample.decode_time, sample.duration))
            .collect()
    };
    chunks.iter().zip(&places).map(one).collect()
}

fn frames(points: &[u64]) -> Vec<(u64, u32)> {
    points
        .iter()
        .map(|point| (point * FRAME, FRAME as u32))
        .collect()
}

#[test]
fn frames_that_were_moved_together_are_a_frame_apart_again() {
    let chunks = [
        chunk(Video, &[0, 39, 78], 117, 0),
        chunk(Video, &[117, 156, 195], 234, 0),
    ];
    assert_eq!(
        sent(&placer(true), &chunks),
        [frames(&[0, 1, 2]), frames(&[3, 4, 5])]
    );
    let recorded = sent(&placer(false), &chunks);
    assert_eq!(
        recorded[1],
        [
            (117 * 90, 39 * 90),
            (156 * 90, 39 * 90),
            (195 * 90, 39 * 90)
        ]
    );
}

#[test]
fn a_gap_lasts_the_nearest_number_of_whole_frames() {
    let chunks = [
        chunk(Video, &[0, 40], 80, 0),
        chunk(Video, &[5051, 5091], 5131, 0),
    ];
    assert_eq!(
        sent(&placer(true), &chunks),
        [frames(&[0, 1]), frames(&[126, 127])]
    );
}

#[test]
fn uneven_frames_take_the_nearest_points_and_last_up_to_the_next() {
    let chunks = [
        chunk(Video, &[0, 130, 155], 330, 0),
        chunk(Video, &[330], 370, 0),
    ];
    let placed = sent(&placer(true), &chunks);
    let one = FRAME as u32;
    assert_eq!(
        placed[0],
        [(0, 3 * one), (3 * FRAME, one), (4 * FRAME, 4 * one)]
    );
    assert_eq!(placed[1][0].0, 8 * FRAME);
}

#[test]
fn what_overlaps_moves_back_behind_what_came_before() {
    for in_frames in [false, true] {
        let chunks = [
            chunk(Video, &[0, 40, 80], 120, 0),
            chunk(Video, &[60, 100], 140, 0),
        ];
        let placed = sent(&placer(in_frames), &chunks);
        assert_eq!(placed[1], frames(&[3, 4]), "{in_frames}");
        let reordered = [
            chunk(Video, &[0, 40, 80], 120, 0),
            chunk(Video, &[60, 100], 140, 7200),
        ];
        assert_eq!(
            sent(&placer(in_frames), &reordered)[1],
            frames(&[3, 4]),
            "{in_frames}"
        );
    }
}

#[test]
fn a_chunk_is_placed_alike_whatever_was_placed_before_it() {
    let chunks: Vec<_> = (0..20)
        .map(|n| {
            chunk(
                Video,
                &[n * 117, n * 117 + 39, n * 117 + 78],
                n * 117 + 117,
                0,
            )
        })
        .collect();
    let placer = placer(true);
    let all = sent(&placer, &chunks);
    let entries: Vec<ChunkEntry> = chunks.iter().map(|(entry, _)| *entry).collect();
    let place = placer.schedule(&entries)[13];
    let alone = placer
        .place(&entries[13].meta, place, 14, chunks[13].1.clone())
        .unwrap();
    assert_eq!(samples(&alone).unwrap()[0].decode_time, all[13][0].0);
}

#[test]
fn audio_follows_video_that_is_ahead_by_whole_frames() {
    // Six frames within one frame's time are shown up to five frames later.
    let burst = chunk(Video, &[0, 1, 2, 3, 4, 5], 6, 0);
    let late = chunk(Video, &[6, 7], 46, 0);
    let sound = chunk(Audio, &[200], 240, 0);
    let placed = sent(&placer(true), &[burst, late, sound]);
    assert_eq!(placed[1][0].0, 6 * FRAME);
    assert_eq!(placed[2], [((200 + 5 * 40) * 8, 320)]);
}

#[test]
fn a_camera_twice_as_fast_as_the_grid_is_not_shown_in_slow_motion() {
    let chunks: Vec<_> = (0..100)
        .map(|n| chunk(Video, &[n * 40, n * 40 + 20], n * 40 + 40, 0))
        .collect();
    let placed = sent(&placer(true), &chunks);
    let last = placed.last().unwrap()[0].0;
    let recorded = 99 * FRAME;
    assert_eq!(last, recorded + 90_000 + recorded / 2000);
    let all: Vec<u64> = placed.iter().flatten().map(|(at, _)| *at).collect();
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn frames_in_another_order_than_shown_stay_as_they_are() {
    let chunks = [
        chunk(Video, &[0, 39, 80], 121, 7200),
        chunk(Video, &[121, 160], 200, 7200),
    ];
    let placed = sent(&placer(true), &chunks);
    assert_eq!(
        placed[0],
        [(0, 39 * 90), (39 * 90, 41 * 90), (80 * 90, 41 * 90)]
    );
    assert_eq!(placed[1], [(121 * 90, 39 * 90), (160 * 90, 40 * 90)]);
}

#[test]
fn more_samples_than_there_is_time_for_are_damage() {
    let (entry, bytes) = chunk(Video, &[0, 40, 80], 120, 0);
    let place = Place { at: 5, until: 7 };
    assert!(matches!(
        placer(true).place(&entry.meta, place, 1, bytes),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn a_chunk_is_patched_where_it_lies_and_not_copied() {
    let (entry, bytes) = chunk(Video, &[0, 40], 80, 0);
    let record = Bytes::from([&[0; 80][..], &bytes].concat());
    let payload = record.slice(80..);
    drop(record);
    let at = payload.as_ptr();
    let place = Place {
        at: 0,
        until: 2 * FRAME,
    };
    assert_eq!(
        placer(true)
            .place(&entry.meta, place, 1, payload)
            .unwrap()
            .as_ptr(),
        at
    );
}

proptest! {
    /// For any chunks and any order of frames: times increase from frame to frame, and from chunk
    /// to chunk.
    #[test]
    fn times_grow(
        chunks in prop::collection::vec(
            (0i64..900, prop::collection::vec(1i64..90, 1..12), any::<bool>()),
            1..12,
        ),
        in_frames in any::<bool>(),
    ) {
        let (mut at, mut all) = (0, Vec::new());
        for (pause, spans, is_reordered) in &chunks {
            // Some overlap the previous one.
            at += if at > 400 { pause - 300 } else { *pause };
            let mut times = vec![at];
            times.extend(spans.iter().scan(at, |time, span| { *time += span; Some(*time) }));
            let end = times.pop().unwrap();
            all.push(chunk(Video, &times, end, if *is_reordered { 7200 } else { 0 }));
            at = end;
        }
        all.sort_by_key(|(entry, _)| entry.meta.start);
        let is_alike = chunks.iter().all(|(_, _, is_reordered)| *is_reordered == chunks[0].2);
        let placed = sent(&placer(in_frames), &all);
        for frames in &placed {
            prop_assert!(frames.windows(2).all(|pair| pair[0].0 < pair[1].0), "{frames:?}");
        }
        let firsts: Vec<u64> = placed.iter().map(|frames| frames[0].0).collect();
        prop_assert!(firsts.windows(2).all(|pair| pair[0] < pair[1]), "{firsts:?}");
        let times: Vec<u64> = placed.iter().flatten().map(|(at, _)| *at).collect();
        prop_assert!(!is_alike || times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }
}
