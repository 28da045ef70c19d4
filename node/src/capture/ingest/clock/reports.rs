//! Interprets sender reports about lateness: compares the camera's RTP time with its own clock, and
//! that clock with arrivals. Pure.
//!
//! From one report to the next, NTP time at the camera, RTP time and arrival time pass. Arrival
//! time that exceeds NTP time is a network's delay; NTP time that exceeds RTP time is time that the
//! RTP clock leaves out. Reports count once their clock is *proven*: it ran as arrivals do over
//! [`SPAN_US_MIN`]. A clock that is made up from RTP time, jumps, or stands in 1970 is never proven
//! while it would matter.

use crate::capture::ingest::media::SenderReport;

/// Reports closer together than that are looked at together, in microseconds of the camera's clock.
const SPAN_US_MIN: i64 = 2_000_000;
const SPAN_US_MAX: i64 = 60_000_000;
/// A report that lies further from the frames around it says nothing, in microseconds.
const NEAR_US: i64 = 1_000_000;
/// What two clocks may differ in a span: this many microseconds and one part in
/// [`TOLERANCE_DIVISOR`].
const TOLERANCE_US: i64 = 80_000;
const TOLERANCE_DIVISOR: i64 = 100;
/// Reports that come less often than that are not waited for, in microseconds.
const AWAITED_US_MAX: i64 = 15_000_000;
/// A report is overdue after one and a half of the usual interval and this, in microseconds.
const OVERDUE_US: i64 = 500_000;

/// The verdict of reports on lateness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Word {
    #[default]
    Nothing,
    /// The next report will say, and it is not overdue.
    Awaited,
    /// The network delays, or holds up the report itself: RTP time runs as the camera's clock does.
    Network,
    /// RTP time does not run as the camera's clock does.
    Lies,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    report: SenderReport,
    arrival_us: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reports {
    last: Option<Seen>,
    is_proven: bool,
    word: Word,
    /// The longest of the last two spans between reports, in microseconds of arrival time.
    intervals_us: [i64; 2],
    came_at_us: i64,
}

impl Reports {
    /// Takes a report that followed frames of about `frame_rtp`; `micros` converts ticks to
    /// microseconds at the nominal rate.
    pub(super) fn take(
        &mut self,
        report: SenderReport,
        arrival_us: i64,
        frame_rtp: i64,
        micros: impl Fn(i64) -> i64,
    ) {
        let seen = Seen { report, arrival_us };
        if micros(report.rtp.saturating_sub(frame_rtp)).saturating_abs() > NEAR_US {
            *self = Self::default();
            return;
        }
        let Some(last) = self.last else {
            self.last = Some(seen);
            return;
        };
        let ntp_us = report.ntp_us.saturating_sub(last.report.ntp_us);
        let rtp_us = micros(report.rtp.saturating_sub(last.report.rtp));
        let underway_us = arrival_us.saturating_sub(last.arrival_us);
        if (0..SPAN_US_MIN).contains(&ntp_us) && underway_us < SPAN_US_MAX {
            return;
        }
        self.last = Some(seen);
        self.word = Word::Nothing;
        if !(SPAN_US_MIN..=SPAN_US_MAX).contains(&ntp_us) || rtp_us < 0 {
            self.is_proven = false;
            return;
        }
        self.intervals_us = [underway_us, self.intervals_us[0]];
        self.came_at_us = arrival_us;
        let tolerance_us = TOLERANCE_US + ntp_us / TOLERANCE_DIVISOR;
        let agree = |this_us: i64, that_us: i64| {
            this_us.saturating_sub(that_us).saturating_abs() <= tolerance_us
        };
        let keeps_time = agree(underway_us, ntp_us);
        self.is_proven |= keeps_time;
        self.word = match (agree(ntp_us, rtp_us), keeps_time) {
            (true, true) => Word::Awaited,
            (true, false) if underway_us > ntp_us => Word::Network,
            (false, true) => Word::Lies,
            _ => Word::Nothing,
        };
    }

    /// The verdict at `now_us` on frames that began to be late at `since_us`.
    pub(super) fn word(&self, since_us: i64, now_us: i64) -> Word {
        let interval_us = self.intervals_us[0].max(self.intervals_us[1]);
        if !self.is_proven || interval_us > AWAITED_US_MAX {
            return Word::Nothing;
        }
        let is_overdue =
            now_us.saturating_sub(self.came_at_us) > interval_us + interval_us / 2 + OVERDUE_US;
        let is_old = self.came_at_us < since_us;
        match self.word {
            Word::Network | Word::Lies if !is_old => self.word,
            Word::Nothing => Word::Nothing,
            // The camera sends them by its clock: one that does not come is held up.
            _ if is_overdue => Word::Network,
            _ => Word::Awaited,
        }
    }

    pub(super) fn shift(&mut self, by_us: i64) {
        self.came_at_us = self.came_at_us.saturating_add(by_us);
        if let Some(last) = &mut self.last {
            last.arrival_us = last.arrival_us.saturating_add(by_us);
        }
    }
}
