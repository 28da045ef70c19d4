//! The wall clock, injected. Only this file of the store reads it.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use crate::time::Timestamp;

/// Returns the wall time. It may jump; the store never uses it to measure intervals.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// This machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_system(std::time::SystemTime::now())
    }
}
