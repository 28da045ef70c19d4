//! Odd answers to requests (RFC 2326), in content or in time.

use super::kinds::kinds;
use crate::reply::Reply;
use std::time::Duration;

kinds! {
    /// How a camera's answers differ from the specification.
    ControlOddity {
        Redirect301: "DESCRIBE is answered with 301 and a Location on the same host",
            "AlexxIT/go2rtc#1881, #1480, #565 (Bambu)";
        Redirect302: "DESCRIBE is answered with 302 and a Location on the same host",
            "AlexxIT/go2rtc#1881";
        SessionSemicolon: "Session: ID; with nothing behind the semicolon",
            "sdroege/rtsp-types pull 14";
        SessionJunk: "the Session header has parameters of no RFC", "sdroege/rtsp-types pull 14";
        SessionTimeoutCase: "Session: ID; TimeOut = 60", "a sibling of the junk";
        Keepalive401: "after 8 s a keepalive gets 401 with a new nonce; who does not log in again \
                       loses the session",
            "ngraziano/SharpRTSP#126 (Axis M5525)";
        Keepalive400: "keepalives are answered with 400 and the CSeq of the request before",
            "scottlamb/retina#133, #136 (Tapo)";
        Keepalive454: "keepalives are answered with 454, and the stream continues",
            "a sibling of the 400";
        Keepalive551: "keepalives are answered with 551, and the stream continues",
            "a sibling of the 400";
        KeepaliveUnanswered: "keepalives are not answered, and the stream continues",
            "a sibling of the 400";
        Options551: "OPTIONS is answered with 551", "RFC 2326, 11.3.13";
        SetupSsrcLies: "the ssrc in the answer to SETUP is not that of the packets",
            "scottlamb/retina#79, pull 138";
        SetupSsrcMissing: "no ssrc in the answer to SETUP", "RFC 2326, 12.39: optional";
        SetupWithoutServerPort: "UDP: no server_port in the answer to SETUP",
            "OpenIPC/smolrtsp#31, moonfire-nvr#192";
        TcpRefused: "SETUP over TCP is answered with 461: UDP only", "scottlamb/retina#103";
        UdpRefused: "SETUP over UDP is answered with 461: TCP only", "cameras behind proxies";
        BasicOfferedFirst: "401 offers Basic and then Digest, and only Digest is let in",
            "cameras that offer both; RFC 7235, 4.1";
        DigestSha256: "digest with SHA-256 and qop=auth only", "RFC 7616";
        HeadersMissing: "no headers but CSeq, Session, Transport and those of the body",
            "minimal servers";
        HeadersWithoutValue: "headers without a value, and a line without a colon",
            "vendors' servers";
        HeadersLowerCase: "names of headers in lower case, a tab behind the colon", "RFC 2326, 4.2";
        LineFeedsOnly: "head lines end with LF", "a sibling of the odd headers";
        ReasonMissing: "RTSP/1.0 200 without a reason", "a sibling of the odd headers";
        CseqMissing: "no CSeq in any answer", "a sibling of the odd headers";
        PlayAnsweredLate: "PLAY is answered after 2 s", "slow cameras";
        DataBeforePlayAnswer: "the first frames come before the answer to PLAY",
            "servers with two threads";
    }
}

/// The user for cameras whose oddity makes them demand a login.
pub(super) const USER: &str = "user";
pub(super) const PASSWORD: &str = "pass";

/// After this time a keepalive with the old nonce is no longer accepted.
const NONCE_VALID_US: u64 = 8_000_000;
/// The session timeout that such cameras announce: clients send a keepalive well before it.
const SHORT_TIMEOUT_S: u64 = 10;
/// Number of frames sent before the answer to PLAY.
const FRAMES_BEFORE_ANSWER: u32 = 10;

/// The parts of a request that manners depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) method: &'a str,
    pub(crate) cseq: &'a str,
    /// Including the query.
    pub(crate) url: &'a str,
    pub(crate) transport: &'a str,
    /// Time since PLAY; `None` before.
    pub(crate) playing_us: Option<u64>,
}

impl Moment<'_> {
    fn is_keepalive(&self) -> bool {
        self.playing_us.is_some()
            && ["GET_PARAMETER", "SET_PARAMETER", "OPTIONS"].contains(&self.method)
    }
}

/// The odd manners of one connection.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    last_cseq: String,
    is_renewed: bool,
}

/// What to do with a request instead of answering it honestly.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    Say(Reply),
    /// No answer at all.
    Nothing,
    /// An honest answer, with a new nonce from now on.
    RenewNonce,
}

impl Manners {
    /// Replaces an honest answer, if the oddity applies.
    pub(crate) fn instead(
        &mut self,
        oddity: ControlOddity,
        moment: &Moment<'_>,
    ) -> Option<Instead> {
        let last_cseq = std::mem::replace(&mut self.last_cseq, moment.cseq.to_owned());
        let refuse = |status: &str, cseq: &str| {
            let mut reply = Reply::bare(status);
            reply.add("CSeq", cseq);
            Some(Instead::Say(reply))
        };
        let is_keepalive = moment.is_keepalive();
        match oddity {
            ControlOddity::Redirect301 | ControlOddity::Redirect302
                if moment.method == "DESCRIBE" && !moment.url.contains("moved") =>
            {
                let is_permanent = oddity == ControlOddity::Redirect301;
                let mut reply = Reply::bare(if is_permanent {
                    "301 Moved Permanently"
                } else {
                    "302 Moved Temporarily"
                });
                reply.add("CSeq", moment.cseq);
                reply.add("Location", &format!("{}?moved=1", moment.url));
                Some(Instead::Say(reply))
            }
            ControlOddity::Keepalive401
                if is_keepalive && !self.is_renewed && moment.playing_us > Some(NONCE_VALID_US) =>
            {
                self.is_renewed = true;
                Some(Instead::RenewNonce)
            }
            ControlOddity::Keepalive400 if is_keepalive => refuse("400 Bad Request", &last_cseq),
            ControlOddity::Keepalive454 if is_keepalive => {
                refuse("454 Session Not Found", moment.cseq)
            }
            ControlOddity::Keepalive551 if is_keepalive => {
                refuse("551 Option not supported", moment.cseq)
            }
            ControlOddity::KeepaliveUnanswered if is_keepalive => Some(Instead::Nothing),
            ControlOddity::Options551 if moment.method == "OPTIONS" => {
                refuse("551 Option not supported", moment.cseq)
            }
            ControlOddity::TcpRefused
                if moment.method == "SETUP" && moment.transport.contains("TCP") =>
            {
                refuse("461 Unsupported Transport", moment.cseq)
            }
            ControlOddity::UdpRefused
                if moment.method == "SETUP" && !moment.transport.contains("TCP") =>
            {
                refuse("461 Unsupported Transport", moment.cseq)
            }
            _ => None,
        }
    }

    /// Whether the client was asked to log in again with a new nonce.
    pub(crate) fn is_renewed(&self) -> bool {
        self.is_renewed
    }
}

impl ControlOddity {
    pub(super) fn needs_udp(self) -> bool {
        matches!(self, Self::SetupWithoutServerPort | Self::TcpRefused)
    }

    /// Whether the camera demands a login.
    pub(crate) fn asks_for_login(self) -> bool {
        matches!(
            self,
            Self::Keepalive401 | Self::BasicOfferedFirst | Self::DigestSha256
        )
    }

    /// The session timeout that the camera announces, in seconds.
    pub(crate) fn timeout_s(self) -> Option<u64> {
        let keepalives = [
            Self::Keepalive401,
            Self::Keepalive400,
            Self::Keepalive454,
            Self::Keepalive551,
            Self::KeepaliveUnanswered,
        ];
        keepalives.contains(&self).then_some(SHORT_TIMEOUT_S)
    }

    /// How long the camera takes to answer.
    pub(crate) fn delay(self, method: &str) -> Duration {
        let is_late = self == Self::PlayAnsweredLate && method == "PLAY";
        if is_late {
            Duration::from_secs(2)
        } else {
            Duration::ZERO
        }
    }

    /// Number of frames sent before the answer.
    pub(crate) fn frames_before_answer(self, method: &str) -> u32 {
        if self == Self::DataBeforePlayAnswer && method == "PLAY" {
            FRAMES_BEFORE_ANSWER
        } else {
            0
        }
    }

    /// Changes an honest answer.
    pub(crate) fn bend(self, method: &str, reply: &mut Reply) {
        let session = reply
            .get("Session")
            .map(|value| value.split(';').next().unwrap_or_default().to_owned());
        match (self, session) {
            (Self::SessionSemicolon, Some(id)) => reply.set("Session", &format!("{id};")),
            (Self::SessionJunk, Some(id)) => {
                reply.set(
                    "Session",
                    &format!("{id}; foo; =bar;;timeout=60;baz=\"q;r\""),
                );
            }
            (Self::SessionTimeoutCase, Some(id)) => {
                reply.set("Session", &format!("{id} ; TimeOut = 60"))
            }
            (of, Some(id)) if method == "SETUP" && of.timeout_s().is_some() => {
                reply.set("Session", &format!("{id};timeout={SHORT_TIMEOUT_S}"));
            }
            _ => {}
        }
        match self {
            Self::SetupSsrcLies => exchange_parameter(reply, "ssrc=", Some("ssrc=1A2B3C4D")),
            Self::SetupSsrcMissing => exchange_parameter(reply, "ssrc=", None),
            Self::SetupWithoutServerPort => exchange_parameter(reply, "server_port=", None),
            Self::HeadersMissing => {
                let keep = [
                    "CSeq",
                    "Session",
                    "Transport",
                    "Content-Type",
                    "WWW-Authenticate",
                    "Location",
                ];
                reply
                    .headers
                    .retain(|(name, _)| keep.iter().any(|keep| keep.eq_ignore_ascii_case(name)));
            }
            Self::HeadersWithoutValue => {
                reply.add("Server", "");
                reply.add("Cache-Control", "");
                reply.odd_lines.push("X-Vendor-Extension".to_owned());
            }
            Self::HeadersLowerCase => {
                reply
                    .headers
                    .iter_mut()
                    .for_each(|(name, _)| name.make_ascii_lowercase());
                reply.colon = ":\t";
            }
            Self::LineFeedsOnly => reply.line_end = "\n",
            Self::ReasonMissing => reply.status.truncate(3),
            Self::CseqMissing => reply.remove("CSeq"),
            _ => {}
        }
    }
}

/// Replaces a parameter of the `Transport` header, or removes it.
fn exchange_parameter(reply: &mut Reply, start: &str, with: Option<&str>) {
    let Some(transport) = reply.get("Transport") else {
        return;
    };
    let parameters =
        transport
            .split(';')
            .filter_map(|parameter| match parameter.starts_with(start) {
                true => with,
                false => Some(parameter),
            });
    let transport = parameters.collect::<Vec<_>>().join(";");
    reply.set("Transport", &transport);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(method: &'static str, playing_s: Option<u64>) -> Moment<'static> {
        let playing_us = playing_s.map(|seconds| seconds * 1_000_000);
        Moment {
            method,
            cseq: "7",
            url: "rtsp://c/cam/1",
            transport: "RTP/AVP/TCP;unicast",
            playing_us,
        }
    }

    fn said(oddity: ControlOddity, method: &'static str, playing_s: Option<u64>) -> String {
        let mut manners = Manners {
            last_cseq: "6".to_owned(),
            is_renewed: false,
        };
        match manners.instead(oddity, &moment(method, playing_s)) {
            Some(Instead::Say(reply)) => {
                let mut out = Vec::new();
                reply.write(&mut out);
                String::from_utf8(out).unwrap()
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_answered_otherwise_where_named() {
        assert_eq!(
            said(ControlOddity::Redirect301, "DESCRIBE", None),
            "RTSP/1.0 301 Moved Permanently\r\nCSeq: 7\r\nLocation: rtsp://c/cam/1?moved=1\r\n\r\n"
        );
        assert_eq!(
            said(ControlOddity::Keepalive400, "GET_PARAMETER", Some(1)),
            "RTSP/1.0 400 Bad Request\r\nCSeq: 6\r\n\r\n"
        );
        assert!(said(ControlOddity::TcpRefused, "SETUP", None).starts_with("RTSP/1.0 461 "));
        assert_eq!(said(ControlOddity::UdpRefused, "SETUP", None), "None");
        assert_eq!(said(ControlOddity::Keepalive454, "OPTIONS", None), "None");
        assert_eq!(
            said(ControlOddity::KeepaliveUnanswered, "OPTIONS", Some(1)),
            "Some(Nothing)"
        );
    }

    #[test]
    fn the_nonce_is_renewed_once() {
        let mut manners = Manners::default();
        let mut ask = |seconds| {
            manners.instead(
                ControlOddity::Keepalive401,
                &moment("OPTIONS", Some(seconds)),
            )
        };
        assert_eq!(
            (ask(7), ask(9), ask(10)),
            (None, Some(Instead::RenewNonce), None)
        );
    }

    #[test]
    fn answers_are_bent_as_named() {
        let bent = |oddity: ControlOddity| {
            let mut reply = Reply::bare("200 OK");
            reply.add("CSeq", "2");
            reply.add("Session", "AB;timeout=60");
            reply.add("Transport", "RTP/AVP;unicast;server_port=1-2;ssrc=00000009");
            oddity.bend("SETUP", &mut reply);
            let mut out = Vec::new();
            reply.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert!(bent(ControlOddity::SessionSemicolon).contains("Session: AB;\r\n"));
        assert!(
            bent(ControlOddity::SetupSsrcLies)
                .contains("unicast;server_port=1-2;ssrc=1A2B3C4D\r\n")
        );
        assert!(bent(ControlOddity::SetupWithoutServerPort).contains("unicast;ssrc=00000009\r\n"));
        assert!(bent(ControlOddity::LineFeedsOnly).starts_with("RTSP/1.0 200 OK\nCSeq: 2\n"));
        assert!(bent(ControlOddity::ReasonMissing).starts_with("RTSP/1.0 200\r\n"));
        assert!(bent(ControlOddity::HeadersLowerCase).contains("cseq:\t2\r\n"));
        assert!(!bent(ControlOddity::CseqMissing).contains("CSeq"));
        assert!(bent(ControlOddity::Keepalive454).contains("timeout=10"));
    }
}
