//! The options of a server of cameras.

use crate::auth::Credentials;
use crate::clip::CLIP_GOP_FRAMES;
use crate::codec::Codec;
use crate::oddity::Oddity;
use crate::sound::Sound;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(crate) const FPS_MAX: u32 = 120;
pub(crate) const BITRATE_BPS_MAX: u64 = 100_000_000;

#[derive(Clone, Debug)]
pub struct Options {
    /// Port 0 chooses any free port.
    pub bind: SocketAddr,
    pub cameras: Vec<CameraOptions>,
    /// Fixes phases, session numbers and garbage; `None` for different ones in each run.
    pub seed: Option<u64>,
}

impl Default for Options {
    /// No cameras, on a free loopback port.
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            cameras: Vec::new(),
            seed: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct CameraOptions {
    /// Served at `/cam/<id>`, and part of every stamp.
    pub id: u32,
    /// Bitrate of the video's elementary stream, reached by padding; a value below the clip's own
    /// (about 250 kbit/s) has no effect.
    pub bitrate_bps: u64,
    /// Frames a second. The clips' parameter sets always say 25; RTP timestamps and the SDP have
    /// the true rate.
    pub fps: u32,
    /// Frames from keyframe to keyframe, at most [`CLIP_GOP_FRAMES`].
    pub gop_frames: u32,
    /// The starting position in the clip; `None` for a random one, so that the keyframes of
    /// different cameras are not aligned.
    pub phase: Option<Duration>,
    pub credentials: Credentials,
    /// A second track: a tone, each frame of it with a stamp.
    pub sound: Option<Sound>,
    /// Sessions start at a keyframe instead of the current frame. Most real cameras start at any
    /// frame.
    pub start_at_keyframe: bool,
    /// H.265 cameras play small clips of their own, at 25 fps.
    pub codec: Codec,
    /// The camera's oddity, if it has one.
    pub oddity: Option<Oddity>,
}

impl CameraOptions {
    /// 2 Mbit/s, 25 fps, a keyframe a second, a random phase, no credentials, no sound.
    #[must_use]
    pub fn new(id: u32) -> Self {
        Self {
            id,
            bitrate_bps: 2_000_000,
            fps: 25,
            gop_frames: CLIP_GOP_FRAMES,
            phase: None,
            credentials: Credentials::None,
            sound: None,
            start_at_keyframe: false,
            codec: Codec::H264,
            oddity: None,
        }
    }

    /// A camera with this oddity, and with what the oddity needs: a codec, a login (`user`,
    /// `pass`). An oddity of sound adds the sound.
    #[must_use]
    pub fn odd(id: u32, oddity: Oddity) -> Self {
        let credentials = match oddity.login() {
            Some((user, password)) => Credentials::Digest {
                user: user.to_owned(),
                password: password.to_owned(),
            },
            None => Credentials::None,
        };
        let codec = oddity.codec().unwrap_or_default();
        Self {
            oddity: Some(oddity),
            codec,
            credentials,
            ..Self::new(id)
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    #[error("camera {0} is given twice: give each camera an id of its own")]
    Twice(u32),
    #[error("camera {camera}: {fps} fps is not within 1 to {FPS_MAX}")]
    Fps { camera: u32, fps: u32 },
    #[error("camera {camera}: a GOP of {frames} frames is not within 1 to {CLIP_GOP_FRAMES}")]
    Gop { camera: u32, frames: u32 },
    #[error("camera {camera}: {bps} bit/s is not within 1 to {BITRATE_BPS_MAX}")]
    Bitrate { camera: u32, bps: u64 },
    #[error("camera {camera}: `{oddity}` is an oddity of {only:?} only")]
    Codec {
        camera: u32,
        oddity: Oddity,
        only: Codec,
    },
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let mut seen = BTreeSet::new();
        for camera in &self.cameras {
            if !seen.insert(camera.id) {
                return Err(OptionsError::Twice(camera.id));
            }
            camera.check()?;
        }
        Ok(())
    }
}

impl CameraOptions {
    fn check(&self) -> Result<(), OptionsError> {
        let camera = self.id;
        if !(1..=FPS_MAX).contains(&self.fps) {
            return Err(OptionsError::Fps {
                camera,
                fps: self.fps,
            });
        }
        if !(1..=CLIP_GOP_FRAMES).contains(&self.gop_frames) {
            return Err(OptionsError::Gop {
                camera,
                frames: self.gop_frames,
            });
        }
        if !(1..=BITRATE_BPS_MAX).contains(&self.bitrate_bps) {
            return Err(OptionsError::Bitrate {
                camera,
                bps: self.bitrate_bps,
            });
        }
        if let Some(oddity) = self.oddity
            && let Some(only) = oddity.codec().filter(|only| *only != self.codec)
        {
            return Err(OptionsError::Codec {
                camera,
                oddity,
                only,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl Fn(&mut CameraOptions)) -> Result<(), OptionsError> {
        let mut camera = CameraOptions::new(4);
        change(&mut camera);
        Options {
            cameras: vec![CameraOptions::new(3), camera],
            ..Options::default()
        }
        .check()
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|camera| camera.id = 3), Err(OptionsError::Twice(3)));
        assert_eq!(
            with(|camera| camera.fps = 0),
            Err(OptionsError::Fps { camera: 4, fps: 0 })
        );
        assert_eq!(
            with(|camera| camera.gop_frames = 26),
            Err(OptionsError::Gop {
                camera: 4,
                frames: 26
            })
        );
        assert_eq!(
            with(|camera| camera.bitrate_bps = 0),
            Err(OptionsError::Bitrate { camera: 4, bps: 0 })
        );
        let oddity = "two-pps".parse().unwrap();
        let wrong = with(|camera| (camera.oddity, camera.codec) = (Some(oddity), Codec::H265));
        assert_eq!(
            wrong,
            Err(OptionsError::Codec {
                camera: 4,
                oddity,
                only: Codec::H264
            })
        );
    }
}
