//! How a connection answers requests: who may see which camera, and what its session becomes.

use crate::camera::{Camera, Refusal};
use crate::random::Random;
use crate::requests::{METHODS, SESSION_TIMEOUT_S, Target, TrackKind, Way, bare, choose, response};
use crate::sdp::{AUDIO_CONTROL, Description, VIDEO_CONTROL, describe};
use crate::session::{Session, Track};
use rtsp_types::headers::rtp_info::v1::RtpInfo;
use rtsp_types::headers::transport::RtpTransportParameters;
use rtsp_types::headers::{Public, RtpInfos, RtpLowerTransport, RtpProfile, RtpTransport, Transport, Transports};
use rtsp_types::{Method, Request, Response, StatusCode, Url, headers};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Cameras = BTreeMap<u32, Arc<Camera>>;

/// What a connection knows, and how it answers requests.
pub(crate) struct Dialogue {
    cameras: Arc<Cameras>,
    peer: SocketAddr,
    local: SocketAddr,
    nonce: String,
    random: Random,
    pub(crate) session: Option<Session>,
}

impl Dialogue {
    pub(crate) fn new(cameras: Arc<Cameras>, peer: SocketAddr, local: SocketAddr, mut random: Random) -> Self {
        let nonce = format!("{:016x}", random.next_u64());
        Self { cameras, peer, local, nonce, random, session: None }
    }

    pub(crate) fn answer(&mut self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        self.try_answer(request).unwrap_or_else(|status| bare(request, status))
    }

    /// How long the camera takes to answer `request`.
    pub(crate) fn delay(&self, request: &Request<Vec<u8>>) -> Duration {
        let target = request.request_uri().and_then(Target::of).filter(|_| *request.method() == Method::Describe);
        let camera = target.and_then(|target| self.cameras.get(&target.camera));
        camera.map_or(Duration::ZERO, |camera| camera.faults().describe_delay)
    }

    fn try_answer(&mut self, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, StatusCode> {
        request.header(&headers::CSEQ).ok_or(StatusCode::BadRequest)?;
        if *request.method() == Method::Options {
            let methods = Public::from(METHODS.to_vec());
            return Ok(response(request, StatusCode::Ok).typed_header(&methods).build(Vec::new()));
        }
        let url = request.request_uri().ok_or(StatusCode::NotFound)?;
        let target = Target::of(url).ok_or(StatusCode::NotFound)?;
        let camera = self.cameras.get(&target.camera).filter(|camera| !camera.faults().off).cloned();
        let camera = camera.ok_or(StatusCode::NotFound)?;
        if let Some(refused) = self.refuse_stranger(request, &camera) {
            return Ok(refused);
        }
        match request.method() {
            Method::Describe => answer_describe(request, url, &camera),
            Method::Setup => self.setup(request, target, &camera),
            Method::Play => self.play(request, url),
            Method::GetParameter | Method::SetParameter => Ok(bare(request, StatusCode::Ok)),
            Method::Teardown => self.teardown(request),
            _ => Err(StatusCode::MethodNotAllowed),
        }
    }

    fn refuse_stranger(&self, request: &Request<Vec<u8>>, camera: &Camera) -> Option<Response<Vec<u8>>> {
        let credentials = &camera.options.credentials;
        let given = request.header(&headers::AUTHORIZATION).map(|value| value.as_str());
        if credentials.admits(given, request.method().into(), &self.nonce) {
            return None;
        }
        let challenge = credentials.challenge(&self.nonce)?;
        let refused = response(request, StatusCode::Unauthorized);
        Some(refused.header(headers::WWW_AUTHENTICATE, challenge).build(Vec::new()))
    }

    fn setup(
        &mut self,
        request: &Request<Vec<u8>>,
        target: Target,
        camera: &Arc<Camera>,
    ) -> Result<Response<Vec<u8>>, StatusCode> {
        let kind = target.track.unwrap_or(TrackKind::Video);
        if kind == TrackKind::Audio && !camera.options.audio {
            return Err(StatusCode::NotFound);
        }
        let offered = request.typed_header::<Transports>().ok().flatten().ok_or(StatusCode::UnsupportedTransport)?;
        self.check_session(request, camera)?;
        let channel = self.session.as_ref().map_or(0, |session| session.tracks.len() as u8 * 2);
        let way = choose(&offered, channel).ok_or(StatusCode::UnsupportedTransport)?;
        let ends = (self.local.ip(), self.peer.ip());
        let (track, ports) = Track::new(kind, way, ends, &mut self.random).map_err(|error| {
            tracing::warn!(%error, camera = camera.options.id, "no UDP ports for a session");
            StatusCode::InternalServerError
        })?;
        let transport = transport(way, ports, track.numbers.ssrc);
        let session = self.session_with(camera)?;
        session.tracks.retain(|other| other.kind != kind);
        session.tracks.push(track);
        let answer = response(request, StatusCode::Ok).typed_header(&transport);
        Ok(answer.typed_header(&headers::Session(session.id.clone(), Some(SESSION_TIMEOUT_S))).build(Vec::new()))
    }

    /// That the request's session, if it names one, is this connection's and the same camera's.
    fn check_session(&self, request: &Request<Vec<u8>>, camera: &Arc<Camera>) -> Result<(), StatusCode> {
        let named = request.typed_header::<headers::Session>().map_err(|_| StatusCode::BadRequest)?;
        match (&self.session, named) {
            (None, None) => Ok(()),
            (Some(session), named) if Arc::ptr_eq(&session.camera, camera) => match named {
                Some(named) if named.0 != session.id => Err(StatusCode::SessionNotFound),
                _ => Ok(()),
            },
            (Some(_), _) => Err(StatusCode::AggregateOperationNotAllowed),
            (None, Some(_)) => Err(StatusCode::SessionNotFound),
        }
    }

    fn session_with(&mut self, camera: &Arc<Camera>) -> Result<&mut Session, StatusCode> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let reservation = camera.reserve().map_err(|refusal| match refusal {
                    Refusal::Refusing => StatusCode::ServiceUnavailable,
                    Refusal::Full => StatusCode::NotEnoughBandwidth,
                })?;
                Session::new(format!("{:016X}", self.random.next_u64()), Arc::clone(camera), reservation)
            }
        };
        Ok(self.session.insert(session))
    }

    fn play(&mut self, request: &Request<Vec<u8>>, url: &Url) -> Result<Response<Vec<u8>>, StatusCode> {
        let session = named_session(&mut self.session, request)?;
        let infos = session.tracks.iter().map(|track| rtp_info(url, track, &session.camera)).collect();
        if !session.play() {
            return Err(StatusCode::SessionNotFound);
        }
        let answer = response(request, StatusCode::Ok).typed_header(&RtpInfos::V1(infos));
        let answer = answer.header(headers::RANGE, "npt=now-");
        Ok(answer.typed_header(&headers::Session(session.id.clone(), None)).build(Vec::new()))
    }

    fn teardown(&mut self, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, StatusCode> {
        named_session(&mut self.session, request)?;
        self.session = None;
        Ok(bare(request, StatusCode::Ok))
    }
}

fn named_session<'s>(
    session: &'s mut Option<Session>,
    request: &Request<Vec<u8>>,
) -> Result<&'s mut Session, StatusCode> {
    let named = request.typed_header::<headers::Session>().map_err(|_| StatusCode::BadRequest)?;
    session
        .as_mut()
        .filter(|session| named.is_some_and(|named| named.0 == session.id))
        .ok_or(StatusCode::SessionNotFound)
}

fn answer_describe(request: &Request<Vec<u8>>, url: &Url, camera: &Camera) -> Result<Response<Vec<u8>>, StatusCode> {
    camera.count_describe();
    let (sdp, picture, refusing) = {
        let faults = camera.faults();
        (faults.sdp, faults.picture, faults.refusing)
    };
    if refusing {
        return Err(StatusCode::ServiceUnavailable);
    }
    let clip = camera.clips.of(picture);
    let options = &camera.options;
    let description =
        Description { camera: options.id, fps: options.fps, audio: options.audio, sps: &clip.sps, pps: &clip.pps };
    let body = describe(&description, sdp).map_err(|_| StatusCode::InternalServerError)?;
    let answer = response(request, StatusCode::Ok).header(headers::CONTENT_BASE, base_of(url));
    Ok(answer.header(headers::CONTENT_TYPE, "application/sdp").build(body))
}

/// The URL that the tracks' names are relative to: without query, with a slash at its end.
fn base_of(url: &Url) -> String {
    let mut base = url.clone();
    base.set_query(None);
    format!("{}/", base.as_str().trim_end_matches('/'))
}

fn transport(way: Way, server_port: Option<(u16, u16)>, ssrc: u32) -> Transports {
    let mut params = RtpTransportParameters { unicast: true, ssrc: vec![ssrc], ..RtpTransportParameters::default() };
    let lower_transport = match way {
        Way::Tcp { channel } => {
            params.interleaved = Some((channel, Some(channel + 1)));
            Some(RtpLowerTransport::Tcp)
        }
        Way::Udp { ports: (rtp, rtcp) } => {
            params.client_port = Some((rtp, Some(rtcp)));
            params.server_port = server_port.map(|(rtp, rtcp)| (rtp, Some(rtcp)));
            None
        }
    };
    Transports::from(vec![Transport::Rtp(RtpTransport { profile: RtpProfile::Avp, lower_transport, params })])
}

fn rtp_info(url: &Url, track: &Track, camera: &Camera) -> RtpInfo {
    let (video, audio) = camera.rtp_now();
    let (name, now) = match track.kind {
        TrackKind::Video => (VIDEO_CONTROL, video),
        TrackKind::Audio => (AUDIO_CONTROL, audio),
    };
    let uri = Url::parse(&base_of(url)).and_then(|base| base.join(name)).unwrap_or_else(|_| url.clone());
    RtpInfo { uri, seq: Some(track.numbers.sequence), rtptime: Some(now.wrapping_add(track.numbers.timestamp_offset)) }
}
