//! The command line's clocks: the only place in commands and demo that reads one.

use holdfast_storage::time::Timestamp;
use std::time::{Instant, SystemTime};

#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the edge that reads the wall clock for commands and demo"
)]
pub fn wall_now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the edge that reads the monotonic clock for commands and demo"
)]
pub fn monotonic_now() -> Instant {
    Instant::now()
}
