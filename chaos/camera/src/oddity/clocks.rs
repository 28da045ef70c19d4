//! Wrong RTP clocks: a session's timestamps do not match the times at which its frames are sent.

use super::kinds::kinds;

/// Ticks of the 90 kHz clock in a second.
const SECOND: i64 = 90_000;

kinds! {
    /// How the RTP time of a camera differs from the true one. Capture times in the stamps stay
    /// true.
    ClockOddity {
        ClockSlow: "RTP time runs at 0.84 of the true rate: 21 frames come where 25 are said",
            "open-nvr/open-nvr#229";
        ClockFast: "RTP time runs at 10.5 times the true rate", "AlexxIT/go2rtc#2398";
        ClockSlightlyFast: "RTP time runs at 1.05 times the true rate",
            "blakeblackshear/frigate#8881, a sibling";
        ClockFrozen: "every frame of a session has the same RTP time", "mpv-player/mpv#5564";
        ClockJumping: "RTP time jumps an hour ahead and back again, every 5 s",
            "a sibling: encoders that follow a stepped wall clock";
        ClockBackward: "RTP time runs backwards", "a sibling of the frozen one";
        ClockWraps: "RTP time wraps 5 s after PLAY", "RFC 3550, 5.1: random initial value, 32 bits";
        ClockSlowStart: "RTP time runs at half the rate for the first 5 s of a session, then \
                         rightly",
            "a sibling: encoders that start slowly";
    }
}

/// The RTP time of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warp {
    oddity: ClockOddity,
    /// The honest RTP time of the first frame.
    first: Option<u32>,
}

impl Warp {
    pub(crate) fn new(oddity: ClockOddity) -> Self {
        Self {
            oddity,
            first: None,
        }
    }

    /// The number to add to `honest`, the honest RTP time of the next frame. `offset` is the
    /// session's own.
    pub(crate) fn offset(&mut self, honest: u32, offset: u32) -> u32 {
        let first = *self.first.get_or_insert(honest);
        let elapsed = i64::from(honest.wrapping_sub(first).cast_signed());
        let odd = self.oddity.elapsed(elapsed);
        let start = match self.oddity {
            ClockOddity::ClockWraps => first.wrapping_neg().wrapping_sub(5 * SECOND as u32),
            _ => offset,
        };
        start.wrapping_add(odd.wrapping_sub(elapsed) as u32)
    }
}

impl ClockOddity {
    /// Ticks of the camera's RTP time after `true_ticks`.
    fn elapsed(self, true_ticks: i64) -> i64 {
        let jumps = true_ticks.div_euclid(5 * SECOND) % 2 == 1;
        match self {
            Self::ClockSlow => true_ticks * 84 / 100,
            Self::ClockFast => true_ticks * 105 / 10,
            Self::ClockSlightlyFast => true_ticks * 105 / 100,
            Self::ClockFrozen => 0,
            Self::ClockJumping if jumps => true_ticks + 3600 * SECOND,
            Self::ClockJumping | Self::ClockWraps => true_ticks,
            Self::ClockBackward => -true_ticks,
            Self::ClockSlowStart => true_ticks - true_ticks.min(5 * SECOND) / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session's RTP time after this many seconds.
    fn said(oddity: ClockOddity, seconds: i64) -> i64 {
        let mut warp = Warp::new(oddity);
        let honest = |seconds: i64| 4_000_000_000_u32.wrapping_add((seconds * SECOND) as u32);
        let at = |warp: &mut Warp, seconds| {
            honest(seconds).wrapping_add(warp.offset(honest(seconds), 77))
        };
        let first = at(&mut warp, 0);
        i64::from(at(&mut warp, seconds).wrapping_sub(first).cast_signed())
    }

    #[test]
    fn each_clock_is_wrong_as_named() {
        assert_eq!(said(ClockOddity::ClockSlow, 100), 84 * SECOND);
        assert_eq!(said(ClockOddity::ClockFast, 10), 105 * SECOND);
        assert_eq!(said(ClockOddity::ClockFrozen, 10), 0);
        assert_eq!(
            (
                said(ClockOddity::ClockJumping, 4),
                said(ClockOddity::ClockJumping, 6)
            ),
            (4 * SECOND, 3606 * SECOND)
        );
        assert_eq!(said(ClockOddity::ClockBackward, 3), -3 * SECOND);
        assert_eq!(
            (
                said(ClockOddity::ClockSlowStart, 4),
                said(ClockOddity::ClockSlowStart, 10)
            ),
            (2 * SECOND, 7 * SECOND + SECOND / 2)
        );
    }

    #[test]
    fn the_wrap_comes_five_seconds_after_the_first_frame() {
        let mut warp = Warp::new(ClockOddity::ClockWraps);
        let at = |warp: &mut Warp, ticks: u32| ticks.wrapping_add(warp.offset(ticks, 99));
        assert_eq!(at(&mut warp, 1000), 0_u32.wrapping_sub(450_000));
        assert_eq!(at(&mut warp, 1000 + 450_000), 0);
    }
}
