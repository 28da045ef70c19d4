//! Places the video frames of an export on a grid of the camera's frame interval. Pure.
//!
//! Recorded times are wall times: where a recorder's clock was corrected, frames are slightly
//! closer together than the camera sent them; two recorders differ by some milliseconds; and a gap
//! ends anywhere between two points of the camera's rhythm. Software that works in whole frames
//! then finds two of them at one point: editors do, and so does ffmpeg, whose encoders count in the
//! nominal frame rate by default ("non monotonically increasing dts"). On the grid each frame has
//! its own point, the free one nearest to its time, so gaps are whole frames too.
//!
//! The price: a frame may be shown half an interval off, and a camera whose clock runs fast (or an
//! overlapping recorder that had to be moved back) leaves the file that much ahead of the wall
//! clock until the next gap. Each chunk's `prft` still contains its recording time.

use holdfast_storage::chunk::ChunkEntry;

/// Chunks whose frames are further apart than this multiple of the shortest usual interval, as a
/// fraction, are from times when the camera sent more slowly.
const FASTEST: (u64, u64) = (5, 4);
/// The shortest usual interval is that of the chunk at this fraction of all chunks, ordered by
/// interval.
const USUAL_DIVISOR: usize = 20;
/// How far frames may be shown after their time: a constant part, in seconds, and one second for
/// each this many seconds of the file (500 ppm, more than two crystals differ). A camera that
/// became faster than its grid must not be shown in slow motion.
pub(super) const LEAD_SECONDS: u64 = 1;
pub(super) const LEAD_DIVISOR: u64 = 2000;

/// The interval between video frames when the camera sends them fastest, in nanoseconds; `None`
/// without frames.
#[must_use]
pub fn frame_interval_ns(video: &[ChunkEntry]) -> Option<u64> {
    let of_chunk = |entry: &ChunkEntry| {
        (u64::from(entry.meta.duration_us) * 1000).checked_div(u64::from(entry.meta.frames))
    };
    let mut intervals: Vec<u64> = video
        .iter()
        .filter_map(of_chunk)
        .filter(|&ns| ns > 0)
        .collect();
    intervals.sort_unstable();
    let shortest = *intervals.get(intervals.len() / USUAL_DIVISOR)?;
    let fastest = intervals.partition_point(|ns| ns / FASTEST.0 <= shortest / FASTEST.1);
    intervals.get(fastest / 2).copied()
}

/// The grid of one presentation's frames; all times are in ticks from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct FrameGrid {
    interval: u64,
    timescale: u64,
    last: Option<u64>,
}

impl FrameGrid {
    /// `None` if the interval is less than a tick.
    #[must_use]
    pub fn new(interval_ns: u64, timescale: u32) -> Option<Self> {
        let interval =
            (u128::from(interval_ns) * u128::from(timescale) + 500_000_000) / 1_000_000_000;
        let interval = u64::try_from(interval).ok().filter(|&ticks| ticks > 0)?;
        Some(Self {
            interval,
            timescale: u64::from(timescale),
            last: None,
        })
    }

    /// The point of the next frame, whose time is `time`; takes it.
    pub fn place(&mut self, time: u64) -> u64 {
        let point = self.peek(time);
        self.last = Some(point);
        point
    }

    /// The point that [`Self::place`] would return.
    #[must_use]
    pub fn peek(&self, time: u64) -> u64 {
        let nearest = time.saturating_add(self.interval / 2) / self.interval * self.interval;
        let Some(last) = self.last else {
            return nearest;
        };
        let point = nearest.max(last.saturating_add(self.interval));
        let latest = time.saturating_add(LEAD_SECONDS * self.timescale + time / LEAD_DIVISOR);
        point.min(latest.max(last.saturating_add(1)))
    }

    /// The next frame is placed at `end` or later.
    pub fn skip_to(&mut self, end: u64) {
        self.last = self.last.max(Some(end.saturating_sub(self.interval)));
    }

    /// Whole intervals in `lead`, in ticks.
    #[must_use]
    pub fn whole(&self, lead: u64) -> u64 {
        lead / self.interval * self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::session;
    use holdfast_storage::ids::TrackKind::Video;
    use proptest::prelude::*;

    const MS: u64 = 90;
    const FRAME: u64 = 40 * MS;

    fn grid() -> FrameGrid {
        FrameGrid::new(40_000_000, 90_000).unwrap()
    }

    fn placed(times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut grid = grid();
        times.into_iter().map(|time| grid.place(time)).collect()
    }

    #[test]
    fn frames_that_were_moved_together_are_a_frame_apart_again() {
        // 30 ms taken back at 0.5 %.
        let times = (0..400).map(|n: u64| n * FRAME - (n.clamp(100, 250) - 100) * 18);
        assert_eq!(
            placed(times),
            (0..400).map(|n| n * FRAME).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_gap_lasts_the_nearest_number_of_whole_frames() {
        assert_eq!(
            placed([0, FRAME, FRAME + 5011 * MS, 2 * FRAME + 5011 * MS]),
            [0, 1, 126, 127].map(|n| n * FRAME)
        );
    }

    #[test]
    fn uneven_spacing_stays_within_half_a_frame() {
        let times: Vec<u64> = (0..500)
            .map(|n: u64| n * 55 * MS + n * 7919 % 13 * MS)
            .collect();
        let points = placed(times.clone());
        assert!(
            points
                .iter()
                .zip(&times)
                .all(|(point, time)| point.abs_diff(*time) <= FRAME / 2),
            "{points:?}"
        );
    }

    #[test]
    fn a_camera_twice_as_fast_as_the_grid_is_not_shown_in_slow_motion() {
        let points = placed((0..1000).map(|n| n * FRAME / 2));
        let last = 999 * FRAME / 2;
        assert_eq!(points[999], last + 1000 * MS + last / LEAD_DIVISOR);
    }

    #[test]
    fn the_interval_is_that_of_the_fastest_usual_chunks() {
        let chunks = |letters: &str, frames: u32| {
            let mut entries = session(1, Video, 1, 0, letters);
            entries
                .iter_mut()
                .for_each(|entry| entry.meta.frames = frames);
            entries
        };
        let (fast, slow) = (chunks(&"d".repeat(60), 12), chunks(&"d".repeat(40), 3));
        assert_eq!(
            frame_interval_ns(&[fast.clone(), slow.clone()].concat()),
            Some(500_000_000 / 12)
        );
        assert_eq!(
            frame_interval_ns(&[slow, chunks("d", 200)].concat()),
            Some(500_000_000 / 3),
            "one odd chunk"
        );
        assert_eq!(frame_interval_ns(&[]), None);
    }

    proptest! {
        #[test]
        fn times_grow_whatever_comes(
            times in prop::collection::vec(any::<u64>(), 1..50),
            interval_ns in 12_000_u64..5_000_000_000,
        ) {
            let mut grid = FrameGrid::new(interval_ns, 90_000).unwrap();
            let mut last = None;
            for time in times {
                let point = grid.place(time);
                prop_assert!(last < Some(point) || point == u64::MAX);
                last = Some(point);
            }
        }
    }
}
