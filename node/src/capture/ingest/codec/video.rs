//! RTP packets of a video track in, access units out. Pure.

use super::access_unit::{AccessUnits, Part};
use super::nal::{Nal, inspect};
use super::{Fault, Packet, h264, h265};
use crate::capture::ingest::media::{MediaFrame, Undecodable, VideoCodec};
use std::time::Instant;

/// How much of the start of a fragmented NAL unit is read: headers of slices.
const PEEK_BYTES: usize = 16;

pub(crate) struct VideoDepacketizer {
    codec: VideoCodec,
    /// Packets have decoding order numbers: H.264's interleaved mode, H.265 with
    /// `sprop-max-don-diff`.
    has_numbers: bool,
    units: AccessUnits,
}

impl VideoDepacketizer {
    /// `fmtp`: the format parameters of the SDP; `timescale`: RTP clock rate, in Hz.
    pub(crate) fn new(codec: VideoCodec, timescale: u32, fmtp: Option<&str>) -> Self {
        let has_numbers = fmtp.is_some_and(|fmtp| has_numbers(codec, fmtp));
        Self {
            codec,
            has_numbers,
            units: AccessUnits::new(codec, timescale, fmtp),
        }
    }

    /// Takes the next packet; frames that it completes go to `out`.
    ///
    /// # Errors
    /// Something in it could not be used; the rest was.
    pub(crate) fn push(
        &mut self,
        packet: &Packet<'_>,
        out: &mut impl Extend<MediaFrame>,
    ) -> Result<(), Fault> {
        let first = self.first_nal(packet.payload);
        self.units.begin_packet(packet, first, out);
        let units = &mut self.units;
        let each = |part: Part<'_>| units.part(packet, &part);
        let outcome = match self.codec {
            VideoCodec::H264 => h264::parts(packet.payload, self.has_numbers, each),
            VideoCodec::H265 => h265::parts(packet.payload, self.has_numbers, each),
        };
        self.units.end_packet(packet, out);
        outcome
    }

    /// Hands over units that are not expected to continue.
    pub(crate) fn idle(&mut self, now: Instant, out: &mut impl Extend<MediaFrame>) {
        self.units.idle(now, out);
    }

    /// Whether [`Self::idle`] has something to do soon.
    pub(crate) fn is_waiting(&self) -> bool {
        self.units.is_waiting()
    }

    /// The stream is over.
    pub(crate) fn finish(&mut self, out: &mut impl Extend<MediaFrame>) {
        self.units.finish(out);
    }

    /// Why none of the stream can be decoded, if parameter sets are the reason.
    pub(crate) fn undecodable(&self) -> Option<&Undecodable> {
        self.units.undecodable()
    }

    /// The first NAL unit of a payload; `None` if it continues a fragment, or cannot be found.
    fn first_nal(&self, payload: &[u8]) -> Option<Nal> {
        let mut first = None;
        let each = |part: Part<'_>| {
            let seen = match part {
                Part::Nal(nal) => Some(inspect(self.codec, &nal[..nal.len().min(PEEK_BYTES)])),
                Part::First {
                    header,
                    header_bytes,
                    body,
                    ..
                } => {
                    let mut peek = [0; PEEK_BYTES];
                    let body = &body[..body.len().min(PEEK_BYTES - header_bytes)];
                    peek[..header_bytes].copy_from_slice(&header[..header_bytes]);
                    peek[header_bytes..header_bytes + body.len()].copy_from_slice(body);
                    Some(inspect(self.codec, &peek[..header_bytes + body.len()]))
                }
                Part::Next { .. } => None,
            };
            first = first.or(seen);
            // The first one is enough.
            Err(Fault::Payload)
        };
        // A malformed payload is reported when its parts are taken.
        let _ = match self.codec {
            VideoCodec::H264 => h264::parts(payload, self.has_numbers, each),
            VideoCodec::H265 => h265::parts(payload, self.has_numbers, each),
        };
        first
    }
}

/// RFC 6184, 8.1 `packetization-mode`; RFC 7798, 7.1 `sprop-max-don-diff`.
fn has_numbers(codec: VideoCodec, fmtp: &str) -> bool {
    let (parameter, least) = match codec {
        VideoCodec::H264 => ("packetization-mode", 2),
        VideoCodec::H265 => ("sprop-max-don-diff", 1),
    };
    let mut named = fmtp.split(';').filter_map(|text| text.split_once('='));
    named.any(|(name, value)| {
        name.trim().eq_ignore_ascii_case(parameter)
            && value
                .trim()
                .parse::<u32>()
                .is_ok_and(|value| value >= least)
    })
}

#[cfg(test)]
mod tests;
