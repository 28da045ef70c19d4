//! From a camera's RTSP URL to whole frames with smoothed wall time.
//!
//! `session` holds one camera's connection: `rtsp` speaks with it, `rtp` orders its packets,
//! `codec` makes frames of them. `backoff`, `clock`, `rhythm`, `tracks` and `wall` decide: time and
//! randomness come in as values. `runtime` has the threads.

pub mod admission;
pub mod backoff;
mod budget;
pub mod clock;
pub mod codec;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod media;
mod rhythm;
mod rtp;
mod rtsp;
pub mod runtime;
pub mod session;
mod tracks;
pub mod turns;
pub mod wall;
