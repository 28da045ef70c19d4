//! What a member does in the background, each for itself.

pub mod certainty;
pub mod drills;
pub(crate) mod headroom;
pub(crate) mod holds;
pub(crate) mod names;
