//! Wall time of frames: when they were sent, regardless of delays in the network and errors of the
//! camera's RTP clock. Pure.
//!
//! Per track, a line maps RTP time to wall time (`line.rs`). No frame can arrive before it was
//! sent, so the line follows the *earliest* arrivals. The frames of a session's first moments
//! anchor it together ([`TrackClock::settle`]); without them the first frame does. Then:
//!
//! 1. *Slew.* If a frame arrives more than 5 ms earlier than the line says, the line moves back by
//!    at most 0.5 % of the time that passes; by at most 50 % for 5 s after a single frame anchored
//!    it or one came more than 250 ms early. If all frames of 10 s arrived more than 5 ms later, it
//!    moves forward by at most 500 ppm (the difference of two crystals). Within these 5 ms the
//!    spacing of frames is exactly the camera's. No frame is stamped more than 750 ms after its
//!    arrival.
//! 2. *Jump.* If a step of RTP time is more than twice the usual one and ahead of arrivals and line
//!    by more than 250 ms (1 s while the line settles), or goes back by more than B-frames do, the
//!    line begins again: with the previous spacing if frames keep coming, else up to 800 ms before
//!    the arrival.
//! 3. *Arrivals.* If RTP time is of no use (the same for 4 frames, no later for 17, 3 jumps in 5 s,
//!    or a rate beyond 1 to 1,000), frames are counted and follow their arrivals (`counted.rs`),
//!    until RTP time has agreed with arrivals for 10 s.
//! 4. *Rate.* Lateness is measured in stretches of half a second, each by its least late frame
//!    (`stretches.rs`). The line takes on the rate that arrivals show ([`rate`]), at the least late
//!    frames,
//!    - if lateness grows evenly for 4 s, by 0.4 s or more (by 0.3 s, or for 2.5 s by 1.2 s, if the
//!      arrivals follow a clock; for 10 s if it drifts and 250 ms are reached; for 2 s if sender
//!      reports show that RTP time lies), and no network is the reason (6);
//!    - if it falls evenly for 3 s, by 0.2 s or more (for 10 s, by 0.1 s), and frames come before
//!      the line or it moved back for them: nothing arrives before it was sent;
//!    - if RTP time has run at the rate of an honest clock for 2 s: a learnt rate is given up.
//! 5. *Move.* If frames are late by a constant amount of more than 800 ms for 3 s (10 s if lateness
//!    was uneven before, 30 s if a network was the reason), the camera's clock stood still, and the
//!    line moves to them; also if they are more than 2 s late for 8 s without catching up; at once
//!    if one is more than 60 s late (`lateness.rs`).
//! 6. *Network.* The line stays where it is, for 10 s after a network was last seen to be the
//!    reason:
//!    - bytes explain the arrivals of late frames better than RTP time does, as a link that carries
//!      less than the camera sends delays what follows a keyframe more;
//!    - proven sender reports say that RTP time runs as the camera's own clock does while both
//!      arrive late, or they are overdue; the next one is waited for (`reports.rs`). This holds up
//!      to 12 s of lateness, unless frames arrive by RTP time regardless of their size, or as often
//!      as before although RTP time changed;
//!    - lateness came gradually, does not grow, and more than one frame in twenty is missing: the
//!      camera's buffer is full, and it drops frames;
//!    - the session's other track shows it.
//!
//!    Frames that were held back and arrive at once trigger neither 4 nor 5: they leave the least
//!    lateness alone.
//!
//! A link that is too slow and shows none of 6 for 4 s (frames of one size, no reports, nothing
//! dropped) is mistaken for a clock: its frames are stamped as they arrive, and times are right
//! again soon after.
//!
//! Decode times always grow strictly. If RTP time goes back a little (B-frames), the difference is
//! the composition offset.

mod audio;
mod counted;
mod fit;
mod lateness;
mod line;
mod rate;
mod reports;
mod steps;
mod stretches;

use super::media::SenderReport;
pub use audio::alongside_video;
use counted::Counted;
use holdfast_storage::time::Timestamp;
use lateness::{Known, Lateness, Verdict};
pub use line::HONEST_PPB;
use line::Line;
use rate::Rate;
use reports::Reports;
use steps::{Step, Steps};
use stretches::Sight;

/// A longer jump always counts as one, in microseconds.
pub const JUMP_US: i64 = 1_000_000;
/// Lateness that must have a reason, in microseconds: recorded times may be off by a second.
const LATE_US: i64 = 800_000;
/// Lateness that moves the line at once.
const LATE_MAX_US: i64 = 60_000_000;
/// Earliness beyond what jitter makes, in microseconds.
const EARLY_NOTED_US: i64 = 100_000;
/// Earliness that the line makes good fast.
const EARLY_US: i64 = 250_000;
/// No frame is stamped later than that after its arrival.
const EARLY_MAX_US: i64 = 750_000;
/// If arrivals are this close to the spacing of frames, in microseconds, the stream continues: two
/// ticks of the reader.
const CONTINUED_US: i64 = 100_000;
/// How far the first frames may place the line before the first one's arrival, in microseconds: no
/// camera keeps a longer GOP to begin with.
const BACKLOG_US_MAX: i64 = 20_000_000;

/// A received frame.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub rtp: i64,
    pub at: Timestamp,
    pub bytes: usize,
    /// When it was sent, if the other track's reports allow it to be computed
    /// ([`alongside_video`]).
    pub sent: Option<Timestamp>,
    /// The session's other track shows that the network delays.
    pub is_held: bool,
}

/// The correction of a clock that does not run as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// RTP time jumped.
    Jumped,
    /// The camera's clock had stood still: frames were late by as much.
    StoodStill { by_us: i64 },
    /// RTP time runs at a rate of its own: wall time per RTP time, in parts per billion.
    Rate { ppb: i64 },
    /// RTP time is of no use: arrivals count.
    Arrivals,
}

/// When a frame is to be decoded and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub decode: Timestamp,
    /// Presentation minus decode time, in microseconds; zero or negative.
    pub composition_us: i32,
    pub correction: Option<Correction>,
}

/// The clock of one track of one session.
#[derive(Clone, Debug)]
pub struct TrackClock {
    timescale: u32,
    line: Option<Line>,
    /// While RTP time is of no use.
    counted: Option<Counted>,
    steps: Steps,
    lateness: Lateness,
    reports: Reports,
    last_late_us: i64,
    last_decode_us: i64,
}

impl TrackClock {
    /// `timescale`: RTP clock rate, in Hz. Nothing is stamped before `floor`.
    #[must_use]
    pub fn new(timescale: u32, floor: Timestamp) -> Self {
        Self {
            timescale: timescale.max(1),
            line: None,
            counted: None,
            steps: Steps::begin(0, 0),
            lateness: Lateness::default(),
            reports: Reports::default(),
            last_late_us: 0,
            last_decode_us: floor.micros(),
        }
    }

    /// The smallest difference of two decode times that is at least one tick, in microseconds.
    #[must_use]
    pub fn tick_us(timescale: u32) -> i64 {
        1_000_000 / i64::from(timescale.max(1)) + 1
    }

    /// Whether there is a line already.
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        self.line.is_some()
    }

    /// Whether the network has been seen to delay frames in the last seconds before `now`.
    #[must_use]
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.lateness.is_networks(now.micros())
    }

    /// Anchors the line by the first frames together (RTP time and arrival of each, in order): the
    /// earliest relative to its RTP time decides, so that neither a late first frame nor a burst of
    /// old ones bends the beginning.
    pub fn settle(&mut self, first_frames: &[(i64, Timestamp)]) {
        let Some((rtp, arrival)) = first_frames.first().copied() else {
            return;
        };
        let arrival_us = arrival.micros();
        let line = self.line_through(rtp, arrival_us, arrival_us);
        let sent_us = |(at, arrival): &(i64, Timestamp)| {
            arrival
                .micros()
                .saturating_sub(line.micros(at.saturating_sub(rtp)))
        };
        let plausible =
            |sent: &i64| (-BACKLOG_US_MAX..=0).contains(&sent.saturating_sub(arrival_us));
        let earliest_us = first_frames
            .iter()
            .map(sent_us)
            .filter(plausible)
            .min()
            .unwrap_or(arrival_us);
        let line = self.line_through(rtp, earliest_us, arrival_us);
        let is_free = line.at(rtp) == earliest_us;
        self.begin(
            if is_free { line } else { line.unsettled() },
            rtp,
            arrival_us,
        );
    }

    /// The wall clock was set by `by_us`: the line moves with it. From now on nothing is stamped
    /// before `floor`.
    pub fn shift(&mut self, by_us: i64, floor: Timestamp) {
        if let Some(line) = &mut self.line {
            line.shift(by_us);
        }
        if let Some(counted) = &mut self.counted {
            counted.shift(by_us);
        }
        self.steps.shift(by_us);
        self.reports.shift(by_us);
        self.lateness = Lateness::default();
        // A frame right at the floor is where it belongs.
        self.last_decode_us = floor.micros().saturating_sub(Self::tick_us(self.timescale));
    }

    /// Takes a sender report that arrived at wall time `arrival`.
    pub fn report(&mut self, report: SenderReport, arrival: Timestamp) {
        let Some(line) = self.line else { return };
        let honest = line.at_scale(HONEST_PPB);
        self.reports
            .take(report, arrival.micros(), self.steps.last_rtp, |ticks| {
                honest.micros(ticks)
            });
    }

    /// Stamps a frame.
    pub fn stamp(&mut self, frame: &Arrived) -> Stamp {
        let arrival_us = frame.at.micros();
        let correction = self.follow(frame, arrival_us);
        let shown_us = match (&mut self.counted, &self.line) {
            (Some(counted), _) => counted.next(arrival_us),
            (None, Some(line)) => line.at(frame.rtp),
            (None, None) => arrival_us,
        };
        let decode_us = shown_us.max(
            self.last_decode_us
                .saturating_add(Self::tick_us(self.timescale)),
        );
        self.last_decode_us = decode_us;
        let composition_us = i32::try_from(shown_us.saturating_sub(decode_us)).unwrap_or(i32::MIN);
        // A frame that follows in RTP time is shown when it is decoded, also where corrections
        // press frames together.
        let is_reordered = self.counted.is_none() && frame.rtp < self.steps.highest_rtp;
        let composition_us = if is_reordered { composition_us } else { 0 };
        Stamp {
            decode: Timestamp(decode_us),
            composition_us,
            correction,
        }
    }

    /// The wall time that the line gives to `rtp`; `None` before the first frame, and if RTP time
    /// is of no use.
    #[must_use]
    pub fn expected(&self, rtp: i64) -> Option<Timestamp> {
        self.line
            .filter(|_| self.counted.is_none())
            .map(|line| Timestamp(line.at(rtp)))
    }

    /// What was stamped last: every frame to come is stamped later.
    #[must_use]
    pub fn stamped_until(&self) -> Timestamp {
        Timestamp(self.last_decode_us)
    }

    /// When the next frame is, if it comes as the last one did; `None` before the first frame.
    #[must_use]
    pub fn expected_next(&self) -> Option<Timestamp> {
        let counted_us = self.counted.map(|counted| counted.expected_next_us());
        counted_us
            .or_else(|| self.line.map(|line| self.next_us(&line)))
            .map(Timestamp)
    }

    /// How long `ticks` of RTP time last, in microseconds.
    #[must_use]
    pub fn micros(&self, ticks: i64) -> i64 {
        self.line
            .unwrap_or_else(|| Line::through(self.timescale, 0, 0, 0))
            .micros(ticks)
    }

    fn next_us(&self, line: &Line) -> i64 {
        let step_us = if self.steps.last_us > 0 {
            Some(self.steps.last_us)
        } else {
            self.steps.mean_us
        };
        line.at(self.steps.last_rtp)
            .saturating_add(step_us.unwrap_or(0))
    }

    /// Updates the line with one more frame.
    fn follow(&mut self, frame: &Arrived, arrival_us: i64) -> Option<Correction> {
        let Some(line) = self.line else {
            self.begin(
                self.line_through(frame.rtp, arrival_us, arrival_us)
                    .unsettled(),
                frame.rtp,
                arrival_us,
            );
            return None;
        };
        if self.counted.is_some() {
            return self.leave_counting(frame.rtp, arrival_us);
        }
        let step = Step {
            rtp_us: line.micros(frame.rtp.saturating_sub(self.steps.last_rtp)),
            arrival_us: arrival_us.saturating_sub(self.steps.last_arrival_us),
        };
        let late_us = arrival_us.saturating_sub(line.at(frame.rtp));
        if self.is_ahead(&line, step, late_us, arrival_us) || self.steps.goes_back(step) {
            return Some(self.jump(&line, frame.rtp, arrival_us));
        }
        let on_time = late_us.saturating_abs() <= EARLY_US;
        self.steps.advance(frame.rtp, arrival_us, step, on_time);
        self.last_late_us = late_us;
        if self.steps.stands_still(arrival_us) {
            return Some(self.count(frame.rtp, arrival_us));
        }
        let sight = Sight {
            arrival_us,
            arrival_step_us: step.arrival_us,
            media_us: line.since_anchor(frame.rtp),
            late_us,
            bytes: frame.bytes,
        };
        let verdict = self.verdict(&line, sight, frame.is_held);
        let correction = self.carry_out(line, verdict, frame.rtp, sight);
        self.slew(frame, step, arrival_us);
        correction
    }

    fn verdict(&mut self, line: &Line, sight: Sight, is_held: bool) -> Verdict {
        if sight.late_us > LATE_MAX_US {
            return Verdict::Move {
                by_us: sight.late_us,
            };
        }
        let known = Known {
            line_us: line.offset_us(),
            scale_ppb: line.scale_ppb(),
            tick_us: Self::tick_us(self.timescale),
            mean_us: self.steps.mean_us,
            is_held,
        };
        let reports = self.reports;
        self.lateness.take(sight, known, |since_us| {
            reports.word(since_us, sight.arrival_us)
        })
    }

    fn carry_out(
        &mut self,
        line: Line,
        verdict: Verdict,
        rtp: i64,
        sight: Sight,
    ) -> Option<Correction> {
        match verdict {
            Verdict::Keep => None,
            Verdict::Rate(Rate::Useless) => Some(self.count(rtp, sight.arrival_us)),
            Verdict::Move { by_us } => {
                let mut moved = line;
                moved.move_by(by_us, sight.arrival_us);
                self.line = Some(moved);
                self.lateness.restart();
                Some(Correction::StoodStill { by_us })
            }
            Verdict::Rate(Rate::Of {
                ppb,
                least_us,
                is_refined,
            }) => {
                let shown_us = line.at(rtp);
                let held_us = sight
                    .arrival_us
                    .saturating_sub(sight.media_us)
                    .saturating_sub(least_us);
                let sent_us = sight.arrival_us.saturating_sub(held_us.clamp(0, JUMP_US));
                let through_us = if is_refined {
                    shown_us
                } else {
                    sent_us.max(shown_us)
                };
                let scaled = self
                    .line_through(rtp, through_us, sight.arrival_us)
                    .at_scale(ppb);
                self.steps.rescale(line.scale_ppb(), ppb);
                self.line = Some(if sent_us < shown_us && !is_refined {
                    scaled.unsettled()
                } else {
                    scaled
                });
                self.lateness.restart();
                let (from, to) = (line.scale_ppb(), ppb);
                let is_news =
                    from == HONEST_PPB || to == HONEST_PPB || (to - from).abs() > from / 10;
                is_news.then_some(Correction::Rate { ppb })
            }
        }
    }

    fn slew(&mut self, frame: &Arrived, step: Step, arrival_us: i64) {
        let is_networks = self.is_held(frame.at) || frame.is_held;
        if let Some(line) = &mut self.line {
            let sent_us = frame.sent.unwrap_or(frame.at).micros();
            line.correct(
                sent_us.saturating_sub(line.at(frame.rtp)),
                step.rtp_us.max(0),
                arrival_us,
            );
            if is_networks {
                line.forget_lateness(arrival_us);
            }
        }
    }

    /// Whether RTP time is ahead of arrivals, and was not before.
    fn is_ahead(&self, line: &Line, step: Step, late_us: i64, arrival_us: i64) -> bool {
        let ahead_us = step.rtp_us.saturating_sub(step.arrival_us.max(0));
        // Steps that are all as long are none: RTP time is fast.
        let is_usual = self
            .steps
            .mean_us
            .is_none_or(|mean_us| step.rtp_us <= mean_us.saturating_mul(2));
        let jumps = |us: i64| ahead_us > us && late_us < -us && !is_usual;
        let was_early = self.last_late_us < -EARLY_NOTED_US || line.is_settling(arrival_us);
        jumps(if was_early { JUMP_US } else { EARLY_US })
    }

    /// Begins the line again after the last stamp, with the previous spacing if frames keep coming.
    fn jump(&mut self, line: &Line, rtp: i64, arrival_us: i64) -> Correction {
        if self.steps.jump(arrival_us) {
            return self.count(rtp, arrival_us);
        }
        let next_us = self.next_us(line);
        let is_continued = arrival_us.saturating_sub(next_us).saturating_abs() <= CONTINUED_US;
        let sent_us = next_us.clamp(arrival_us.saturating_sub(LATE_US), arrival_us);
        let begun = self.line_through(
            rtp,
            if is_continued { next_us } else { sent_us },
            arrival_us,
        );
        let begun = begun.at_scale(line.scale_ppb());
        self.begin(
            if is_continued {
                begun
            } else {
                begun.unsettled()
            },
            rtp,
            arrival_us,
        );
        Correction::Jumped
    }

    /// From now on arrivals count.
    fn count(&mut self, rtp: i64, arrival_us: i64) -> Correction {
        let period_us = self.lateness.period_us(arrival_us);
        self.counted = Some(Counted::begin(
            self.last_decode_us,
            period_us,
            rtp,
            arrival_us,
        ));
        self.lateness = Lateness::default();
        Correction::Arrivals
    }

    /// Uses RTP time again once it has been of use for long enough.
    fn leave_counting(&mut self, rtp: i64, arrival_us: i64) -> Option<Correction> {
        let honest = Line::through(self.timescale, 0, 0, 0);
        let counted = self.counted.as_mut()?;
        if !counted.agrees(rtp, arrival_us, |ticks| honest.micros(ticks)) {
            return None;
        }
        let next_us = counted
            .expected_next_us()
            .clamp(arrival_us.saturating_sub(LATE_US), arrival_us);
        self.counted = None;
        self.begin(
            self.line_through(rtp, next_us, arrival_us).unsettled(),
            rtp,
            arrival_us,
        );
        Some(Correction::Rate { ppb: HONEST_PPB })
    }

    fn begin(&mut self, line: Line, rtp: i64, arrival_us: i64) {
        self.line = Some(line);
        self.steps.restart(rtp, arrival_us);
        self.lateness.restart();
        self.last_late_us = 0;
    }

    /// A line through `rtp` at `wall_us`, or as soon after that as a frame may be stamped.
    fn line_through(&self, rtp: i64, wall_us: i64, arrival_us: i64) -> Line {
        let free_us = self
            .last_decode_us
            .saturating_add(Self::tick_us(self.timescale));
        Line::through(self.timescale, rtp, wall_us.max(free_us), arrival_us)
    }
}

#[cfg(test)]
mod tests;
