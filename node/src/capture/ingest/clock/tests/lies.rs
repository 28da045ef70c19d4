//! RTP clocks that lie, each by itself.

use super::world::*;
use super::*;

/// A lie from `from_us` on, of a camera of 25 Hz: within a second of sending once it is five
/// seconds old.
fn follows(name: &str, from_us: i64, rtp: impl Fn(i64, i64) -> i64) {
    let from_n = from_us / 40_000;
    let lying = |n: i64, at_us: i64| {
        honest(at_us.min(from_us)) + rtp((n - from_n).max(0), (at_us - from_us).max(0))
    };
    let frames = camera(3000, 40_000, lying);
    for says in [Says::Nothing, Says::Time, Says::RtpTime, Says::Nonsense] {
        for jitter_us in [5_000, 120_000] {
            let came = watch(
                &frames,
                says,
                &Network {
                    jitter_us,
                    ..Network::default()
                },
            );
            let held = hold_to(&came, |at_us| {
                at_us < from_us || at_us > from_us + 5 * SECOND_US
            });
            let done = corrections(&came);
            let first = &done[..done.len().min(8)];
            assert!(
                held.is_ok(),
                "{name}, {says:?}, {jitter_us} us jitter: {held:?}\n{first:?}"
            );
            assert!(!done.is_empty(), "{name}, {says:?}: nothing was said");
            assert!(done.len() <= 30, "{name}, {says:?}: {done:?}");
        }
    }
}

#[test]
fn a_rate_of_its_own_is_followed_from_the_start_and_from_later_on() {
    for percent in [
        10, 20, 40, 50, 66, 84, 90, 96, 104, 110, 119, 150, 200, 400, 1050,
    ] {
        for from_us in [0, 30 * SECOND_US] {
            follows(&format!("{percent} %"), from_us, |_, at_us| {
                honest(at_us) * percent / 100
            });
        }
    }
}

#[test]
fn a_rate_is_learnt_within_five_seconds_and_frames_are_shown_when_they_are_decoded() {
    for (fps, percent) in [(25, 50), (25, 84), (40, 160), (25, 250), (25, 1050)] {
        let period_us = SECOND_US / fps;
        let frames = camera(20 * fps, period_us, |_, at_us| {
            honest(at_us) * percent / 100
        });
        let came = watch(&frames, Says::Nothing, &Network::default());
        let [(learnt_us, Correction::Rate { ppb })] = corrections(&came)[..] else {
            panic!("{percent} %: {:?}", corrections(&came))
        };
        assert!(
            learnt_us < 5 * SECOND_US,
            "{percent} %: after {learnt_us} us"
        );
        assert!(
            (ppb * percent / 100 - HONEST_PPB).abs() < HONEST_PPB / 50,
            "{percent} %: {ppb}"
        );
        assert!(
            came.iter().all(|one| one.stamp.composition_us == 0),
            "{percent} %"
        );
        let later = came
            .iter()
            .filter(|one| one.sent_us - START_US > 8 * SECOND_US);
        let off_us = later.map(|one| one.error_us().abs()).max();
        assert!(off_us < Some(120_000), "{percent} %: {off_us:?}");
    }
}

#[test]
fn a_camera_that_counts_in_other_units_is_followed() {
    for hz in [1_000, 8_000, 1_000_000] {
        for from_us in [0, 30 * SECOND_US] {
            follows(&format!("{hz} Hz"), from_us, |_, at_us| {
                at_us * hz / 1_000_000
            });
        }
    }
}

#[test]
fn rtp_time_that_stands_still_gives_way_to_arrivals() {
    for from_us in [0, 30 * SECOND_US] {
        follows("still", from_us, |_, _| 0);
        follows("all but still", from_us, |n, _| n / 10);
        follows("one tick a frame", from_us, |n, _| n);
    }
}

#[test]
fn rtp_time_that_begins_again_with_each_gop_is_followed() {
    for gop in [5, 12, 25, 50, 100, 250] {
        for from_us in [0, 30 * SECOND_US] {
            follows(&format!("GOP of {gop}"), from_us, |n, _| n % gop * 3600);
        }
    }
}

#[test]
fn rtp_time_that_jumps_there_and_back_with_each_gop_is_followed() {
    for jump_us in [400_000, 900_000, 1_500_000, 60_000_000] {
        follows(&format!("{jump_us} us"), 30 * SECOND_US, |n, at_us| {
            honest(at_us + n / 25 % 2 * jump_us)
        });
    }
}

#[test]
fn rtp_time_that_jumps_at_random_is_followed() {
    follows("with each GOP", 30 * SECOND_US, |n, at_us| {
        honest(at_us) + Dice(n as u64 / 25 + 77).below(1 << 31)
    });
    follows("with each frame", 30 * SECOND_US, |n, _| {
        Dice(n as u64 + 77).below(1 << 31)
    });
    follows("backwards", 30 * SECOND_US, |_, at_us| -honest(at_us));
}

#[test]
fn a_jump_either_way_is_followed_at_once() {
    for jump in [
        -(1_i64 << 32),
        -90_000 * 5,
        -90_000,
        -45_000,
        45_000,
        90_000,
        90_000 * 5,
        1 << 31,
        1 << 32,
    ] {
        let frames = camera(1500, 40_000, |n, at_us| {
            honest(at_us) + if n < 700 { 0 } else { jump }
        });
        let came = watch(&frames, Says::Nothing, &Network::default());
        assert_eq!(hold_to(&came, |_| true), Ok(()), "{jump}");
        let worst = came[50..].iter().map(|one| one.error_us().abs()).max();
        assert!(worst < Some(120_000), "{jump}: {worst:?}");
        assert_eq!(
            corrections(&came),
            [(28_000_000, Correction::Jumped)],
            "{jump}"
        );
    }
}

#[test]
fn a_rate_that_drifts_is_followed() {
    for (name, swing_us) in [("slowly", 2_000_000.0), ("faster", 5_000_000.0)] {
        // Off by that much, there and back in two minutes.
        let drift = |at_us: i64| {
            (swing_us * (1.0 - (at_us as f64 / 120e6 * std::f64::consts::TAU).cos())) as i64
        };
        follows(name, 30 * SECOND_US, |_, at_us| {
            honest(at_us - drift(at_us))
        });
        follows(name, 30 * SECOND_US, |_, at_us| {
            honest(at_us + drift(at_us))
        });
    }
}

#[test]
fn a_camera_that_slows_down_at_night_and_stamps_as_by_day_is_followed_both_ways() {
    let mut frames = Vec::new();
    let (mut at_us, mut rtp) = (0, 0);
    for n in 0..4000_i64 {
        frames.push(Sent {
            at_us,
            rtp,
            bytes: size(n, 25),
        });
        at_us += if (1000..2500).contains(&n) {
            80_000
        } else {
            40_000
        };
        rtp += 3600;
    }
    for says in [Says::Nothing, Says::Time] {
        let came = watch(&frames, says, &Network::default());
        let settled = |at_us: i64| {
            let since_us = [0, 40_000_000, 160_000_000].map(|change_us: i64| at_us - change_us);
            since_us[1] < 0
                || since_us
                    .iter()
                    .skip(1)
                    .all(|us| !(0..5_000_000).contains(us))
        };
        assert_eq!(
            hold_to(&came, settled),
            Ok(()),
            "{says:?}: {:?}",
            corrections(&came)
        );
        let rates: Vec<_> = corrections(&came)
            .into_iter()
            .map(|(_, correction)| correction)
            .collect();
        assert!((2..=3).contains(&rates.len()), "{rates:?}");
        assert_eq!(rates.last(), Some(&Correction::Rate { ppb: HONEST_PPB }));
    }
}

#[test]
fn a_learnt_rate_leaves_the_spacing_even() {
    let came = watch(
        &camera(3000, 47_619, |n, _| n * 3600),
        Says::Nothing,
        &Network::default(),
    );
    let spacings = came[600..]
        .windows(2)
        .map(|pair| pair[1].stamp.decode.micros_since(pair[0].stamp.decode));
    let (least, most) = (spacings.clone().min(), spacings.max());
    assert!(
        least > Some(45_000) && most < Some(50_000),
        "{least:?} to {most:?}"
    );
    let worst = came[600..].iter().map(|one| one.error_us().abs()).max();
    assert!(worst < Some(120_000), "{worst:?}");
}

#[test]
fn what_was_held_back_is_stamped_when_it_was_sent_also_at_a_learnt_rate() {
    let holds = vec![
        (40 * SECOND_US, 43 * SECOND_US),
        (60 * SECOND_US, 64 * SECOND_US),
    ];
    for percent in [50, 84, 130] {
        let frames = camera(3000, 40_000, |_, at_us| honest(at_us) * percent / 100);
        let came = watch(
            &frames,
            Says::Nothing,
            &Network {
                holds: holds.clone(),
                ..Network::default()
            },
        );
        assert_eq!(
            hold_to(&came, |at_us| at_us > 5 * SECOND_US),
            Ok(()),
            "{percent} %: {:?}",
            corrections(&came)
        );
    }
}

#[test]
fn a_camera_of_few_frames_is_followed_from_its_third_frame_on() {
    for period_us in [1_000_000, 4_000_000, 10_000_000] {
        for percent in [50, 84, 200] {
            let frames = camera(60, period_us, |_, at_us| honest(at_us) * percent / 100);
            let came = watch(&frames, Says::Nothing, &Network::default());
            let from_us = (5 * SECOND_US).max(3 * period_us - 1);
            let held = hold_to(&came, |at_us| at_us > from_us);
            assert_eq!(
                held,
                Ok(()),
                "{period_us} us, {percent} %: {:?}",
                corrections(&came)
            );
        }
    }
}

#[test]
fn rtp_time_that_is_of_use_again_is_taken_again_and_spaces_frames_exactly() {
    let still = |at_us: i64| at_us.min(20 * SECOND_US) + (at_us - 40 * SECOND_US).max(0);
    let came = watch(
        &camera(2500, 40_000, |_, at_us| honest(still(at_us))),
        Says::Nothing,
        &Network::default(),
    );
    let done = corrections(&came);
    let [
        (_, Correction::Arrivals),
        (again_us, Correction::Rate { ppb: HONEST_PPB }),
    ] = done[..]
    else {
        panic!("{done:?}")
    };
    assert!(
        (49 * SECOND_US..52 * SECOND_US).contains(&again_us),
        "{again_us}"
    );
    let spacings = came[1500..]
        .windows(2)
        .map(|pair| pair[1].stamp.decode.micros_since(pair[0].stamp.decode));
    assert!(
        spacings.clone().all(|us| us == 40_000),
        "{:?} to {:?}",
        spacings.clone().min(),
        spacings.max()
    );
}

#[test]
fn what_is_held_back_for_a_second_does_not_make_counted_frames_seem_rare() {
    let holds = (20..100)
        .step_by(7)
        .map(|second| (second * SECOND_US, second * SECOND_US + 1_300_000))
        .collect();
    let came = watch(
        &camera(400, 250_000, |_, _| 0),
        Says::Nothing,
        &Network {
            holds,
            ..Network::default()
        },
    );
    assert_eq!(
        hold_to(&came, |at_us| at_us > 5 * SECOND_US),
        Ok(()),
        "{:?}",
        corrections(&came)
    );
}

#[test]
fn frames_that_are_late_by_more_than_a_minute_are_followed_at_once() {
    let pause = |n: i64| if n < 500 { 0 } else { 61 * SECOND_US };
    let mut frames = camera(1000, 40_000, |_, at_us| honest(at_us));
    frames
        .iter_mut()
        .zip(0..)
        .for_each(|(sent, n)| sent.at_us += pause(n));
    let came = watch(&frames, Says::Nothing, &Network::default());
    assert_eq!(hold_to(&came, |_| true), Ok(()));
    assert!(matches!(
        corrections(&came)[..],
        [(
            _,
            Correction::StoodStill {
                by_us: 60_000_000..
            }
        )]
    ));
}
