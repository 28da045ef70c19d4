//! The wall clock, injected: the one place of the store that reads it.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use crate::time::Timestamp;

/// Tells the wall time. It may jump; nothing in the store measures intervals with it.
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
