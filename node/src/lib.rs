//! The node: configuration, composition root, ingest, recorders and the command line.

pub mod cli;
pub mod config;
pub mod demo;
