//! Why a session could not be opened or ended, in classes that say what to do next. Never holds credentials.

use holdfast_storage::chunk::GapCause;

/// The longest text taken over from a camera or a library, in characters.
const DETAIL_CHARS_MAX: usize = 200;

/// How far a session had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Describe,
    Setup,
    Play,
    Stream,
}

impl Stage {
    fn verb(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Setup => "set up",
            Self::Play => "play",
            Self::Stream => "stream",
        }
    }
}

/// Why a session failed. The texts name what failed and what an operator can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Fix the URL.
    #[error("the camera's URL cannot be used: {0}; expected rtsp://host[:port]/path without credentials")]
    BadUrl(String),
    /// Retry: no connection, or no answer within the deadline.
    #[error("camera unreachable: {0}; check its address, power and network")]
    Unreachable(String),
    /// Fix the credentials.
    #[error("the camera refused the user name or password (RTSP {0})")]
    AuthFailed(u16),
    /// Fix the path of the URL.
    #[error("the camera does not know this path (RTSP {0}); check the URL")]
    NotFound(u16),
    #[error("no video track: {0}")]
    NoVideo(String),
    #[error("unsupported video codec {0}; set the camera to H.264 or H.265")]
    UnsupportedCodec(String),
    #[error("the camera's description of its stream (SDP) cannot be used: {0}")]
    BadSdp(String),
    /// Retry: the session was open and no video frame came.
    #[error("stalled: no video frame for {} ms", .0.as_millis())]
    Stalled(std::time::Duration),
    /// Retry: the camera closed the connection.
    #[error("the camera ended the session")]
    Ended,
    /// Retry: anything else the camera did against the protocol.
    #[error("could not {} the camera: {detail}", .stage.verb())]
    Protocol { stage: Stage, detail: String },
}

impl SessionError {
    /// The cause that the gap ledger names for the time without footage.
    #[must_use]
    pub fn gap_cause(&self) -> GapCause {
        match self {
            Self::Stalled(_) => GapCause::CameraStalled,
            _ => GapCause::CameraUnreachable,
        }
    }

    /// A stable name for metrics and logs.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "bad_url",
            Self::Unreachable(_) => "unreachable",
            Self::AuthFailed(_) => "auth_failed",
            Self::NotFound(_) => "not_found",
            Self::NoVideo(_) => "no_video",
            Self::UnsupportedCodec(_) => "unsupported_codec",
            Self::BadSdp(_) => "bad_sdp",
            Self::Stalled(_) => "stalled",
            Self::Ended => "ended",
            Self::Protocol { .. } => "protocol",
        }
    }
}

/// Classifies what retina reports at `stage`. Its errors carry a status code (RFC 2326, 7.1.1) or only text.
#[must_use]
pub fn classify(stage: Stage, status: Option<u16>, text: &str) -> SessionError {
    match (status, stage) {
        (Some(code @ (401 | 403 | 407)), _) => SessionError::AuthFailed(code),
        (Some(code @ (404 | 410)), _) => SessionError::NotFound(code),
        (Some(200..=299), Stage::Describe) => SessionError::BadSdp(detail(text)),
        (None, _) if text.starts_with("Unable to connect") => SessionError::Unreachable(detail(text)),
        _ => SessionError::Protocol { stage, detail: detail(text) },
    }
}

/// The first line of a foreign text, without control characters and bounded: retina appends connection dumps.
pub(crate) fn detail(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_codes_decide_first() {
        assert_eq!(classify(Stage::Describe, Some(401), "x"), SessionError::AuthFailed(401));
        assert_eq!(classify(Stage::Setup, Some(404), "x"), SessionError::NotFound(404));
        assert!(matches!(classify(Stage::Describe, Some(200), "bad sdp"), SessionError::BadSdp(_)));
        assert!(matches!(classify(Stage::Play, Some(200), "x"), SessionError::Protocol { .. }));
        assert!(matches!(classify(Stage::Setup, Some(461), "x"), SessionError::Protocol { .. }));
    }

    #[test]
    fn foreign_text_is_one_bounded_line() {
        let long = format!("a\u{7}b{}\nconn: secret", "c".repeat(1000));
        let text = detail(&long);
        assert!(text.starts_with("abc") && text.chars().count() == DETAIL_CHARS_MAX && !text.contains("conn"));
    }
}
