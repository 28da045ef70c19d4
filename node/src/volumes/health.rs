//! What a volume's figures say about its disk: well, too slow, hung or full. Pure.
//!
//! The evidence is a *marker*: a record that was handed over at a known moment. Until it is durable
//! its age is the volume's lag. Records become durable in the order in which they arrive, so
//! everything before a durable marker is durable too.

use std::time::Duration;

/// How full the buffer may be before the disk counts as too slow; cameras of priority 0 are shed
/// from one half on.
const QUEUE_PERCENT_MAX: u64 = 40;
/// The shortest time over which a slow disk's bandwidth is measured.
const MEASURE_MIN: Duration = Duration::from_secs(2);
/// A volume that was slow is well again once its lag has stayed below half the limit for so long.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) hang_after: Duration,
    pub(super) lag_max: Duration,
}

/// The volume as it was at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// On a monotonic clock.
    pub(super) now: Duration,
    /// Age of the record that is awaited; zero if none is.
    pub(super) waiting: Duration,
    /// How long the last durable marker took.
    pub(super) lag: Duration,
    pub(super) written_bytes: u64,
    pub(super) flushes: u64,
    pub(super) queued_bytes: u64,
    pub(super) queued_bytes_max: u64,
    pub(super) has_no_space: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Well,
    /// With what the disk takes, in bytes per second, once that is measured.
    Slow {
        bandwidth_bps: Option<u64>,
    },
    Full,
    Hung,
}

/// Follows one volume.
#[derive(Debug, Default)]
pub(super) struct Watch {
    health: Health,
    /// What was written and flushed, and since when that has not grown.
    progress: (u64, u64),
    progressed_at: Duration,
    /// Moment and bytes written when it became slow.
    slow_since: Option<(Duration, u64)>,
    /// Since when it has not looked slow any more.
    fine_since: Option<Duration>,
}

impl Watch {
    pub(super) fn observe(&mut self, limits: Limits, sample: &Sample) -> Health {
        let progress = (sample.written_bytes, sample.flushes);
        let is_idle = sample.waiting.is_zero();
        // A disk that has room again may show it by creating a file, before anything is written.
        let has_room_again = self.health == Health::Full && !sample.has_no_space;
        if progress != self.progress || is_idle || has_room_again {
            (self.progress, self.progressed_at) = (progress, sample.now);
        }
        let stuck = sample.now.saturating_sub(self.progressed_at);
        let is_filling = sample.queued_bytes > sample.queued_bytes_max / 100 * QUEUE_PERCENT_MAX;
        // A buffer that fills up leaves less time to wait and see.
        let patience = if is_filling {
            limits.hang_after / 3
        } else {
            limits.hang_after
        };
        let is_stuck = !is_idle && stuck >= patience && sample.waiting >= patience;
        // Its own progress is the earliest evidence.
        let was_stuck = matches!(self.health, Health::Hung | Health::Full)
            && !is_idle
            && stuck > Duration::ZERO;
        self.health = match () {
            () if (is_stuck || was_stuck) && sample.has_no_space => Health::Full,
            () if is_stuck || was_stuck => Health::Hung,
            () => self.pace(limits, sample, is_filling),
        };
        self.health
    }

    fn pace(&mut self, limits: Limits, sample: &Sample, is_filling: bool) -> Health {
        let lag = sample.waiting.max(sample.lag);
        let is_slow = lag >= limits.lag_max || is_filling;
        if !is_slow && lag < limits.lag_max / 2 {
            let since = *self.fine_since.get_or_insert(sample.now);
            if sample.now.saturating_sub(since) >= RECOVERED_AFTER {
                self.slow_since = None;
            }
        } else {
            self.fine_since = None;
        }
        if is_slow && self.slow_since.is_none() {
            self.slow_since = Some((sample.now, sample.written_bytes));
        }
        match self.slow_since {
            Some(since) => Health::Slow {
                bandwidth_bps: self.bandwidth(since, sample, is_slow),
            },
            None => Health::Well,
        }
    }

    /// A disk that has more to do than it can handle shows what it takes. Once it has caught up it
    /// does not, and the figure stays.
    fn bandwidth(&mut self, since: (Duration, u64), sample: &Sample, is_slow: bool) -> Option<u64> {
        let known = if let Health::Slow { bandwidth_bps } = self.health {
            bandwidth_bps
        } else {
            None
        };
        let took = sample.now.saturating_sub(since.0);
        if !is_slow || took < MEASURE_MIN {
            return known;
        }
        let bytes = sample.written_bytes.saturating_sub(since.1);
        u64::try_from(u128::from(bytes) * 1000 / took.as_millis().max(1)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        hang_after: Duration::from_secs(3),
        lag_max: Duration::from_secs(5),
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn sample(at_ms: u64, waiting_ms: u64, written_bytes: u64) -> Sample {
        Sample {
            now: ms(at_ms),
            waiting: ms(waiting_ms),
            lag: ms(500),
            written_bytes,
            queued_bytes_max: 100_000,
            ..Sample::default()
        }
    }

    fn states(samples: impl IntoIterator<Item = Sample>) -> Vec<Health> {
        let mut watch = Watch::default();
        let mut states: Vec<_> = samples
            .into_iter()
            .map(|sample| watch.observe(LIMITS, &sample))
            .collect();
        states.dedup();
        states
    }

    #[test]
    fn a_disk_that_flushes_every_half_second_is_well_and_so_is_an_idle_one() {
        assert_eq!(
            states((0..600).map(|n| sample(n * 100, n % 5 * 100, n / 5 * 1000))),
            [Health::Well]
        );
        assert_eq!(
            states((0..600).map(|n| sample(n * 100, 0, 77))),
            [Health::Well]
        );
        // The first record after a long rest has not waited yet.
        let rest = (0..100).map(|n| sample(n * 100, 0, 77));
        assert_eq!(
            states(rest.chain((1..29).map(|n| sample(10_000 + n * 100, n * 100, 77)))),
            [Health::Well]
        );
    }

    #[test]
    fn nothing_written_for_three_seconds_is_a_hang_until_something_is() {
        let hangs = (0..100).map(|n| sample(n * 100, n * 100, 5));
        let continues = (0..10).map(|n| sample(10_000 + n * 100, 100, 5000 + n));
        assert_eq!(
            states((0..30).map(|n| sample(n * 100, n * 100, 5))),
            [Health::Well]
        );
        assert_eq!(
            states(hangs.chain(continues)),
            [Health::Well, Health::Hung, Health::Well]
        );
    }

    #[test]
    fn a_buffer_that_fills_up_shortens_the_wait() {
        let filling = |n: u64| Sample {
            queued_bytes: n * 10_000,
            ..sample(n * 100, n * 100, 5)
        };
        assert_eq!(
            states((0..10).map(filling)),
            [
                Health::Well,
                Health::Slow {
                    bandwidth_bps: None
                }
            ]
        );
        assert_eq!(states((0..11).map(filling)).last(), Some(&Health::Hung));
    }

    #[test]
    fn a_full_disk_is_no_hang() {
        let full = |n: u64| Sample {
            has_no_space: true,
            ..sample(n * 100, n * 100, 5)
        };
        assert_eq!(states((0..100).map(full)), [Health::Well, Health::Full]);
    }

    #[test]
    fn a_disk_that_has_room_again_is_no_hang_before_it_writes() {
        let full = (0..40).map(|n| Sample {
            has_no_space: true,
            ..sample(n * 100, n * 100, 5)
        });
        let has_room = (40..43).map(|n| sample(n * 100, n * 100, 5));
        let continues = (43..50).map(|n| sample(n * 100, 100, n * 1000));
        assert_eq!(
            states(full.clone().chain(has_room).chain(continues)),
            [Health::Well, Health::Full, Health::Well]
        );
        // Unless it stops writing for as long as any other volume.
        let hangs = (40..73).map(|n| sample(n * 100, n * 100, 5));
        assert_eq!(states(full.chain(hangs)).last(), Some(&Health::Hung));
    }

    #[test]
    fn a_slow_disk_shows_its_bandwidth_and_recovers() {
        let mut watch = Watch::default();
        let mut slow = Health::Well;
        // 1 MB/s, and every record waits longer than the one before.
        for n in 0..100 {
            slow = watch.observe(LIMITS, &sample(n * 100, n * 100, n * 100_000));
        }
        assert_eq!(
            slow,
            Health::Slow {
                bandwidth_bps: Some(1_000_000)
            }
        );
        // It has caught up, and less is recorded now: its bandwidth stays as measured.
        let fine = |n: u64| Sample {
            lag: ms(400),
            ..sample(10_000 + n * 100, 0, 10_000_000 + n * 1000)
        };
        for n in 0..100 {
            assert_eq!(watch.observe(LIMITS, &fine(n)), slow, "{n}");
        }
        assert_eq!(watch.observe(LIMITS, &fine(100)), Health::Well);
    }
}
