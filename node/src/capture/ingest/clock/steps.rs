//! Tracks how RTP time and arrivals advance from frame to frame, and detects RTP time that is of no
//! use. Pure.

use super::EARLY_US;

/// RTP time that is the same for this many frames in a row stands still.
const STILL_FRAMES: u32 = 3;
/// Over how long they must have come, in microseconds: frames that come at once may be parts of one
/// picture.
const STILL_US: i64 = 60_000;
/// So many frames in a row before the latest RTP time are no B-frames: H.264 and H.265 put at most
/// 16 out of order.
const REORDERED_FRAMES: u32 = 17;
const REORDERED_US: i64 = 500_000;
/// RTP time that goes back by more frames than this, or by more than [`BACK_US_MAX`], jumps.
const BACK_FRAMES: i64 = 8;
const BACK_US_MAX: i64 = 500_000;
/// After this many jumps within [`JUMPS_US`] only arrivals count.
const JUMPS: usize = 3;
const JUMPS_US: i64 = 5_000_000;
/// The mean step is averaged over about this many frames.
const AVERAGED_MAX: i64 = 32;
/// Up to this many frames, late ones are averaged, too.
const AVERAGED_MIN: i64 = 8;

#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) last_rtp: i64,
    pub(super) last_arrival_us: i64,
    /// From the frame before the last one to the last one, at the line's rate, in microseconds.
    pub(super) last_us: i64,
    /// The mean step while frames were on time, in microseconds.
    pub(super) mean_us: Option<i64>,
    averaged: i64,
    still: u32,
    still_since_us: i64,
    /// The latest RTP time so far.
    pub(super) highest_rtp: i64,
    behind: u32,
    behind_since_us: i64,
    jumped_at_us: [Option<i64>; JUMPS],
}

/// From one frame to the next, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Of RTP time at the line's rate.
    pub(super) rtp_us: i64,
    pub(super) arrival_us: i64,
}

impl Steps {
    pub(super) fn begin(rtp: i64, arrival_us: i64) -> Self {
        Self {
            last_rtp: rtp,
            last_arrival_us: arrival_us,
            last_us: 0,
            mean_us: None,
            averaged: 0,
            still: 0,
            still_since_us: arrival_us,
            highest_rtp: rtp,
            behind: 0,
            behind_since_us: arrival_us,
            jumped_at_us: [None; JUMPS],
        }
    }

    /// RTP time continues at `rtp`.
    pub(super) fn restart(&mut self, rtp: i64, arrival_us: i64) {
        let Self {
            jumped_at_us,
            mean_us,
            averaged,
            ..
        } = *self;
        *self = Self {
            jumped_at_us,
            mean_us,
            averaged,
            ..Self::begin(rtp, arrival_us)
        };
    }

    /// The line's rate changes.
    pub(super) fn rescale(&mut self, from_ppb: i64, to_ppb: i64) {
        let scaled = |us: i64| {
            let us = i128::from(us) * i128::from(to_ppb) / i128::from(from_ppb.max(1));
            i64::try_from(us).unwrap_or(0)
        };
        (self.last_us, self.mean_us) = (scaled(self.last_us), self.mean_us.map(scaled));
    }

    /// Takes a frame in.
    pub(super) fn advance(&mut self, rtp: i64, arrival_us: i64, step: Step, on_time: bool) {
        if rtp != self.last_rtp {
            (self.still, self.still_since_us) = (0, arrival_us);
        } else {
            self.still = self.still.saturating_add(1);
        }
        if rtp > self.highest_rtp {
            (self.highest_rtp, self.behind, self.behind_since_us) = (rtp, 0, arrival_us);
        } else {
            self.behind = self.behind.saturating_add(1);
        }
        if (on_time || self.averaged < AVERAGED_MIN) && step.rtp_us != 0 {
            self.averaged = (self.averaged + 1).min(AVERAGED_MAX);
            let mean_us = self.mean_us.unwrap_or(0);
            self.mean_us = Some(mean_us + step.rtp_us.saturating_sub(mean_us) / self.averaged);
        }
        (self.last_rtp, self.last_arrival_us, self.last_us) = (rtp, arrival_us, step.rtp_us);
    }

    /// Whether RTP time does not advance.
    pub(super) fn stands_still(&self, arrival_us: i64) -> bool {
        let still = self.still >= STILL_FRAMES
            && arrival_us.saturating_sub(self.still_since_us) >= STILL_US;
        let behind_us = arrival_us.saturating_sub(self.behind_since_us);
        still || (self.behind >= REORDERED_FRAMES && behind_us >= REORDERED_US)
    }

    /// Whether RTP time goes back further than the order of B-frames makes it.
    pub(super) fn goes_back(&self, step: Step) -> bool {
        let reordered_us = self
            .mean_us
            .map_or(BACK_US_MAX, |mean_us| mean_us.saturating_mul(BACK_FRAMES));
        step.rtp_us < -reordered_us.clamp(EARLY_US, BACK_US_MAX)
    }

    /// Counts a jump. Returns whether there were so many that RTP time is of no use.
    pub(super) fn jump(&mut self, arrival_us: i64) -> bool {
        self.jumped_at_us.rotate_left(1);
        self.jumped_at_us[JUMPS - 1] = Some(arrival_us);
        self.jumped_at_us[0].is_some_and(|first_us| arrival_us.saturating_sub(first_us) <= JUMPS_US)
    }

    pub(super) fn shift(&mut self, by_us: i64) {
        let always = [
            &mut self.last_arrival_us,
            &mut self.still_since_us,
            &mut self.behind_since_us,
        ];
        for time_us in always
            .into_iter()
            .chain(self.jumped_at_us.iter_mut().flatten())
        {
            *time_us = time_us.saturating_add(by_us);
        }
    }
}
