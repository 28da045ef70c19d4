//! What the control API asks of this node.

mod adding;
pub(crate) mod backend;
pub(crate) mod backup;
pub(crate) mod status;
pub(crate) mod views;
