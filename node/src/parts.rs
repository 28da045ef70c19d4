//! What a member does in the background; each part is independent of the others.

pub mod certainty;
pub mod drills;
pub(crate) mod headroom;
pub(crate) mod holds;
pub(crate) mod names;
