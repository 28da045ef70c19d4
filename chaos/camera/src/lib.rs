//! IP cameras for tests and the demo: an RTSP server that plays any number of cameras from a small clip.
//!
//! Every frame carries a [`Stamp`] (camera, sequence number, capture time) in an SEI message, so that [`count`] can tell from a
//! recording exactly which frames were lost. Faults are set at run time through a [`CameraHandle`].
//!
//! What decides is apart from what touches the world: `stamp`, `clip`, `rate`, `packetize`, `rtcp`, `sdp`, `auth`, `faults`, `producer`,
//! `history` and `count` are functions of their inputs; `clock`, `camera`, `connection`, `session` and `server` read the clock and the network.

mod annexb;
mod auth;
mod camera;
mod clip;
mod clock;
mod connection;
pub mod control;
pub mod count;
mod faults;
mod handle;
mod history;
mod options;
mod packetize;
mod producer;
mod random;
mod rate;
mod requests;
mod rtcp;
mod sdp;
mod server;
mod session;
pub mod stamp;

pub use auth::Credentials;
pub use clip::{CLIP_GOP_FRAMES, ClipError, Picture};
pub use count::{Gap, Loss, count};
pub use faults::{SdpKind, TimestampKind};
pub use handle::CameraHandle;
pub use history::Sent;
pub use options::{CameraOptions, Options, OptionsError};
pub use server::{CameraServer, Error, Handle};
pub use stamp::Stamp;
