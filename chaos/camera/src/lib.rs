//! IP cameras for tests and the demo: an RTSP server that plays any number of cameras from a small
//! clip.
//!
//! Every frame carries a [`Stamp`] (camera, sequence number, capture time) in an SEI message, and
//! every frame of sound one of its own ([`sound`]), so that [`count`] can tell from a recording
//! exactly which frames were lost. Faults are set at run time through a [`CameraHandle`].
//!
//! A camera may have one [`Oddity`] of those that real cameras were reported to have: in its
//! answers, its description, its packets, its encoding, its clock, its rhythm, its losses, its
//! sound. It is data with a name, so that scenarios and command lines can ask for it; `cargo run -p
//! holdfast-camera --example odd` lists and plays them. What a camera spoils itself it says:
//! [`CameraHandle::is_hurt`].
//!
//! Cameras that mean harm are servers of their own, of threads and constant buffers: [`hostile`].
//!
//! What decides is apart from what touches the world: `stamp`, `sound`, `clip`, `reel`, `film`,
//! `microphone`, `rate`, `packing`, `packetize`, `rtcp`, `sdp`, `auth`, `faults`, `oddity`,
//! `reply`, `producer`, `history` and `count` are functions of their inputs; `clock`,
//! `camera`, `connection`, `dialogue`, `session`, `server` and `hostile` read the clock and the
//! network.

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
