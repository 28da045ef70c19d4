//! Stamps frames whose RTP time is of no use by their arrivals, evenly if they arrive evenly. Pure.

use super::LATE_US;

/// A period that is not known yet, in microseconds.
const PERIOD_US_DEFAULT: i64 = 40_000;
/// The period is the mean of this much arrival time, in microseconds.
const WINDOW_US: i64 = 2_000_000;
/// A frame that is later than that may be held back, in microseconds.
const HELD_US: i64 = 150_000;
/// How far a frame may be stamped after its arrival, in microseconds: a tick of the reader.
const AHEAD_US: i64 = 50_000;
/// RTP time that agrees with arrivals to within this is taken again, in microseconds.
const AGREES_US: i64 = 300_000;
/// RTP time must agree for this long, in microseconds of arrival time.
const TRIAL_US: i64 = 10_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    shown_us: i64,
    pub(super) period_us: i64,
    window_began_us: i64,
    window_frames: i64,
    /// The least lateness in this window, and in the one before.
    window_late_us: i64,
    late_us: i64,
    trial_rtp: i64,
    trial_us: i64,
}

impl Counted {
    /// The frame before was stamped `shown_us`.
    pub(super) fn begin(shown_us: i64, period_us: Option<i64>, rtp: i64, arrival_us: i64) -> Self {
        Self {
            shown_us,
            period_us: period_us
                .filter(|period_us| *period_us > 0)
                .unwrap_or(PERIOD_US_DEFAULT),
            window_began_us: arrival_us,
            window_frames: 0,
            window_late_us: i64::MAX,
            late_us: 0,
            trial_rtp: rtp,
            trial_us: arrival_us,
        }
    }

    /// The wall time of a frame that comes at `arrival_us`.
    pub(super) fn next(&mut self, arrival_us: i64) -> i64 {
        let pull_us = (self.late_us / 16).clamp(-self.period_us / 4, self.period_us / 4);
        let expected_us = self
            .shown_us
            .saturating_add(self.period_us)
            .saturating_add(pull_us);
        let [earliest_us, latest_us] = [
            arrival_us.saturating_sub(LATE_US),
            arrival_us.saturating_add(AHEAD_US),
        ];
        self.shown_us = expected_us.clamp(earliest_us, latest_us);
        self.window_late_us = self
            .window_late_us
            .min(arrival_us.saturating_sub(self.shown_us));
        self.late_us = self.late_us.saturating_sub(pull_us);
        self.window_frames += 1;
        let elapsed_us = arrival_us.saturating_sub(self.window_began_us);
        // Frames that are held back at the end of a window would make its frames seem rare.
        let is_held =
            arrival_us.saturating_sub(self.shown_us) > HELD_US && elapsed_us < 2 * WINDOW_US;
        if elapsed_us >= WINDOW_US && !is_held {
            self.period_us = (elapsed_us / self.window_frames).max(1);
            self.late_us = self.window_late_us;
            (
                self.window_began_us,
                self.window_frames,
                self.window_late_us,
            ) = (arrival_us, 0, i64::MAX);
        }
        self.shown_us
    }

    /// The time of the next frame, if it comes as the last ones did.
    pub(super) fn expected_next_us(&self) -> i64 {
        self.shown_us.saturating_add(self.period_us)
    }

    /// Checks a frame's RTP time; `micros` converts ticks to microseconds. Returns whether it has
    /// been of use for long enough.
    pub(super) fn agrees(
        &mut self,
        rtp: i64,
        arrival_us: i64,
        micros: impl Fn(i64) -> i64,
    ) -> bool {
        let elapsed_us = arrival_us.saturating_sub(self.trial_us);
        let off_us = elapsed_us.saturating_sub(micros(rtp.saturating_sub(self.trial_rtp)));
        if off_us.saturating_abs() > AGREES_US {
            (self.trial_rtp, self.trial_us) = (rtp, arrival_us);
            return false;
        }
        elapsed_us >= TRIAL_US
    }

    pub(super) fn shift(&mut self, by_us: i64) {
        for time_us in [
            &mut self.shown_us,
            &mut self.window_began_us,
            &mut self.trial_us,
        ] {
            *time_us = time_us.saturating_add(by_us);
        }
    }
}
