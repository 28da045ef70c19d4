//! Why a session could not be opened or ended, in classes that say what to do next. Never holds
//! credentials.

use super::runtime::Carrier;
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
    #[error(
        "the camera's URL cannot be used: {0}; expected rtsp://host[:port]/path or rtsps://, \
         without credentials"
    )]
    BadUrl(String),
    /// Retry: no connection, or no answer within the deadline.
    #[error("camera unreachable: {0}; check its address, power and network")]
    Unreachable(String),
    /// Fix the credentials.
    #[error("the camera refused the user name or password (RTSP {0})")]
    AuthFailed(u16),
    /// Fix the camera's settings.
    #[error("the camera's login cannot be used: {0}")]
    Login(&'static str),
    /// Fix the certificate, or the camera's TLS settings.
    #[error("no encrypted connection: {0}; see docs/cameras.md for certificates of cameras")]
    Tls(String),
    /// Fix the URL.
    #[error("{}", redirected(.0.as_deref()))]
    Redirect(Option<String>),
    /// Fix the transport.
    #[error(
        "the camera offers {} only: set transport to {} or auto",
        carrier_name(other(*.0)).to_uppercase(),
        carrier_name(other(*.0))
    )]
    TransportRefused(Carrier),
    /// Fix the path of the URL.
    #[error("the camera does not know this path (RTSP {0}); check the URL")]
    NotFound(u16),
    #[error("no video track: {0}")]
    NoVideo(String),
    #[error("unsupported video codec {0}; set the camera to H.264 or H.265")]
    UnsupportedCodec(String),
    #[error("the camera's description of its stream (SDP) cannot be used: {0}")]
    BadSdp(String),
    /// Retry later: the camera serves as many sessions as it can.
    #[error("the camera has no room for another session (RTSP {0}); end other sessions with it")]
    Busy(u16),
    /// Retry: the session was open and no video frame came.
    #[error(
        "stalled: no video frame for {} ms; stall_after_ms sets how long a camera may send none",
        .0.as_millis()
    )]
    Stalled(std::time::Duration),
    /// Retry later: it costs others.
    #[error(
        "the camera sends {:.0} Mbit/s, more than its budget of {:.0} Mbit/s: lower its bitrate or \
         raise budget_bps",
        *.sent_bps as f64 / 1e6,
        *.budget_bps as f64 / 1e6
    )]
    OverBudget { sent_bps: u64, budget_bps: u64 },
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
            Self::OverBudget { .. } => GapCause::OverBudget,
            Self::BadUrl(_) | Self::Unreachable(_) | Self::Ended => GapCause::CameraUnreachable,
            Self::AuthFailed(_)
            | Self::Login(_)
            | Self::Tls(_)
            | Self::Redirect(_)
            | Self::TransportRefused(_)
            | Self::NotFound(_)
            | Self::NoVideo(_)
            | Self::UnsupportedCodec(_)
            | Self::BadSdp(_)
            | Self::Busy(_)
            | Self::Protocol { .. } => GapCause::CameraProtocol,
        }
    }

    /// A stable name for metrics and logs.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::BadUrl(_) => "bad_url",
            Self::Unreachable(_) => "unreachable",
            Self::AuthFailed(_) => "auth_failed",
            Self::Login(_) => "login",
            Self::Tls(_) => "tls",
            Self::Redirect(_) => "redirect",
            Self::TransportRefused(_) => "transport_refused",
            Self::NotFound(_) => "not_found",
            Self::NoVideo(_) => "no_video",
            Self::UnsupportedCodec(_) => "unsupported_codec",
            Self::BadSdp(_) => "bad_sdp",
            Self::Busy(_) => "busy",
            Self::Stalled(_) => "stalled",
            Self::OverBudget { .. } => "over_budget",
            Self::Ended => "ended",
            Self::Protocol { .. } => "protocol",
        }
    }
}

/// Classifies a status that the camera answered at `stage` (RFC 2326, 7.1.1).
#[must_use]
pub fn classify(stage: Stage, status: u16) -> SessionError {
    match status {
        401 | 403 | 407 => SessionError::AuthFailed(status),
        404 | 410 => SessionError::NotFound(status),
        453 | 503 => SessionError::Busy(status),
        _ => SessionError::Protocol {
            stage,
            detail: format!("it answered RTSP {status}"),
        },
    }
}

fn carrier_name(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Tcp => "tcp",
        Carrier::Udp => "udp",
    }
}

fn other(carrier: Carrier) -> Carrier {
    match carrier {
        Carrier::Tcp => Carrier::Udp,
        Carrier::Udp => Carrier::Tcp,
    }
}

fn redirected(to: Option<&str>) -> String {
    match to {
        Some(to) => format!(
            "the camera says that its stream is at {to}, which is another host or not encrypted; \
             use that URL if you trust it"
        ),
        None => {
            "the camera redirects in a circle, or to an address that cannot be used; check the URL"
                .to_owned()
        }
    }
}

/// The first line of a foreign text, without control characters and bounded: retina appends
/// connection dumps.
pub(crate) fn detail(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars()
        .filter(|c| !c.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_control_api::resources::status::mend_of_camera;

    #[test]
    fn status_codes_decide_first() {
        assert_eq!(
            classify(Stage::Describe, 401),
            SessionError::AuthFailed(401)
        );
        assert_eq!(classify(Stage::Setup, 404), SessionError::NotFound(404));
        assert_eq!(classify(Stage::Setup, 453), SessionError::Busy(453));
        assert!(matches!(
            classify(Stage::Play, 500),
            SessionError::Protocol { .. }
        ));
    }

    #[test]
    fn messages_say_what_to_do() {
        let udp = SessionError::TransportRefused(Carrier::Tcp).to_string();
        assert_eq!(
            udp,
            "the camera offers UDP only: set transport to udp or auto"
        );
        let elsewhere = SessionError::Redirect(Some("rtsp://other/1".to_owned())).to_string();
        assert!(elsewhere.contains("rtsp://other/1"), "{elsewhere}");
    }

    #[test]
    fn foreign_text_is_one_bounded_line() {
        let long = format!("a\u{7}b{}\nconn: secret", "c".repeat(1000));
        let text = detail(&long);
        assert!(
            text.starts_with("abc")
                && text.chars().count() == DETAIL_CHARS_MAX
                && !text.contains("conn")
        );
    }

    #[test]
    fn the_status_knows_the_command_that_mends_it() {
        let mend = |error: SessionError| mend_of_camera(&error.to_string(), "lift");
        assert_eq!(
            mend(SessionError::AuthFailed(401)),
            "holdfast camera edit lift --password-file -"
        );
        assert_eq!(
            mend(SessionError::NotFound(404)),
            "holdfast camera edit lift --url URL"
        );
        assert_eq!(
            mend(SessionError::BadUrl(String::new())),
            "holdfast camera edit lift --url URL"
        );
        assert_eq!(
            mend(SessionError::Redirect(Some(String::new()))),
            "holdfast camera edit lift --url URL"
        );
        assert_eq!(
            mend(SessionError::TransportRefused(Carrier::Tcp)),
            "holdfast camera edit lift --transport auto"
        );
        assert_eq!(
            mend(SessionError::Tls(String::new())),
            "holdfast camera edit lift --tls TLS"
        );
        assert!(mend(SessionError::Login("x")).contains("--username"));
        assert!(
            mend(SessionError::OverBudget {
                sent_bps: 2,
                budget_bps: 1
            })
            .contains("--budget-bps")
        );
        assert!(mend(SessionError::Unreachable("x".to_owned())).contains("network"));
        assert!(mend(SessionError::Ended).contains("docs/cameras.md"));
    }
}
