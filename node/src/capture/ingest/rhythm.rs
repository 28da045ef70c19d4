//! How long a camera may send no frame before its session counts as stalled: by the camera's own
//! rhythm. Pure.

use std::time::{Duration, Instant};

/// Distances between frames that are remembered.
const REMEMBERED: usize = 8;
/// The longest wait for a frame, unless the camera's settings say otherwise.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// While the rhythm is not known, of a camera that answers.
const PATIENCE_UNKNOWN: Duration = Duration::from_secs(15);
/// After this many distances the rhythm is known.
const KNOWN: u32 = 3;

/// The distances of a camera's frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rhythm {
    last: Option<Instant>,
    distances: [Duration; REMEMBERED],
    seen: u32,
    /// The longest distance that the camera's description or an earlier session suggests.
    expected: Duration,
}

impl Rhythm {
    /// `frame_rate`: frames a second by the camera's description; `before`: the longest usual
    /// distance of an earlier session.
    pub(crate) fn new(frame_rate: Option<f64>, before: Option<Duration>) -> Self {
        let described = frame_rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        let seen = if before.is_some() { KNOWN } else { 0 };
        let expected = before
            .unwrap_or_default()
            .max(described.unwrap_or_default());
        Self {
            seen,
            expected: expected.min(PATIENCE_MAX),
            ..Self::default()
        }
    }

    /// A frame came at `now`.
    pub(crate) fn frame(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.distances[self.seen as usize % REMEMBERED] = now.saturating_duration_since(last);
            self.seen = self.seen.saturating_add(1);
            if self.seen as usize >= REMEMBERED {
                self.expected = Duration::ZERO;
            }
        }
    }

    /// The longest distance of the last frames, for the next session; `None` if it is not known.
    pub(crate) fn longest(&self) -> Option<Duration> {
        let longest = self
            .distances
            .iter()
            .max()
            .copied()
            .unwrap_or_default()
            .max(self.expected);
        self.is_known().then_some(longest)
    }

    pub(crate) fn is_known(&self) -> bool {
        self.seen >= KNOWN
    }

    /// How long the camera may send no frame; `stall` is that limit for a camera of many frames a
    /// second. `answers`: it has answered a request since its last frame.
    pub(crate) fn patience(&self, stall: Duration, answers: bool) -> Duration {
        if !self.is_known() && answers {
            return stall.max(PATIENCE_UNKNOWN);
        }
        let longest = self
            .distances
            .iter()
            .max()
            .copied()
            .unwrap_or_default()
            .max(self.expected);
        let by_rhythm = if longest > stall / 4 {
            longest * 3 + stall / 3
        } else {
            Duration::ZERO
        };
        stall.max(by_rhythm.min(PATIENCE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(3);

    /// A rhythm after frames at these distances, in milliseconds.
    fn after(distances_ms: &[u64]) -> Rhythm {
        let mut rhythm = Rhythm::new(None, None);
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as an origin"
        )]
        let mut now = Instant::now();
        rhythm.frame(now);
        for distance in distances_ms {
            now += Duration::from_millis(*distance);
            rhythm.frame(now);
        }
        rhythm
    }

    #[test]
    fn many_frames_a_second_leave_the_setting() {
        assert_eq!(after(&[40; 20]).patience(STALL, true), STALL);
        assert_eq!(after(&[40, 40]).patience(STALL, false), STALL);
    }

    #[test]
    fn a_frame_in_four_or_ten_seconds_is_waited_for() {
        assert_eq!(after(&[4_000; 3]).patience(STALL, false).as_secs(), 13);
        assert_eq!(after(&[10_000; 3]).patience(STALL, false).as_secs(), 31);
        assert_eq!(after(&[300_000; 3]).patience(STALL, false), PATIENCE_MAX);
    }

    #[test]
    fn before_the_rhythm_is_known_a_camera_that_answers_is_waited_for() {
        assert_eq!(after(&[]).patience(STALL, true), PATIENCE_UNKNOWN);
        assert_eq!(after(&[]).patience(STALL, false), STALL);
    }

    #[test]
    fn what_was_known_before_counts_until_there_is_more() {
        assert_eq!(
            Rhythm::new(Some(0.25), None)
                .patience(STALL, false)
                .as_secs(),
            13
        );
        let before = after(&[10_000; 8]).longest();
        assert_eq!(before, Some(Duration::from_secs(10)));
        assert_eq!(
            Rhythm::new(None, before).patience(STALL, false).as_secs(),
            31
        );
        let mut faster = Rhythm::new(None, before);
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as an origin"
        )]
        let origin = Instant::now();
        (0..20).for_each(|frame| faster.frame(origin + Duration::from_millis(40 * frame)));
        assert_eq!(faster.patience(STALL, true), STALL);
    }
}
