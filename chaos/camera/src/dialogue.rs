//! How a connection answers requests: access to cameras, and the state of its session.

use crate::auth::Offer;
use crate::camera::{Camera, Refusal};
use crate::oddity::{
    AudioOddity, ControlOddity, Instead, Manners, Moment, Oddity, Place, RtpOddity,
};
use crate::random::Random;
use crate::reply::Reply;
use crate::requests::{METHODS, SESSION_TIMEOUT_S, Target, TrackKind, Way, bare, choose, response};
use crate::sdp::{AUDIO_CONTROL, Description, SILENT_CONTROL, VIDEO_CONTROL, describe};
use crate::session::{Session, Track};
use rtsp_types::headers::rtp_info::v1::RtpInfo;
use rtsp_types::headers::transport::RtpTransportParameters;
use rtsp_types::headers::{
    Public, RtpInfos, RtpLowerTransport, RtpProfile, RtpTransport, Transport, Transports,
};
use rtsp_types::{Method, Request, Response, StatusCode, Url, headers};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Cameras = BTreeMap<u32, Arc<Camera>>;

/// The state of a connection, and its answers to requests.
pub(crate) struct Dialogue {
    cameras: Arc<Cameras>,
    peer: SocketAddr,
    local: SocketAddr,
    nonce: String,
    random: Random,
    pub(crate) session: Option<Session>,
    /// The camera that was described last.
    described: Option<u32>,
    manners: Manners,
    playing_since_us: Option<u64>,
    /// Deadline for a client that was asked to log in again.
    login_due_us: Option<u64>,
}

impl Dialogue {
    pub(crate) fn new(
        cameras: Arc<Cameras>,
        peer: SocketAddr,
        local: SocketAddr,
        mut random: Random,
    ) -> Self {
        let nonce = fresh_nonce(&mut random);
        Self {
            cameras,
            peer,
            local,
            nonce,
            random,
            session: None,
            described: None,
            manners: Manners::default(),
            playing_since_us: None,
            login_due_us: None,
        }
    }

    /// `None` if the camera does not answer.
    pub(crate) fn answer(&mut self, request: &Request<Vec<u8>>) -> Option<Reply> {
        let control = self.oddity(request).and_then(Oddity::control);
        let method: &str = request.method().into();
        if let Some(control) = control {
            match self.instead(control, request) {
                Some(Instead::Say(mut reply)) => {
                    control.bend(method, &mut reply);
                    return Some(reply);
                }
                Some(Instead::Nothing) => return None,
                Some(Instead::RenewNonce) => self.renew_nonce(control),
                None => {}
            }
        }
        let mut reply = self
            .try_answer(request)
            .unwrap_or_else(|status| Reply::of(&bare(request, status)));
        if let Some(control) = control {
            control.bend(method, &mut reply);
        }
        Some(reply)
    }

    /// How long the camera takes to answer `request`.
    pub(crate) fn delay(&self, request: &Request<Vec<u8>>) -> Duration {
        let method: &str = request.method().into();
        let odd = self
            .oddity(request)
            .and_then(Oddity::control)
            .map_or(Duration::ZERO, |of| of.delay(method));
        let camera = self
            .camera(request)
            .filter(|_| *request.method() == Method::Describe);
        odd + camera.map_or(Duration::ZERO, |camera| camera.faults().describe_delay)
    }

    /// Number of frames to send before the answer to `request`.
    pub(crate) fn frames_before_answer(&self, request: &Request<Vec<u8>>) -> u32 {
        let method: &str = request.method().into();
        self.oddity(request)
            .and_then(Oddity::control)
            .map_or(0, |of| of.frames_before_answer(method))
    }

    /// Whether the client should have logged in again by now but has not.
    pub(crate) fn is_login_overdue(&self) -> bool {
        let now_us = self.session.as_ref().map(|session| session.camera.now_us());
        self.login_due_us
            .zip(now_us)
            .is_some_and(|(due, now)| now > due)
    }

    fn camera(&self, request: &Request<Vec<u8>>) -> Option<&Arc<Camera>> {
        let target = request
            .request_uri()
            .and_then(|url| Target::of_connection(url, self.described));
        // A keepalive may have the URL `*`.
        let number = target.map(|target| target.camera).or(self.described)?;
        self.cameras.get(&number)
    }

    fn oddity(&self, request: &Request<Vec<u8>>) -> Option<Oddity> {
        self.camera(request)?.options.oddity
    }

    fn instead(&mut self, control: ControlOddity, request: &Request<Vec<u8>>) -> Option<Instead> {
        let now_us = self.session.as_ref().map(|session| session.camera.now_us());
        let playing_us = now_us
            .zip(self.playing_since_us)
            .map(|(now, since)| now.saturating_sub(since));
        let header = |name| request.header(&name).map_or("", |value| value.as_str());
        let moment = Moment {
            method: request.method().into(),
            cseq: header(headers::CSEQ),
            url: request.request_uri().map_or("*", Url::as_str),
            transport: header(headers::TRANSPORT),
            playing_us,
        };
        self.manners.instead(control, &moment)
    }

    fn renew_nonce(&mut self, control: ControlOddity) {
        self.nonce = fresh_nonce(&mut self.random);
        let timeout_us = control.timeout_s().unwrap_or(SESSION_TIMEOUT_S) * 1_000_000;
        self.login_due_us = self
            .session
            .as_ref()
            .map(|session| session.camera.now_us() + timeout_us);
    }

    fn try_answer(&mut self, request: &Request<Vec<u8>>) -> Result<Reply, StatusCode> {
        request
            .header(&headers::CSEQ)
            .ok_or(StatusCode::BadRequest)?;
        if *request.method() == Method::Options {
            let methods = Public::from(METHODS.to_vec());
            let camera = self
                .camera(request)
                .cloned()
                .filter(|_| self.login_due_us.is_some());
            if let Some(refused) = camera.and_then(|camera| self.refuse_stranger(request, &camera))
            {
                return Ok(refused);
            }
            return Ok(Reply::of(
                &response(request, StatusCode::Ok)
                    .typed_header(&methods)
                    .build(Vec::new()),
            ));
        }
        let url = request.request_uri().ok_or(StatusCode::NotFound)?;
        let target = Target::of_connection(url, self.described).ok_or(StatusCode::NotFound)?;
        let camera = self
            .cameras
            .get(&target.camera)
            .filter(|camera| !camera.faults().off)
            .cloned();
        let camera = camera.ok_or(StatusCode::NotFound)?;
        if let Some(refused) = self.refuse_stranger(request, &camera) {
            return Ok(refused);
        }
        self.login_due_us = None;
        let answer = match request.method() {
            Method::Describe => return self.describe(request, url, target.camera, &camera),
            Method::Setup => self.setup(request, target, &camera),
            Method::Play => self.play(request, url),
            Method::GetParameter | Method::SetParameter => Ok(bare(request, StatusCode::Ok)),
            Method::Teardown => self.teardown(request),
            _ => Err(StatusCode::MethodNotAllowed),
        };
        answer.map(|answer| Reply::of(&answer))
    }

    fn refuse_stranger(&self, request: &Request<Vec<u8>>, camera: &Camera) -> Option<Reply> {
        let credentials = &camera.options.credentials;
        let given = request
            .header(&headers::AUTHORIZATION)
            .map(|value| value.as_str());
        let offer = match camera.options.oddity.and_then(Oddity::control) {
            Some(ControlOddity::DigestSha256) => Offer::Sha256,
            Some(ControlOddity::BasicOfferedFirst) => Offer::BehindBasic,
            Some(ControlOddity::Keepalive401) if self.manners.is_renewed() => Offer::Stale,
            _ => Offer::Plain,
        };
        if credentials.admits(given, request.method().into(), &self.nonce, offer) {
            return None;
        }
        let mut refused = Reply::of(&bare(request, StatusCode::Unauthorized));
        for challenge in credentials.challenges(&self.nonce, offer) {
            refused.add("WWW-Authenticate", &challenge);
        }
        Some(refused)
    }

    fn describe(
        &mut self,
        request: &Request<Vec<u8>>,
        url: &Url,
        number: u32,
        camera: &Camera,
    ) -> Result<Reply, StatusCode> {
        let answer = answer_describe(request, url, camera)?;
        self.described = Some(number);
        let mut reply = Reply::of(&answer);
        match camera.options.oddity {
            Some(Oddity::Description(of)) => {
                let base = base_of(url);
                let path = url.path().trim_end_matches('/');
                of.bend(&mut reply, Place { base: &base, path });
            }
            Some(Oddity::Audio(of)) => of.bend_description(&mut reply),
            _ => {}
        }
        Ok(reply)
    }

    fn setup(
        &mut self,
        request: &Request<Vec<u8>>,
        target: Target,
        camera: &Arc<Camera>,
    ) -> Result<Response<Vec<u8>>, StatusCode> {
        let kind = target.track.unwrap_or(TrackKind::Video);
        let oddity = camera.options.oddity;
        match kind {
            TrackKind::Audio if camera.hearing().is_none() => return Err(StatusCode::NotFound),
            TrackKind::Audio if oddity == Some(Oddity::Audio(AudioOddity::AudioRefused)) => {
                return Err(StatusCode::InternalServerError);
            }
            TrackKind::Silent if !oddity.is_some_and(Oddity::has_silent_track) => {
                return Err(StatusCode::NotFound);
            }
            _ => {}
        }
        let offered = request
            .typed_header::<Transports>()
            .ok()
            .flatten()
            .ok_or(StatusCode::UnsupportedTransport)?;
        self.check_session(request, camera)?;
        let channel = self
            .session
            .as_ref()
            .map_or(0, |session| session.tracks.len() as u8 * 2);
        let way = choose(&offered, channel).ok_or(StatusCode::UnsupportedTransport)?;
        let ends = (self.local.ip(), self.peer.ip());
        let (track, ports) =
            Track::new(kind, way, ends, oddity, &mut self.random).map_err(|error| {
                tracing::warn!(%error, camera = camera.options.id, "no UDP ports for a session");
                StatusCode::InternalServerError
            })?;
        let transport = transport(way, ports, track.numbers.ssrc);
        let session = self.session_with(camera)?;
        session.tracks.retain(|other| other.kind != kind);
        session.tracks.push(track);
        let answer = response(request, StatusCode::Ok).typed_header(&transport);
        Ok(answer
            .typed_header(&headers::Session(
                session.id.clone(),
                Some(SESSION_TIMEOUT_S),
            ))
            .build(Vec::new()))
    }

    /// Checks that the request's session, if it names one, is this connection's and of the same
    /// camera.
    fn check_session(
        &self,
        request: &Request<Vec<u8>>,
        camera: &Arc<Camera>,
    ) -> Result<(), StatusCode> {
        let named = request
            .typed_header::<headers::Session>()
            .map_err(|_| StatusCode::BadRequest)?;
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
                Session::new(
                    format!("{:016X}", self.random.next_u64()),
                    Arc::clone(camera),
                    reservation,
                )
            }
        };
        Ok(self.session.insert(session))
    }

    fn play(
        &mut self,
        request: &Request<Vec<u8>>,
        url: &Url,
    ) -> Result<Response<Vec<u8>>, StatusCode> {
        let session = named_session(&mut self.session, request)?;
        let infos = session
            .tracks
            .iter()
            .map(|track| rtp_info(url, track, &session.camera))
            .collect();
        if !session.play() {
            return Err(StatusCode::SessionNotFound);
        }
        self.playing_since_us.get_or_insert(session.camera.now_us());
        let answer = response(request, StatusCode::Ok).typed_header(&RtpInfos::V1(infos));
        let answer = answer.header(headers::RANGE, "npt=now-");
        Ok(answer
            .typed_header(&headers::Session(session.id.clone(), None))
            .build(Vec::new()))
    }

    fn teardown(&mut self, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, StatusCode> {
        named_session(&mut self.session, request)?;
        (self.session, self.playing_since_us) = (None, None);
        Ok(bare(request, StatusCode::Ok))
    }
}

fn named_session<'s>(
    session: &'s mut Option<Session>,
    request: &Request<Vec<u8>>,
) -> Result<&'s mut Session, StatusCode> {
    let named = request
        .typed_header::<headers::Session>()
        .map_err(|_| StatusCode::BadRequest)?;
    session
        .as_mut()
        .filter(|session| named.is_some_and(|named| named.0 == session.id))
        .ok_or(StatusCode::SessionNotFound)
}

fn answer_describe(
    request: &Request<Vec<u8>>,
    url: &Url,
    camera: &Camera,
) -> Result<Response<Vec<u8>>, StatusCode> {
    camera.count_describe();
    let (sdp, picture, refusing) = {
        let faults = camera.faults();
        (faults.sdp, faults.picture, faults.refusing)
    };
    if refusing {
        return Err(StatusCode::ServiceUnavailable);
    }
    let options = &camera.options;
    let sets = camera.films.sets(picture);
    let sets = match options.oddity.and_then(Oddity::payload) {
        Some(payload) => payload.sets_of_description(sets),
        None => sets,
    };
    let sound = camera.hearing().map(|hearing| hearing.sound);
    let description = Description {
        camera: options.id,
        fps: options.fps,
        codec: camera.films.codec(),
        sets,
        sound,
    };
    let body = describe(&description, sdp).map_err(|_| StatusCode::InternalServerError)?;
    let answer = response(request, StatusCode::Ok).header(headers::CONTENT_BASE, base_of(url));
    Ok(answer
        .header(headers::CONTENT_TYPE, "application/sdp")
        .build(body))
}

fn fresh_nonce(random: &mut Random) -> String {
    format!("{:016x}", random.next_u64())
}

/// The URL that the tracks' names are relative to: without query, with a slash at the end.
fn base_of(url: &Url) -> String {
    let mut base = url.clone();
    base.set_query(None);
    format!("{}/", base.as_str().trim_end_matches('/'))
}

fn transport(way: Way, server_port: Option<(u16, u16)>, ssrc: u32) -> Transports {
    let mut params = RtpTransportParameters {
        unicast: true,
        ssrc: vec![ssrc],
        ..RtpTransportParameters::default()
    };
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
    Transports::from(vec![Transport::Rtp(RtpTransport {
        profile: RtpProfile::Avp,
        lower_transport,
        params,
    })])
}

fn rtp_info(url: &Url, track: &Track, camera: &Camera) -> RtpInfo {
    let (video, audio) = camera.rtp_now();
    let (name, now) = match track.kind {
        TrackKind::Video => (VIDEO_CONTROL, video),
        TrackKind::Audio => (AUDIO_CONTROL, audio),
        TrackKind::Silent => (SILENT_CONTROL, 0),
    };
    let uri = Url::parse(&base_of(url))
        .and_then(|base| base.join(name))
        .unwrap_or_else(|_| url.clone());
    let is_lie = camera.options.oddity == Some(Oddity::Rtp(RtpOddity::SequenceLie));
    let sequence = track
        .numbers
        .sequence
        .wrapping_add(if is_lie { 20_000 } else { 0 });
    RtpInfo {
        uri,
        seq: Some(sequence),
        rtptime: Some(now.wrapping_add(track.numbers.timestamp_offset)),
    }
}
