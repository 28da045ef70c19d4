//! When the node's loops look: loops that are due together wake the node once.

use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Ticks at once, then at the multiples of `period` on a grid that all loops share. Late ticks are
/// skipped.
#[expect(clippy::disallowed_methods, reason = "an edge: it waits for the world")]
pub(crate) fn ticks(period: Duration) -> Interval {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let since = now.saturating_duration_since(*ORIGIN.get_or_init(|| now));
    let start = now - remainder(since, period);
    let mut ticks = interval_at(start, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// How long ago the last multiple of `period` was.
fn remainder(since: Duration, period: Duration) -> Duration {
    let nanos = since.as_nanos() % period.as_nanos().max(1);
    // Less than the period.
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loops_that_begin_at_different_times_tick_together() {
        let (short, long) = (Duration::from_millis(10), Duration::from_millis(20));
        let mut first = ticks(short);
        tokio::time::sleep(Duration::from_millis(7)).await;
        let mut second = ticks(long);
        // A tick returns the time at which it was due.
        let origin = first.tick().await;
        for _ in 0..3 {
            let due = second.tick().await;
            assert_eq!(
                due.duration_since(origin).as_nanos() % short.as_nanos(),
                0,
                "{due:?} {origin:?}"
            );
        }
    }

    #[test]
    fn the_first_tick_is_no_later_than_now() {
        let ms = Duration::from_millis;
        assert_eq!(
            [ms(0), ms(199), ms(200), ms(431)].map(|since| remainder(since, ms(200))),
            [0, 199, 0, 31].map(ms)
        );
    }
}
