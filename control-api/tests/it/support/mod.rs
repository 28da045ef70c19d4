//! Shared by the tests: the in-memory node, clips, ffmpeg, and a client.

pub(crate) mod client;
pub(crate) mod clip;
pub(crate) mod contract;
pub(crate) mod fake;
pub(crate) mod ffmpeg;
mod volume;
