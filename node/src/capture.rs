//! From a camera to chunks: sessions with cameras, recorders, and the payload that is stored.

pub mod hub;
pub mod ingest;
pub(crate) mod mux;
pub mod recorder;
