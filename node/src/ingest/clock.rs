//! Wall time of frames: when they arrived, smoothed against RTP time, so that neither the reader's tick nor the network's jitter shows. Pure.
//!
//! The rule, per track: a line maps RTP time to wall time. The first frame anchors it. No frame can arrive before it was sent, so the line follows the
//! *earliest* arrivals (a lower envelope):
//! - a frame that arrives earlier than the line says moves the line back, by at most 0.5 % of the RTP time since the frame before; by at most 50 % during
//!   the first 5 s after an anchor and while the line is more than 1 s late, so that the burst of old frames with which some servers begin settles soon;
//! - a frame that arrives later moves it forward by at most 500 ppm (the difference of two crystals);
//! - a new anchor is set where RTP time itself jumps (more than 1 s ahead of the arrivals, or more than 1 s back), where frames have been more than 1 s late
//!   for 1 s of arrivals (the camera's clock stood still), and at once where one is more than 5 s late. A network that holds frames back for a moment is none of these.
//!
//! Decode times grow strictly, always. Where RTP time goes back a little (B-frames), the difference is the composition offset.

use super::media::SenderReport;
use holdfast_storage::time::Timestamp;

/// Lateness and jumps that call for a new anchor, in microseconds.
pub const JUMP_US: i64 = 1_000_000;
/// How long frames may be late by more than [`JUMP_US`] before the anchor moves, in microseconds of arrival time.
const LATE_PATIENCE_US: i64 = 1_000_000;
/// Lateness that moves the anchor at once, in microseconds.
const LATE_MAX_US: i64 = 5_000_000;
/// How long after an anchor the line may move fast, in microseconds of arrival time.
const SETTLING_US: i64 = 5_000_000;
/// Backward slew: one part in this many of the elapsed RTP time.
const EARLY_SLEW_DIVISOR: i64 = 200;
const EARLY_SLEW_DIVISOR_SETTLING: i64 = 2;
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
    late_since_us: Option<i64>,
    last_rtp: i64,
    last_arrival_us: i64,
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

    /// Forgets the line: the next frame anchors anew, and not before `floor`.
    pub fn reset(&mut self, floor: Timestamp) {
        self.line = None;
        self.last_decode_us = self.last_decode_us.max(floor.micros());
    }

    /// Stamps the frame of RTP time `rtp` that arrived at wall time `arrival`.
    pub fn stamp(&mut self, rtp: i64, arrival: Timestamp) -> Stamp {
        let arrival_us = arrival.micros();
        let kept = self.line.and_then(|line| self.follow(line, rtp, arrival_us));
        let anchored = kept.is_none();
        let line = kept.unwrap_or_else(|| self.anchor(rtp, arrival_us));
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

    fn anchor(&self, rtp: i64, arrival_us: i64) -> Line {
        Line {
            anchor_rtp: rtp,
            anchor_us: arrival_us.max(self.last_decode_us.saturating_add(Self::tick_us(self.timescale))),
            settled_at_us: arrival_us.saturating_add(SETTLING_US),
            late_since_us: None,
            last_rtp: rtp,
            last_arrival_us: arrival_us,
        }
    }

    /// The line moved by one more frame; `None` where it must be anchored anew.
    fn follow(&self, mut line: Line, rtp: i64, arrival_us: i64) -> Option<Line> {
        let rtp_step_us = self.micros(rtp.saturating_sub(line.last_rtp));
        let arrival_step_us = arrival_us.saturating_sub(line.last_arrival_us);
        if rtp_step_us.saturating_sub(arrival_step_us.max(0)) > JUMP_US || rtp_step_us < -JUMP_US {
            return None;
        }
        let late_us = arrival_us.saturating_sub(self.on_line(&line, rtp));
        let late_since_us = (late_us > JUMP_US).then(|| line.late_since_us.unwrap_or(arrival_us));
        if late_us > LATE_MAX_US
            || late_since_us.is_some_and(|since| arrival_us.saturating_sub(since) >= LATE_PATIENCE_US)
        {
            return None;
        }
        if late_us < -JUMP_US {
            line.settled_at_us = arrival_us.saturating_add(SETTLING_US);
        }
        line.anchor_us =
            line.anchor_us.saturating_add(slew(late_us, rtp_step_us.max(0), arrival_us < line.settled_at_us));
        line.late_since_us = late_since_us;
        line.last_rtp = rtp;
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

/// How far the line moves for a frame that is `late_us` late (negative: early), in microseconds.
fn slew(late_us: i64, elapsed_us: i64, settling: bool) -> i64 {
    let early_divisor = if settling { EARLY_SLEW_DIVISOR_SETTLING } else { EARLY_SLEW_DIVISOR };
    late_us.clamp(-(elapsed_us / early_divisor), elapsed_us / LATE_SLEW_DIVISOR)
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
