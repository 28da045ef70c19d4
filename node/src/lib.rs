//! The node: configuration, composition root, links to other nodes, ingest, recorders, the command line and the demo.

mod allocator;
pub mod cli;
pub mod config;
pub mod demo;
pub mod ingest;
pub mod link;
pub mod recorder;
pub mod server;
