//! The `holdfast` node: what the binary and the tests share.

pub mod ingest;
pub mod recorder;
