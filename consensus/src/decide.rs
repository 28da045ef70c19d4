//! Decisions from the replicated state and from observations. Pure: no clock, no I/O.

pub mod desired;
pub mod drill;
pub mod headroom;
pub mod placement;
pub mod steward;
pub mod suspects;
