//! Communication between nodes: one client, one authorisation, one envelope.

pub(crate) mod auth;
pub mod client;
pub(crate) mod envelope;
#[cfg(feature = "simulation")]
pub mod transport;
