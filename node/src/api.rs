//! This node as the backend of the control API.

mod adding;
pub(crate) mod backend;
pub(crate) mod backup;
pub(crate) mod status;
pub(crate) mod views;
