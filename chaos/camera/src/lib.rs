//! IP cameras for tests and the demo: an RTSP server that plays any number of cameras from a small
//! clip.
//!
//! Every frame carries a [`Stamp`] (camera, sequence number, capture time) in an SEI message, and
//! every frame of sound carries one of its own ([`sound`]), so that [`count`] can derive from a
//! recording exactly which frames were lost. A [`CameraHandle`] sets faults at run time.
//!
//! A camera may have one [`Oddity`], a deviation reported of real cameras: in its answers, its
//! description, its packets, its encoding, its clock, its rhythm, its losses, or its sound. An
//! oddity is data with a name, so that scenarios and command lines can ask for it; `cargo run -p
//! holdfast-camera --example odd` lists and plays them. [`CameraHandle::is_hurt`] reports the
//! frames that a camera spoiled itself.
//!
//! Hostile cameras are servers of their own, with threads and constant buffers: [`hostile`].
//!
//! Decisions are apart from I/O: `stamp`, `sound`, `clip`, `reel`, `film`, `microphone`, `rate`,
//! `packing`, `packetize`, `rtcp`, `sdp`, `auth`, `faults`, `oddity`, `reply`, `producer`,
//! `history` and `count` are functions of their inputs; `clock`, `camera`, `connection`,
//! `dialogue`, `session`, `server` and `hostile` use the clock and the network.

mod annexb;
mod auth;
mod camera;
mod clip;
mod clock;
mod codec;
mod connection;
pub mod control;
pub mod count;
mod dialogue;
mod faults;
mod film;
mod handle;
mod history;
pub mod hostile;
mod microphone;
mod oddity;
mod options;
mod packetize;
mod packing;
mod producer;
mod random;
mod rate;
mod reel;
mod reply;
mod requests;
mod rtcp;
mod sdp;
mod server;
mod session;
pub mod sound;
pub mod stamp;
mod tone;

pub use auth::Credentials;
pub use clip::{CLIP_GOP_FRAMES, ClipError, Picture};
pub use codec::Codec;
pub use count::{Gap, Loss, count};
pub use faults::{SdpKind, TimestampKind};
pub use handle::CameraHandle;
pub use history::Sent;
pub use hostile::Hostile;
pub use oddity::{
    AudioOddity, ClockOddity, ControlOddity, DescriptionOddity, LossOddity, Oddity, PayloadOddity,
    RhythmOddity, RtpOddity, UnknownOddity,
};
pub use options::{CameraOptions, Options, OptionsError};
pub use reel::ReelError;
pub use server::{CameraServer, Error, Handle};
pub use sound::Sound;
pub use stamp::Stamp;
