//! Learns the rate of RTP time when arrivals or sender reports show that it is not the line's.
//! Pure.

use super::fit::Trend;
use super::line::HONEST_PPB;
use super::reports::Word;
use super::stretches::{Flow, Stretches};
use super::{EARLY_NOTED_US, EARLY_US};

/// How long, and by how much, lateness must grow evenly to be attributed to the clock, in
/// microseconds.
pub(super) const GROWING_US: i64 = 4_000_000;
const GROWTH_US_MIN: f64 = 400_000.0;
/// The same if the arrivals' pattern shows that it is the clock's, and if it also grows fast.
const CLOCK_GROWTH_US_MIN: f64 = 300_000.0;
const GROWING_FAST_US: i64 = 2_500_000;
const GROWTH_FAST_US_MIN: f64 = 1_200_000.0;
/// The same for earliness.
const EARLY_GROWING_US: i64 = 3_000_000;
const EARLY_GROWTH_US_MIN: f64 = 200_000.0;
/// The same if sender reports show that RTP time lies.
const REPORTED_US: i64 = 2_000_000;
const REPORTED_GROWTH_US_MIN: f64 = 150_000.0;
/// The same for a drift, once frames are late by [`EARLY_US`].
const DRIFTING_US: i64 = 10_000_000;
const DRIFT_US_MIN: f64 = 40_000.0;
const EARLY_DRIFT_US_MIN: f64 = 100_000.0;
/// How long the rate of an honest clock must hold, to within [`HONEST_WITHIN`].
const HONEST_AGAIN_US: i64 = 2_000_000;
const HONEST_WITHIN: f64 = 0.03;
/// A learnt rate that changes by less is the same, refined.
const REFINED_WITHIN: f64 = 0.02;
/// Rates that are followed: beyond, RTP time all but stands still, or a tick of it lasts too long.
const SCALE_MIN: f64 = 0.001;
const TICK_US_MAX: f64 = 50_000.0;

/// Why frames may be late, or early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// Arrival minus RTP time of a frame on the line.
    pub(super) line_us: i64,
    /// Of the least late frame of the last stretch, after the line.
    pub(super) late_us: f64,
    pub(super) word: Word,
    /// The network was seen to delay frames.
    pub(super) is_networks: bool,
    pub(super) flow: Flow,
    pub(super) scale_ppb: i64,
    pub(super) tick_us: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// Wall time per RTP time in parts per billion, and arrival minus RTP time of the least late
    /// frames at the present rate, now.
    Of {
        ppb: i64,
        least_us: i64,
        is_refined: bool,
    },
    /// Beyond what can be followed.
    Useless,
}

/// The rate to continue with, if it differs from the current one.
pub(super) fn learn(seen: &Stretches, now_us: i64, evidence: Evidence) -> Option<Rate> {
    let scale = evidence.scale_ppb as f64 / HONEST_PPB as f64;
    let (trend, new) = shown(seen, evidence, scale)?;
    let is_usable = new.is_finite()
        && (SCALE_MIN..=TICK_US_MAX / evidence.tick_us.max(1) as f64).contains(&new);
    if !is_usable {
        return Some(Rate::Useless);
    }
    let since_us = now_us.saturating_sub(seen.last()?.least_at_us) as f64;
    let least_us = (trend.last + trend.slope * since_us) as i64;
    let is_refined = evidence.scale_ppb != HONEST_PPB && (new / scale - 1.0).abs() < REFINED_WITHIN;
    Some(Rate::Of {
        ppb: (new * HONEST_PPB as f64) as i64,
        least_us,
        is_refined,
    })
}

/// By arrivals.
fn shown(seen: &Stretches, evidence: Evidence, scale: f64) -> Option<(Trend, f64)> {
    let arrivals = Arrivals {
        seen,
        evidence,
        scale,
    };
    let is_after = |least_us: i64| {
        let off_us = least_us.saturating_sub(evidence.line_us);
        evidence.late_us < EARLY_US as f64 || off_us > EARLY_US
    };
    let (trend, factor) = seen.course(arrivals.evident_us()?, is_after)?;
    let new = scale * factor;
    Some((
        trend,
        if arrivals.is_learnt() && (new - 1.0).abs() <= HONEST_WITHIN {
            1.0
        } else {
            new
        },
    ))
}

/// Arrivals at the rate so far, which may show another one.
struct Arrivals<'a> {
    seen: &'a Stretches,
    evidence: Evidence,
    scale: f64,
}

impl Arrivals<'_> {
    /// How long lateness, or earliness, has grown in a way that only the clock explains.
    fn evident_us(&self) -> Option<i64> {
        let flow = self.evidence.flow;
        let growth_us_min = if flow == Flow::Clock {
            CLOCK_GROWTH_US_MIN
        } else {
            GROWTH_US_MIN
        };
        self.honest_again()
            .or_else(|| self.reported())
            .or_else(|| self.early())
            .or_else(|| {
                self.late(GROWING_FAST_US, GROWTH_FAST_US_MIN)
                    .filter(|_| flow == Flow::Clock)
            })
            .or_else(|| self.late(GROWING_US, growth_us_min))
            .or_else(|| self.drift())
    }

    fn honest_again(&self) -> Option<i64> {
        let is_honest = |trend: &Trend| {
            let scale = self.scale / (1.0 - trend.slope);
            (scale - 1.0).abs() <= HONEST_WITHIN
        };
        let is_again = |trend: &Trend| {
            trend.slope.abs() > HONEST_WITHIN
                && is_honest(trend)
                && (trend.growth < 0.0 || !self.evidence.is_networks)
        };
        self.is_learnt()
            .then(|| self.gradual(HONEST_AGAIN_US, is_again))
            .flatten()
    }

    fn reported(&self) -> Option<i64> {
        let is_lie = |trend: &Trend| {
            self.evidence.word == Word::Lies && trend.growth.abs() >= REPORTED_GROWTH_US_MIN
        };
        self.gradual(REPORTED_US, is_lie)
    }

    fn early(&self) -> Option<i64> {
        let falls = |trend: &Trend| {
            trend.growth <= -EARLY_GROWTH_US_MIN && self.evidence.word != Word::Awaited
        };
        let is_clocks = |trend: &Trend| falls(trend) && self.is_early(EARLY_GROWING_US, trend);
        self.gradual(EARLY_GROWING_US, is_clocks)
    }

    fn late(&self, us: i64, growth_us_min: f64) -> Option<i64> {
        let is_late = self.evidence.late_us >= GROWTH_US_MIN && self.may_be_clocks();
        self.gradual(us, |trend| is_late && trend.growth >= growth_us_min)
    }

    fn drift(&self) -> Option<i64> {
        let is_noted = self.is_learnt() || self.evidence.late_us >= EARLY_US as f64;
        let grows = self.may_be_clocks() && is_noted;
        let is_drift = |trend: &Trend| {
            let is_steady = trend.growth.abs() >= 4.0 * trend.residual;
            let falls = trend.growth <= -EARLY_DRIFT_US_MIN && self.is_early(DRIFTING_US, trend);
            is_steady && ((grows && trend.growth >= DRIFT_US_MIN) || falls)
        };
        self.gradual(DRIFTING_US, is_drift)
    }

    /// `us`, if lateness went gradually for that long, and as `is_such` requires.
    fn gradual(&self, us: i64, is_such: impl Fn(&Trend) -> bool) -> Option<i64> {
        self.seen
            .trend(us)
            .filter(|trend| trend.is_gradual() && is_such(trend))
            .map(|_| us)
    }

    /// The lateness of a backlog that is worked off falls as well, and leaves the line where it is.
    fn is_early(&self, us: i64, trend: &Trend) -> bool {
        let moved_us = self.seen.moved_back_us(us, self.evidence.line_us) as f64;
        self.evidence.late_us <= -(EARLY_NOTED_US as f64) || moved_us >= trend.growth.abs() / 2.0
    }

    fn is_learnt(&self) -> bool {
        self.evidence.scale_ppb != HONEST_PPB
    }

    /// Whether the clock may have made frames late. Those that seem to arrive before they were sent
    /// are the clock's doing; late ones may be the network's.
    fn may_be_clocks(&self) -> bool {
        !self.evidence.is_networks && self.evidence.word != Word::Awaited
    }
}
