//! This node as a member: what it hears, what it decides several times a second, what it probes.

pub(crate) mod alive;
pub(crate) mod chronicle;
pub mod drive;
pub mod link;
pub mod pilot;
pub mod probes;
pub(crate) mod ticks;
