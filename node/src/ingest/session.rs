//! One RTSP session, from connecting to tearing down, with a deadline on each step.

#![expect(clippy::disallowed_methods, reason = "an edge: it waits for the world, and keeps deadlines")]

use super::access_unit::is_keyframe;
use super::error::{SessionError, Stage, classify};
use super::media::{MediaFrame, SenderReport, SessionItem, TrackParameters};
use super::tracks::{Choice, Offer, choose};
use bytes::Bytes;
use futures::StreamExt;
use holdfast_consensus::model::{Source, Transport};
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;
use retina::client::{self, Demuxed, Described, SessionGroup, SetupOptions};
use retina::codec::{AudioFrame, CodecItem, FrameFormat, ParametersRef, VideoFrame};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep, timeout};
use url::Url;

const USER_AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Name lookup, connecting, and DESCRIBE with authentication.
    pub describe: Duration,
    /// Each SETUP.
    pub setup: Duration,
    pub play: Duration,
    /// Longest time without a video frame, while playing.
    pub stall: Duration,
    /// TEARDOWN when the session is closed.
    pub teardown: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            describe: Duration::from_secs(5),
            setup: Duration::from_secs(3),
            play: Duration::from_secs(3),
            stall: Duration::from_secs(3),
            teardown: Duration::from_secs(1),
        }
    }
}

/// A session that is described and set up, and does not play: no frame comes. Nothing keeps it alive: retina sends keepalives only while it plays, and does not tell the
/// camera's timeout (60 s unless the camera says otherwise, RFC 2326 clause 12.37). To be dropped within a tokio runtime, which sends a TEARDOWN in the background.
pub struct Prepared {
    session: client::Session<Described>,
    group: Arc<SessionGroup>,
    choice: Choice,
    deadlines: Deadlines,
}

/// A session that plays. What it holds is bounded by the link's rate times the stall deadline: one access unit in the making and 64 KiB of socket data per track.
pub struct Session {
    demuxed: Demuxed,
    group: Arc<SessionGroup>,
    choice: Choice,
    deadlines: Deadlines,
    last_video: Instant,
    /// Set to when a stall was due when it was looked at last: only then it is set anew, not for each frame.
    stall: Pin<Box<Sleep>>,
    video: Option<Arc<TrackParameters>>,
    audio: Option<Arc<TrackParameters>>,
}

impl Prepared {
    /// Connects, describes and sets up.
    ///
    /// # Errors
    /// Every class of [`SessionError`] but `Stalled`.
    pub async fn open(source: &Source, deadlines: Deadlines) -> Result<Self, SessionError> {
        let url = parse_url(&source.url)?;
        let group = Arc::new(SessionGroup::default());
        let describe = client::Session::describe(url, session_options(source, Arc::clone(&group)));
        let mut session = step(Stage::Describe, deadlines.describe, describe).await?;
        let mut choice = choose(&offers(&session))?;
        let setup = session.setup(choice.video.0, setup_options(source.transport));
        step(Stage::Setup, deadlines.setup, setup).await?;
        if let Some((audio, codec)) = choice.audio {
            let setup = session.setup(audio, setup_options(source.transport));
            if let Err(error) = step(Stage::Setup, deadlines.setup, setup).await {
                tracing::warn!(?codec, %error, "recording without audio: its track could not be set up");
                choice.audio = None;
            }
        }
        Ok(Self { session, group, choice, deadlines })
    }

    /// Has the camera send, within `deadline`.
    ///
    /// # Errors
    /// Every class of [`SessionError`] but `Stalled`; the session is gone then.
    pub async fn play(self, deadline: Duration) -> Result<Session, SessionError> {
        let Self { session, group, choice, deadlines } = self;
        // Cameras leave `rtptime` out or get it wrong; receive times anchor the recording, so it is not needed.
        let play_options = client::PlayOptions::default().initial_timestamp(client::InitialTimestampPolicy::Permissive);
        let playing = step(Stage::Play, deadline, session.play(play_options)).await?;
        let demuxed = playing.demuxed().map_err(|error| SessionError::BadSdp(text_of(&error)))?;
        let stall = Box::pin(sleep(deadlines.stall));
        Ok(Session { demuxed, group, choice, deadlines, last_video: Instant::now(), stall, video: None, audio: None })
    }

    /// As [`Session::close`].
    pub async fn close(self) {
        let Self { session, group, deadlines, .. } = self;
        drop(session);
        torn_down(&group, deadlines.teardown).await;
    }
}

impl Session {
    /// Connects, describes, sets up and plays.
    ///
    /// # Errors
    /// Every class of [`SessionError`] but `Stalled`.
    pub async fn open(source: &Source, deadlines: Deadlines) -> Result<Self, SessionError> {
        Prepared::open(source, deadlines).await?.play(deadlines.play).await
    }

    /// Whether the camera answers with a stream that could be recorded; nothing is set up at it.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn probe(source: &Source, deadline: Duration) -> Result<(), SessionError> {
        let url = parse_url(&source.url)?;
        let describe = client::Session::describe(url, session_options(source, Arc::default()));
        let session = step(Stage::Describe, deadline, describe).await?;
        choose(&offers(&session)).map(drop)
    }

    /// The next frame or sender report. Cancel safe.
    ///
    /// # Errors
    /// `Stalled` where no video frame came for the stall deadline, `Ended`, `Protocol`.
    pub async fn next(&mut self) -> Result<SessionItem, SessionError> {
        loop {
            let item = tokio::select! {
                biased;
                item = self.demuxed.next() => item,
                () = self.stall.as_mut() => {
                    let left = self.deadlines.stall.saturating_sub(self.last_video.elapsed());
                    if left.is_zero() {
                        return Err(SessionError::Stalled(self.deadlines.stall));
                    }
                    self.stall.as_mut().reset(tokio::time::Instant::now() + left);
                    continue;
                }
            };
            let item = match item {
                Some(Ok(item)) => item,
                Some(Err(error)) => return Err(classify(Stage::Stream, error.status_code(), &error.to_string())),
                None => return Err(SessionError::Ended),
            };
            if let Some(item) = self.convert(item) {
                return Ok(item);
            }
        }
    }

    /// Ends the session with a TEARDOWN that has a deadline.
    pub async fn close(self) {
        let Self { demuxed, group, deadlines, .. } = self;
        // Dropping it sends the request in the background, on the connection that exists.
        drop(demuxed);
        torn_down(&group, deadlines.teardown).await;
    }

    fn convert(&mut self, item: CodecItem) -> Option<SessionItem> {
        match item {
            CodecItem::VideoFrame(frame) => Some(SessionItem::Frame(self.video_frame(frame))),
            CodecItem::AudioFrame(frame) => Some(SessionItem::Frame(self.audio_frame(&frame))),
            CodecItem::Rtcp(packet) => self.report(&packet),
            _ => None,
        }
    }

    fn video_frame(&mut self, frame: VideoFrame) -> MediaFrame {
        self.last_video = Instant::now();
        let known = self.video.is_some() && !frame.has_new_parameters();
        let parameters = if known { None } else { self.new_parameters(TrackKind::Video) };
        let (rtp, ctx) = (frame.timestamp(), *frame.start_ctx());
        MediaFrame {
            track: TrackKind::Video,
            rtp: rtp.timestamp(),
            timescale: rtp.clock_rate().get(),
            received: ctx.received(),
            received_wall: Timestamp::from_system(ctx.received_wall().into()),
            keyframe: is_keyframe(self.choice.video.1, frame.data()),
            lost_packets: frame.loss(),
            length: None,
            parameters,
            data: frame.into_data().into(),
        }
    }

    fn audio_frame(&mut self, frame: &AudioFrame) -> MediaFrame {
        let parameters = if self.audio.is_some() { None } else { self.new_parameters(TrackKind::Audio) };
        let (rtp, ctx) = (frame.timestamp(), *frame.ctx());
        MediaFrame {
            track: TrackKind::Audio,
            rtp: rtp.timestamp(),
            timescale: rtp.clock_rate().get(),
            received: ctx.received(),
            received_wall: Timestamp::from_system(ctx.received_wall().into()),
            keyframe: true,
            lost_packets: frame.loss(),
            length: Some(frame.frame_length().get()),
            parameters,
            data: Bytes::copy_from_slice(frame.data()),
        }
    }

    /// The track's parameters where they differ from those that were told before.
    fn new_parameters(&mut self, track: TrackKind) -> Option<Arc<TrackParameters>> {
        let stream_i = if track == TrackKind::Video { self.choice.video.0 } else { self.choice.audio?.0 };
        let stream = self.demuxed.streams().get(stream_i)?;
        let now = parameters(&self.choice, stream.parameters()?, stream.clock_rate_hz())?;
        let told = if track == TrackKind::Video { &mut self.video } else { &mut self.audio };
        if told.as_deref() == Some(&now) {
            return None;
        }
        let now = Arc::new(now);
        *told = Some(Arc::clone(&now));
        Some(now)
    }

    fn report(&self, packet: &retina::rtcp::ReceivedCompoundPacket) -> Option<SessionItem> {
        let track = if packet.stream_id() == self.choice.video.0 { TrackKind::Video } else { TrackKind::Audio };
        let rtp = packet.rtp_timestamp()?.timestamp();
        let ntp = packet.pkts().find_map(|packet| packet.as_sender_report().ok().flatten())?.ntp_timestamp();
        Some(SessionItem::Report(track, SenderReport { ntp_us: ntp_micros(ntp.0), rtp }))
    }
}

/// Accepts `rtsp` URLs without credentials: those belong in the source's own fields, where they are kept secret.
///
/// # Errors
/// `BadUrl`, which repeats nothing of the URL but its scheme.
pub fn parse_url(text: &str) -> Result<Url, SessionError> {
    let url = Url::parse(text).map_err(|error| SessionError::BadUrl(error.to_string()))?;
    if url.scheme() != "rtsp" {
        return Err(SessionError::BadUrl(format!("scheme {} is not supported", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SessionError::BadUrl("it holds credentials; set them as username and password".to_owned()));
    }
    if url.host().is_none() {
        return Err(SessionError::BadUrl("it names no host".to_owned()));
    }
    Ok(url)
}

fn session_options(source: &Source, group: Arc<SessionGroup>) -> client::SessionOptions {
    let creds = source.username.as_ref().map(|username| client::Credentials {
        username: username.clone(),
        password: source.password.as_ref().map(|password| password.0.clone()).unwrap_or_default(),
    });
    client::SessionOptions::default()
        .creds(creds)
        .user_agent(USER_AGENT.to_owned())
        .session_group(group)
        .session_id(client::SessionIdPolicy::UseFirst)
}

fn setup_options(transport: Transport) -> SetupOptions {
    let transport = match transport {
        Transport::Tcp => client::Transport::Tcp(client::TcpTransportOptions::default()),
        Transport::Udp => client::Transport::Udp(client::UdpTransportOptions::default()),
    };
    SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4)
}

fn offers(session: &client::Session<Described>) -> Vec<Offer<'_>> {
    let offer = |stream| {
        let stream: &client::Stream = stream;
        Offer { media: stream.media(), encoding: stream.encoding_name(), clock_hz: stream.clock_rate_hz() }
    };
    session.streams().iter().map(offer).collect()
}

/// Runs one step against its deadline.
async fn step<T>(
    stage: Stage,
    deadline: Duration,
    future: impl Future<Output = Result<T, retina::Error>>,
) -> Result<T, SessionError> {
    match timeout(deadline, future).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(classify(stage, error.status_code(), &error.to_string())),
        Err(_) => Err(SessionError::Unreachable(format!("no answer within {} ms", deadline.as_millis()))),
    }
}

/// Waits until the TEARDOWN of a dropped session is answered.
async fn torn_down(group: &SessionGroup, deadline: Duration) {
    match timeout(deadline, group.await_teardown()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(error = text_of(&error), "TEARDOWN failed; the camera's own timeout ends the session")
        }
        Err(_) => tracing::debug!("TEARDOWN was not answered; the camera's own timeout ends the session"),
    }
}

fn parameters(choice: &Choice, now: ParametersRef<'_>, clock_hz: u32) -> Option<TrackParameters> {
    match now {
        ParametersRef::Video(video) => {
            let (width, height) = video.pixel_dimensions();
            Some(TrackParameters::Video {
                codec: choice.video.1,
                config: Bytes::copy_from_slice(video.extra_data()),
                width: u16::try_from(width).ok()?,
                height: u16::try_from(height).ok()?,
                pixel_aspect_ratio: video.pixel_aspect_ratio(),
                timescale: clock_hz,
            })
        }
        ParametersRef::Audio(audio) => Some(TrackParameters::Audio {
            codec: choice.audio?.1,
            config: Bytes::copy_from_slice(audio.extra_data()),
            channels: audio.channels().get(),
            timescale: clock_hz,
        }),
        ParametersRef::Message(_) => None,
    }
}

fn text_of(error: &retina::Error) -> String {
    super::error::detail(&error.to_string())
}

/// An NTP timestamp (RFC 3550, clause 4: 32.32 fixed point since 1900) in microseconds since the Unix epoch.
fn ntp_micros(ntp: u64) -> i64 {
    let since_epoch = i128::from(ntp) - i128::from(retina::UNIX_EPOCH.0);
    // 64 bits of 1/2^32 s are less than 2^53 microseconds.
    i64::try_from((since_epoch * 1_000_000) >> 32).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
