//! Clocks that are set, jump or run wrongly: the system's and the camera's.

use super::*;

#[test]
fn a_wall_clock_set_back_an_hour_begins_a_session_that_overlaps_nothing() {
    let mut story = story();
    story.stream(0, 2200);
    story.wall_off_ms = -3_600_000;
    story.stream(2200, 5000);
    story.pipeline.finish(story.now(5000));
    let chunks = story.video();
    assert!(
        chunks.windows(2).all(|pair| pair[0].end() <= pair[1].start),
        "{:?}",
        times(&chunks)
    );
    let sessions: std::collections::BTreeSet<_> = chunks.iter().map(|meta| meta.session).collect();
    assert_eq!(sessions.len(), 2);
    let second = chunks
        .iter()
        .find(|meta| meta.session > chunks[0].session)
        .unwrap();
    assert!(
        second.is_access_point() && second.sequence == 0,
        "it waits for the keyframe: no frame is lost to playback"
    );
    assert_eq!(
        chunks.iter().map(|meta| meta.frames).sum::<u32>(),
        125,
        "no frame was lost"
    );
    assert_eq!(story.status.read().counts.clock_steps, 1);
}

#[test]
fn frames_that_arrive_late_at_a_step_back_keep_their_spacing() {
    let mut story = story();
    story.stream(0, 2200);
    story.wall_off_ms = -2_000;
    for ms in (2200..5000).step_by(40) {
        let late = story.now(ms + 30);
        let frame = story.frame(ms, ms % 1000 == 0);
        story.push(MediaFrame {
            received: late.instant,
            received_wall: late.wall,
            ..frame
        });
    }
    story.pipeline.finish(story.now(5000));
    let chunks = story.video();
    assert!(
        chunks
            .iter()
            .all(|meta| meta.duration_us == meta.frames * 40_000),
        "{:?}",
        times(&chunks)
    );
    assert!(
        chunks.windows(2).all(|pair| pair[0].end() <= pair[1].start),
        "{:?}",
        times(&chunks)
    );
    assert_eq!(chunks.iter().map(|meta| meta.frames).sum::<u32>(), 125);
    assert_eq!(story.sink.gaps(), []);
}

#[test]
fn a_wall_clock_set_forward_an_hour_is_followed_and_the_hour_is_known_to_be_missing() {
    let mut story = story();
    story.stream(0, 2000);
    story.wall_off_ms = 3_600_000;
    story.stream(2000, 4000);
    story.pipeline.finish(story.now(4000));
    assert_eq!(story.sink.gaps(), [(2000, 3_602_000, GapCause::Unknown)]);
    assert_eq!(
        times(&story.video()).last().map(|last| last.1),
        Some(3_604_000)
    );
}

#[test]
fn a_wall_clock_set_while_nothing_is_recorded_claims_no_gap_for_the_step() {
    let mut story = story();
    story.lose(1000, GapCause::CameraUnreachable);
    story.wall_off_ms = 3_600_000;
    story.pipeline.tick(story.now(2000));
    story.stream(5000, 6000);
    let gaps = story.sink.gaps();
    assert_eq!(
        gaps,
        [
            (0, 2000, GapCause::CameraUnreachable),
            (3_602_000, 3_605_000, GapCause::CameraUnreachable)
        ]
    );
}

#[test]
fn a_jump_of_the_cameras_clock_breaks_nothing() {
    let mut story = story();
    story.stream(0, 2200);
    story.rtp_off = 90_000 * 5;
    story.stream(2200, 3200);
    story.rtp_off = -90_000 * 60;
    story.stream(3200, 4000);
    story.pipeline.finish(story.now(4000));
    assert_whole(&story.video());
    assert_eq!(times(&story.video()).last().map(|last| last.1), Some(4000));
    assert_eq!(story.sink.gaps(), []);
}

#[test]
fn audio_is_recorded_with_video_and_never_before_its_keyframe() {
    let mut story = story();
    let parameters = Arc::new(TrackParameters::Audio {
        codec: crate::capture::ingest::media::AudioCodec::Pcma,
        config: Bytes::new(),
        channels: 1,
        timescale: 8000,
    });
    for ms in (0..2000).step_by(20) {
        if ms >= 480 && ms % 40 == 0 {
            story.push(story.frame(ms, ms % 1000 == 0));
        }
        let video = story.frame(ms, true);
        let audio = MediaFrame {
            track: TrackKind::Audio,
            rtp: ms * 8,
            timescale: 8000,
            length: Some(160),
            ..video
        };
        let parameters = (ms == 0).then(|| Arc::clone(&parameters));
        story
            .pipeline
            .item(SessionItem::Frame(MediaFrame {
                parameters,
                ..audio
            }))
            .unwrap();
    }
    story.pipeline.finish(story.now(2000));
    let audio = story.sink.chunks(TrackKind::Audio);
    assert_whole(&audio);
    assert_eq!(times(&audio)[0].0, 1000);
    assert_eq!(audio.iter().map(|meta| meta.frames).sum::<u32>(), 50);
    assert!(
        audio
            .iter()
            .all(|meta| meta.since_access_ms.is_none() && meta.session == story.video()[0].session)
    );
}

/// Readers go from one recorder to another at keyframes.
#[test]
fn recorders_that_began_at_different_times_cut_sound_at_the_same_frames() {
    let recorded = |from_ms: i64| {
        let mut story = story();
        let parameters = Arc::new(TrackParameters::Audio {
            codec: crate::capture::ingest::media::AudioCodec::Pcma,
            config: Bytes::new(),
            channels: 1,
            timescale: 8000,
        });
        for ms in (from_ms..6000).step_by(8) {
            if ms % 40 == 0 {
                story.push(story.frame(ms, ms % 1000 == 0));
            }
            if ms % 64 == 0 {
                let parameters = Some(Arc::clone(&parameters));
                let sound = MediaFrame {
                    track: TrackKind::Audio,
                    rtp: ms * 8,
                    timescale: 8000,
                    ..story.frame(ms, true)
                };
                let sound = MediaFrame {
                    length: Some(512),
                    parameters,
                    ..sound
                };
                story.pipeline.item(SessionItem::Frame(sound)).unwrap();
            }
        }
        story.pipeline.finish(story.now(6000));
        let sound = story.sink.chunks(TrackKind::Audio);
        assert_whole(&sound);
        times(&sound)
            .into_iter()
            .filter(|(start, _)| *start >= 3000)
            .collect::<Vec<_>>()
    };
    let (early, late) = (recorded(0), recorded(1480));
    assert!(early.len() > 6, "{early:?}");
    assert_eq!(early, late);
}

#[test]
fn a_clock_that_runs_at_half_the_rate_is_followed_without_a_gap_and_counted() {
    let mut story = story();
    for ms in (0..30_000).step_by(40) {
        let frame = MediaFrame {
            rtp: ms * 45,
            ..story.frame(ms, ms % 1000 == 0)
        };
        story.push(frame);
    }
    let status = story.status.read();
    assert_eq!(
        (status.counts.clock_rates, status.clock_rate_ppb),
        (1, Some(2_000_000_000))
    );
    story.pipeline.finish(story.now(30_000));
    let chunks = story.video();
    assert_whole(&chunks);
    assert_eq!(story.sink.gaps(), []);
    assert_eq!(chunks.iter().map(|meta| meta.frames).sum::<u32>(), 750);
    assert_eq!(times(&chunks).last().map(|last| last.1), Some(30_000));
    let spaced_us = |meta: &ChunkMeta| i64::from(meta.duration_us) / i64::from(meta.frames);
    let even = |meta: &ChunkMeta| (39_500..40_500).contains(&spaced_us(meta));
    assert!(chunks.iter().skip(15).all(even), "{:?}", times(&chunks));
    story.lose(30_000, GapCause::CameraUnreachable);
    assert_eq!(
        story.status.read().clock_rate_ppb,
        None,
        "the next session has another clock"
    );
}

#[test]
fn times_that_move_forward_by_seconds_leave_a_gap_that_blames_no_camera() {
    let mut story = story();
    story.stream(0, 10_000);
    story.rtp_off = -90 * 5000;
    // RTP time continues where it was, five seconds later: nothing came in between.
    story.stream(15_000, 25_000);
    story.pipeline.finish(story.now(25_000));
    assert_eq!(story.status.read().counts.clock_standstills, 1);
    let gaps = story.sink.gaps();
    assert!(
        gaps.iter().all(|gap| gap.2 == GapCause::Unknown),
        "{gaps:?}"
    );
    assert_eq!(
        gaps.iter().map(|gap| gap.1 - gap.0).sum::<i64>(),
        5000,
        "{gaps:?}"
    );
    assert_eq!(
        times(&story.video()).last().map(|last| last.1),
        Some(25_000)
    );
}

#[test]
fn reports_are_taken_at_the_latest_moment_that_was_brought() {
    let mut story = story();
    for ms in (0..40_000).step_by(40) {
        // From 12 s on the network carries half of what the camera sends; frames are of one size.
        let late_ms = (ms - 12_000).clamp(0, 8_000);
        let frame = MediaFrame {
            rtp: ms * 90,
            ..story.frame(ms + late_ms, ms % 1000 == 0)
        };
        story.push(frame);
        if ms % 5000 == 0 {
            let report = SenderReport {
                ntp_us: 77_000_000 + ms * 1000,
                rtp: ms * 90,
            };
            story
                .pipeline
                .item(SessionItem::Report(TrackKind::Video, report))
                .unwrap();
        }
        if ms == 20_000 {
            break;
        }
    }
    story.pipeline.finish(story.now(28_000));
    assert_eq!(story.status.read().counts.clock_rates, 0);
    assert_eq!(
        times(&story.video()).last().map(|last| last.1),
        Some(20_040),
        "as they were sent"
    );
}

#[test]
fn sound_whose_clock_counts_half_of_what_is_declared_stays_with_the_video() {
    let mut story = story();
    let codec = crate::capture::ingest::media::AudioCodec::Pcma;
    let parameters = TrackParameters::Audio {
        codec,
        config: Bytes::new(),
        channels: 1,
        timescale: 16_000,
    };
    let parameters = Arc::new(parameters);
    for ms in (0..40_000).step_by(20) {
        if ms % 40 == 0 {
            story.push(story.frame(ms, ms % 1000 == 0));
        }
        let frame = story.frame(ms, true);
        // 8,000 ticks a second.
        let (track, rtp, length) = (TrackKind::Audio, ms * 8, Some(160));
        let parameters = (ms == 0).then(|| Arc::clone(&parameters));
        let audio = MediaFrame {
            track,
            rtp,
            timescale: 16_000,
            length,
            parameters,
            ..frame
        };
        story.pipeline.item(SessionItem::Frame(audio)).unwrap();
        if ms % 5000 == 400 {
            let reports = [(TrackKind::Video, ms * 90), (TrackKind::Audio, ms * 8)];
            for (kind, rtp) in reports {
                let report = SenderReport {
                    ntp_us: 77_000_000 + ms * 1000,
                    rtp,
                };
                story
                    .pipeline
                    .item(SessionItem::Report(kind, report))
                    .unwrap();
            }
        }
    }
    story.pipeline.finish(story.now(40_000));
    let audio = story.sink.chunks(TrackKind::Audio);
    assert!(audio.windows(2).all(|pair| pair[0].end() <= pair[1].start));
    let mut sent_ms = 0;
    for (meta, (start, _)) in audio.iter().zip(times(&audio)) {
        assert!(
            sent_ms < 5000 || (start - sent_ms).abs() < 200,
            "sent at {sent_ms} ms, stamped {start} ms"
        );
        sent_ms += i64::from(meta.frames) * 20;
    }
    assert_eq!(sent_ms, 40_000);
}
