//! The number and times of cuts: numbers from the environment, times from a seed.

use super::footage::mix;
use std::time::Duration;

const CUTS: u32 = 6;
const REPLAYS: usize = 8;

/// A number that the environment may override.
fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    std::env::var(variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number"))
    })
}

/// Power cuts of each kind.
pub(crate) fn cuts() -> u32 {
    number("HOLDFAST_POWER_CUTS", CUTS)
}

/// Moments of each kind that are replayed.
pub(crate) fn replays() -> usize {
    number("HOLDFAST_POWER_REPLAYS", REPLAYS)
}

pub(crate) struct Random(u64);

impl Random {
    /// The same seed gives the same plan; the kernel's behaviour during it may differ.
    pub(crate) fn from_environment() -> Self {
        let seed = number("HOLDFAST_POWER_SEED", 1);
        println!("HOLDFAST_POWER_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + Duration::from_micros(self.below((most - least).as_micros() as u64))
    }
}
