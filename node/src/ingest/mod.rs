//! From a camera's RTSP URL to whole frames with smoothed wall time.
//!
//! `access_unit`, `backoff`, `clock`, `error`, `tracks` and `wall` decide: time and randomness come in as values. `runtime` and `session` touch the world; `shelf` keeps sessions that wait.

pub mod access_unit;
pub mod admission;
pub mod backoff;
pub mod clock;
pub mod error;
pub mod media;
pub mod runtime;
pub mod session;
pub mod shelf;
pub mod tracks;
pub mod wall;
