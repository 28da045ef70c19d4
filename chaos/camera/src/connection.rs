//! One RTSP connection: reads requests, answers them, and delivers the frames of its session.

use crate::camera::{Camera, Refusal};
use crate::producer::Frame;
use crate::random::Random;
use crate::requests::{METHODS, SESSION_TIMEOUT_S, Target, TrackKind, Way, bare, choose, response};
use crate::sdp::{AUDIO_CONTROL, Description, VIDEO_CONTROL, describe};
use crate::session::{Session, Track};
use bytes::{Buf, BytesMut};
use rtp_types::RtpParseError;
use rtsp_types::headers::rtp_info::v1::RtpInfo;
use rtsp_types::headers::transport::RtpTransportParameters;
use rtsp_types::headers::{Public, RtpInfos, RtpLowerTransport, RtpProfile, RtpTransport, Transport, Transports};
use rtsp_types::{Message, Method, ParseError, Request, Response, StatusCode, Url, headers};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) type Cameras = BTreeMap<u32, Arc<Camera>>;

/// Bytes of a request at most.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A client that takes nothing for this long has lost its session.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// A client that sends nothing for this long has lost its connection.
const IDLE_DEADLINE: Duration = Duration::from_secs(SESSION_TIMEOUT_S + 5);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the client closed it")]
    Closed,
    #[error("the camera ended the session")]
    Kicked,
    #[error("no request for {} s", IDLE_DEADLINE.as_secs())]
    Idle,
    #[error("the client takes no data")]
    Stuck,
    #[error("a request that is no RTSP, or longer than {REQUEST_BYTES_MAX} bytes")]
    BadRequest,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("an RTP packet of our own cannot be read: {0:?}")]
    Packet(RtpParseError),
}

enum Action {
    Request(Request<Vec<u8>>),
    Deliver(Arc<Frame>),
}

/// Serves one connection until it ends.
pub(crate) async fn serve(stream: TcpStream, cameras: Arc<Cameras>, random: Random) -> Result<(), End> {
    let dialogue = Dialogue::new(cameras, stream.peer_addr()?, stream.local_addr()?, random);
    // Frames are written whole; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let now = Instant::now();
    let mut connection = Connection { reader, writer, input: BytesMut::new(), idle_at: now + IDLE_DEADLINE, dialogue };
    let mut out = Vec::new();
    loop {
        let action = connection.select().await?;
        out.clear();
        connection.apply(action, &mut out).await?;
        connection.write(&out).await?;
    }
}

struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    idle_at: Instant,
    dialogue: Dialogue,
}

impl Connection {
    async fn select(&mut self) -> Result<Action, End> {
        loop {
            if let Some(request) = take_request(&mut self.input)? {
                return Ok(Action::Request(request));
            }
            let Self { reader, input, idle_at, dialogue, .. } = self;
            tokio::select! {
                read = reader.read_buf(input) => match read? {
                    0 => return Err(End::Closed),
                    _ => *idle_at = Instant::now() + IDLE_DEADLINE,
                },
                frame = next(&mut dialogue.session) => return frame.map(Action::Deliver).ok_or(End::Kicked),
                () = sleep_until(*idle_at) => return Err(End::Idle),
            }
        }
    }

    /// Carries out `action` and appends what is to be written.
    async fn apply(&mut self, action: Action, out: &mut Vec<u8>) -> Result<(), End> {
        match action {
            Action::Request(request) => {
                let response = self.dialogue.answer(&request);
                response.write(out).map_err(|error| End::Io(io::Error::other(error)))
            }
            Action::Deliver(frame) => match &mut self.dialogue.session {
                Some(session) => session.deliver(&frame, out).await.map_err(End::Packet),
                None => Ok(()),
            },
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        if bytes.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            written = timeout(WRITE_DEADLINE, self.writer.write_all(bytes)) => Ok(written.map_err(|_| End::Stuck)??),
            () = ended(&mut self.dialogue.session) => Err(End::Kicked),
        }
    }
}

/// The next whole request in `input`. RTCP of the client (interleaved data) and answers are skipped.
fn take_request(input: &mut BytesMut) -> Result<Option<Request<Vec<u8>>>, End> {
    while !input.is_empty() {
        match Message::<Vec<u8>>::parse(&input[..]) {
            Ok((message, length)) => {
                input.advance(length);
                if let Message::Request(request) = message {
                    return Ok(Some(request));
                }
            }
            Err(ParseError::Incomplete(_)) if input.len() < REQUEST_BYTES_MAX => return Ok(None),
            Err(_) => return Err(End::BadRequest),
        }
    }
    Ok(None)
}

async fn next(session: &mut Option<Session>) -> Option<Arc<Frame>> {
    match session {
        Some(session) => session.next().await,
        None => std::future::pending().await,
    }
}

async fn ended(session: &mut Option<Session>) {
    match session {
        Some(session) => session.ended().await,
        None => std::future::pending().await,
    }
}

/// What a connection knows, and how it answers requests.
struct Dialogue {
    cameras: Arc<Cameras>,
    peer: SocketAddr,
    local: SocketAddr,
    nonce: String,
    random: Random,
    session: Option<Session>,
}

impl Dialogue {
    fn new(cameras: Arc<Cameras>, peer: SocketAddr, local: SocketAddr, mut random: Random) -> Self {
        let nonce = format!("{:016x}", random.next_u64());
        Self { cameras, peer, local, nonce, random, session: None }
    }

    fn answer(&mut self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        self.try_answer(request).unwrap_or_else(|status| bare(request, status))
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
