//! Sound and the video that it was heard with.

use super::*;
use crate::capture::ingest::media::AudioCodec;

/// A frame of sound: AAC at 16 kHz.
const SOUND_MS: i64 = 64;
const TICKS_A_MS: i64 = 16;

/// A camera that was on for a long time: when it captures, and how much later frames arrive.
#[derive(Clone, Copy, Debug)]
struct Heard {
    frame_ms: i64,
    gop_ms: i64,
    /// From a picture's capture to its arrival.
    video_late_ms: i64,
    /// From the beginning of a frame of sound to its arrival.
    sound_late_ms: i64,
    /// Reports come with the first frame of each track.
    reports: bool,
}

const HEARD: Heard = Heard {
    frame_ms: 40,
    gop_ms: 1000,
    video_late_ms: 0,
    sound_late_ms: 104,
    reports: true,
};

enum Comes {
    Picture(i64),
    Sound(i64),
}

impl Heard {
    /// The arrivals of everything captured from `from_ms` on, in order: when, and what.
    fn comes(self, from_ms: i64, to_ms: i64) -> Vec<(i64, Comes)> {
        let on = |ms: i64| (from_ms..to_ms).contains(&ms);
        let pictures = (0..to_ms)
            .step_by(self.frame_ms as usize)
            .filter(|ms| on(*ms));
        let sounds = (0..to_ms).step_by(SOUND_MS as usize).filter(|ms| on(*ms));
        let mut all: Vec<_> = pictures
            .map(|ms| (ms + self.video_late_ms, Comes::Picture(ms)))
            .collect();
        all.extend(sounds.map(|ms| (ms + self.sound_late_ms, Comes::Sound(ms))));
        all.sort_by_key(|(at_ms, _)| *at_ms);
        all
    }

    /// A recorder that plays it from `from_ms` on.
    fn recorded(self, from_ms: i64, to_ms: i64) -> Story {
        let mut story = story();
        self.play(&mut story, from_ms, to_ms);
        story.pipeline.finish(story.now(to_ms + 400));
        story
    }

    fn play(self, story: &mut Story, from_ms: i64, to_ms: i64) {
        let parameters = Arc::new(TrackParameters::Audio {
            codec: AudioCodec::Aac,
            config: Bytes::new(),
            channels: 1,
            timescale: 16_000,
        });
        let (mut reported, mut said, mut ticked_ms) = ([!self.reports; 2], false, from_ms);
        for (at_ms, comes) in self.comes(from_ms, to_ms) {
            while ticked_ms + 100 <= at_ms {
                ticked_ms += 100;
                story.pipeline.tick(story.now(ticked_ms));
            }
            let arrival = story.frame(at_ms, false);
            let (kind, captured_ms, rtp) = match comes {
                Comes::Picture(ms) => {
                    let access = (ms % self.gop_ms == 0).then_some(AccessPoint::Sync);
                    story.push(MediaFrame {
                        rtp: ms * 90,
                        data: slice(access.is_some()),
                        access,
                        ..arrival
                    });
                    (TrackKind::Video, ms, ms * 90)
                }
                Comes::Sound(ms) => {
                    let (track, rtp, length) = (TrackKind::Audio, ms * TICKS_A_MS, Some(1024));
                    let (access, data) = (
                        Some(AccessPoint::Sync),
                        Bytes::copy_from_slice(&ms.to_be_bytes()),
                    );
                    let parameters =
                        (!std::mem::replace(&mut said, true)).then(|| Arc::clone(&parameters));
                    let sound = MediaFrame {
                        track,
                        rtp,
                        timescale: 16_000,
                        length,
                        access,
                        data,
                        ..arrival
                    };
                    story
                        .pipeline
                        .item(SessionItem::Frame(MediaFrame {
                            parameters,
                            ..sound
                        }))
                        .unwrap();
                    (track, ms, rtp)
                }
            };
            if !std::mem::replace(&mut reported[usize::from(kind == TrackKind::Audio)], true) {
                let report = SenderReport {
                    ntp_us: 77_000_000 + captured_ms * 1000,
                    rtp,
                };
                story
                    .pipeline
                    .item(SessionItem::Report(kind, report))
                    .unwrap();
            }
        }
    }
}

/// The first frame of each chunk of sound, by when it was captured, in milliseconds.
fn beginnings(story: &Story) -> Vec<i64> {
    let records = story.sink.records.lock().unwrap();
    let first = |record: &Record| match record {
        Record::Chunk(chunk) if chunk.meta.track == TrackKind::Audio => {
            assert_eq!(
                chunk.meta.access,
                Some(holdfast_storage::chunk::Access::of_sound(&chunk.parts[1]))
            );
            Some(i64::from_be_bytes(chunk.parts[1][..].try_into().unwrap()))
        }
        _ => None,
    };
    records.iter().filter_map(first).collect()
}

/// The first frame of sound at or after each keyframe.
fn at_keyframes(heard: Heard, (from_ms, to_ms): (i64, i64)) -> Vec<i64> {
    let keyframes = (0..to_ms)
        .step_by(heard.gop_ms as usize)
        .filter(|ms| (from_ms..).contains(ms));
    keyframes
        .map(|ms| (ms + SOUND_MS - 1) / SOUND_MS * SOUND_MS)
        .collect()
}

#[test]
fn it_is_cut_at_the_same_frames_whenever_it_comes() {
    for heard in [
        HEARD,
        Heard {
            sound_late_ms: 64,
            ..HEARD
        },
        Heard {
            sound_late_ms: 300,
            ..HEARD
        },
        Heard {
            sound_late_ms: 70,
            video_late_ms: 150,
            ..HEARD
        },
    ] {
        for from_ms in [0, 1480, 2320] {
            let story = heard.recorded(from_ms, 9000);
            let begun = beginnings(&story);
            let missing: Vec<i64> = at_keyframes(heard, (4000, 8500))
                .into_iter()
                .filter(|ms| !begun.contains(ms))
                .collect();
            assert_eq!(
                missing, [0; 0],
                "of {begun:?}, from {from_ms} ms on, {heard:?}"
            );
            assert_whole(&story.sink.chunks(TrackKind::Audio));
        }
    }
}

#[test]
fn of_a_slow_camera_it_is_cut_at_keyframes_and_in_bounded_chunks() {
    for (frame_ms, gop_ms) in [(2000, 2000), (1000, 4000)] {
        let heard = Heard {
            frame_ms,
            gop_ms,
            ..HEARD
        };
        for from_ms in [0, 3500] {
            let story = heard.recorded(from_ms, 30_000);
            let (begun, chunks) = (beginnings(&story), story.sink.chunks(TrackKind::Audio));
            let wanted = at_keyframes(heard, (8000, 29_000));
            let missing: Vec<&i64> = wanted.iter().filter(|ms| !begun.contains(ms)).collect();
            assert!(
                missing.is_empty(),
                "{missing:?} of {begun:?}, from {from_ms} ms on"
            );
            assert_whole(&chunks);
            assert!(
                chunks.iter().all(|meta| meta.duration_us <= 500_000),
                "{:?}",
                times(&chunks)
            );
            assert!(chunks.len() < 30 * 4, "{} chunks", chunks.len());
        }
    }
}

#[test]
fn it_lies_with_its_video_from_the_first_frame_on_where_reports_say_so() {
    for heard in [
        HEARD,
        Heard {
            sound_late_ms: 70,
            video_late_ms: 150,
            ..HEARD
        },
    ] {
        let story = heard.recorded(0, 6000);
        let starts = times(&story.sink.chunks(TrackKind::Audio));
        let off_ms = |(begun_ms, (start_ms, _)): (&i64, &(i64, i64))| {
            start_ms - heard.video_late_ms - begun_ms
        };
        let off: Vec<i64> = beginnings(&story).iter().zip(&starts).map(off_ms).collect();
        assert!(off.iter().all(|ms| ms.abs() <= 5), "{off:?}");
    }
    let late = Heard {
        reports: false,
        ..HEARD
    }
    .recorded(0, 6000);
    let first = times(&late.sink.chunks(TrackKind::Audio))[0].0;
    assert_eq!(
        first - beginnings(&late)[0],
        104,
        "without reports it lies where it came"
    );
}

#[test]
fn a_sessions_sound_begins_with_its_keyframe() {
    let story = HEARD.recorded(1480, 6000);
    assert_eq!(beginnings(&story)[0], 2048);
    assert_eq!(times(&story.video())[0].0, 2000);
}

#[test]
fn what_a_kill_leaves_of_it_ends_with_the_video() {
    const CHUNK_MS: i64 = 360;
    let mut behind = Vec::new();
    for killed_ms in (3000..5000).step_by(20) {
        let mut story = story();
        story.pipeline.context.limits.duration_us = CHUNK_MS * 1000;
        HEARD.play(&mut story, 0, killed_ms);
        let end = |track| {
            times(&story.sink.chunks(track))
                .last()
                .map_or(0, |(_, end)| *end)
        };
        behind.push(end(TrackKind::Video) - end(TrackKind::Audio));
    }
    assert!(
        behind.iter().all(|ms| *ms <= CHUNK_MS + SOUND_MS),
        "{behind:?}"
    );
    // At the end of a GOP its sound has yet to come.
    let rarely = behind.len() / 10;
    assert!(
        behind
            .iter()
            .filter(|ms| **ms > HEARD.sound_late_ms)
            .count()
            < rarely,
        "{behind:?}"
    );
}
