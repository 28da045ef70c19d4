//! The node, module by module; each imports only those before it: [`config`], [`capture`] (from a
//! camera to chunks), `volumes` (where they are stored), [`member`] (what this node decides),
//! [`footage`] (the recordings of all nodes as one), [`parts`] (background work), [`host`] (the
//! process), `api`, `metrics`, [`serve`]. [`client`] and [`terminal`] are shared by the [`demo`]
//! and the command line.

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
