//! The clock of the measurements: they are the edge that reads it.

use std::time::Instant;

#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement is a reading of the clock"
)]
pub fn now() -> Instant {
    Instant::now()
}
