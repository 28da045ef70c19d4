//! The line that maps a track's RTP time to wall time, and how it moves to the earliest arrivals.
//! Pure.

use super::{EARLY_MAX_US, EARLY_US, LATE_US};

/// A rate as it should be: wall time per RTP time, in parts per billion.
pub const HONEST_PPB: i64 = 1_000_000_000;
/// How long after an anchor the line may move fast, in microseconds of arrival time.
const SETTLING_US: i64 = 5_000_000;
/// Backward slew: one part in this many of the elapsed time.
const EARLY_SLEW_DIVISOR: i64 = 200;
const EARLY_SLEW_DIVISOR_SETTLING: i64 = 2;
/// Forward slew.
const LATE_SLEW_DIVISOR: i64 = 2000;
/// Slew either way if the rate was learnt from arrivals and may be slightly off.
const LEARNT_SLEW_DIVISOR: i64 = 50;
/// Differences that leave the line alone, in microseconds.
const DEADBAND_US: i64 = 5_000;
/// Over how long the earliest arrival is looked for before the line moves forward, in microseconds
/// of arrival time.
const WINDOW_US: i64 = 10_000_000;
/// The same if the rate was learnt.
const LEARNT_WINDOW_US: i64 = 2_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    timescale: u32,
    anchor_rtp: i64,
    anchor_us: i64,
    /// Wall time per RTP time, in parts per billion.
    scale_ppb: i64,
    settled_at_us: i64,
    /// How far the line has yet to move.
    correction_us: i64,
    /// The earliest arrival since `window_began_us`, relative to the line.
    window_min_us: i64,
    window_began_us: i64,
}

impl Line {
    /// A line through `rtp` and `wall_us` that is settled from `settled_at_us` on.
    pub(super) fn through(timescale: u32, rtp: i64, wall_us: i64, arrival_us: i64) -> Self {
        Self {
            timescale,
            anchor_rtp: rtp,
            anchor_us: wall_us,
            scale_ppb: HONEST_PPB,
            settled_at_us: arrival_us,
            correction_us: 0,
            window_min_us: i64::MAX,
            window_began_us: arrival_us,
        }
    }

    /// The same if the position of the line is known from a single frame.
    pub(super) fn unsettled(self) -> Self {
        Self {
            settled_at_us: self.window_began_us.saturating_add(SETTLING_US),
            ..self
        }
    }

    pub(super) fn at_scale(self, scale_ppb: i64) -> Self {
        Self { scale_ppb, ..self }
    }

    pub(super) fn scale_ppb(&self) -> i64 {
        self.scale_ppb
    }

    /// The wall time that the line gives to `rtp`.
    pub(super) fn at(&self, rtp: i64) -> i64 {
        self.anchor_us.saturating_add(self.since_anchor(rtp))
    }

    /// The wall time that the line gives to the anchor.
    pub(super) fn offset_us(&self) -> i64 {
        self.anchor_us
    }

    /// From the anchor to `rtp` at the line's rate, in microseconds.
    pub(super) fn since_anchor(&self, rtp: i64) -> i64 {
        self.micros(rtp.saturating_sub(self.anchor_rtp))
    }

    /// How long `ticks` of RTP time last at the line's rate, in microseconds.
    pub(super) fn micros(&self, ticks: i64) -> i64 {
        // Below 2^63 ticks x 10^6 x the greatest scale (50,000 of 10^9), an i128 has room for it.
        let nanos =
            i128::from(ticks) * 1_000_000 * i128::from(self.scale_ppb) / i128::from(self.timescale);
        i64::try_from(nanos / i128::from(HONEST_PPB)).unwrap_or(if ticks < 0 {
            i64::MIN
        } else {
            i64::MAX
        })
    }

    pub(super) fn is_settling(&self, arrival_us: i64) -> bool {
        arrival_us < self.settled_at_us
    }

    /// The wall clock was set by `by_us`.
    pub(super) fn shift(&mut self, by_us: i64) {
        for time_us in [
            &mut self.anchor_us,
            &mut self.settled_at_us,
            &mut self.window_began_us,
        ] {
            *time_us = time_us.saturating_add(by_us);
        }
    }

    /// Moves the line on at once.
    pub(super) fn move_by(&mut self, by_us: i64, arrival_us: i64) {
        self.anchor_us = self.anchor_us.saturating_add(by_us);
        (self.correction_us, self.window_min_us, self.window_began_us) = (0, i64::MAX, arrival_us);
    }

    /// Lateness up to now is a network's, and no reason to move on.
    pub(super) fn forget_lateness(&mut self, arrival_us: i64) {
        (self.window_min_us, self.window_began_us) = (i64::MAX, arrival_us);
    }

    /// Moves the line for a frame that is `late_us` late (negative: early) and `elapsed_us` of its
    /// time after the one before.
    pub(super) fn correct(&mut self, late_us: i64, elapsed_us: i64, arrival_us: i64) {
        let is_learnt = self.scale_ppb != HONEST_PPB;
        self.window_min_us = self.window_min_us.min(late_us);
        let window_us = if is_learnt {
            LEARNT_WINDOW_US
        } else {
            WINDOW_US
        };
        if late_us < -DEADBAND_US {
            self.correction_us = late_us;
        } else if arrival_us.saturating_sub(self.window_began_us) >= window_us {
            let late = (DEADBAND_US..LATE_US).contains(&self.window_min_us);
            self.correction_us = if late {
                self.window_min_us
            } else {
                self.correction_us.min(0)
            };
            (self.window_min_us, self.window_began_us) = (i64::MAX, arrival_us);
        }
        if late_us < -EARLY_US {
            self.settled_at_us = arrival_us.saturating_add(SETTLING_US);
        }
        let (early_divisor, late_divisor) = match (self.is_settling(arrival_us), is_learnt) {
            (true, false) => (EARLY_SLEW_DIVISOR_SETTLING, LATE_SLEW_DIVISOR),
            (true, true) => (EARLY_SLEW_DIVISOR_SETTLING, LEARNT_SLEW_DIVISOR),
            (false, true) => (LEARNT_SLEW_DIVISOR, LEARNT_SLEW_DIVISOR),
            (false, false) => (EARLY_SLEW_DIVISOR, LATE_SLEW_DIVISOR),
        };
        let slewed_us = self
            .correction_us
            .clamp(-(elapsed_us / early_divisor), elapsed_us / late_divisor);
        // No frame is stamped much later than it came.
        let capped_us = late_us
            .saturating_sub(slewed_us)
            .saturating_add(EARLY_MAX_US)
            .min(0);
        let moved_us = slewed_us.saturating_add(capped_us);
        self.correction_us = self.correction_us.saturating_sub(moved_us);
        self.anchor_us = self.anchor_us.saturating_add(moved_us);
        self.window_min_us = self.window_min_us.saturating_sub(moved_us);
    }
}
