//! What arrived in the last seconds, in stretches of half a second, and what it shows. Pure.

use super::fit::{EVEN_US, Moments, Trend};
use std::collections::VecDeque;

/// A stretch of arrival time, in microseconds.
pub(super) const STRETCH_US: i64 = 500_000;
/// How many are remembered: 12 s of them, and longer if frames are rarer.
const STRETCHES_MAX: usize = 24;
/// The fewest stretches for a trend; even fewer suffice only if each has a frame or two.
const STRETCHES_MIN: usize = 5;
const RARE_STRETCHES_MIN: usize = 3;
const RARE_FRAMES: i64 = 2;
/// The fewest stretches that show the course of lateness after a bend.
const COURSE_MIN: usize = 4;
/// How many frames identify a flow, and how much worse the other explanation must fit: in
/// microseconds, and as a factor.
const FLOW_FRAMES_MIN: f64 = 8.0;
const FLOW_OFF_US: f64 = 18_000.0;
const FLOW_OFF_TIMES: f64 = 1.4;

/// A frame as the line sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) arrival_us: i64,
    pub(super) arrival_step_us: i64,
    /// RTP time since the line's anchor, in microseconds at the line's rate.
    pub(super) media_us: i64,
    /// After the line.
    pub(super) late_us: i64,
    pub(super) bytes: usize,
}

/// How late frames come one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Unclear,
    /// As their sizes say: a link that carries less than the camera sends.
    Link,
    /// As their RTP times say, regardless of their size; or as often as before, while RTP times
    /// changed.
    Clock,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) began_us: i64,
    /// Of the least late frame: its arrival, and arrival minus RTP time.
    pub(super) least_at_us: i64,
    pub(super) least_us: i64,
    /// Arrival minus RTP time of a frame on the line, when the stretch began.
    line_us: i64,
    frames: i64,
    first_media_us: i64,
    last_media_us: i64,
    last_at_us: i64,
    /// Arrivals against RTP time, which a clock explains, and against bytes, which a link explains.
    by_time: Moments,
    by_bytes: Moments,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Stretches {
    closed: VecDeque<Stretch>,
    open: Option<Stretch>,
    /// Where the next one begins, while frames keep coming.
    next_us: Option<i64>,
    /// Of the frames before the next one.
    bytes: u64,
}

impl Stretches {
    /// Takes a frame. Returns whether the frames before it completed a stretch.
    pub(super) fn take(&mut self, sight: Sight) -> bool {
        let ended = self
            .open
            .filter(|open| sight.arrival_us.saturating_sub(open.began_us) >= STRETCH_US);
        if let Some(open) = ended {
            let is_rare = open.frames == 1 && self.last().is_some_and(|last| last.frames == 1);
            self.close();
            let next_us = open.began_us.saturating_add(STRETCH_US);
            let continues = sight.arrival_us.saturating_sub(open.last_at_us) < STRETCH_US / 2;
            self.next_us = Some(next_us).filter(|_| continues);
            if is_rare {
                // Frames are so rare that each is a stretch of its own.
                self.add(sight);
                self.close();
                return true;
            }
        }
        self.add(sight);
        ended.is_some()
    }

    /// The next frame begins a stretch.
    pub(super) fn close(&mut self) {
        self.next_us = None;
        if let Some(stretch) = self.open.take() {
            if self.closed.len() >= STRETCHES_MAX {
                self.closed.pop_front();
            }
            self.closed.push_back(stretch);
        }
    }

    /// The last one that has ended.
    pub(super) fn last(&self) -> Option<&Stretch> {
        self.closed.back()
    }

    /// The stretches of the last `us`, if there are enough.
    pub(super) fn window(&self, us: i64) -> Option<impl Iterator<Item = &Stretch> + Clone> {
        let since_us = self
            .last()?
            .began_us
            .saturating_add(STRETCH_US)
            .saturating_sub(us);
        let newer = self
            .closed
            .iter()
            .rev()
            .take_while(|stretch| stretch.began_us > since_us)
            .count();
        // The one that reaches back so far belongs to it.
        let is_rare = self
            .closed
            .iter()
            .rev()
            .take(RARE_STRETCHES_MIN)
            .all(|stretch| stretch.frames <= RARE_FRAMES);
        let least = if is_rare {
            RARE_STRETCHES_MIN
        } else {
            STRETCHES_MIN
        };
        let from = self.closed.len().checked_sub((newer + 1).max(least))?;
        Some(self.closed.range(from..))
    }

    /// How the least lateness went in the last `us`.
    pub(super) fn trend(&self, us: i64) -> Option<Trend> {
        Trend::of(
            &self
                .window(us)?
                .map(|stretch| self.point(stretch))
                .collect::<Vec<_>>(),
        )
    }

    /// The same for the present course, without the part before a bend, and arrival time per RTP
    /// time there. If there are many stretches, only those count whose least lateness is beyond the
    /// bend.
    pub(super) fn course(&self, us: i64, is_after: impl Fn(i64) -> bool) -> Option<(Trend, f64)> {
        let all: Vec<_> = self.window(us)?.collect();
        let after: Vec<_> = all
            .iter()
            .copied()
            .filter(|stretch| is_after(stretch.least_us))
            .collect();
        let points = if all.len() > COURSE_MIN { &after } else { &all };
        if points.len() < COURSE_MIN.min(all.len()) {
            return None;
        }
        let of = |stretches: &[&Stretch]| {
            let trend = Trend::of(
                &stretches
                    .iter()
                    .map(|stretch| self.point(stretch))
                    .collect::<Vec<_>>(),
            )?;
            let media = |stretch: &Stretch| stretch.least_at_us.saturating_sub(stretch.least_us);
            let last_us = media(self.last()?);
            let course = |stretch: &&Stretch| {
                (
                    media(stretch).saturating_sub(last_us) as f64,
                    self.point(stretch).0,
                )
            };
            let rate = Trend::of(&stretches.iter().map(course).collect::<Vec<_>>());
            Some((trend, rate.map_or(f64::INFINITY, |rate| rate.slope)))
        };
        let suffixes = (0..=points.len().saturating_sub(COURSE_MIN))
            .filter_map(|from| of(points.get(from..)?));
        suffixes
            .into_iter()
            .find(|(trend, _)| trend.residual <= EVEN_US)
            .or_else(|| of(points))
    }

    /// How far the line has moved back in the last `us`, to frames that came before it; it is at
    /// `line_us`.
    pub(super) fn moved_back_us(&self, us: i64, line_us: i64) -> i64 {
        let first = self.window(us).and_then(|mut window| window.next());
        first.map_or(0, |first| first.line_us.saturating_sub(line_us))
    }

    fn point(&self, stretch: &Stretch) -> (f64, f64) {
        let last_us = self.last().map_or(0, |last| last.least_at_us);
        (
            stretch.least_at_us.saturating_sub(last_us) as f64,
            stretch.least_us as f64,
        )
    }

    /// The mean distance of frames by their arrivals, in microseconds.
    pub(super) fn period_us(&self, now_us: i64) -> Option<i64> {
        let first = self.closed.front()?;
        let frames: i64 = self
            .closed
            .iter()
            .chain(&self.open)
            .map(|stretch| stretch.frames)
            .sum();
        Some(now_us.saturating_sub(first.began_us) / frames.max(1))
    }

    /// What explains the arrivals of late frames in the last `us`, given that frames came at a
    /// distance of `mean_us` before; a frame after `late_us` is late.
    pub(super) fn flow(&self, us: i64, late_us: i64, mean_us: Option<i64>) -> Flow {
        let Some(window) = self.window(us) else {
            return Flow::Unclear;
        };
        let late = window.filter(|stretch| stretch.least_us > late_us);
        let (by_time, by_bytes) = late.clone().fold(
            Default::default(),
            |(time, bytes): (Moments, Moments), stretch| {
                (
                    time.merged(&stretch.by_time),
                    bytes.merged(&stretch.by_bytes),
                )
            },
        );
        let (time_off_us, bytes_off_us) = (by_time.deviation(), by_bytes.deviation());
        let few = by_time.count() < FLOW_FRAMES_MIN || late.clone().count() < RARE_STRETCHES_MIN;
        if few || !by_bytes.is_spread() {
            Flow::Unclear
        } else if time_off_us >= FLOW_OFF_US.max(FLOW_OFF_TIMES * bytes_off_us) {
            Flow::Link
        } else if bytes_off_us >= FLOW_OFF_US.max(FLOW_OFF_TIMES * time_off_us)
            || mean_us.is_some_and(|us| is_unchanged(late, us))
        {
            Flow::Clock
        } else {
            Flow::Unclear
        }
    }

    /// Whether frames are missing from the last `us`: more than one in twenty of those that came in
    /// so much RTP time at a distance of `mean_us`.
    pub(super) fn have_holes(&self, us: i64, mean_us: i64) -> bool {
        let Some(window) = self.window(us) else {
            return false;
        };
        let frames: i64 = window.clone().map(|stretch| stretch.frames).sum();
        let (first, last) = (window.clone().next(), window.last());
        let Some((first, last)) = first.zip(last) else {
            return false;
        };
        let media_us = last.last_media_us.saturating_sub(first.first_media_us);
        let missing_us = media_us.saturating_sub(mean_us.saturating_mul(frames - 1));
        missing_us > media_us / 20 && missing_us > mean_us
    }

    fn add(&mut self, sight: Sight) {
        let least_us = sight.arrival_us.saturating_sub(sight.media_us);
        let began_us = self.next_us.take().unwrap_or(sight.arrival_us);
        let stretch = self.open.get_or_insert(Stretch {
            began_us,
            least_at_us: sight.arrival_us,
            least_us,
            line_us: least_us.saturating_sub(sight.late_us),
            frames: 0,
            first_media_us: sight.media_us,
            last_media_us: sight.media_us,
            last_at_us: sight.arrival_us,
            by_time: Moments::default(),
            by_bytes: Moments::default(),
        });
        if least_us < stretch.least_us {
            (stretch.least_at_us, stretch.least_us) = (sight.arrival_us, least_us);
        }
        stretch.frames += 1;
        (stretch.last_media_us, stretch.last_at_us) = (sight.media_us, sight.arrival_us);
        stretch
            .by_time
            .add(sight.media_us as f64, sight.arrival_us as f64);
        stretch
            .by_bytes
            .add(self.bytes as f64, sight.arrival_us as f64);
        self.bytes = self.bytes.saturating_add(sight.bytes as u64);
    }
}

/// Whether frames come as often as they did when they were `mean_us` apart by their RTP times,
/// which they are no more.
fn is_unchanged<'a>(late: impl Iterator<Item = &'a Stretch> + Clone, mean_us: i64) -> bool {
    let frames = late.clone().map(|stretch| stretch.frames).sum::<i64>() - 1;
    let (Some(first), Some(last)) = (late.clone().next(), late.last()) else {
        return false;
    };
    let expected_us = mean_us.saturating_mul(frames);
    let arrivals_us = last.last_at_us.saturating_sub(first.began_us);
    let media_us = last.last_media_us.saturating_sub(first.first_media_us);
    let is_as_often = arrivals_us.saturating_sub(expected_us).saturating_abs() <= expected_us / 10;
    is_as_often && media_us <= expected_us - expected_us / 6
}
