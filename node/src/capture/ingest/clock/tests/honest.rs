//! The guarantees of the smoothing, on scripted and on random arrivals.

use super::*;
use proptest::prelude::*;

const FRAME_TICKS: i64 = 3600;
const FRAME_US: i64 = 40_000;

/// Stamps frame `n` of a 25 Hz stream, sent on time and `delay_us` underway.
fn frame(clock: &mut TrackClock, n: i64, delay_us: i64) -> Stamp {
    clock.stamp(&arrived(
        1_000_000 + n * FRAME_TICKS,
        Timestamp(START_US + n * FRAME_US + delay_us),
    ))
}

/// How far frame `n`'s stamp lies after the moment it was sent, in microseconds.
fn error_us(stamp: Stamp, n: i64) -> i64 {
    stamp.decode.micros() - (START_US + n * FRAME_US)
}

/// Stamps the first `frames` frames as if nothing delayed them.
fn warm_up(clock: &mut TrackClock, frames: i64) {
    for n in 0..frames {
        frame(clock, n, 0);
    }
}

#[test]
fn a_readers_tick_does_not_show_after_a_second() {
    let mut clock = clock();
    for n in 0..500 {
        let sent_us = n * FRAME_US + 7_000;
        let tick_delay_us = (50_000 - sent_us % 50_000) % 50_000;
        let stamp = clock.stamp(&arrived(
            n * FRAME_TICKS,
            Timestamp(START_US + sent_us + tick_delay_us),
        ));
        let error = stamp.decode.micros() - (START_US + sent_us);
        assert!(
            n < 25 || (0..15_000).contains(&error),
            "frame {n} is {error} us off"
        );
    }
}

#[test]
fn a_first_frame_that_is_late_is_forgotten_soon() {
    let mut clock = clock();
    frame(&mut clock, 0, 400_000);
    let settled = (1..50)
        .map(|n| error_us(frame(&mut clock, n, 5_000), n))
        .last();
    assert_eq!(settled, Some(5_000));
}

#[test]
fn the_first_frames_together_anchor_at_the_earliest_and_leave_the_spacing_alone() {
    let mut clock = clock();
    let delays_us = [
        180_000, 141_000, 102_000, 64_000, 25_000, 2_000, 3_000, 2_500,
    ];
    let frames: Vec<_> = (0_i64..).zip(delays_us).collect();
    let arrival = |(n, delay_us): &(i64, i64)| {
        (
            1_000_000 + n * FRAME_TICKS,
            Timestamp(START_US + n * FRAME_US + delay_us),
        )
    };
    clock.settle(&frames.iter().map(arrival).collect::<Vec<_>>());
    for (n, delay_us) in frames {
        assert_eq!(
            error_us(frame(&mut clock, n, delay_us), n),
            2_000,
            "frame {n}"
        );
    }
}

#[test]
fn in_the_steady_state_the_spacing_is_exactly_the_cameras() {
    let mut clock = clock();
    warm_up(&mut clock, 300);
    let stamps: Vec<_> = (300..3000)
        .map(|n| frame(&mut clock, n, n % 7 * 7_000).decode)
        .collect();
    assert!(
        stamps
            .windows(2)
            .all(|pair| pair[1].micros_since(pair[0]) == FRAME_US)
    );
}

#[test]
fn frames_that_keep_coming_over_a_jump_keep_their_spacing() {
    for jump in [60 * i64::from(RATE), -60 * i64::from(RATE)] {
        let mut clock = clock();
        let mut stamp = |n: i64| {
            let sent_us = n * FRAME_US;
            // As seen by a reader with a tick of 50 ms.
            let arrival_us = sent_us + (50_000 - sent_us % 50_000) % 50_000;
            let jumped = if n < 301 { 0 } else { jump };
            clock.stamp(&arrived(
                100_000_000 + n * FRAME_TICKS + jumped,
                Timestamp(START_US + arrival_us),
            ))
        };
        let stamps: Vec<_> = (0..600).map(&mut stamp).collect();
        assert_eq!(
            stamps[301..]
                .iter()
                .filter(|stamp| stamp.correction.is_some())
                .count(),
            1
        );
        let spacings = stamps[250..]
            .windows(2)
            .map(|pair| pair[1].decode.micros_since(pair[0].decode));
        assert!(
            spacings.clone().all(|us| us == FRAME_US),
            "{:?}",
            spacings.collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_burst_of_old_frames_at_the_start_settles_without_a_new_anchor() {
    let mut clock = clock();
    for n in 0..50 {
        let stamp = clock.stamp(&arrived(n * FRAME_TICKS, Timestamp(START_US + n * 100)));
        assert_eq!(stamp.correction, None, "frame {n}");
    }
    let settled = (50..300)
        .map(|n| {
            clock.stamp(&arrived(
                n * FRAME_TICKS,
                Timestamp(START_US + (n - 50) * FRAME_US),
            ))
        })
        .last();
    let error = settled.unwrap().decode.micros() - (START_US + 249 * FRAME_US);
    assert!(error.abs() < 1_000, "{error} us off");
}

#[test]
fn a_network_that_holds_frames_back_for_two_seconds_changes_nothing() {
    let mut clock = clock();
    warm_up(&mut clock, 250);
    for n in 250..300 {
        let held_us = (300 - n) * FRAME_US;
        let stamp = frame(&mut clock, n, held_us);
        assert!(
            stamp.correction.is_none() && error_us(stamp, n).abs() < 2_000,
            "frame {n}: {stamp:?}"
        );
    }
}

#[test]
fn a_camera_whose_clock_stood_still_gets_a_new_anchor_after_three_seconds() {
    let mut clock = clock();
    warm_up(&mut clock, 250);
    let anchored = (250..400).find(|n| frame(&mut clock, *n, 2_500_000).correction.is_some());
    assert_eq!(anchored, Some(325));
    assert_eq!(error_us(frame(&mut clock, 400, 2_500_000), 400), 2_500_000);
}

#[test]
fn frames_that_are_late_by_half_a_second_after_a_worse_moment_move_nothing() {
    let mut clock = clock();
    warm_up(&mut clock, 250);
    for n in 250..1000 {
        let stamp = frame(&mut clock, n, if n < 275 { 1_100_000 } else { 600_000 });
        assert_eq!(stamp.correction, None, "frame {n}");
    }
}

#[test]
fn an_encoder_that_restarts_with_fewer_frames_and_leaves_the_pause_out_is_followed() {
    let mut clock = clock();
    warm_up(&mut clock, 250);
    let began_us = START_US + 250 * FRAME_US;
    let moved = (0..200).find_map(|n| {
        let arrival_us = began_us + 2_500_000 + n * 80_000;
        let stamp = clock.stamp(&arrived(
            1_000_000 + (250 + 2 * n) * FRAME_TICKS,
            Timestamp(arrival_us),
        ));
        stamp.correction.map(|correction| (n * 80_000, correction))
    });
    let Some((after_us, Correction::StoodStill { by_us: 2_500_000 })) = moved else {
        panic!("{moved:?}")
    };
    assert!(after_us < 4 * SECOND_US, "after {after_us} us");
}

#[test]
fn frames_that_are_late_unevenly_without_a_network_to_be_seen_count_as_they_come() {
    let mut clock = clock();
    warm_up(&mut clock, 250);
    let uneven_us = |n: i64| 2_500_000 + (n / 13 * 7919 % 5) * 100_000;
    let moved = (250..700).find(|n| frame(&mut clock, *n, uneven_us(*n)).correction.is_some());
    assert!(
        moved.is_some_and(|n| (250 + 190..250 + 275).contains(&n)),
        "{moved:?}"
    );
}

#[test]
fn a_network_that_carries_half_of_what_the_camera_sends_changes_nothing() {
    let mut clock = clock();
    let mut stamped = |n, delay_us| {
        let stamp = frame(&mut clock, n, delay_us);
        assert_eq!(stamp.correction, None, "frame {n}");
        assert!(
            error_us(stamp, n).abs() < 20_000,
            "frame {n} is {} us off",
            error_us(stamp, n)
        );
        if n % 125 == 0 {
            // Without reports, and with frames of one size, nothing distinguishes it from a slow
            // clock.
            let report = SenderReport {
                ntp_us: n * FRAME_US,
                rtp: 1_000_000 + n * FRAME_TICKS,
            };
            clock.report(report, Timestamp(START_US + n * FRAME_US + delay_us));
        }
    };
    (0..500).for_each(|n| stamped(n, 0));
    (0..250).for_each(|n| stamped(500 + n, (n + 1) * FRAME_US));
    // The camera holds no more, and drops every other frame.
    (0..500).for_each(|n| stamped(750 + 2 * n, 250 * FRAME_US + n / 6 % 4 * 60_000));
    // Then it drops what it holds.
    (0..500).for_each(|n| stamped(2000 + n, 0));
}

#[test]
fn a_camera_whose_clock_is_one_percent_slow_is_followed_at_its_rate() {
    let mut clock = clock();
    let late_us = |n: i64| n * FRAME_US / 100;
    let mut corrections = Vec::new();
    for n in 0..20_000 {
        let stamp = frame(&mut clock, n, late_us(n));
        corrections.extend(stamp.correction);
        let behind_us = late_us(n) - error_us(stamp, n);
        assert!(
            behind_us < 300_000,
            "frame {n} is stamped {behind_us} us before it came"
        );
        assert!(
            n < 2000 || behind_us.abs() < 20_000,
            "frame {n} is stamped {behind_us} us before it came"
        );
    }
    let [Correction::Rate { ppb }] = corrections[..] else {
        panic!("{corrections:?}")
    };
    assert!((1_009_000_000..1_011_000_000).contains(&ppb), "{ppb}");
}

/// The process was stopped: frames that fitted into the socket's buffer come at once when it
/// continues; the camera has dropped the others.
#[test]
fn what_came_while_the_reader_stood_still_belongs_where_it_was_sent() {
    let mut clock = clock();
    warm_up(&mut clock, 250);
    for n in (250..300).chain(340..490) {
        let stamp = frame(&mut clock, n, (490 - n) * FRAME_US);
        assert_eq!(
            (error_us(stamp, n), stamp.correction),
            (0, None),
            "frame {n}"
        );
    }
    for n in 490..600 {
        assert_eq!(error_us(frame(&mut clock, n, 0), n), 0, "frame {n}");
    }
}

#[test]
fn a_jump_of_rtp_time_either_way_anchors_again_at_the_arrival() {
    for jump in [5 * i64::from(RATE), -5 * i64::from(RATE)] {
        let mut clock = clock();
        warm_up(&mut clock, 250);
        let stamp = clock.stamp(&arrived(
            1_000_000 + 250 * FRAME_TICKS + jump,
            Timestamp(START_US + 250 * FRAME_US),
        ));
        assert!(stamp.correction.is_some());
        assert_eq!(error_us(stamp, 250), 0);
    }
}

#[test]
fn b_frames_get_composition_offsets() {
    let mut clock = clock();
    let shown: Vec<i64> = [0, 3, 1, 2, 6, 4, 5]
        .map(|shown_at| {
            let arrival = Timestamp(START_US + shown_at * FRAME_US);
            let stamp = clock.stamp(&arrived(shown_at * FRAME_TICKS, arrival));
            stamp.decode.micros() + i64::from(stamp.composition_us) - START_US
        })
        .to_vec();
    assert_eq!(shown, [0, 3, 1, 2, 6, 4, 5].map(|n| n * FRAME_US));
}

#[test]
fn b_frames_of_few_frames_a_second_are_no_jumps() {
    let mut clock = clock();
    // Coded in the order 0, 4, 1, 2, 3, 8, 5, …, ten a second, as each becomes available.
    let order = |n: i64| match n % 4 {
        0 => n,
        1 => n + 3,
        _ => n - 1,
    };
    for n in 0..400 {
        let shown = order(n);
        let stamp = clock.stamp(&arrived(shown * 9000, Timestamp(START_US + n * 100_000)));
        assert_eq!(stamp.correction, None, "frame {n}");
    }
}

#[test]
fn a_line_that_was_anchored_late_is_right_within_three_seconds() {
    let mut clock = clock();
    // The network delays everything by 700 ms at first.
    let delay_us = |n: i64| {
        if n < 500 {
            700_000
        } else {
            (700_000 - (n - 500) * FRAME_US).max(0)
        }
    };
    let settled = (0..600)
        .map(|n| error_us(frame(&mut clock, n, delay_us(n)), n))
        .last();
    assert!(settled.is_some_and(|us| us < 20_000), "{settled:?}");
}

#[test]
fn sender_reports_put_audio_alongside_the_video() {
    let (mut video, audio) = (clock(), TrackClock::new(8000, Timestamp::MIN));
    warm_up(&mut video, 100);
    let video_report = Some(SenderReport {
        ntp_us: 77_000_000,
        rtp: 1_000_000,
    });
    let audio_report = Some(SenderReport {
        ntp_us: 77_500_000,
        rtp: 0,
    });
    let arrival = Timestamp(START_US + 1_650_000);
    let alongside =
        |report| alongside_video((&video, video_report), (&audio, report), 8000, arrival);
    assert_eq!(
        alongside(audio_report),
        Some(Timestamp(START_US + 1_500_000))
    );
    assert_eq!(alongside(None), None);
    assert_eq!(
        alongside(Some(SenderReport { ntp_us: 0, rtp: 0 })),
        None,
        "nonsense"
    );
}

proptest! {
    #[test]
    fn decode_times_grow_by_a_tick_or_more_whatever_comes(
        rate in prop::sample::select(vec![8_000_u32, 16_000, 44_100, 90_000]),
        frames in prop::collection::vec((-400_000_i64..400_000, -3_000_000_i64..6_000_000), 1..300),
    ) {
        let mut clock = TrackClock::new(rate, Timestamp(START_US));
        let (mut rtp, mut arrival, mut last) = (0_i64, START_US, Timestamp(START_US));
        for (rtp_step, arrival_step) in frames {
            rtp += rtp_step;
            arrival += arrival_step;
            let stamp = clock.stamp(&arrived(rtp, Timestamp(arrival)));
            prop_assert!(stamp.decode.ticks(rate) > last.ticks(rate));
            prop_assert!(stamp.composition_us <= 0);
            last = stamp.decode;
        }
    }

    #[test]
    fn jitter_up_to_300_ms_leaves_the_spacing_alone(
        delays in prop::collection::vec(0_i64..300_000, 400..600),
    ) {
        let mut clock = clock();
        let mut last = None;
        for (n, delay_us) in delays.into_iter().enumerate() {
            let stamp = frame(&mut clock, n as i64, delay_us);
            prop_assert_eq!(stamp.correction, None);
            if let Some(last) = last.replace(stamp.decode).filter(|_| n > 150) {
                let spacing = stamp.decode.micros_since(last);
                prop_assert!((spacing - FRAME_US).abs() <= 201, "frame {} after {} us", n, spacing);
            }
        }
    }

    #[test]
    fn a_crystal_200_ppm_off_is_followed(ppm in -200_i64..200) {
        let mut clock = clock();
        let mut error = 0;
        for n in 0..5000_i64 {
            let sent_us = n * FRAME_US + n * FRAME_US * ppm / 1_000_000;
            let stamp = clock.stamp(&arrived(n * FRAME_TICKS, Timestamp(START_US + sent_us)));
            error = stamp.decode.micros() - START_US - sent_us;
        }
        prop_assert!(error.abs() < 10_000, "{} us off", error);
    }

    #[test]
    fn absurd_times_do_not_overflow(rtp: i64, next: i64, arrival: i64) {
        let mut clock = clock();
        clock.stamp(&arrived(rtp, Timestamp(arrival)));
        clock.stamp(&arrived(next, Timestamp(arrival)));
    }
}
