//! What nodes see of each other: heartbeats, and the data that each node keeps of them.

pub mod bitrate;
pub mod clocks;
pub mod heartbeat;
pub mod liveness;
pub mod reports;
pub mod sight;
pub mod volume;
