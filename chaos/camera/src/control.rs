//! Controls cameras by lines of text, as the `holdfast-camera` program reads them from its standard
//! input.

use crate::clip::Picture;
use crate::faults::{SdpKind, TimestampKind};
use crate::handle::CameraHandle;
use std::str::FromStr;
use std::time::Duration;

/// One line for one camera: `COMMAND CAMERA [VALUE]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    pub camera: u32,
    pub order: Order,
}

/// An order for a camera; the names are those of [`CameraHandle`]'s methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Freeze,
    Resume,
    DropFrames(u32),
    DropPackets(u32),
    ReorderFrames(u32),
    GarbageFrames(u32),
    JumpTimestamps {
        millis: i64,
    },
    SetTimestamps(TimestampKind),
    SetPicture(Picture),
    SetSdp(SdpKind),
    Kick,
    SwitchOff,
    SwitchOn,
    RefuseSessions(bool),
    LimitSessions(Option<usize>),
    DelayDescribe {
        millis: u32,
    },
    /// Answers `sent CAMERA FIRST NEXT SESSIONS`.
    Sent,
    /// Answers `captured CAMERA SEQUENCE MICROSECONDS`; the last is `-` if it is not known.
    Captured(u64),
}

pub const USAGE: &str = "\
freeze|resume|kick|off|on|sent CAMERA
drop-frames|drop-packets|reorder-frames|garbage-frames CAMERA COUNT
jump-timestamps CAMERA MILLISECONDS
timestamps CAMERA honest|stuck|random|backward
picture CAMERA main|small
sdp CAMERA honest|absurd|no-video|mjpeg|vp8
refuse-sessions CAMERA true|false
limit-sessions CAMERA COUNT|none
delay-describe CAMERA MILLISECONDS
captured CAMERA SEQUENCE";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandError {
    #[error("unknown command {0:?}, or a value that it does not take; the commands are:\n{USAGE}")]
    Unknown(String),
    #[error("{0:?} names no camera: the form is COMMAND CAMERA [VALUE]")]
    Camera(String),
}

impl FromStr for Command {
    type Err = CommandError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let camera = words
            .next()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| CommandError::Camera(line.to_owned()))?;
        let value = words.next();
        let order = Order::of(name, value).filter(|_| words.next().is_none());
        Ok(Self {
            camera,
            order: order.ok_or_else(|| CommandError::Unknown(line.to_owned()))?,
        })
    }
}

impl Order {
    fn of(name: &str, value: Option<&str>) -> Option<Self> {
        match value {
            None => Self::plain(name),
            Some(value) => Self::with(name, value),
        }
    }

    fn plain(name: &str) -> Option<Self> {
        Some(match name {
            "freeze" => Self::Freeze,
            "resume" => Self::Resume,
            "kick" => Self::Kick,
            "off" => Self::SwitchOff,
            "on" => Self::SwitchOn,
            "sent" => Self::Sent,
            _ => return None,
        })
    }

    fn with(name: &str, value: &str) -> Option<Self> {
        let count = || value.parse().ok();
        Some(match name {
            "drop-frames" => Self::DropFrames(count()?),
            "drop-packets" => Self::DropPackets(count()?),
            "reorder-frames" => Self::ReorderFrames(count()?),
            "garbage-frames" => Self::GarbageFrames(count()?),
            "jump-timestamps" => Self::JumpTimestamps {
                millis: value.parse().ok()?,
            },
            "timestamps" => Self::SetTimestamps(timestamps(value)?),
            "picture" => Self::SetPicture(picture(value)?),
            "sdp" => Self::SetSdp(sdp(value)?),
            "refuse-sessions" => Self::RefuseSessions(value.parse().ok()?),
            "limit-sessions" if value == "none" => Self::LimitSessions(None),
            "limit-sessions" => Self::LimitSessions(Some(value.parse().ok()?)),
            "delay-describe" => Self::DelayDescribe { millis: count()? },
            "captured" => Self::Captured(value.parse().ok()?),
            _ => return None,
        })
    }

    /// Executes the order, and returns the line to answer.
    #[must_use]
    pub fn apply(self, camera: &CameraHandle) -> String {
        match self {
            Self::Freeze => camera.freeze(),
            Self::Resume => camera.resume(),
            Self::DropFrames(count) => camera.drop_frames(count),
            Self::DropPackets(count) => camera.drop_packets(count),
            Self::ReorderFrames(count) => camera.reorder_frames(count),
            Self::GarbageFrames(count) => camera.garbage_frames(count),
            Self::JumpTimestamps { millis } => camera.jump_timestamps(millis),
            Self::SetTimestamps(kind) => camera.set_timestamps(kind),
            Self::SetPicture(picture) => camera.set_picture(picture),
            Self::SetSdp(kind) => camera.set_sdp(kind),
            Self::Kick => camera.kick(),
            Self::SwitchOff => camera.switch_off(),
            Self::SwitchOn => camera.switch_on(),
            Self::RefuseSessions(refuse) => camera.refuse_sessions(refuse),
            Self::LimitSessions(sessions_max) => camera.limit_sessions(sessions_max),
            Self::DelayDescribe { millis } => {
                camera.delay_describe(Duration::from_millis(u64::from(millis)))
            }
            Self::Sent => return sent(camera),
            Self::Captured(sequence) => return captured(camera, sequence),
        }
        "ok".to_owned()
    }
}

fn sent(camera: &CameraHandle) -> String {
    let sent = camera.sent();
    format!(
        "sent {} {} {} {}",
        camera.id(),
        sent.start,
        sent.end,
        camera.sessions()
    )
}

fn captured(camera: &CameraHandle, sequence: u64) -> String {
    let at = camera
        .captured_us(sequence)
        .map_or_else(|| "-".to_owned(), |at| at.to_string());
    format!("captured {} {sequence} {at}", camera.id())
}

fn timestamps(value: &str) -> Option<TimestampKind> {
    Some(match value {
        "honest" => TimestampKind::Honest,
        "stuck" => TimestampKind::Stuck,
        "random" => TimestampKind::Random,
        "backward" => TimestampKind::Backward,
        _ => return None,
    })
}

fn picture(value: &str) -> Option<Picture> {
    match value {
        "main" => Some(Picture::Main),
        "small" => Some(Picture::Small),
        _ => None,
    }
}

fn sdp(value: &str) -> Option<SdpKind> {
    Some(match value {
        "honest" => SdpKind::Honest,
        "absurd" => SdpKind::Absurd,
        "no-video" => SdpKind::NoVideo,
        "mjpeg" => SdpKind::Mjpeg,
        "vp8" => SdpKind::Vp8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Result<Order, CommandError> {
        line.parse::<Command>().map(|command| command.order)
    }

    #[test]
    fn lines_are_understood() {
        assert_eq!(
            "freeze 3".parse(),
            Ok(Command {
                camera: 3,
                order: Order::Freeze
            })
        );
        assert_eq!(order(" drop-frames  3 10 "), Ok(Order::DropFrames(10)));
        assert_eq!(
            order("jump-timestamps 3 -500"),
            Ok(Order::JumpTimestamps { millis: -500 })
        );
        assert_eq!(
            order("limit-sessions 3 none"),
            Ok(Order::LimitSessions(None))
        );
        assert_eq!(
            order("delay-describe 3 300"),
            Ok(Order::DelayDescribe { millis: 300 })
        );
        assert_eq!(order("sdp 3 no-video"), Ok(Order::SetSdp(SdpKind::NoVideo)));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "freeze 3 1",
            "drop-frames 3",
            "drop-frames 3 x",
            "drop-frames 3 1 2",
            "dance 3",
            "sdp 3 odd",
        ] {
            assert_eq!(order(line), Err(CommandError::Unknown(line.to_owned())));
        }
        assert!(matches!(order("freeze all"), Err(CommandError::Camera(_))));
        assert!(matches!(order(""), Err(CommandError::Camera(_))));
    }
}
