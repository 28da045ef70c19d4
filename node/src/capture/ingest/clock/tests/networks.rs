//! Honest cameras behind networks that delay and drop: their times stay as they were.

use super::world::*;
use super::*;

/// What the frames of [`camera`] come to, in bytes a second.
const BYTES_PER_S: i64 = 256_000;

fn slow(percent: i64, buffer_bytes: i64) -> Network {
    let (from_us, until_us) = (30 * SECOND_US, 90 * SECOND_US);
    let link = Link {
        from_us,
        until_us,
        bytes_per_s: BYTES_PER_S * percent / 100,
        buffer_bytes,
    };
    Network {
        link: Some(link),
        ..Network::default()
    }
}

fn plain(frames: i64) -> Vec<Sent> {
    camera(frames, 40_000, |_, at_us| honest(at_us))
}

/// Frames of one size: what a link makes of them looks like a slow clock.
fn of_one_size(frames: i64) -> Vec<Sent> {
    let bytes = (BYTES_PER_S / 25) as usize;
    plain(frames)
        .into_iter()
        .map(|sent| Sent { bytes, ..sent })
        .collect()
}

fn changes_nothing(what: &str, frames: &[Sent], says: Says, network: &Network) {
    let came = watch(frames, says, network);
    let held = hold_to(&came, |_| true);
    let most_late = came.iter().map(|one| one.arrival_us - one.sent_us).max();
    assert_eq!(
        (held, corrections(&came)),
        (Ok(()), vec![]),
        "{what}: {most_late:?}"
    );
    let off = came.iter().map(|one| one.error_us().abs()).max();
    assert!(off < Some(150_000), "{what}: {off:?}");
}

#[test]
fn a_link_that_is_too_slow_is_known_by_the_size_of_frames() {
    for percent in [25, 50, 70, 84, 90, 95] {
        for buffer_bytes in [100_000, 256_000, 1_000_000, 3_000_000] {
            for says in [Says::Nothing, Says::Time, Says::Nonsense] {
                let what = format!("{percent} %, {buffer_bytes} bytes, {says:?}");
                changes_nothing(&what, &plain(4000), says, &slow(percent, buffer_bytes));
            }
        }
    }
}

#[test]
fn a_link_that_is_too_slow_from_the_start_is_known_by_the_size_of_frames() {
    for percent in [50, 70, 84, 90] {
        let mut network = slow(percent, 1_000_000);
        network.link = network.link.map(|link| Link { from_us: 0, ..link });
        let came = watch(&plain(4000), Says::Nothing, &network);
        assert_eq!(
            (hold_to(&came, |_| true), corrections(&came)),
            (Ok(()), vec![]),
            "{percent} %"
        );
    }
}

#[test]
fn a_link_that_is_too_slow_is_known_by_sender_reports_where_frames_are_of_one_size() {
    for percent in [50, 70, 84, 95] {
        for buffer_bytes in [100_000, 256_000, 1_000_000] {
            let what = format!("{percent} %, {buffer_bytes} bytes");
            changes_nothing(
                &what,
                &of_one_size(4000),
                Says::Time,
                &slow(percent, buffer_bytes),
            );
        }
    }
}

#[test]
fn a_link_that_is_too_slow_is_known_by_what_the_camera_drops() {
    for (percent, buffer_bytes) in [(50, 220_000), (70, 150_000)] {
        changes_nothing(
            &format!("{percent} %"),
            &of_one_size(4000),
            Says::Nothing,
            &slow(percent, buffer_bytes),
        );
    }
    // It fills so slowly that it looks like a clock at first: wrong by less than a second, for a
    // moment.
    let came = watch(&of_one_size(4000), Says::Nothing, &slow(84, 100_000));
    assert_eq!(hold_to(&came, |_| true), Ok(()));
}

/// The documented limit: nothing distinguishes it from a slow clock, so arrivals count, and times
/// are right again soon after.
#[test]
fn a_link_that_nothing_shows_is_taken_for_a_clock_until_it_is_better() {
    for percent in [50, 70, 84] {
        let came = watch(&of_one_size(4000), Says::Nothing, &slow(percent, 2_000_000));
        let out_of_it = |at_us: i64| !(30 * SECOND_US..100 * SECOND_US).contains(&at_us);
        assert_eq!(
            hold_to(&came, out_of_it),
            Ok(()),
            "{percent} %: {:?}",
            corrections(&came)
        );
        let by_arrival = came
            .iter()
            .filter(|one| one.sent_us - START_US > 36 * SECOND_US);
        let off_us = by_arrival
            .map(|one| (one.stamp.decode.micros() - one.arrival_us).abs())
            .max();
        assert!(
            off_us < Some(2 * SECOND_US),
            "{percent} %: {off_us:?} from arrival"
        );
    }
}

#[test]
fn spacing_stays_the_cameras_while_a_link_is_too_slow() {
    for percent in [70, 90] {
        let network = Network {
            jitter_us: 1,
            tick_us: 1,
            ..slow(percent, 150_000)
        };
        let came = watch(&plain(3000), Says::Nothing, &network);
        let off = came[100..].iter().map(Came::error_us);
        assert_eq!(
            (off.clone().min(), off.max()),
            (Some(0), Some(0)),
            "{percent} %"
        );
    }
}

#[test]
fn a_backlog_that_is_made_good_slowly_changes_nothing() {
    let mut clock = clock();
    for n in 0..2000_i64 {
        // Nothing came for six seconds, and the link carries a quarter more than the camera sends.
        let late_us = if n < 500 {
            0
        } else {
            (6 * SECOND_US - (n - 500) * 8_000).max(0)
        };
        let sent_us = START_US + n * 40_000;
        let stamp = clock.stamp(&arrived(n * 3600, Timestamp(sent_us + late_us)));
        assert_eq!(
            (stamp.decode.micros() - sent_us, stamp.correction),
            (0, None),
            "frame {n}"
        );
    }
}

#[test]
fn networks_that_stand_still_for_a_moment_change_nothing() {
    let every = |us: i64, hold_us: i64| {
        (1..150 * SECOND_US / us)
            .map(move |n| (n * us, n * us + hold_us))
            .collect()
    };
    for (us, hold_us) in [
        (1_500_000, 700_000),
        (4_000_000, 2_000_000),
        (7_000_000, 3_500_000),
        (20_000_000, 9_000_000),
    ] {
        for jitter_us in [1_000, 300_000] {
            let network = Network {
                jitter_us,
                holds: every(us, hold_us),
                ..Network::default()
            };
            for says in [Says::Nothing, Says::Time, Says::RtpTime, Says::Nonsense] {
                changes_nothing(
                    &format!("{hold_us} us every {us}, {says:?}"),
                    &plain(3500),
                    says,
                    &network,
                );
            }
        }
    }
}

#[test]
fn a_camera_that_sends_in_bursts_keeps_its_spacing() {
    for burst in [25, 50, 100] {
        let mut frames = plain(3000);
        let sent_us: Vec<_> = frames.iter().map(|sent| sent.at_us).collect();
        for (n, sent) in frames.iter_mut().enumerate() {
            sent.at_us = sent_us[(n / burst * burst + burst - 1).min(2999)];
        }
        let came = watch(&frames, Says::Nothing, &Network::default());
        let spacings = came
            .windows(2)
            .map(|pair| pair[1].stamp.decode.micros_since(pair[0].stamp.decode));
        assert!(
            spacings.clone().all(|us| (39_000..41_000).contains(&us)),
            "{burst}: {:?}",
            spacings.min()
        );
        assert_eq!(corrections(&came), [], "{burst}");
    }
}

#[test]
fn few_frames_and_changing_rates_of_frames_are_no_reason_to_correct_anything() {
    for period_us in [1_000_000, 3_000_000, 10_000_000] {
        let frames = camera(100, period_us, |_, at_us| honest(at_us));
        changes_nothing(
            &format!("{period_us} us"),
            &frames,
            Says::Nothing,
            &Network::default(),
        );
        let holds = vec![(5 * period_us - 1000, 5 * period_us + 2_000_000)];
        let network = Network {
            holds,
            ..Network::default()
        };
        changes_nothing(
            &format!("{period_us} us, one held back"),
            &frames,
            Says::Nothing,
            &network,
        );
    }
    let mut dice = Dice(42);
    let mut at_us = 0;
    let mut next = |n: i64| {
        let sent = Sent {
            at_us,
            rtp: honest(at_us),
            bytes: size(n, 25),
        };
        at_us += [33_333, 40_000, 100_000, 1_000_000, 10_000_000][(n / 20 % 5) as usize]
            + dice.below(5_000);
        sent
    };
    let frames: Vec<_> = (0..1000).map(&mut next).collect();
    changes_nothing("0.1 to 30 Hz", &frames, Says::Time, &Network::default());
}

#[test]
fn sound_is_held_where_video_shows_that_the_network_is() {
    for (is_held, corrected) in [(false, true), (true, false)] {
        let mut clock = TrackClock::new(8_000, Timestamp::MIN);
        let mut corrections = 0;
        for n in 0..1500_i64 {
            let arrival_us = START_US + n * 20_000 + (n - 500).max(0) * 10_000;
            let frame = Arrived {
                bytes: 160,
                is_held,
                ..arrived(n * 160, Timestamp(arrival_us))
            };
            corrections += u32::from(clock.stamp(&frame).correction.is_some());
        }
        assert_eq!(corrections > 0, corrected);
    }
}
