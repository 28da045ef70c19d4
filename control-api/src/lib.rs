//! The control API: routes, wire types, authorisation, playback (HLS, MP4) and the metrics page.
//!
//! `resources` has one file a noun, `media` the routes of footage itself, over `playback` and
//! `range`, which are pure; `routes` puts them together. [`ports`] are the only interface to the
//! node behind it.

mod auth;
pub mod error;
mod extract;
pub mod limits;
mod lost;
mod media;
mod metrics;
pub mod playback;
mod problems;
pub mod range;
pub mod resources;
mod routes;
mod schema;
mod server;
pub mod wire;

pub use error::{ApiError, ErrorKind};
pub use resources::ports::{self, Backend};
pub use routes::{Options, SetupError, router};
pub use server::{ConnectionLimits, Door, PortMetrics, ServerMetrics, ServerOptions, serve};
