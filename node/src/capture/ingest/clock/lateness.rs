//! Decides whether late or early frames are due to the network or to the camera's clock. Pure.

use super::fit::Trend;
use super::rate::{Evidence, GROWING_US, Rate, learn};
use super::reports::Word;
use super::stretches::{Flow, STRETCH_US, Sight, Stretches};
use super::{EARLY_US, LATE_US};

/// How long frames must be late by a constant amount before the line moves to them, in
/// microseconds.
const FLAT_US: i64 = 3_000_000;
/// The same if lateness has changed unevenly since it began.
const FLAT_UNEVEN_US: i64 = 10_000_000;
/// The same after the network was known to be the reason.
const FLAT_NETWORK_US: i64 = 30_000_000;
/// Differences up to this count as none, in microseconds.
const SAME_US: f64 = 150_000.0;
/// If frames are later than this for [`BOUND_PATIENCE_US`], without evidence of a network, arrivals
/// count.
const BOUND_US: i64 = 2_000_000;
const BOUND_PATIENCE_US: i64 = 8_000_000;
/// How long evidence of a network counts.
const SHOWN_US: i64 = 10_000_000;

/// Beyond this lateness, in microseconds, reports that blame the network are not believed.
const REPORTED_US_MAX: i64 = 12_000_000;

/// What to do about the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Keep,
    /// It moves to the least late frames.
    Move {
        by_us: i64,
    },
    Rate(Rate),
}

/// The inputs of a decision: the line, and facts from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Arrival minus RTP time of a frame on the line.
    pub(super) line_us: i64,
    pub(super) scale_ppb: i64,
    pub(super) tick_us: i64,
    /// The mean distance of frames while they were on time.
    pub(super) mean_us: Option<i64>,
    /// Another track knows that the network delays.
    pub(super) is_held: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Lateness {
    seen: Stretches,
    late_since_us: Option<i64>,
    /// Frames became late gradually, not all at once after a silence.
    is_gradual: bool,
    is_uneven: bool,
    network_shown_us: Option<i64>,
}

impl Lateness {
    /// Forgets everything that was measured against another line.
    pub(super) fn restart(&mut self) {
        *self = Self {
            network_shown_us: self.network_shown_us,
            ..Self::default()
        };
    }

    /// Whether the network has been seen to delay frames in the last seconds.
    pub(super) fn is_networks(&self, now_us: i64) -> bool {
        self.shown_within(SHOWN_US, now_us)
    }

    /// The mean distance of frames by their arrivals, in microseconds.
    pub(super) fn period_us(&self, now_us: i64) -> Option<i64> {
        self.seen.period_us(now_us)
    }

    /// Takes a frame. At the end of each stretch, returns what to do about the line; `word` is what
    /// sender reports say of frames that began to be late at a given time.
    pub(super) fn take(
        &mut self,
        sight: Sight,
        known: Known,
        word: impl FnOnce(i64) -> Word,
    ) -> Verdict {
        if sight.late_us <= EARLY_US {
            (self.late_since_us, self.is_uneven) = (None, false);
        } else if sight.late_us > LATE_US && self.late_since_us.is_none() {
            self.late_since_us = Some(sight.arrival_us);
            self.is_gradual = sight.arrival_step_us < sight.late_us / 2;
            self.seen.close();
        }
        let has_ended = self.seen.take(sight);
        if has_ended {
            self.judge(sight.arrival_us, known, word)
        } else {
            Verdict::Keep
        }
    }

    fn judge(&mut self, now_us: i64, known: Known, word: impl FnOnce(i64) -> Word) -> Verdict {
        let Some(last) = self.seen.last() else {
            return Verdict::Keep;
        };
        let late_us = last.least_us.saturating_sub(known.line_us);
        let word = word(now_us.saturating_sub(GROWING_US));
        let flow = self.seen.flow(
            GROWING_US,
            known.line_us.saturating_add(EARLY_US),
            known.mean_us,
        );
        if flow == Flow::Clock {
            self.network_shown_us = None;
        }
        let is_believed = flow != Flow::Clock && late_us <= REPORTED_US_MAX;
        let word = if is_believed || word == Word::Lies {
            word
        } else {
            Word::Nothing
        };
        self.look_for_a_network(
            now_us,
            late_us,
            word == Word::Network || flow == Flow::Link,
            known,
        );
        let evidence = Evidence {
            line_us: known.line_us,
            late_us: late_us as f64,
            word,
            is_networks: self.is_networks(now_us),
            flow,
            scale_ppb: known.scale_ppb,
            tick_us: known.tick_us,
        };
        let rate = learn(&self.seen, now_us, evidence).map(Verdict::Rate);
        rate.or_else(|| self.still_late(now_us, known.line_us))
            .unwrap_or(Verdict::Keep)
    }

    fn look_for_a_network(&mut self, now_us: i64, late_us: i64, delays: bool, known: Known) {
        // If lateness keeps growing through holes, the network lost the missing frames, and delays
        // nothing.
        let is_full = self.is_gradual
            && self
                .seen
                .trend(FLAT_US)
                .is_some_and(|trend| trend.growth <= SAME_US);
        let is_dropping = |mean_us| is_full && self.seen.have_holes(FLAT_US, mean_us);
        let drops = self.late_since_us.is_some() && known.mean_us.is_some_and(is_dropping);
        if late_us > EARLY_US && (delays || drops || known.is_held) {
            self.network_shown_us = Some(now_us);
        }
        let has_been_late = self
            .late_since_us
            .is_some_and(|since_us| now_us.saturating_sub(since_us) >= FLAT_US);
        if has_been_late
            && self
                .seen
                .trend(FLAT_US)
                .is_some_and(|trend| !trend.is_even())
        {
            self.is_uneven = true;
        }
    }

    /// Frames have been late for so long that the line moves to them.
    fn still_late(&self, now_us: i64, line_us: i64) -> Option<Verdict> {
        let since_us = self.late_since_us?;
        if self.shown_within(FLAT_NETWORK_US, now_us) {
            return None;
        }
        let least_us = |us: i64| {
            let least_us = self
                .seen
                .window(us)?
                .map(|stretch| stretch.least_us)
                .min()?;
            Some(least_us.saturating_sub(line_us))
        };
        let late_for = |us: i64| least_us(us).filter(|_| since_us <= now_us.saturating_sub(us));
        let grows = |us: i64| {
            self.seen
                .trend(us)
                .filter(Trend::is_even)
                .map(|trend| trend.growth)
        };
        let flat_us = if self.is_uneven {
            FLAT_UNEVEN_US
        } else {
            FLAT_US
        };
        if let Some(by_us) = late_for(flat_us)
            && by_us > LATE_US
            && grows(flat_us).is_some_and(|growth_us| growth_us.abs() <= SAME_US)
        {
            return Some(Verdict::Move { by_us });
        }
        let falls = self
            .seen
            .trend(FLAT_US)
            .is_some_and(|trend| trend.growth < -SAME_US);
        let is_beyond =
            late_for(BOUND_PATIENCE_US).is_some_and(|late_us| late_us > LATE_US) && !falls;
        let by_us = least_us(STRETCH_US).filter(|late_us| is_beyond && *late_us > BOUND_US)?;
        Some(Verdict::Move { by_us })
    }

    fn shown_within(&self, us: i64, now_us: i64) -> bool {
        self.network_shown_us
            .is_some_and(|shown_us| now_us.saturating_sub(shown_us) <= us)
    }
}
