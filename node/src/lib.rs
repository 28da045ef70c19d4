//! The node, room by room; each imports only those before it: [`config`], [`capture`] (from a
//! camera to chunks), `volumes` (where they are stored), [`member`] (what this node decides),
//! [`footage`] (the recordings of all nodes as one), [`parts`] (work in the background), [`host`]
//! (the process), `api`, `metrics`, [`serve`]. [`client`] and [`terminal`] are what the [`demo`]
//! and the command line share.

mod allocator;
mod api;
pub mod capture;
pub mod cli;
pub mod client;
mod clock;
pub mod config;
pub mod demo;
mod durable_file;
pub mod footage;
pub mod host;
pub mod member;
mod metrics;
pub mod parts;
mod runtime_thread;
pub mod serve;
pub mod terminal;
mod volumes;
