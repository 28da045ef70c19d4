//! Forecasts when a volume is full, from the incoming rate, the free space, and what retention may
//! still delete. Pure.

use std::time::Duration;

/// The time over which the rate of writing is averaged.
const MEMORY: Duration = Duration::from_secs(60);

/// Bytes a second, smoothed: each second counts less the longer it is ago.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    bytes_per_s: Option<f64>,
}

impl Rate {
    /// `bytes` came in `time`.
    pub fn observe(&mut self, bytes: u64, time: Duration) {
        if time.is_zero() {
            return;
        }
        let now = bytes as f64 / time.as_secs_f64();
        let share = 1.0 - (-time.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.bytes_per_s = Some(
            self.bytes_per_s
                .map_or(now, |before| before + (now - before) * share),
        );
    }

    /// 0 before anything was observed.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        self.bytes_per_s.unwrap_or(0.0)
    }
}

/// Seconds until neither free room nor anything deletable is left, if from now on nothing that
/// comes may be deleted. `None`: nothing comes.
///
/// In a healthy ring this is the time that footage stays, and does not change. It falls while holds
/// or other files take up the room; at 0 recording ends.
#[must_use]
pub fn full_in_s(free_bytes: u64, deletable_bytes: u64, rate: Rate) -> Option<u64> {
    let room = free_bytes.saturating_add(deletable_bytes) as f64;
    // Slower than a byte a second is no recording.
    (rate.bytes_per_s() >= 1.0).then(|| (room / rate.bytes_per_s()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(bytes_per_s: u64) -> Rate {
        let mut rate = Rate::default();
        (0..5).for_each(|_| rate.observe(5 * bytes_per_s, Duration::from_secs(5)));
        rate
    }

    #[test]
    fn free_and_deletable_room_last_as_long_as_the_rate_lets_them() {
        assert_eq!(full_in_s(600, 400, steady(10)), Some(100));
        assert_eq!(
            full_in_s(600, 0, steady(10)),
            Some(60),
            "held footage is no room"
        );
        assert_eq!(full_in_s(0, 0, steady(10)), Some(0));
        assert_eq!(full_in_s(u64::MAX, u64::MAX, steady(1)), Some(u64::MAX));
    }

    #[test]
    fn a_volume_that_records_nothing_never_fills() {
        assert_eq!(full_in_s(1, 1, Rate::default()), None);
        assert_eq!(full_in_s(1, 1, steady(0)), None);
    }

    #[test]
    fn the_rate_follows_within_minutes_and_one_burst_does_not_count_much() {
        let mut rate = steady(100);
        rate.observe(5_000, Duration::from_secs(5));
        assert!((100.0..200.0).contains(&rate.bytes_per_s()), "{rate:?}");
        rate.observe(0, Duration::ZERO);
        (0..60).for_each(|_| rate.observe(5_000, Duration::from_secs(5)));
        assert!((950.0..=1_000.0).contains(&rate.bytes_per_s()), "{rate:?}");
    }
}
