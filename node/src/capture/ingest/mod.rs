//! Turns a camera's RTSP stream into whole frames with smoothed wall time.
//!
//! `session` holds one camera's connection: `rtsp` speaks with it, `rtp` orders its packets,
//! `codec` makes frames of them. `backoff`, `clock`, `rhythm`, `tracks` and `wall` are deciding
//! code: time and randomness are passed in. `runtime` has the threads.

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
