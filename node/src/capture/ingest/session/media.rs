//! Received data of a playing session: finds its track, turns it into frames, and counts its
//! faults.

use crate::capture::ingest::codec::{Arrival, Fault};
use crate::capture::ingest::error::{SessionError, Stage};
use crate::capture::ingest::media::{SessionItem, Undecodable};
use crate::capture::ingest::rhythm::Rhythm;
use crate::capture::ingest::rtp::track::RtpTrack;
use crate::capture::ingest::rtp::udp::UdpPair;
use crate::capture::ingest::rtsp::connection::ConnectionError;
use crate::capture::ingest::rtsp::framing::{Event, FramingError};
use crate::capture::ingest::rtsp::head::Head;
use holdfast_storage::ids::TrackKind;
use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Instant;

/// Packets of a UDP socket that are handled in one turn.
const PACKETS_PER_TURN: usize = 256;
/// The longest UDP packet.
const PACKET_BYTES_MAX: usize = 64 << 10;
/// Requests and answers of the camera that are looked at in one turn.
const ASKED_MAX: usize = 16;
/// Packets of audio in a row that could not be used, after which audio is left out.
const AUDIO_FAULTS_MAX: u32 = 200;

pub(super) struct Media {
    tracks: Vec<MediaTrack>,
    /// Items to hand out.
    pub(super) ready: VecDeque<SessionItem>,
    pub(super) asked: Vec<Asked>,
    faults: [u32; Fault::ALL.len()],
    has_faults: bool,
    /// Packets of video that could not be used since the last frame, and what was wrong with the
    /// last.
    pub(super) faults_in_row: u32,
    last_fault: Option<Fault>,
    audio_faults: u32,
    /// When the data being handled was read.
    pub(super) arrival: Arrival,
    pub(super) last_video: Instant,
    pub(super) rhythm: Rhythm,
    udp_buffer: Vec<u8>,
}

/// A track and where its packets come from.
pub(super) struct MediaTrack {
    pub(super) rtp: RtpTrack,
    pub(super) route: Route,
}

pub(super) enum Route {
    /// The channels of RTP and RTCP.
    Channels(u8, u8),
    Udp(UdpPair),
}

/// A request or answer of the camera between data.
pub(super) enum Asked {
    /// It asks something; answered with this status.
    Request {
        status: u16,
        sequence: Option<String>,
    },
    Answer {
        status: u16,
        challenges: Option<Vec<u8>>,
    },
}

/// Why nothing more comes.
#[derive(Debug)]
pub(super) enum TurnError {
    /// The camera ended the session.
    Ended,
    Connection(ConnectionError),
}

impl From<ConnectionError> for TurnError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<FramingError> for TurnError {
    fn from(error: FramingError) -> Self {
        Self::Connection(error.into())
    }
}

impl Media {
    pub(super) fn new(tracks: Vec<MediaTrack>, rhythm: Rhythm, arrival: Arrival) -> Self {
        let has_udp = tracks
            .iter()
            .any(|track| matches!(track.route, Route::Udp(_)));
        Self {
            tracks,
            ready: VecDeque::new(),
            asked: Vec::new(),
            faults: [0; Fault::ALL.len()],
            has_faults: false,
            faults_in_row: 0,
            last_fault: None,
            audio_faults: 0,
            arrival,
            last_video: arrival.instant,
            rhythm,
            udp_buffer: if has_udp {
                vec![0; PACKET_BYTES_MAX]
            } else {
                Vec::new()
            },
        }
    }

    /// Takes an event of the connection.
    pub(super) fn take(&mut self, event: Event<'_>) -> Result<(), TurnError> {
        match event {
            Event::Data { channel, payload } => self.interleaved(channel, payload),
            Event::Fault(fault) => self.count(fault),
            Event::Message { head, .. } if self.asked.len() < ASKED_MAX => {
                return self.message(&head);
            }
            Event::Message { .. } => {}
        }
        Ok(())
    }

    /// Takes interleaved data.
    pub(super) fn interleaved(&mut self, channel: u8, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        let of = |track: &MediaTrack| match track.route {
            Route::Channels(rtp, _) if rtp == channel => Some(false),
            Route::Channels(_, rtcp) if rtcp == channel => Some(true),
            _ => None,
        };
        let found = self
            .tracks
            .iter()
            .enumerate()
            .find_map(|(at, track)| Some((at, of(track)?)));
        match found {
            Some((at, is_rtcp)) => self.packet(at, is_rtcp, payload),
            None => self.count(Fault::Channel),
        }
    }

    /// Reads the UDP sockets. Returns how many bytes they held.
    pub(super) fn poll_udp(&mut self, context: &mut Context<'_>) -> Result<usize, SessionError> {
        let mut read = 0;
        let mut buffer = std::mem::take(&mut self.udp_buffer);
        for at in 0..self.tracks.len() {
            for is_rtcp in [false, true] {
                for _ in 0..PACKETS_PER_TURN {
                    let Route::Udp(pair) = &mut self.tracks[at].route else {
                        break;
                    };
                    let mut strangers = 0;
                    let polled = pair.poll(context, is_rtcp, &mut buffer, &mut strangers);
                    (0..strangers).for_each(|_| self.count(Fault::Source));
                    match polled {
                        Poll::Ready(Ok(bytes)) => {
                            read += bytes.max(1);
                            self.packet(at, is_rtcp, &buffer[..bytes]);
                        }
                        Poll::Ready(Err(error)) => {
                            return Err(SessionError::Unreachable(format!(
                                "a UDP socket failed: {error}"
                            )));
                        }
                        Poll::Pending => break,
                    }
                }
            }
        }
        self.udp_buffer = buffer;
        Ok(read)
    }

    /// Hands over units that are not expected to continue.
    pub(super) fn idle(&mut self, now: Instant) {
        let before = self.ready.len();
        for at in 0..self.tracks.len() {
            if let Err(fault) = self.tracks[at].rtp.idle(now, &mut self.ready) {
                self.count(fault);
            }
        }
        self.note_frames(before);
    }

    /// Whether [`Self::idle`] has something to do soon.
    pub(super) fn is_waiting(&self) -> bool {
        self.tracks.iter().any(|track| track.rtp.is_waiting())
    }

    /// The stream is over: hands over the rest of it.
    pub(super) fn finish(&mut self) {
        self.tracks
            .iter_mut()
            .for_each(|track| track.rtp.finish(&mut self.ready));
    }

    pub(super) fn take_faults(&mut self) -> Option<[u32; Fault::ALL.len()]> {
        std::mem::take(&mut self.has_faults).then(|| std::mem::take(&mut self.faults))
    }

    pub(super) fn undecodable(&self) -> Option<&Undecodable> {
        self.tracks.iter().find_map(|track| track.rtp.undecodable())
    }

    pub(super) fn too_many_faults(&self) -> SessionError {
        let kind = self.last_fault.map_or("unknown", Fault::name);
        let detail = format!(
            "{} packets in a row could not be used, the last one because of: {kind}; \
             docs/cameras.md has what that means",
            self.faults_in_row
        );
        SessionError::Protocol {
            stage: Stage::Stream,
            detail,
        }
    }

    fn packet(&mut self, at: usize, is_rtcp: bool, bytes: &[u8]) {
        let before = self.ready.len();
        let Some(track) = self.tracks.get_mut(at) else {
            return;
        };
        let kind = track.rtp.kind();
        let taken = match is_rtcp {
            true => track.rtp.rtcp(bytes, &mut self.ready),
            false => track.rtp.rtp(bytes, self.arrival, &mut self.ready),
        };
        self.note_frames(before);
        let Err(fault) = taken else { return };
        self.count(fault);
        match kind {
            _ if is_rtcp => {}
            TrackKind::Video => {
                self.faults_in_row = self.faults_in_row.saturating_add(1);
                self.last_fault = Some(fault);
            }
            _ => self.bad_audio(fault),
        }
    }

    /// Bad audio never costs video.
    fn bad_audio(&mut self, fault: Fault) {
        self.audio_faults = self.audio_faults.saturating_add(1);
        if self.audio_faults == AUDIO_FAULTS_MAX {
            let fault = fault.name();
            tracing::warn!(
                fault,
                "recording without audio: {AUDIO_FAULTS_MAX} packets in a row could not be used"
            );
            self.tracks
                .retain(|track| track.rtp.kind() != TrackKind::Audio);
        }
    }

    fn note_frames(&mut self, before: usize) {
        for item in self.ready.iter().skip(before) {
            let SessionItem::Frame(frame) = item else {
                continue;
            };
            if frame.track == TrackKind::Video {
                self.faults_in_row = 0;
                self.last_video = self.arrival.instant.max(self.last_video);
                self.rhythm.frame(frame.received);
            } else {
                self.audio_faults = 0;
            }
        }
    }

    fn message(&mut self, head: &Head) -> Result<(), TurnError> {
        let sequence = || head.fields().get("cseq").map(str::to_owned);
        let asked = match head {
            Head::Response { status, fields } => {
                let challenges = fields.bytes("www-authenticate").map(<[u8]>::to_vec);
                Asked::Answer {
                    status: *status,
                    challenges,
                }
            }
            Head::Request { method, .. } => match method.as_str() {
                "TEARDOWN" | "REDIRECT" => return Err(TurnError::Ended),
                "OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER" | "ANNOUNCE" => Asked::Request {
                    status: 200,
                    sequence: sequence(),
                },
                _ => Asked::Request {
                    status: 501,
                    sequence: sequence(),
                },
            },
        };
        self.asked.push(asked);
        Ok(())
    }

    fn count(&mut self, fault: Fault) {
        self.has_faults = true;
        let at = fault as usize;
        self.faults[at] = self.faults[at].saturating_add(1);
    }
}
