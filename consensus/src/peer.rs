//! Communication between nodes: one way to connect, one client, one authorisation, one envelope.

pub(crate) mod auth;
pub mod client;
pub mod connection;
pub(crate) mod envelope;
mod pool;
#[cfg(feature = "simulation")]
pub mod transport;
pub mod trust;
