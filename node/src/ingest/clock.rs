//! Wall time of frames: when they arrived, smoothed against RTP time, so that neither the reader's tick nor the network's jitter shows. Pure.
//!
//! The rule, per track: a line maps RTP time to wall time. No frame can arrive before it was sent, so the line follows the *earliest* arrivals
//! (a lower envelope). The frames of a session's first moments anchor it together ([`TrackClock::settle`]); without them the first frame does. Then:
//! - where a frame arrives more than 5 ms earlier than the line says, the line moves back to it, by at most 0.5 % of the RTP time that passes; by at most 50 %
//!   for 5 s after a single frame anchored it or while it is more than 1 s late;
//! - where all frames of 10 s arrived more than 5 ms later, it moves forward to the earliest, by at most 500 ppm (the difference of two crystals).
//!   Within these 5 ms the spacing of frames is exactly the camera's;
//! - a new anchor is set where RTP time itself jumps (more than 1 s ahead of the arrivals and of the line, or more than 1 s back), where frames have been more than
//!   1 s late for 3 s of arrivals, by the same (the camera's clock stood still), and at once where one is more than 60 s late. A network that holds frames back for a moment is none
//!   of these, nor is a reader that stood still: what had come meanwhile arrives at once, and belongs where it was sent. Nor is a network that carries less than the camera
//!   sends: there lateness changes from half second to half second, or frames are missing. Once it did, the line stays where it is until frames are less late, or have been
//!   late by the same for half a minute.
//!   Where frames keep coming over a jump, the new anchor goes on with the spacing that they had; else it is where the frame arrived.
//!
//! Decode times grow strictly, always. Where RTP time goes back a little (B-frames), the difference is the composition offset.

use super::media::SenderReport;
use holdfast_storage::time::Timestamp;

/// Lateness and jumps that call for a new anchor, in microseconds.
pub const JUMP_US: i64 = 1_000_000;
/// Over how long the lateness of frames that are late by more than [`JUMP_US`] is looked at, in microseconds of arrival time.
const LATE_PATIENCE_US: i64 = 1_000_000;
/// Lateness that moves the anchor at once, in microseconds.
const LATE_MAX_US: i64 = 60_000_000;
/// Lateness that differs by more from one half of [`LATE_PATIENCE_US`] to the other is a network's, not a clock's, in microseconds: 10 %.
const CONGESTED_US: i64 = LATE_PATIENCE_US / 20;
/// After so many times [`LATE_PATIENCE_US`] of the same lateness it is the clock's: a network that carries too little has steady seconds, too.
const STEADY_MIN: u32 = 3;
/// The same, where the network was congested before.
const STEADY_MIN_CONGESTED: u32 = 30;
/// A step of RTP time that may be a hole, where frames were closer before, in microseconds.
const HOLE_US_MIN: i64 = 200_000;
/// How long after an anchor the line may move fast, in microseconds of arrival time.
const SETTLING_US: i64 = 5_000_000;
/// Backward slew: one part in this many of the elapsed RTP time.
const EARLY_SLEW_DIVISOR: i64 = 200;
const EARLY_SLEW_DIVISOR_SETTLING: i64 = 2;
/// Differences that leave the line alone, in microseconds.
const DEADBAND_US: i64 = 5_000;
/// Over how long the earliest arrival is looked for before the line moves forward, in microseconds of arrival time.
const WINDOW_US: i64 = 10_000_000;
/// Arrivals this far from where the spacing of frames puts them belong to a stream that goes on, in microseconds: two ticks of the reader.
const CONTINUED_US: i64 = 100_000;
/// How far the first frames may place the line before the first one's arrival, in microseconds: no camera keeps a longer GOP to begin with.
const BACKLOG_US_MAX: i64 = 20_000_000;
/// Forward slew: one part in this many.
const LATE_SLEW_DIVISOR: i64 = 2000;

/// When a frame is to be decoded and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub decode: Timestamp,
    /// Presentation minus decode time, in microseconds; zero or negative.
    pub composition_us: i32,
    /// The line was anchored anew.
    pub anchored: bool,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    anchor_rtp: i64,
    anchor_us: i64,
    settled_at_us: i64,
    /// While frames are late by more than [`JUMP_US`].
    late: Option<Late>,
    /// How far the line has yet to move.
    correction_us: i64,
    /// The earliest arrival since `window_began_us`, relative to the line.
    window_min_us: i64,
    window_began_us: i64,
    last_rtp: i64,
    /// From the frame before the last one to the last one, in microseconds of RTP time.
    last_step_us: i64,
    last_arrival_us: i64,
}

/// Lateness over [`LATE_PATIENCE_US`].
#[derive(Clone, Copy, Debug)]
struct Late {
    began_us: i64,
    /// The least in each half.
    least_us: [i64; 2],
    has_holes: bool,
    /// The network carries less than the camera sends, or did.
    is_congested: bool,
    /// How many times in a row nothing has changed.
    steady: u32,
}

/// The clock of one track of one session.
#[derive(Clone, Copy, Debug)]
pub struct TrackClock {
    timescale: u32,
    line: Option<Line>,
    last_decode_us: i64,
}

impl TrackClock {
    /// `timescale`: RTP clock rate, in Hz. Nothing is stamped before `floor`.
    #[must_use]
    pub fn new(timescale: u32, floor: Timestamp) -> Self {
        Self { timescale: timescale.max(1), line: None, last_decode_us: floor.micros() }
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

    /// Anchors the line by the first frames together (RTP time and arrival of each, in order): the earliest relative to its RTP time decides,
    /// so that neither a late first frame nor a burst of old ones bends the beginning.
    pub fn settle(&mut self, first_frames: &[(i64, Timestamp)]) {
        let Some((rtp, arrival)) = first_frames.first().copied() else { return };
        let arrival_us = arrival.micros();
        let sent_us =
            |(at, arrival): &(i64, Timestamp)| arrival.micros().saturating_sub(self.micros(at.saturating_sub(rtp)));
        let plausible = |sent: &i64| (-BACKLOG_US_MAX..=0).contains(&sent.saturating_sub(arrival_us));
        let earliest_us = first_frames.iter().map(sent_us).filter(plausible).min().unwrap_or(arrival_us);
        let mut line = self.anchor(rtp, earliest_us);
        if line.anchor_us == earliest_us {
            line.settled_at_us = arrival_us;
        }
        line.last_arrival_us = arrival_us;
        line.window_began_us = arrival_us;
        self.line = Some(line);
    }

    /// The wall clock was set by `by_us`: the line goes with it. Nothing is stamped before `floor` any more.
    pub fn shift(&mut self, by_us: i64, floor: Timestamp) {
        if let Some(line) = &mut self.line {
            for time_us in
                [&mut line.anchor_us, &mut line.settled_at_us, &mut line.window_began_us, &mut line.last_arrival_us]
            {
                *time_us = time_us.saturating_add(by_us);
            }
            if let Some(late) = &mut line.late {
                late.began_us = late.began_us.saturating_add(by_us);
            }
        }
        // A frame right at the floor is where it belongs.
        self.last_decode_us = floor.micros().saturating_sub(Self::tick_us(self.timescale));
    }

    /// Stamps the frame of RTP time `rtp` that arrived at wall time `arrival`.
    pub fn stamp(&mut self, rtp: i64, arrival: Timestamp) -> Stamp {
        let arrival_us = arrival.micros();
        let kept = self.line.and_then(|line| self.follow(line, rtp, arrival_us));
        let anchored = kept.is_none();
        let line = kept.unwrap_or_else(|| self.anchor_behind(self.line, rtp, arrival_us));
        self.line = Some(line);
        let shown_us = self.on_line(&line, rtp);
        let decode_us = shown_us.max(self.last_decode_us.saturating_add(Self::tick_us(self.timescale)));
        self.last_decode_us = decode_us;
        let composition_us = i32::try_from(shown_us.saturating_sub(decode_us)).unwrap_or(i32::MIN);
        Stamp { decode: Timestamp(decode_us), composition_us, anchored }
    }

    /// The wall time that the line gives to `rtp`; `None` before the first frame.
    #[must_use]
    pub fn expected(&self, rtp: i64) -> Option<Timestamp> {
        self.line.map(|line| Timestamp(self.on_line(&line, rtp)))
    }

    /// When the next frame is, if it comes as the last one did; `None` before the first frame.
    #[must_use]
    pub fn expected_next(&self) -> Option<Timestamp> {
        self.line.map(|line| Timestamp(self.next_us(&line)))
    }

    fn next_us(&self, line: &Line) -> i64 {
        self.on_line(line, line.last_rtp).saturating_add(line.last_step_us)
    }

    /// Anchors anew behind what was stamped by `before`, with the spacing that its frames had where they keep coming.
    fn anchor_behind(&self, before: Option<Line>, rtp: i64, arrival_us: i64) -> Line {
        let next_us = before.map(|line| self.next_us(&line));
        let is_continued = |next_us: &i64| arrival_us.saturating_sub(*next_us).saturating_abs() <= CONTINUED_US;
        match next_us.filter(is_continued) {
            Some(next_us) => Line {
                settled_at_us: arrival_us,
                window_began_us: arrival_us,
                last_arrival_us: arrival_us,
                ..self.anchor(rtp, next_us)
            },
            None => self.anchor(rtp, arrival_us),
        }
    }

    fn anchor(&self, rtp: i64, arrival_us: i64) -> Line {
        Line {
            anchor_rtp: rtp,
            anchor_us: arrival_us.max(self.last_decode_us.saturating_add(Self::tick_us(self.timescale))),
            settled_at_us: arrival_us.saturating_add(SETTLING_US),
            late: None,
            correction_us: 0,
            window_min_us: i64::MAX,
            window_began_us: arrival_us,
            last_rtp: rtp,
            last_step_us: 0,
            last_arrival_us: arrival_us,
        }
    }

    /// The line moved by one more frame; `None` where it must be anchored anew.
    fn follow(&self, mut line: Line, rtp: i64, arrival_us: i64) -> Option<Line> {
        let rtp_step_us = self.micros(rtp.saturating_sub(line.last_rtp));
        let arrival_step_us = arrival_us.saturating_sub(line.last_arrival_us);
        let late_us = arrival_us.saturating_sub(self.on_line(&line, rtp));
        let is_ahead = rtp_step_us.saturating_sub(arrival_step_us.max(0)) > JUMP_US && late_us < -JUMP_US;
        if is_ahead || rtp_step_us < -JUMP_US {
            return None;
        }
        let is_hole = rtp_step_us > line.last_step_us.saturating_mul(3).max(HOLE_US_MIN);
        line.late = (late_us > JUMP_US).then(|| line.late.unwrap_or_else(|| Late::begin(arrival_us)));
        let is_clocks = line.late.as_mut().is_some_and(|late| late.is_clocks(late_us, arrival_us, is_hole));
        if late_us > LATE_MAX_US || is_clocks {
            return None;
        }
        if late_us < -JUMP_US {
            line.settled_at_us = arrival_us.saturating_add(SETTLING_US);
        }
        if line.late.is_some_and(|late| late.is_congested) {
            (line.window_min_us, line.window_began_us) = (i64::MAX, arrival_us);
        } else {
            line.correct(late_us, rtp_step_us.max(0), arrival_us);
        }
        line.last_rtp = rtp;
        line.last_step_us = rtp_step_us;
        line.last_arrival_us = arrival_us;
        Some(line)
    }

    fn on_line(&self, line: &Line, rtp: i64) -> i64 {
        line.anchor_us.saturating_add(self.micros(rtp.saturating_sub(line.anchor_rtp)))
    }

    fn micros(&self, ticks: i64) -> i64 {
        let micros = i128::from(ticks) * 1_000_000 / i128::from(self.timescale);
        i64::try_from(micros).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX })
    }
}

impl Late {
    fn begin(began_us: i64) -> Self {
        Self { began_us, least_us: [i64::MAX; 2], has_holes: false, is_congested: false, steady: 0 }
    }

    /// Takes in a frame. Whether the camera's clock is why they are late: asked at the end of each [`LATE_PATIENCE_US`].
    fn is_clocks(&mut self, late_us: i64, arrival_us: i64, is_hole: bool) -> bool {
        let elapsed_us = arrival_us.saturating_sub(self.began_us);
        let half = usize::from(elapsed_us >= LATE_PATIENCE_US / 2);
        self.least_us[half] = self.least_us[half].min(late_us);
        self.has_holes |= is_hole;
        if elapsed_us < LATE_PATIENCE_US {
            return false;
        }
        let [first_us, second_us] = self.least_us;
        let changes = second_us.saturating_sub(first_us).saturating_abs() > CONGESTED_US || self.has_holes;
        let is_congested = self.is_congested || changes;
        let steady = if changes { 0 } else { self.steady + 1 };
        *self = Self { is_congested, steady, ..Self::begin(arrival_us) };
        steady >= if is_congested { STEADY_MIN_CONGESTED } else { STEADY_MIN }
    }
}

impl Line {
    /// Moves the line for a frame that is `late_us` late (negative: early) and `elapsed_us` of RTP time after the one before.
    fn correct(&mut self, late_us: i64, elapsed_us: i64, arrival_us: i64) {
        self.window_min_us = self.window_min_us.min(late_us);
        if late_us < -DEADBAND_US {
            self.correction_us = late_us;
        } else if arrival_us.saturating_sub(self.window_began_us) >= WINDOW_US {
            let late = self.window_min_us > DEADBAND_US;
            self.correction_us = if late { self.window_min_us } else { self.correction_us.min(0) };
            (self.window_min_us, self.window_began_us) = (i64::MAX, arrival_us);
        }
        let settling = arrival_us < self.settled_at_us;
        let early_divisor = if settling { EARLY_SLEW_DIVISOR_SETTLING } else { EARLY_SLEW_DIVISOR };
        let moved_us = self.correction_us.clamp(-(elapsed_us / early_divisor), elapsed_us / LATE_SLEW_DIVISOR);
        self.correction_us -= moved_us;
        self.anchor_us = self.anchor_us.saturating_add(moved_us);
        self.window_min_us = self.window_min_us.saturating_sub(moved_us);
    }
}

/// The arrival time to assume for the audio frame of RTP time `rtp` so that it lies beside the video: by both tracks' sender reports and the video's line.
/// `None` where a report is missing or where it contradicts the real arrival by more than [`JUMP_US`] (some cameras' reports are nonsense).
#[must_use]
pub fn beside_video(
    video: &TrackClock,
    video_report: Option<SenderReport>,
    audio_report: Option<SenderReport>,
    audio_timescale: u32,
    rtp: i64,
    arrival: Timestamp,
) -> Option<Timestamp> {
    let (video_report, audio_report) = (video_report?, audio_report?);
    let since_report = i128::from(rtp) - i128::from(audio_report.rtp);
    let ntp_us = i128::from(audio_report.ntp_us) + since_report * 1_000_000 / i128::from(audio_timescale.max(1));
    let video_ticks = (ntp_us - i128::from(video_report.ntp_us)) * i128::from(video.timescale) / 1_000_000;
    let video_rtp = i64::try_from(i128::from(video_report.rtp) + video_ticks).ok()?;
    let beside = video.expected(video_rtp)?;
    (beside.micros_since(arrival).saturating_abs() <= JUMP_US).then_some(beside)
}

#[cfg(test)]
mod tests;
