//! Interprets RTSP requests (RFC 2326): camera, track and transport. Pure.

use rtsp_types::headers::{RtpLowerTransport, RtpProfile, RtpTransport, Transport, Transports};
use rtsp_types::{Method, Request, Response, ResponseBuilder, StatusCode, Url, Version, headers};

use crate::sdp::{AUDIO_CONTROL, SILENT_CONTROL, VIDEO_CONTROL};

/// A session without any request from its client for this long is closed; announced to clients in
/// the `Session` header.
pub(crate) const SESSION_TIMEOUT_S: u64 = 60;

pub(crate) const METHODS: [Method; 7] = [
    Method::Options,
    Method::Describe,
    Method::Setup,
    Method::Play,
    Method::GetParameter,
    Method::SetParameter,
    Method::Teardown,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrackKind {
    Video,
    Audio,
    /// A described track on which the camera sends nothing.
    Silent,
}

/// `/cam/<id>` or `/cam/<id>/<track>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) camera: u32,
    pub(crate) track: Option<TrackKind>,
}

impl Target {
    /// `described` is the camera that the connection has described: of a URL that leads elsewhere
    /// (a wrong `Content-Base`) only the track counts.
    pub(crate) fn of_connection(url: &Url, described: Option<u32>) -> Option<Self> {
        let named = Self::of(url);
        let camera = named.map(|target| target.camera).or(described)?;
        let last = url.path().rsplit('/').find(|segment| !segment.is_empty());
        let track = last
            .and_then(Self::track_of)
            .or(named.and_then(|target| target.track));
        Some(Self { camera, track })
    }

    fn track_of(name: &str) -> Option<TrackKind> {
        match name {
            VIDEO_CONTROL => Some(TrackKind::Video),
            AUDIO_CONTROL => Some(TrackKind::Audio),
            SILENT_CONTROL => Some(TrackKind::Silent),
            _ => None,
        }
    }

    pub(crate) fn of(url: &Url) -> Option<Self> {
        let mut segments = url.path().split('/').filter(|segment| !segment.is_empty());
        if segments.next() != Some("cam") {
            return None;
        }
        let camera = segments.next()?.parse().ok()?;
        let track = match segments.next() {
            None => None,
            Some(name) => Some(Self::track_of(name)?),
        };
        segments.next().is_none().then_some(Self { camera, track })
    }
}

/// The transport of a track's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On the RTSP connection; RTCP on the channel after this one.
    Tcp { channel: u8 },
    /// To these ports of the client: RTP, RTCP.
    Udp { ports: (u16, u16) },
}

/// The first of the client's transports that this server supports. `channel` is used if the client
/// names none.
pub(crate) fn choose(offered: &Transports, channel: u8) -> Option<Way> {
    offered.iter().find_map(|transport| match transport {
        Transport::Rtp(rtp) if rtp.profile == RtpProfile::Avp && !rtp.params.multicast => {
            way(rtp, channel)
        }
        _ => None,
    })
}

fn way(rtp: &RtpTransport, channel: u8) -> Option<Way> {
    match rtp.lower_transport {
        Some(RtpLowerTransport::Tcp) => {
            let channel = rtp.params.interleaved.map_or(channel, |(first, _)| first);
            (channel < u8::MAX).then_some(Way::Tcp { channel })
        }
        None | Some(RtpLowerTransport::Udp) => {
            let (rtp_port, rtcp_port) = rtp.params.client_port?;
            let rtcp_port = rtcp_port.or_else(|| rtp_port.checked_add(1))?;
            Some(Way::Udp {
                ports: (rtp_port, rtcp_port),
            })
        }
        Some(RtpLowerTransport::Other(_)) => None,
    }
}

/// The start of an answer: status, and the request's CSeq.
pub(crate) fn response(request: &Request<Vec<u8>>, status: StatusCode) -> ResponseBuilder {
    let builder = Response::builder(Version::V1_0, status);
    match request.header(&headers::CSEQ) {
        Some(sequence) => builder.header(headers::CSEQ, sequence.as_str()),
        None => builder,
    }
}

/// An answer with only a status.
pub(crate) fn bare(request: &Request<Vec<u8>>, status: StatusCode) -> Response<Vec<u8>> {
    response(request, status).build(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<(u32, Option<TrackKind>)> {
        let url = Url::parse(&format!("rtsp://127.0.0.1:8554{path}")).unwrap();
        Target::of(&url).map(|target| (target.camera, target.track))
    }

    fn chosen(header: &str) -> Option<Way> {
        let request = Request::builder(Method::Setup, Version::V1_0)
            .header(headers::TRANSPORT, header)
            .empty();
        choose(&request.typed_header::<Transports>().unwrap().unwrap(), 6)
    }

    #[test]
    fn only_cameras_and_their_tracks_have_urls() {
        assert_eq!(target("/cam/7"), Some((7, None)));
        assert_eq!(target("/cam/7/?user=x"), Some((7, None)));
        assert_eq!(target("/cam/7/track1"), Some((7, Some(TrackKind::Video))));
        assert_eq!(target("/cam/7/track2"), Some((7, Some(TrackKind::Audio))));
        for other in [
            "",
            "/cam",
            "/cam/x",
            "/cam/-1",
            "/cam/7/track4",
            "/cam/7/track1/x",
            "/7",
        ] {
            assert_eq!(target(other), None, "{other}");
        }
    }

    #[test]
    fn a_wrong_base_leads_to_the_described_camera() {
        let of = |url: &str, described| {
            Target::of_connection(&Url::parse(url).unwrap(), described)
                .map(|target| (target.camera, target.track))
        };
        assert_eq!(
            of("rtsp://192.0.2.9/elsewhere/track2", Some(7)),
            Some((7, Some(TrackKind::Audio)))
        );
        assert_eq!(of("rtsp://192.0.2.9/elsewhere/track2", None), None);
        assert_eq!(
            of("rtsp://c/cam/3/track1", Some(7)),
            Some((3, Some(TrackKind::Video)))
        );
        assert_eq!(of("rtsp://c/cam/3/", Some(7)), Some((3, None)));
    }

    #[test]
    fn the_first_transport_that_can_be_done_is_chosen() {
        assert_eq!(
            chosen("RTP/AVP/TCP;unicast;interleaved=2-3"),
            Some(Way::Tcp { channel: 2 })
        );
        assert_eq!(chosen("RTP/AVP/TCP;unicast"), Some(Way::Tcp { channel: 6 }));
        assert_eq!(
            chosen("RTP/AVP;multicast,RTP/AVP;unicast;client_port=50-51"),
            Some(Way::Udp { ports: (50, 51) })
        );
        assert_eq!(chosen("RTP/SAVP;unicast;client_port=50-51"), None);
        assert_eq!(chosen("RTP/AVP;unicast;client_port=65535"), None);
        assert_eq!(chosen("RTP/AVP/TCP;unicast;interleaved=255"), None);
    }
}
