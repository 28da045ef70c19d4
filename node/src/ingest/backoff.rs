//! How long to wait before the next attempt. Pure: randomness comes in.

use std::time::Duration;

/// No attempt follows a failure sooner.
pub const DELAY_MIN: Duration = Duration::from_millis(250);
/// No attempt waits longer.
pub const DELAY_MAX: Duration = Duration::from_secs(5);

/// Doubling delays with jitter, so that cameras that fell together do not come back together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay before the next attempt: uniform between half and all of 0.5 s, 1 s, 2 s, 4 s, 5 s, 5 s, and never under
    /// [`DELAY_MIN`]. `random` is uniform over its type.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let ceiling = (DELAY_MIN * 2).saturating_mul(1 << self.failures.min(8)).min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        let low = (ceiling / 2).max(DELAY_MIN);
        low + (ceiling - low).mul_f64(f64::from(random) / f64::from(u32::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_bound_and_starts_over_after_a_success() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<_> = (0..6).map(|_| backoff.next_delay(u32::MAX).as_millis()).collect();
        assert_eq!(ceilings, [500, 1000, 2000, 4000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next_delay(u32::MAX).as_millis(), 500);
    }

    proptest::proptest! {
        #[test]
        fn stays_within_its_bounds(failures in 0_u32..100, random: u32) {
            let mut backoff = Backoff { failures };
            let delay = backoff.next_delay(random);
            proptest::prop_assert!((DELAY_MIN..=DELAY_MAX).contains(&delay));
        }
    }
}
