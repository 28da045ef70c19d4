//! What the cluster agrees on: nodes, cameras, assignments, settings. Video never passes through here.

pub mod command;
pub mod desired;
pub mod heartbeat;
pub mod liveness;
pub mod model;
pub mod placement;
pub mod state;
pub mod steward;
pub mod table;
pub mod validate;
