//! How much a camera may send: a multiple of its usual rate, so that a flooding camera harms no
//! other. Pure.

use std::time::{Duration, Instant};

/// The rate that a camera without a setting may always send, in bits per second.
const FREE_BPS: u64 = 64_000_000;
/// A camera without a setting may send this many times its mean.
const MEAN_FACTOR: u64 = 4;
/// Over how long the mean is taken.
const MEAN_OVER: Duration = Duration::from_secs(600);
/// Over how long a camera must be above its budget: the burst of a camera that held frames back is
/// shorter.
const WINDOW: Duration = Duration::from_secs(5);

/// The budget of one camera, and its use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The budget that a user set, in bits per second.
    set_bps: Option<u64>,
    /// Bits per second, over [`MEAN_OVER`]; 0 if nothing is known.
    mean_bps: u64,
    window_began: Instant,
    window_bytes: u64,
}

/// A camera has sent more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) sent_bps: u64,
    pub(crate) budget_bps: u64,
}

impl Budget {
    /// `mean_bps`: of an earlier session, 0 without one.
    pub(crate) fn new(set_bps: Option<u64>, mean_bps: u64, now: Instant) -> Self {
        Self {
            set_bps,
            mean_bps,
            window_began: now,
            window_bytes: 0,
        }
    }

    /// The camera's usual rate, in bits per second, for the next session.
    pub(crate) fn mean_bps(&self) -> u64 {
        self.mean_bps
    }

    fn budget_bps(&self) -> u64 {
        self.set_bps
            .unwrap_or_else(|| FREE_BPS.max(self.mean_bps.saturating_mul(MEAN_FACTOR)))
    }

    /// Counts `bytes` that came until `now`.
    ///
    /// # Errors
    /// The camera has sent more than its budget for [`WINDOW`].
    pub(crate) fn spend(&mut self, bytes: u64, now: Instant) -> Result<(), Exceeded> {
        self.window_bytes = self.window_bytes.saturating_add(bytes);
        let elapsed = now.saturating_duration_since(self.window_began);
        if elapsed < WINDOW {
            return Ok(());
        }
        let sent_bps = bits_per_second(self.window_bytes, elapsed);
        let budget_bps = self.budget_bps();
        (self.window_began, self.window_bytes) = (now, 0);
        if sent_bps > budget_bps {
            return Err(Exceeded {
                sent_bps,
                budget_bps,
            });
        }
        self.mean_bps = match self.mean_bps {
            0 => sent_bps,
            mean => weighted(mean, sent_bps, elapsed),
        };
        Ok(())
    }
}

fn bits_per_second(bytes: u64, elapsed: Duration) -> u64 {
    let bits = u128::from(bytes) * 8_000;
    u64::try_from(bits / elapsed.as_millis().max(1)).unwrap_or(u64::MAX)
}

/// The mean updated by what was sent in `elapsed`.
fn weighted(mean: u64, sent: u64, elapsed: Duration) -> u64 {
    let (new, all) = (elapsed.min(MEAN_OVER).as_millis(), MEAN_OVER.as_millis());
    let sum = u128::from(mean) * (all - new) + u128::from(sent) * new;
    u64::try_from(sum / all).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `mbps` for `seconds`; returns how long until it was too much.
    fn send(budget: &mut Budget, from: &mut Instant, mbps: u64, seconds: u32) -> Option<u32> {
        (0..seconds * 10).find_map(|tenth| {
            *from += Duration::from_millis(100);
            budget
                .spend(mbps * 12_500, *from)
                .is_err()
                .then_some(tenth / 10)
        })
    }

    fn now() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as an origin"
        )]
        Instant::now()
    }

    #[test]
    fn a_flood_is_too_much_after_five_seconds() {
        let mut at = now();
        let mut budget = Budget::new(None, 0, at);
        assert_eq!(send(&mut budget, &mut at, 60, 60), None);
        let mut fresh = Budget::new(None, 0, at);
        assert_eq!(send(&mut fresh, &mut at, 160, 60), Some(4));
    }

    #[test]
    fn four_times_the_mean_is_allowed() {
        let mut at = now();
        let mut budget = Budget::new(None, 40_000_000, at);
        assert_eq!(send(&mut budget, &mut at, 150, 60), None);
        assert_eq!(Budget::new(None, 40_000_000, at).budget_bps(), 160_000_000);
        assert!(send(&mut budget, &mut at, 400, 60).is_some());
    }

    #[test]
    fn what_is_too_much_does_not_raise_the_mean() {
        let mut at = now();
        let mut budget = Budget::new(None, 8_000_000, at);
        send(&mut budget, &mut at, 800, 60);
        assert_eq!(budget.mean_bps(), 8_000_000);
    }

    #[test]
    fn a_setting_counts_alone() {
        let mut at = now();
        assert_eq!(
            send(&mut Budget::new(Some(10_000_000), 0, at), &mut at, 11, 60),
            Some(4)
        );
        assert_eq!(
            send(&mut Budget::new(Some(900_000_000), 0, at), &mut at, 500, 60),
            None
        );
    }

    #[test]
    fn a_burst_of_what_was_held_back_is_no_flood() {
        let mut at = now();
        let mut budget = Budget::new(None, 8_000_000, at);
        // 20 s of 8 Mbit/s at once.
        assert_eq!(budget.spend(20_000_000, at), Ok(()));
        assert_eq!(send(&mut budget, &mut at, 8, 10), None);
    }
}
