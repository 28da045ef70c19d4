//! How nodes speak to each other: one client, one way to authorise, one envelope.

pub(crate) mod auth;
pub mod client;
pub(crate) mod envelope;
#[cfg(feature = "simulation")]
pub mod transport;
