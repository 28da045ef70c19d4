//! What the cluster agrees on: nodes, cameras, assignments, settings. Video never passes through here.

pub mod heartbeat;
pub mod model;
