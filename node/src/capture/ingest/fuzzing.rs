//! Gives the fuzz targets access to the parsers of what cameras send. No other code may use it.

use crate::capture::ingest::codec::audio::{AudioDepacketizer, AudioOffer};
use crate::capture::ingest::codec::nal;
use crate::capture::ingest::codec::parameter_sets::ParameterSets;
use crate::capture::ingest::codec::video::VideoDepacketizer;
use crate::capture::ingest::codec::{Arrival, Fault, Packet};
use crate::capture::ingest::media::{
    AudioCodec, MediaFrame, SessionItem, TrackParameters, VideoCodec,
};
use crate::capture::ingest::rtp::track::{Depacketizer, RtpTrack};
use crate::capture::ingest::rtsp::framing::{Event, Framing, FramingError, PENDING_BYTES_MAX};
use crate::capture::ingest::rtsp::head::{self, Head};
use crate::capture::ingest::rtsp::login::{Login, LoginMemory};
use crate::capture::ingest::rtsp::sdp::{self, Description};
use crate::capture::ingest::rtsp::transport::{self, Granted};
use crate::capture::ingest::tracks;
use std::collections::VecDeque;

/// Of a description.
pub const MEDIA_MAX: usize = sdp::MEDIA_MAX;

/// The content of a connection's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Data(u8, Vec<u8>),
    Response { status: u16, body: Vec<u8> },
    Request(String),
    Fault,
}

/// Takes a connection's bytes as they come. Returns what they held, and whether the connection is
/// still usable.
#[must_use]
pub fn connection<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Heard>, bool) {
    let mut framing = Framing::default();
    let mut heard = Vec::new();
    for piece in pieces {
        let from = framing.pending_bytes();
        assert!(from <= PENDING_BYTES_MAX, "{from} bytes are kept");
        let mut buffer = vec![0; from + piece.len()];
        framing.resume(&mut buffer);
        buffer[from..].copy_from_slice(piece);
        let parted = framing.part(&buffer, |event| {
            heard.extend(hear(event));
            Ok::<_, FramingError>(())
        });
        if parted.is_err() {
            return (heard, false);
        }
    }
    (heard, true)
}

fn hear(event: Event<'_>) -> Option<Heard> {
    Some(match event {
        // An empty line.
        Event::Data {
            channel: u8::MAX,
            payload: [],
        } => return None,
        Event::Data { channel, payload } => Heard::Data(channel, payload.to_vec()),
        Event::Message {
            head: Head::Response { status, .. },
            body,
        } => Heard::Response {
            status,
            body: body.to_vec(),
        },
        Event::Message {
            head: Head::Request { method, .. },
            ..
        } => Heard::Request(method),
        Event::Fault(_) => Heard::Fault,
    })
}

/// What a session would send next in response to a head: the login, and its id at the camera.
#[must_use]
pub fn answers(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some(head) = head::parse(bytes) else {
        return Vec::new();
    };
    let fields = head.fields();
    let mut login = Login::new(
        Some(("user".to_owned(), "secret".to_owned())),
        LoginMemory::default(),
        true,
    );
    let asked = login.challenged(fields.bytes("www-authenticate")).is_ok();
    let authorization = if asked {
        login.authorization("PLAY", "rtsp://camera/1")
    } else {
        None
    };
    let session = fields
        .bytes("session")
        .and_then(transport::session)
        .map(|(id, _)| id);
    let granted = fields.get("transport").map(Granted::of).unwrap_or_default();
    assert!(granted.server_ports.is_none_or(|(rtp, _)| rtp > 0));
    authorization.into_iter().chain(session).collect()
}

/// What would be recorded by a description (SDP); `None` if it is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    description: Description,
    /// Descriptions of media, and the most formats that one has.
    pub media: usize,
    pub formats: usize,
    /// Clock rates of the tracks that would be set up, in Hz.
    pub clocks_hz: Vec<u32>,
}

/// Parses a description, and sets up the receivers of its tracks' packets.
#[must_use]
pub fn description(bytes: &[u8]) -> Option<Described> {
    let description = sdp::parse(bytes).ok()?;
    let mut clocks_hz = Vec::new();
    if let Ok(video) = tracks::video(&description) {
        let clock_hz = tracks::video_clock_hz(video.format);
        VideoDepacketizer::new(video.codec, clock_hz, video.format.fmtp.as_deref());
        clocks_hz.push(clock_hz);
    }
    for audio in tracks::audio(&description).0 {
        let (clock_hz, channels) = (audio.format.clock_hz, audio.format.channels);
        let offer = AudioOffer {
            codec: audio.codec,
            clock_hz,
            channels,
            fmtp: audio.format.fmtp.as_deref(),
        };
        clocks_hz.extend(AudioDepacketizer::new(&offer).is_ok().then_some(clock_hz));
    }
    let formats = description
        .media
        .iter()
        .map(|media| media.formats.len())
        .max()
        .unwrap_or(0);
    Some(Described {
        media: description.media.len(),
        formats,
        clocks_hz,
        description,
    })
}

/// A video track behind its RTP: packets in order.
pub struct Video(VideoDepacketizer);

impl Video {
    #[must_use]
    pub fn new(codec: VideoCodec, fmtp: Option<&str>) -> Self {
        Self(VideoDepacketizer::new(codec, 90_000, fmtp))
    }

    /// # Errors
    /// Something in it could not be used.
    pub fn push(&mut self, packet: &Packet<'_>, out: &mut Vec<MediaFrame>) -> Result<(), Fault> {
        self.0.push(packet, out)
    }

    pub fn idle(&mut self, now: std::time::Instant, out: &mut Vec<MediaFrame>) {
        self.0.idle(now, out);
    }

    pub fn finish(&mut self, out: &mut Vec<MediaFrame>) {
        self.0.finish(out);
    }
}

/// An audio track behind its RTP.
pub struct Audio(AudioDepacketizer);

impl Audio {
    /// `None`: the track is not one that can be recorded.
    #[must_use]
    pub fn new(
        codec: AudioCodec,
        clock_hz: u32,
        channels: Option<u16>,
        fmtp: Option<&str>,
    ) -> Option<Self> {
        let channels = channels.and_then(std::num::NonZeroU16::new);
        AudioDepacketizer::new(&AudioOffer {
            codec,
            clock_hz,
            channels,
            fmtp,
        })
        .ok()
        .map(Self)
    }

    /// # Errors
    /// Something in it could not be used.
    pub fn push(&mut self, packet: &Packet<'_>, out: &mut Vec<MediaFrame>) -> Result<(), Fault> {
        self.0.push(packet, out)
    }
}

/// A video track of payload type 96 with its RTP and RTCP.
pub struct Track(RtpTrack, VecDeque<SessionItem>);

impl Track {
    /// `reorders`: over UDP.
    #[must_use]
    pub fn new(codec: VideoCodec, reorders: bool) -> Self {
        let depacketizer =
            Depacketizer::Video(Box::new(VideoDepacketizer::new(codec, 90_000, None)));
        Self(RtpTrack::new(96, reorders, depacketizer), VecDeque::new())
    }

    /// # Errors
    /// Something in it could not be used.
    pub fn packet(&mut self, is_rtcp: bool, bytes: &[u8], arrival: Arrival) -> Result<(), Fault> {
        match is_rtcp {
            true => self.0.rtcp(bytes, &mut self.1),
            false => self.0.rtp(bytes, arrival, &mut self.1),
        }
    }

    /// # Errors
    /// Something that had waited could not be used.
    pub fn idle(&mut self, now: std::time::Instant) -> Result<(), Fault> {
        self.0.idle(now, &mut self.1)
    }

    /// The items that it yielded.
    pub fn take(&mut self) -> Vec<SessionItem> {
        self.1.drain(..).collect()
    }

    pub fn finish(&mut self) {
        self.0.finish(&mut self.1);
    }
}

/// Whether a NAL unit is of a coded picture.
#[must_use]
pub fn is_coded(codec: VideoCodec, nal: &[u8]) -> bool {
    nal::is_coded(codec, nal)
}

/// What a NAL unit's recovery point SEI message says; `None` if it has none, or is something else.
#[must_use]
pub fn recovery(codec: VideoCodec, nal: &[u8]) -> Option<u16> {
    match nal::inspect(codec, nal) {
        nal::Nal::Sei { recovery } => recovery,
        _ => None,
    }
}

/// The configuration record of a stream's parameter sets, those of its SDP first; after each of
/// `nals`.
#[must_use]
pub fn configurations(
    codec: VideoCodec,
    fmtp: &str,
    nals: &[Vec<u8>],
) -> Vec<Option<TrackParameters>> {
    let mut sets = ParameterSets::new(codec);
    sets.read_fmtp(fmtp);
    let each = nals.iter().map(|nal| {
        // One that cannot be used is left out.
        let _ = sets.see(nal);
        sets.parameters(None, 90_000).ok()
    });
    each.collect()
}
