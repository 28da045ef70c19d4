//! Straight lines through points, by least squares. Pure.

/// The moments of a set of points, to fit a straight line through them; sets can be merged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

/// A straight line through the least of several stretches of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trend {
    pub(super) slope: f64,
    /// The value at the last point.
    pub(super) last: f64,
    /// From the first point to the last one.
    pub(super) growth: f64,
    /// How far a point is off the line, at most.
    pub(super) residual: f64,
    /// The largest change from one point to the next.
    pub(super) step: f64,
}

impl Moments {
    pub(super) fn add(&mut self, x: f64, y: f64) {
        *self = self.merged(&Self {
            count: 1.0,
            mean_x: x,
            mean_y: y,
            ..Self::default()
        });
    }

    /// Of both sets together (Chan, Golub, LeVeque 1979: it loses no digits to large means).
    pub(super) fn merged(&self, other: &Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return *self;
        }
        let (dx, dy) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        let (share, weight) = (other.count / count, self.count * other.count / count);
        Self {
            count,
            mean_x: self.mean_x + dx * share,
            mean_y: self.mean_y + dy * share,
            xx: self.xx + other.xx + dx * dx * weight,
            xy: self.xy + other.xy + dx * dy * weight,
            yy: self.yy + other.yy + dy * dy * weight,
        }
    }

    pub(super) fn count(&self) -> f64 {
        self.count
    }

    /// Whether there are different `x`.
    pub(super) fn is_spread(&self) -> bool {
        self.xx > 0.0
    }

    /// How far points are off the best line, as the root of the mean square.
    pub(super) fn deviation(&self) -> f64 {
        let explained = if self.xx > 0.0 {
            self.xy * self.xy / self.xx
        } else {
            0.0
        };
        ((self.yy - explained).max(0.0) / self.count.max(1.0)).sqrt()
    }
}

/// Growth counts as even if points are off the line by no more than this, in microseconds, plus one
/// part in [`EVEN_DIVISOR`] of the growth.
pub(super) const EVEN_US: f64 = 60_000.0;
const EVEN_DIVISOR: f64 = 30.0;
/// Growth counts as gradual if no single step exceeds this share of it.
const STEP_SHARE_MAX: f64 = 0.7;

impl Trend {
    pub(super) fn is_even(&self) -> bool {
        self.residual <= EVEN_US + self.growth.abs() / EVEN_DIVISOR
    }

    /// Even, and not a jump that the surrounding points turn into a line.
    pub(super) fn is_gradual(&self) -> bool {
        self.is_even() && self.step <= STEP_SHARE_MAX * self.growth.abs()
    }

    /// Of at least two points, in the order of `x`.
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let (&(first_x, _), &(last_x, _)) = (points.first()?, points.last()?);
        let mut moments = Moments::default();
        points.iter().for_each(|(x, y)| moments.add(*x, *y));
        if moments.xx <= 0.0 {
            return None;
        }
        let slope = moments.xy / moments.xx;
        let at = |x: f64| moments.mean_y + slope * (x - moments.mean_x);
        let residual = points
            .iter()
            .map(|(x, y)| (y - at(*x)).abs())
            .fold(0.0, f64::max);
        let step = points
            .windows(2)
            .map(|pair| (pair[1].1 - pair[0].1).abs())
            .fold(0.0, f64::max);
        Some(Self {
            slope,
            last: at(last_x),
            growth: slope * (last_x - first_x),
            residual,
            step,
        })
    }
}
