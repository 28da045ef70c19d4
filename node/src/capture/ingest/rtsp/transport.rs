//! The `Transport` and `Session` headers (RFC 2326, 12.39 and 12.37), read leniently. Pure.

use std::time::Duration;

/// Timeouts that are believed; outside, the default of RFC 2326, 12.37 counts.
const TIMEOUTS_S: std::ops::RangeInclusive<u64> = 2..=3600;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// What to ask for in a SETUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Interleaved on this channel and the next.
    Interleaved(u8),
    /// To this port and the next.
    Udp(u16),
}

impl Asked {
    pub(crate) fn header(self) -> String {
        match self {
            Self::Interleaved(channel) => {
                format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1)
            }
            Self::Udp(port) => format!("RTP/AVP;unicast;client_port={port}-{}", port + 1),
        }
    }
}

/// The camera's answer; fields that are missing or unreadable are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) channels: Option<(u8, u8)>,
    pub(crate) server_ports: Option<(u16, u16)>,
}

impl Granted {
    pub(crate) fn of(header: &str) -> Self {
        let named = |name: &str| {
            let parameters = header
                .split([';', ','])
                .filter_map(|parameter| parameter.split_once('='));
            let mut of_name = parameters.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            of_name
                .next()
                .map(|(_, value)| value.trim().trim_matches('"'))
        };
        Self {
            channels: named("interleaved")
                .and_then(pair)
                .and_then(|(one, other)| {
                    Some((u8::try_from(one).ok()?, u8::try_from(other).ok()?))
                }),
            server_ports: named("server_port")
                .and_then(pair)
                .filter(|(rtp, _)| *rtp > 0),
        }
    }
}

/// `a-b`, or `a` alone, whose partner is the next one.
fn pair(value: &str) -> Option<(u16, u16)> {
    let (one, other) = value.split_once('-').unwrap_or((value, ""));
    let one: u16 = one.trim().parse().ok()?;
    Some((one, other.trim().parse().unwrap_or(one.saturating_add(1))))
}

/// A session's id, and after how long without a request the camera ends it.
pub(crate) fn session(header: &[u8]) -> Option<(Vec<u8>, Duration)> {
    let mut parts = header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let id = parts.next().filter(|id| !id.is_empty())?;
    let timeout = parts
        .filter_map(|part| std::str::from_utf8(part).ok())
        .filter_map(|part| part.split_once('='))
        .find_map(|(name, value)| {
            let seconds: u64 = value.trim().parse().ok()?;
            name.trim()
                .eq_ignore_ascii_case("timeout")
                .then_some(seconds)
        });
    let timeout = timeout
        .filter(|seconds| TIMEOUTS_S.contains(seconds))
        .map(Duration::from_secs);
    Some((id.to_vec(), timeout.unwrap_or(TIMEOUT_DEFAULT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_leniently() {
        let channels = |header| Granted::of(header).channels;
        assert_eq!(
            channels("RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=1"),
            Some((2, 3))
        );
        assert_eq!(channels("RTP/AVP/TCP; Interleaved=4"), Some((4, 5)));
        assert_eq!(channels("RTP/AVP/TCP;interleaved=300-301"), None);
        let ports = |header| Granted::of(header).server_ports;
        assert_eq!(
            ports("RTP/AVP;client_port=1-2;server_port=6970-6971"),
            Some((6970, 6971))
        );
        assert_eq!(ports("RTP/AVP;server_port=0-0"), None);
        assert_eq!(ports(""), None);
    }

    #[test]
    fn sessions_are_read_leniently() {
        let of = |header: &[u8]| session(header).map(|(id, timeout)| (id, timeout.as_secs()));
        assert_eq!(of(b"12ab;timeout=30"), Some((b"12ab".to_vec(), 30)));
        assert_eq!(
            of(b" 12ab ; x ; Timeout = 30 ;;"),
            Some((b"12ab".to_vec(), 30))
        );
        assert_eq!(of(b"12ab;timeout=0"), Some((b"12ab".to_vec(), 60)));
        assert_eq!(of(b"S\xfcd;timeout=30"), Some((b"S\xfcd".to_vec(), 30)));
        assert_eq!(of(b";timeout=30"), None);
    }
}
