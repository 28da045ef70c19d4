//! Wall time that never steps within a recording: the monotonic clock, anchored to the system's
//! wall clock. Pure.
//!
//! Intervals come from the monotonic clock; the wall clock only anchors. If both drift apart slowly
//! (NTP slews the wall clock), the anchor follows at no more than 500 ppm. If the wall clock steps
//! by more than 250 ms, [`WallClock::observe`] reports it, and nothing changes until the recorder
//! calls [`WallClock::restart`] at a moment of its choosing (a keyframe). A restart never goes back
//! before `floor`, the end of the footage: after a step back, recorded time therefore runs ahead of
//! the wall clock, and returns to it at 500 ppm or at a later step.

use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A difference between the clocks that counts as a step, in microseconds.
pub const STEP_US: i64 = 250_000;
/// How fast the anchor follows, in parts per million.
pub const FOLLOW_PPM: i64 = 500;

/// If recorded time is further ahead of a certain wall clock than this, in microseconds, it returns
/// to it in a new epoch.
pub const AHEAD_US_MAX: i64 = 300_000_000;

/// Whether the system's wall clock is certain, as the node judges it for all of its recorders.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WallTrust(Arc<AtomicBool>);

impl WallTrust {
    pub fn set(&self, is_certain: bool) {
        self.0.store(is_certain, Relaxed);
    }

    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.0.load(Relaxed)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    origin: Instant,
    /// Wall time at `origin` as it is used, in microseconds since the Unix epoch.
    used_us: i64,
    /// The same by the last reading of the system's clock.
    system_us: i64,
    updated: Instant,
}

impl WallClock {
    /// A clock that shows `wall` at `now`, or `floor` if that is later.
    #[must_use]
    pub fn new(now: Instant, wall: Timestamp, floor: Timestamp) -> Self {
        Self {
            origin: now,
            used_us: wall.max(floor).micros(),
            system_us: wall.micros(),
            updated: now,
        }
    }

    /// The wall time of a monotonic instant, before or after the origin.
    #[must_use]
    pub fn time_of(&self, at: Instant) -> Timestamp {
        Timestamp(self.used_us).plus_micros(signed_micros(self.origin, at))
    }

    /// Follows a pair of simultaneous readings. Returns whether the wall clock has stepped since
    /// the last (re)start.
    pub fn observe(&mut self, now: Instant, wall: Timestamp) -> bool {
        let system_us = wall
            .micros()
            .saturating_sub(signed_micros(self.origin, now));
        if system_us.saturating_sub(self.system_us).saturating_abs() > STEP_US {
            return true;
        }
        self.system_us = system_us;
        let elapsed_us = signed_micros(self.updated, now).max(0);
        let most_us = elapsed_us / (1_000_000 / FOLLOW_PPM);
        if most_us > 0 {
            self.used_us += (system_us - self.used_us).clamp(-most_us, most_us);
            self.updated = now;
        }
        false
    }

    /// How far recorded time is ahead of the wall clock, in microseconds, by its last reading.
    #[must_use]
    pub fn ahead_us(&self) -> i64 {
        self.used_us.saturating_sub(self.system_us)
    }

    /// Anchors again after a step.
    pub fn restart(&mut self, now: Instant, wall: Timestamp, floor: Timestamp) {
        *self = Self::new(now, wall, floor);
    }
}

/// Microseconds from `from` to `to`, negative where `to` is the earlier one.
fn signed_micros(from: Instant, to: Instant) -> i64 {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    if to >= from {
        micros(to - from)
    } else {
        -micros(from - to)
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as an origin"
)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_795_341_600_000_000);

    #[test]
    fn ignores_the_wall_clock_between_anchors() {
        let origin = Instant::now();
        let clock = WallClock::new(origin, START, Timestamp::MIN);
        assert_eq!(
            clock.time_of(origin + Duration::from_secs(5)),
            START.plus_micros(5_000_000)
        );
    }

    #[test]
    fn follows_a_slow_drift_without_a_step() {
        let origin = Instant::now();
        let mut clock = WallClock::new(origin, START, Timestamp::MIN);
        for second in 1..=3600_i64 {
            let now = origin + Duration::from_secs(second as u64);
            assert!(!clock.observe(now, START.plus_micros(second * 1_000_100)));
        }
        let error = clock
            .time_of(origin + Duration::from_secs(3600))
            .micros_since(START.plus_micros(3600 * 1_000_100));
        assert!(error.abs() < 1000, "{error} us off");
    }

    #[test]
    fn a_step_back_is_reported_and_a_restart_never_goes_before_the_floor() {
        let origin = Instant::now();
        let mut clock = WallClock::new(origin, START, Timestamp::MIN);
        let now = origin + Duration::from_secs(1);
        let stepped = START.plus_micros(-3_600_000_000);
        assert!(clock.observe(now, stepped));
        assert_eq!(
            clock.time_of(now),
            START.plus_micros(1_000_000),
            "unchanged until the restart"
        );
        let floor = START.plus_micros(990_000);
        clock.restart(now, stepped, floor);
        assert_eq!(clock.time_of(now), floor);
        assert!(
            !clock.observe(now + Duration::from_secs(1), stepped.plus_micros(1_000_000)),
            "one step is reported once"
        );
        assert!(
            clock.time_of(now + Duration::from_secs(1)) > floor,
            "time continues"
        );
    }

    proptest::proptest! {
        #[test]
        fn never_runs_backwards_whatever_the_wall_clock_says(
            readings in proptest::collection::vec(
                (1_u64..2_000_000, -400_000_i64..400_000),
                1..200,
            ),
        ) {
            let origin = Instant::now();
            let mut clock = WallClock::new(origin, START, Timestamp::MIN);
            let (mut now, mut last) = (origin, START);
            for (step_us, noise) in readings {
                now += Duration::from_micros(step_us);
                let wall = START.plus(now - origin).plus_micros(noise);
                if clock.observe(now, wall) {
                    clock.restart(now, wall, last);
                }
                let time = clock.time_of(now);
                proptest::prop_assert!(time >= last, "{time} after {last}");
                last = time;
            }
        }
    }
}
