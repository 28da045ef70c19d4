//! Computes the padding of each frame, so that a small clip has any bitrate with realistic frame
//! sizes.

/// A keyframe is this many times as big as the frames between keyframes.
const KEYFRAME_RATIO: u64 = 8;

#[derive(Debug)]
pub(crate) struct RatePlan {
    keyframe_bytes: i64,
    frame_bytes: i64,
    /// Bytes sent beyond the plan so far: the excess of frames bigger than planned is saved on
    /// later ones.
    debt_bytes: i64,
}

impl RatePlan {
    pub(crate) fn new(bitrate_bps: u64, fps: u32, gop_frames: u32) -> Self {
        let gop_bytes = bitrate_bps * u64::from(gop_frames) / (8 * u64::from(fps.max(1)));
        let frame_bytes = gop_bytes / (KEYFRAME_RATIO + u64::from(gop_frames) - 1);
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX / 2);
        Self {
            keyframe_bytes: signed(frame_bytes * KEYFRAME_RATIO),
            frame_bytes: signed(frame_bytes),
            debt_bytes: 0,
        }
    }

    /// Bytes of padding for a frame that has `own_bytes` without it.
    pub(crate) fn padding(&mut self, keyframe: bool, own_bytes: usize) -> usize {
        let planned = if keyframe {
            self.keyframe_bytes
        } else {
            self.frame_bytes
        };
        let own = i64::try_from(own_bytes).unwrap_or(i64::MAX / 2);
        let padding = (planned - own - self.debt_bytes).max(0);
        // A clip that is bigger than the bitrate allows must not accumulate debt forever.
        self.debt_bytes = (self.debt_bytes + own + padding - planned).min(self.keyframe_bytes);
        usize::try_from(padding).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played_bytes(bitrate_bps: u64, seconds: usize, keyframe: usize, frame: usize) -> usize {
        let mut plan = RatePlan::new(bitrate_bps, 25, 25);
        (0..25 * seconds)
            .map(|i| {
                if i % 25 == 0 {
                    (true, keyframe)
                } else {
                    (false, frame)
                }
            })
            .map(|(is_keyframe, own)| own + plan.padding(is_keyframe, own))
            .sum()
    }

    #[test]
    fn the_bitrate_is_met_whatever_the_clip() {
        for (keyframe, frame) in [(12_000, 700), (100_000, 700), (500, 8_000)] {
            let bytes = played_bytes(2_000_000, 20, keyframe, frame);
            assert!(
                bytes.abs_diff(5_000_000) < 100_000,
                "{bytes} for {keyframe}/{frame}"
            );
        }
    }

    #[test]
    fn a_keyframe_is_eight_times_a_frame() {
        let mut plan = RatePlan::new(2_000_000, 25, 25);
        let (keyframe, frame) = (plan.padding(true, 0), plan.padding(false, 0));
        assert_eq!(keyframe, frame * 8);
    }

    #[test]
    fn a_bitrate_below_the_clips_own_gets_no_padding() {
        let mut plan = RatePlan::new(10_000, 25, 25);
        assert!((0..1000).all(|_| plan.padding(false, 5_000) == 0));
    }
}
