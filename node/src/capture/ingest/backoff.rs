//! How long to wait before the next attempt. Pure: randomness is passed in.

use std::time::Duration;

/// No attempt follows a failure sooner.
pub const DELAY_MIN: Duration = Duration::from_millis(250);
/// No attempt waits longer, unless the camera refused the login.
pub const DELAY_MAX: Duration = Duration::from_secs(5);
/// After a refused login the next one waits this long, or up to a quarter longer: cameras lock
/// accounts after a handful of wrong passwords in some minutes.
pub const REFUSED_DELAY_MIN: Duration = Duration::from_secs(30);
/// Refused logins wait twice as long each time, up to this.
pub const REFUSED_DELAY_MAX: Duration = Duration::from_secs(300);

/// After a session that cost others too much the next one waits this long, or up to a quarter
/// longer; twice as long each time, up to [`REFUSED_DELAY_MAX`].
pub const OVER_BUDGET_DELAY_MIN: Duration = Duration::from_secs(10);

/// Doubling delays with jitter, so that cameras that failed together do not reconnect together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    refusals: u32,
    floods: u32,
    /// The camera has accepted the login since it last refused it.
    accepted: bool,
}

impl Backoff {
    /// The delay before the next attempt: uniform between half and all of 0.5 s, 1 s, 2 s, 4 s, 5
    /// s, 5 s, and never under [`DELAY_MIN`]. `random` is uniform over its type.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let ceiling = (DELAY_MIN * 2)
            .saturating_mul(1 << self.failures.min(8))
            .min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        let low = (ceiling / 2).max(DELAY_MIN);
        between(low, ceiling, random)
    }

    /// The delay after a refused login: 30 s, 1 min, 2 min, 4 min, 5 min, 5 min, and up to a
    /// quarter more. The first refusal of a login that the camera had accepted before is delayed as
    /// any other failure: a camera that starts up may refuse every login for a moment.
    pub fn next_delay_refused(&mut self, random: u32) -> Duration {
        if std::mem::take(&mut self.accepted) {
            return self.next_delay(random);
        }
        let low = REFUSED_DELAY_MIN
            .saturating_mul(1 << self.refusals.min(8))
            .min(REFUSED_DELAY_MAX);
        self.refusals = self.refusals.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        between(low, low + low / 4, random)
    }

    /// The delay after a session that was above its budget: 10 s, 20 s, 40 s, 80 s, 160 s, 5 min,
    /// and up to a quarter more.
    pub fn next_delay_over_budget(&mut self, random: u32) -> Duration {
        let low = OVER_BUDGET_DELAY_MIN
            .saturating_mul(1 << self.floods.min(8))
            .min(REFUSED_DELAY_MAX);
        self.floods = self.floods.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        between(low, low + low / 4, random)
    }

    /// A session has shown for long enough that the camera keeps its budget.
    pub fn keeps_budget(&mut self) {
        self.floods = 0;
    }

    /// The camera accepted the login, if it wanted one.
    pub fn accept(&mut self) {
        (self.refusals, self.accepted) = (0, true);
    }

    /// Attempts that failed since the last [`Self::reset`].
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

fn between(low: Duration, high: Duration, random: u32) -> Duration {
    low + high
        .saturating_sub(low)
        .mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_starts_over_after_a_success() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<_> = (0..6)
            .map(|_| backoff.next_delay(u32::MAX).as_millis())
            .collect();
        assert_eq!(ceilings, [500, 1000, 2000, 4000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next_delay(u32::MAX).as_millis(), 500);
    }

    #[test]
    fn refused_logins_wait_for_minutes() {
        let mut backoff = Backoff::default();
        let seconds: Vec<_> = (0..6)
            .map(|_| backoff.next_delay_refused(0).as_secs())
            .collect();
        assert_eq!(seconds, [30, 60, 120, 240, 300, 300]);
        assert_eq!(backoff.next_delay_refused(u32::MAX).as_secs(), 375);
        assert_eq!(backoff.failures(), 7);
    }

    #[test]
    fn a_login_that_was_accepted_is_tried_again_soon_once() {
        let mut backoff = Backoff::default();
        backoff.next_delay_refused(0);
        backoff.next_delay_refused(0);
        backoff.accept();
        backoff.reset();
        let seconds: Vec<_> = (0..3)
            .map(|_| backoff.next_delay_refused(0).as_secs())
            .collect();
        assert_eq!(seconds, [0, 30, 60]);
    }

    proptest::proptest! {
        #[test]
        fn stays_within_its_bounds(failures in 0_u32..100, refusals in 0_u32..100, random: u32) {
            let mut backoff = Backoff { failures, refusals, ..Backoff::default() };
            let delay = backoff.next_delay(random);
            proptest::prop_assert!((DELAY_MIN..=DELAY_MAX).contains(&delay));
            let delay = backoff.next_delay_refused(random);
            proptest::prop_assert!(
                (REFUSED_DELAY_MIN..=REFUSED_DELAY_MAX * 5 / 4).contains(&delay)
            );
        }
    }
}
