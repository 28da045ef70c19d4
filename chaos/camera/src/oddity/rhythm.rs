//! Irregular frames: rare, in bursts, with pauses.

use super::Oddity;
use super::kinds::kinds;

kinds! {
    /// When a camera captures and sends its frames. RTP time stays that of the capture.
    RhythmOddity {
        FrameInFourSeconds: "a frame in 4 s, each a keyframe",
            "bluenviron/mediamtx#1742, ZoneMinder pull 2675";
        FrameInTenSeconds: "a frame in 10 s, each a keyframe", "Motion-Project/motion#1104";
        Bursts: "frames are captured steadily and sent in bursts of 2 s",
            "cameras on mobile networks";
        Pauses: "no frame for 2 s out of every 8", "a sibling: encoders that restart";
        FallsAsleep: "25 frames a second for 8 s, then a frame in 2 s for 12 s",
            "Motion-Project/motion#1104 (slow at night)";
    }
}

/// How long frames are held back before a burst.
const BURST_US: u64 = 2_000_000;

/// A camera's rhythm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    oddity: Option<RhythmOddity>,
    fps: u64,
}

impl Rhythm {
    pub(crate) fn new(oddity: Option<Oddity>, fps: u32) -> Self {
        let oddity = if let Some(Oddity::Rhythm(of)) = oddity {
            Some(of)
        } else {
            None
        };
        Self {
            oddity,
            fps: u64::from(fps),
        }
    }

    /// Number of frames, in how many seconds.
    pub(crate) fn rate(self) -> (u64, u64) {
        match self.oddity {
            Some(RhythmOddity::FrameInFourSeconds) => (1, 4),
            Some(RhythmOddity::FrameInTenSeconds) => (1, 10),
            _ => (self.fps, 1),
        }
    }

    /// Whether no frame is captured at this time after the camera's start.
    pub(crate) fn rests(self, elapsed_us: u64) -> bool {
        match self.oddity {
            Some(RhythmOddity::Pauses) => elapsed_us % 8_000_000 >= 6_000_000,
            Some(RhythmOddity::FallsAsleep) => {
                let within = elapsed_us % 20_000_000;
                // In each 2 s, it is awake for one frame interval.
                within >= 8_000_000 && within % 2_000_000 >= 1_000_000 / self.fps
            }
            _ => false,
        }
    }

    /// The burst with which frames captured at this time after the camera's start are sent.
    pub(crate) fn burst(self, elapsed_us: u64) -> Option<u64> {
        (self.oddity == Some(RhythmOddity::Bursts)).then_some(elapsed_us / BURST_US)
    }

    /// Whether every frame is a keyframe.
    pub(crate) fn is_intra_only(self) -> bool {
        self.rate().1 > 1
    }
}

impl RhythmOddity {
    pub(super) fn held_us(self) -> u64 {
        if self == Self::Bursts { BURST_US } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(oddity: RhythmOddity, frames: u64) -> usize {
        let rhythm = Rhythm::new(Some(Oddity::Rhythm(oddity)), 25);
        (0..frames)
            .filter(|frame| !rhythm.rests(frame * 40_000))
            .count()
    }

    #[test]
    fn pauses_and_sleep_leave_frames_out() {
        assert_eq!(captured(RhythmOddity::Pauses, 200), 150);
        assert_eq!(captured(RhythmOddity::FallsAsleep, 500), 200 + 6);
        assert_eq!(captured(RhythmOddity::Bursts, 200), 200);
    }

    #[test]
    fn a_burst_is_two_seconds() {
        let rhythm = Rhythm::new(Some(Oddity::Rhythm(RhythmOddity::Bursts)), 25);
        assert_eq!(
            [0, 1_999_999, 2_000_000].map(|at| rhythm.burst(at)),
            [Some(0), Some(0), Some(1)]
        );
        assert_eq!(Rhythm::new(None, 25).burst(5), None);
    }
}
