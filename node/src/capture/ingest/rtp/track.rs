//! One track of a session: its RTP and RTCP packets in, frames and sender reports out. Pure.

use super::sequence::{Received, Sequence};
use crate::capture::ingest::codec::audio::AudioDepacketizer;
use crate::capture::ingest::codec::video::VideoDepacketizer;
use crate::capture::ingest::codec::{Arrival, Fault, Packet};
use crate::capture::ingest::media::{MediaFrame, SenderReport, SessionItem, Undecodable};
use holdfast_storage::ids::TrackKind;
use retina::rtcp::PacketRef;
use retina::rtp::PacketHeader;
use std::collections::VecDeque;
use std::time::Instant;

/// RTCP packets of one compound packet that are looked at.
const COMPOUND_MAX: usize = 32;
/// The padding bit of an RTP header (RFC 3550, 5.1).
const PADDING: u8 = 0x20;

pub(crate) struct RtpTrack {
    kind: TrackKind,
    payload_type: u8,
    sequence: Sequence,
    depacketizer: Depacketizer,
}

pub(crate) enum Depacketizer {
    Video(Box<VideoDepacketizer>),
    Audio(AudioDepacketizer),
}

/// Frames as items of the session.
struct Frames<'a>(&'a mut VecDeque<SessionItem>);

impl Extend<MediaFrame> for Frames<'_> {
    fn extend<T: IntoIterator<Item = MediaFrame>>(&mut self, frames: T) {
        self.0.extend(frames.into_iter().map(SessionItem::Frame));
    }
}

impl RtpTrack {
    /// `reorders`: over UDP.
    pub(crate) fn new(payload_type: u8, reorders: bool, depacketizer: Depacketizer) -> Self {
        let kind = match depacketizer {
            Depacketizer::Video(_) => TrackKind::Video,
            Depacketizer::Audio(_) => TrackKind::Audio,
        };
        Self {
            kind,
            payload_type,
            sequence: Sequence::new(reorders),
            depacketizer,
        }
    }

    pub(crate) fn kind(&self) -> TrackKind {
        self.kind
    }

    /// Takes an RTP packet.
    ///
    /// # Errors
    /// Something in it could not be used.
    pub(crate) fn rtp(
        &mut self,
        bytes: &[u8],
        arrival: Arrival,
        out: &mut VecDeque<SessionItem>,
    ) -> Result<(), Fault> {
        match PacketHeader::validate(bytes) {
            Ok((header, payload)) => {
                let payload = bytes.get(usize::from(payload.start)..usize::from(payload.end));
                self.take(&header, payload.unwrap_or_default(), arrival, out)
            }
            // Its padding does not add up: as if it had none.
            Err(_) if bytes.first().is_some_and(|first| first & PADDING != 0) => {
                let mut bytes = bytes.to_vec();
                bytes[0] &= !PADDING;
                self.rtp(&bytes, arrival, out)
            }
            Err(_) => Err(Fault::NotRtp),
        }
    }

    /// Takes a compound RTCP packet.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn rtcp(
        &self,
        mut bytes: &[u8],
        out: &mut VecDeque<SessionItem>,
    ) -> Result<(), Fault> {
        for _ in 0..COMPOUND_MAX {
            if bytes.is_empty() {
                break;
            }
            let (packet, rest) = PacketRef::parse(bytes).map_err(|_| Fault::Rtcp)?;
            bytes = rest;
            if let Ok(Some(report)) = packet.as_sender_report()
                && let Some(rtp) = self.sequence.unwrapped(report.rtp_timestamp())
            {
                let ntp_us = ntp_micros(report.ntp_timestamp().0);
                out.push_back(SessionItem::Report(self.kind, SenderReport { ntp_us, rtp }));
            }
        }
        Ok(())
    }

    /// Hands over units that are not expected to continue.
    ///
    /// # Errors
    /// Something in it could not be used.
    pub(crate) fn idle(
        &mut self,
        now: Instant,
        out: &mut VecDeque<SessionItem>,
    ) -> Result<(), Fault> {
        let (sequence, depacketizer) = (&mut self.sequence, &mut self.depacketizer);
        let mut outcome = Ok(());
        sequence.idle(now, |packet| {
            let pushed = depacketizer.push(&packet, out);
            outcome = outcome.and(pushed);
        });
        if let Depacketizer::Video(video) = depacketizer {
            video.idle(now, &mut Frames(out));
        }
        outcome
    }

    /// Whether [`Self::idle`] has something to do soon.
    pub(crate) fn is_waiting(&self) -> bool {
        let is_video_waiting = match &self.depacketizer {
            Depacketizer::Video(video) => video.is_waiting(),
            Depacketizer::Audio(_) => false,
        };
        is_video_waiting || self.sequence.is_waiting()
    }

    /// The stream is over.
    pub(crate) fn finish(&mut self, out: &mut VecDeque<SessionItem>) {
        if let Depacketizer::Video(video) = &mut self.depacketizer {
            video.finish(&mut Frames(out));
        }
    }

    /// Why none of the stream can be decoded, if parameter sets are the reason.
    pub(crate) fn undecodable(&self) -> Option<&Undecodable> {
        match &self.depacketizer {
            Depacketizer::Video(video) => video.undecodable(),
            Depacketizer::Audio(_) => None,
        }
    }

    fn take(
        &mut self,
        header: &PacketHeader,
        payload: &[u8],
        arrival: Arrival,
        out: &mut VecDeque<SessionItem>,
    ) -> Result<(), Fault> {
        if header.payload_type() != self.payload_type {
            return Err(Fault::PayloadType);
        }
        let received = Received {
            ssrc: header.ssrc(),
            number: header.sequence_number(),
            rtp: header.timestamp(),
            marker: header.mark(),
            payload,
            arrival,
        };
        let depacketizer = &mut self.depacketizer;
        let mut outcome = Ok(());
        self.sequence.push(&received, |packet| {
            let pushed = depacketizer.push(&packet, out);
            outcome = outcome.and(pushed);
        })?;
        outcome
    }
}

impl Depacketizer {
    fn push(&mut self, packet: &Packet<'_>, out: &mut VecDeque<SessionItem>) -> Result<(), Fault> {
        match self {
            Self::Video(video) => video.push(packet, &mut Frames(out)),
            Self::Audio(audio) => audio.push(packet, &mut Frames(out)),
        }
    }
}

/// An NTP timestamp (RFC 3550, 4: 32.32 fixed point since 1900) in microseconds since the Unix
/// epoch.
fn ntp_micros(ntp: u64) -> i64 {
    let since_epoch = i128::from(ntp) - i128::from(retina::UNIX_EPOCH.0);
    // 64 bits of 1/2^32 s are less than 2^53 microseconds.
    i64::try_from((since_epoch * 1_000_000) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests;
