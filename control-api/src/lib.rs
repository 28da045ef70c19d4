//! The control API: routes, wire types, authorisation, playback (HLS, MP4) and the metrics page.
//!
//! `exports`, `ledger`, `playback` and `range` are pure; `routes` is the edge, and
//! [`backend::Backend`] the only interface to the node behind it.

mod auth;
pub mod backend;
pub mod error;
pub mod exports;
mod extract;
pub mod ledger;
pub mod limits;
mod lost;
mod metrics;
pub mod playback;
mod problems;
pub mod range;
mod routes;
mod schema;
mod server;
pub mod wire;

pub use backend::Backend;
pub use error::{ApiError, ErrorKind};
pub use routes::{Options, SetupError, router};
pub use server::{ConnectionLimits, PortMetrics, ServerMetrics, ServerOptions, serve};
