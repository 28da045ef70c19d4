//! When a volume that failed, hung or could not be opened is taken back. Pure.
//!
//! The rule: a probe writes a small file on the disk, makes it durable and reads it back. A probe
//! that fails, or takes longer than [`PROBE_MAX`], doubles the wait for the next one, up to
//! [`WAIT_MAX`]. After [`PROBES_MIN`] good probes in a row, a second apart, the volume is taken
//! back. If it soon fails again, its first wait is twice as long.

use std::time::Duration;

/// A good probe takes no longer.
pub(super) const PROBE_MAX: Duration = Duration::from_secs(2);
/// Good probes in a row that are needed.
pub(super) const PROBES_MIN: u32 = 5;
/// Between good probes, and before the first.
pub(super) const WAIT_MIN: Duration = Duration::from_secs(1);
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// A volume that lasts this long begins with the shortest wait again.
const PROVEN_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Probation {
    good: u32,
    /// After the next bad probe.
    wait: Duration,
    due: Duration,
    /// The wait with which this probation began.
    first_wait: Duration,
}

impl Probation {
    /// Begins at `now`, for the first time or after `last`, which ended `lasted` ago.
    pub(super) fn begin(now: Duration, last: Option<(&Self, Duration)>) -> Self {
        let first_wait = match last {
            Some((last, lasted)) if lasted < PROVEN_AFTER => (last.first_wait * 2).min(WAIT_MAX),
            _ => WAIT_MIN,
        };
        Self {
            good: 0,
            wait: first_wait,
            due: now + first_wait,
            first_wait,
        }
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }

    /// A probe that took `took` has ended; returns whether the volume may be taken back.
    pub(super) fn probed(&mut self, now: Duration, took: Duration, is_good: bool) -> bool {
        if is_good && took <= PROBE_MAX {
            self.good += 1;
            self.due = now + WAIT_MIN;
        } else {
            self.good = 0;
            self.due = now + self.wait;
            self.wait = (self.wait * 2).min(WAIT_MAX);
        }
        self.good >= PROBES_MIN
    }

    /// The probes were good, but the volume could not be taken back.
    pub(super) fn refused(&mut self, now: Duration) {
        self.probed(now, Duration::ZERO, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(5);

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn five_good_probes_in_a_row_are_needed() {
        let mut probation = Probation::begin(s(10), None);
        assert!(!probation.is_due(s(10)) && probation.is_due(s(11)));
        let good = (0..4)
            .map(|n| probation.probed(s(11 + n), QUICK, true))
            .collect::<Vec<_>>();
        assert_eq!(good, [false; 4]);
        assert!(
            !probation.probed(s(15), PROBE_MAX + QUICK, true),
            "a slow one is a bad one"
        );
        assert!((0..4).all(|n| !probation.probed(s(16 + n), QUICK, true)));
        assert!(probation.probed(s(20), QUICK, true));
    }

    #[test]
    fn the_wait_grows_to_a_minute() {
        let mut probation = Probation::begin(s(0), None);
        let mut now = s(1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            probation.probed(now, QUICK, false);
            waits.push((probation.due - now).as_secs());
            now = probation.due;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn one_that_fails_again_soon_waits_longer_from_the_start() {
        let first = Probation::begin(s(0), None);
        let second = Probation::begin(s(100), Some((&first, s(90))));
        assert!(!second.is_due(s(101)) && second.is_due(s(102)));
        let third = Probation::begin(s(200), Some((&second, s(90))));
        assert!(!third.is_due(s(203)) && third.is_due(s(204)));
        assert!(Probation::begin(s(900), Some((&third, s(600)))).is_due(s(901)));
    }
}
