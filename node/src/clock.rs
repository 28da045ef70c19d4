//! The only place in the server that reads clocks.

use holdfast_storage::time::Timestamp;
use std::time::{Duration, Instant, SystemTime};

/// The system's wall time now.
#[expect(
    clippy::disallowed_methods,
    reason = "the seam through which the server reads clocks"
)]
pub(crate) fn wall_clock() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Wall time now, and monotonic time since this process started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    boot: Timestamp,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the seam through which the server reads clocks"
    )]
    #[must_use]
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            boot: wall_clock(),
        }
    }

    /// When this process started, in microseconds since the Unix epoch; distinguishes one run of a
    /// node from the next.
    #[must_use]
    pub(crate) fn boot(&self) -> u64 {
        u64::try_from(self.boot.micros()).unwrap_or(0)
    }

    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        wall_clock()
    }

    /// Time since the process started; never goes back.
    #[must_use]
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
