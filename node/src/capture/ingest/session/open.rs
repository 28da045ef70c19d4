//! Opens a session at a camera's address: DESCRIBE, SETUP of each track, PLAY (RFC 2326, 10).

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use super::media::{Media, MediaTrack, Route};
use super::{CameraMemory, Deadlines, Session};
use crate::capture::ingest::codec::Arrival;
use crate::capture::ingest::codec::audio::{AudioDepacketizer, AudioOffer};
use crate::capture::ingest::codec::video::VideoDepacketizer;
use crate::capture::ingest::error::{SessionError, Stage, classify, detail};
use crate::capture::ingest::media::{AudioCodec, VideoCodec};
use crate::capture::ingest::rhythm::Rhythm;
use crate::capture::ingest::rtp::track::{Depacketizer, RtpTrack};
use crate::capture::ingest::rtp::udp::UdpPair;
use crate::capture::ingest::rtsp::connection::{Connection, ConnectionError, Reply};
use crate::capture::ingest::rtsp::framing::FramingError;
use crate::capture::ingest::rtsp::login::Refusal;
use crate::capture::ingest::rtsp::sdp::{self, Description, Media as Described};
use crate::capture::ingest::rtsp::transport::{Asked, Granted};
use crate::capture::ingest::rtsp::url::{controlled, is_tls, redirected};
use crate::capture::ingest::runtime::Carrier;
use crate::capture::ingest::tracks::{self, Chosen};
use holdfast_consensus::model::{Audio, Source, Transport};
use holdfast_storage::time::Timestamp;
use std::borrow::Cow;
use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout;
use url::Url;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// The channel of the first track's RTP.
const CHANNEL_FIRST: u8 = 0;
/// Interleaved data that comes before PLAY is answered and is kept, in packets.
const EARLY_PACKETS_MAX: usize = 4096;

/// The camera's settings for a playing session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) stall_after: Option<Duration>,
    pub(super) budget_bps: Option<u64>,
}

/// A session that is described and set up, and does not play yet.
pub(super) struct SetUpSession {
    pub(super) connection: Connection,
    tracks: Vec<MediaTrack>,
    rhythm: Rhythm,
    pub(super) deadlines: Deadlines,
    pub(super) memory: CameraMemory,
    pub(super) settings: Settings,
    /// What to play, and what else it may be called.
    urls: Vec<String>,
    pub(super) has_get_parameter: bool,
}

/// A camera that has described itself.
struct Introduced {
    connection: Connection,
    description: Description,
    /// The bases of the description's relative addresses, and the requested address.
    bases: Vec<String>,
    has_get_parameter: bool,
    is_encrypted: bool,
}

impl SetUpSession {
    /// Connects, describes and sets up.
    ///
    /// # Errors
    /// Every class of [`SessionError`] but `Stalled`.
    pub(super) async fn open(
        source: &Source,
        deadlines: Deadlines,
        memory: &CameraMemory,
    ) -> Result<Self, SessionError> {
        let introduced = within(deadlines.describe, introduce(source, memory)).await?;
        let Introduced {
            mut connection,
            description,
            bases,
            has_get_parameter,
            is_encrypted,
        } = introduced;
        let video = tracks::video(&description)?;
        let needs_udp = memory.needs_udp.load(Relaxed);
        let mut setup = SetUp {
            connection: &mut connection,
            bases: &bases,
            deadline: deadlines.setup,
            carrier: carrier(source.transport, needs_udp, is_encrypted),
            channel: CHANNEL_FIRST,
        };
        let set_up = setup.video(&video).await;
        if let (Err(SessionError::TransportRefused(carrier)), Transport::Auto) =
            (&set_up, source.transport)
        {
            // The next session asks for the other.
            memory
                .needs_udp
                .store(*carrier == Carrier::Tcp && !is_encrypted, Relaxed);
        }
        let mut tracks = vec![set_up?];
        if source.audio == Audio::Auto {
            tracks.extend(setup.audio(&description).await);
        }
        let before = Some(memory.rhythm_ms.load(Relaxed))
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis);
        let rhythm = Rhythm::new(video.media.frame_rate, before);
        let control = description.control.as_deref();
        let urls = bases
            .iter()
            .map(|base| controlled(base, control))
            .chain(bases.clone());
        let mut urls: Vec<String> = urls.collect();
        urls.dedup();
        let settings = Settings {
            stall_after: source
                .stall_after_ms
                .map(|ms| Duration::from_millis(u64::from(ms))),
            budget_bps: source.budget_bps,
        };
        let memory = memory.clone();
        Ok(Self {
            connection,
            tracks,
            rhythm,
            deadlines,
            memory,
            settings,
            urls,
            has_get_parameter,
        })
    }

    /// Makes the camera send.
    ///
    /// # Errors
    /// Every class of [`SessionError`] but `Stalled`; the session is gone then.
    pub(super) async fn play(self) -> Result<Session, SessionError> {
        within(self.deadlines.play, self.play_in_time()).await
    }

    async fn play_in_time(mut self) -> Result<Session, SessionError> {
        let mut refused = None;
        let attempts: Vec<_> = self
            .urls
            .iter()
            .flat_map(|url| [(url.clone(), true), (url.clone(), false)])
            .collect();
        for (url, has_range) in attempts {
            let range = [("Range", "npt=0.000-".to_owned())];
            let headers: &[_] = if has_range { &range } else { &[] };
            let mut early: Vec<(u8, Vec<u8>)> = Vec::new();
            let keep = |channel, payload: &[u8]| {
                if early.len() < EARLY_PACKETS_MAX {
                    early.push((channel, payload.to_vec()));
                }
            };
            let reply = self.connection.request("PLAY", &url, headers, keep).await;
            let reply = reply.map_err(|error| lost(Stage::Play, error))?;
            if reply.is_success() {
                return Ok(self.playing(url, &early));
            }
            let error = refusal(Stage::Play, &reply);
            // Another address, or without a range: RFC 2326, 7.1.1.
            if !matches!(reply.status, 400 | 404 | 451 | 455..=460 | 501) {
                return Err(error);
            }
            refused.get_or_insert(error);
        }
        Err(refused.unwrap_or(SessionError::Ended))
    }

    fn playing(mut self, url: String, early: &[(u8, Vec<u8>)]) -> Session {
        let arrival = Arrival {
            instant: Instant::now(),
            wall: Timestamp::from_system(SystemTime::now()),
        };
        let mut media = Media::new(std::mem::take(&mut self.tracks), self.rhythm, arrival);
        early
            .iter()
            .for_each(|(channel, payload)| media.interleaved(*channel, payload));
        Session::new(self, media, url)
    }
}

/// Whether the camera answers with a stream that could be recorded.
pub(super) async fn probe(source: &Source, deadline: Duration) -> Result<(), SessionError> {
    let introduced = within(deadline, introduce(source, &CameraMemory::default())).await?;
    tracks::video(&introduced.description).map(drop)
}

/// Sends DESCRIBE, following the camera's redirects.
async fn introduce(source: &Source, memory: &CameraMemory) -> Result<Introduced, SessionError> {
    let mut url = source.url.url().clone();
    for _ in 0..=REDIRECTS_MAX {
        let user = source
            .credentials
            .as_ref()
            .map(|login| (login.username().to_owned(), login.password().to_owned()));
        let mut connection =
            Connection::connect(&url, user, memory.login.clone(), source.tls).await?;
        let accept = [("Accept", "application/sdp".to_owned())];
        let reply = connection
            .request("DESCRIBE", url.as_str(), &accept, |_, _| {})
            .await;
        let reply = reply.map_err(|error| lost(Stage::Describe, error))?;
        if let (301..=303 | 305 | 307 | 308, Some(location)) =
            (reply.status, reply.address("location"))
        {
            url = redirected(&url, &location)
                .map_err(|to| SessionError::Redirect(to.map(|to| to.to_string())))?;
            continue;
        }
        if !reply.is_success() {
            return Err(refusal(Stage::Describe, &reply));
        }
        let description = sdp::parse(&reply.body).map_err(SessionError::BadSdp)?;
        let asked = url.as_str().to_owned();
        let base = reply
            .address("content-base")
            .or(reply.address("content-location"))
            .map(Cow::into_owned);
        let mut bases: Vec<_> = base
            .filter(|base| Url::parse(base).is_ok())
            .into_iter()
            .chain([asked])
            .collect();
        bases.dedup();
        let has_get_parameter = reply
            .header("public")
            .is_some_and(|public| public.contains("GET_PARAMETER"));
        let is_encrypted = is_tls(&url);
        return Ok(Introduced {
            connection,
            description,
            bases,
            has_get_parameter,
            is_encrypted,
        });
    }
    Err(SessionError::Redirect(None))
}

/// How to ask for RTP. Packets over UDP would not be encrypted.
fn carrier(asked: Transport, needs_udp: bool, is_encrypted: bool) -> Carrier {
    match asked {
        _ if is_encrypted => Carrier::Tcp,
        Transport::Udp => Carrier::Udp,
        Transport::Auto if needs_udp => Carrier::Udp,
        Transport::Auto | Transport::Tcp => Carrier::Tcp,
    }
}

/// SETUP of tracks, one after the other.
struct SetUp<'a> {
    connection: &'a mut Connection,
    bases: &'a [String],
    deadline: Duration,
    carrier: Carrier,
    channel: u8,
}

impl SetUp<'_> {
    async fn video(&mut self, video: &Chosen<'_, VideoCodec>) -> Result<MediaTrack, SessionError> {
        let route = self.track(video.media).await?;
        let clock_hz = tracks::video_clock_hz(video.format);
        let depacketizer =
            VideoDepacketizer::new(video.codec, clock_hz, video.format.fmtp.as_deref());
        Ok(received(
            video.format.payload_type,
            Depacketizer::Video(Box::new(depacketizer)),
            route,
        ))
    }

    /// The first audio track that can be recorded and that the camera sets up; video is recorded
    /// without it, too.
    async fn audio(&mut self, description: &Description) -> Option<MediaTrack> {
        let (offers, has_others) = tracks::audio(description);
        if has_others {
            tracing::info!("recording without audio: the camera has none in AAC or G.711");
        }
        for offer in offers {
            match self.audio_track(&offer).await {
                Ok(track) => return Some(track),
                Err(why) => {
                    tracing::warn!(
                        codec = ?offer.codec, why,
                        "recording without an audio track of the camera"
                    );
                }
            }
        }
        None
    }

    async fn audio_track(&mut self, offer: &Chosen<'_, AudioCodec>) -> Result<MediaTrack, String> {
        let depacketizer = AudioDepacketizer::new(&AudioOffer {
            codec: offer.codec,
            clock_hz: offer.format.clock_hz,
            channels: offer.format.channels,
            fmtp: offer.format.fmtp.as_deref(),
        })?;
        let route = self
            .track(offer.media)
            .await
            .map_err(|error| error.to_string())?;
        Ok(received(
            offer.format.payload_type,
            Depacketizer::Audio(depacketizer),
            route,
        ))
    }

    /// SETUP of a track at each address that it may have, until one is accepted.
    async fn track(&mut self, media: &Described) -> Result<Route, SessionError> {
        let mut urls: Vec<_> = self
            .bases
            .iter()
            .map(|base| controlled(base, media.control.as_deref()))
            .collect();
        urls.dedup();
        let mut refused = None;
        for url in urls {
            let (reply, route) = within(self.deadline, self.request(&url)).await?;
            if reply.is_success() {
                return Ok(route);
            }
            let error = match reply.status {
                461 => return Err(SessionError::TransportRefused(self.carrier)),
                _ => refusal(Stage::Setup, &reply),
            };
            // Another address, or a camera that has no better words: RFC 2326, 7.1.1.
            if !matches!(reply.status, 400 | 404 | 451 | 454..=460 | 500..=599) {
                return Err(error);
            }
            refused.get_or_insert(error);
        }
        Err(refused.unwrap_or(SessionError::Ended))
    }

    async fn request(&mut self, url: &str) -> Result<(Reply, Route), SessionError> {
        let (local, peer) = (self.connection.local.ip(), self.connection.peer.ip());
        let pair = match self.carrier {
            Carrier::Udp => Some(UdpPair::bind(local, peer).map_err(|error| {
                SessionError::Unreachable(format!("no UDP ports for the camera's packets: {error}"))
            })?),
            Carrier::Tcp => None,
        };
        let asked = pair
            .as_ref()
            .map_or(Asked::Interleaved(self.channel), |pair| {
                Asked::Udp(pair.port)
            });
        let header = [("Transport", asked.header())];
        let reply = self
            .connection
            .request("SETUP", url, &header, |_, _| {})
            .await;
        let reply = reply.map_err(|error| lost(Stage::Setup, error))?;
        let granted = reply
            .header("transport")
            .map(Granted::of)
            .unwrap_or_default();
        let route = match pair {
            Some(pair) => {
                if let Some(ports) = granted.server_ports {
                    pair.punch(ports);
                }
                Route::Udp(pair)
            }
            None => {
                let (rtp, rtcp) = granted.channels.unwrap_or((self.channel, self.channel + 1));
                self.channel = self.channel.saturating_add(2);
                Route::Channels(rtp, rtcp)
            }
        };
        Ok((reply, route))
    }
}

fn received(payload_type: u8, depacketizer: Depacketizer, route: Route) -> MediaTrack {
    let reorders = matches!(route, Route::Udp(_));
    MediaTrack {
        rtp: RtpTrack::new(payload_type, reorders, depacketizer),
        route,
    }
}

fn refusal(stage: Stage, reply: &Reply) -> SessionError {
    classify(stage, reply.status)
}

/// The error for operators when the connection ends at `stage`.
pub(super) fn lost(stage: Stage, error: ConnectionError) -> SessionError {
    match error {
        ConnectionError::Login(Refusal::Credentials) => SessionError::AuthFailed(401),
        ConnectionError::Login(why @ (Refusal::Downgrade | Refusal::Scheme)) => {
            SessionError::Login(match why {
                Refusal::Downgrade => {
                    "it asks for its password in clear (Basic), and has asked for Digest before"
                }
                _ => "it asks for a login of a kind that is not supported; set it to Digest",
            })
        }
        ConnectionError::Closed | ConnectionError::Io(_) if stage == Stage::Stream => {
            SessionError::Ended
        }
        ConnectionError::Closed => SessionError::Unreachable(
            "the camera closed the connection without an answer".to_owned(),
        ),
        ConnectionError::Io(error) => SessionError::Unreachable(detail(&error.to_string())),
        ConnectionError::Framing(error @ FramingError::Body(_)) if stage == Stage::Describe => {
            SessionError::BadSdp(error.to_string())
        }
        error @ (ConnectionError::Framing(_) | ConnectionError::Unanswered) => {
            SessionError::Protocol {
                stage,
                detail: detail(&error.to_string()),
            }
        }
    }
}

/// Runs one step against its deadline.
async fn within<T>(
    deadline: Duration,
    step: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let late =
        || SessionError::Unreachable(format!("no answer within {} ms", deadline.as_millis()));
    timeout(deadline, step)
        .await
        .unwrap_or_else(|_| Err(late()))
}
