//! Frames as RTP packets (RFC 3550), built once for a camera and patched for each session.

use crate::codec::Codec;
use crate::packing::{self, Payload, VIDEO_PAYLOAD_TYPE};
use crate::random::Random;
use rtp_types::prelude::*;
use rtp_types::{RtpPacketBuilder, RtpPacketMut, RtpParseError, RtpWriteError};
use std::ops::Range;

/// PCMU at 8 kHz (RFC 3551, table 4).
pub(crate) const AUDIO_PAYLOAD_TYPE: u8 = 0;
pub(crate) const AAC_PAYLOAD_TYPE: u8 = 97;

/// `$`, channel and length before each packet on a TCP connection (RFC 2326, 10.12).
pub(crate) const INTERLEAVED_BYTES: usize = 4;
const RTP_HEADER_BYTES: usize = 12;

/// The packets of one frame, concatenated in the form of an interleaved TCP stream. Channel, SSRC
/// and the bases of sequence number and timestamp differ for each session, see [`Numbers::patch`].
#[derive(Debug, Default)]
pub(crate) struct Packets {
    buffer: Vec<u8>,
    ends: Vec<usize>,
    /// RTP sequence numbers that the frame uses, including dropped packets.
    pub(crate) sequence_numbers: u16,
    pub(crate) payload_octets: usize,
}

/// The session-specific numbers in the packets of one track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) channel: u8,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp_offset: u32,
}

impl Packets {
    /// One access unit; the last packet has the marker.
    pub(crate) fn of_access_unit(
        codec: Codec,
        nals: &[&[u8]],
        timestamp: u32,
    ) -> Result<Self, RtpWriteError> {
        let mut packets = Self::default();
        for (at, nal) in nals.iter().enumerate() {
            let is_last = at + 1 == nals.len();
            let mut pushed = Ok(());
            packing::for_each_packet(codec, nal, |parts, ends_unit| {
                if pushed.is_ok() {
                    pushed =
                        packets.push(VIDEO_PAYLOAD_TYPE, parts, is_last && ends_unit, timestamp);
                }
            });
            pushed?;
        }
        Ok(packets)
    }

    /// The payloads that an oddity has made of an access unit. A lost one still uses its sequence
    /// number.
    pub(crate) fn of_payloads(payloads: &[Payload]) -> Result<Self, RtpWriteError> {
        let mut packets = Self::default();
        for payload in payloads {
            if payload.is_lost {
                packets.sequence_numbers = packets.sequence_numbers.wrapping_add(1);
            } else {
                packets.push(
                    payload.kind,
                    &[&payload.bytes],
                    payload.marker,
                    payload.timestamp,
                )?;
            }
        }
        Ok(packets)
    }

    /// One packet of audio.
    pub(crate) fn of_audio(
        kind: u8,
        payload: &[u8],
        marker: bool,
        timestamp: u32,
    ) -> Result<Self, RtpWriteError> {
        let mut packets = Self::default();
        packets.push(kind, &[payload], marker, timestamp)?;
        Ok(packets)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Removes the first `count` packets; their sequence numbers stay used.
    pub(crate) fn drop_first(&mut self, count: usize) {
        let count = count.min(self.ends.len());
        let Some(&cut) = count.checked_sub(1).and_then(|last| self.ends.get(last)) else {
            return;
        };
        self.buffer.drain(..cut);
        self.ends = self.ends[count..].iter().map(|end| end - cut).collect();
    }

    /// Replaces every payload by noise of the same length.
    pub(crate) fn garble(&mut self, random: &mut Random) {
        for packet in self.ranges().collect::<Vec<_>>() {
            random.fill(
                &mut self.buffer[packet.start + INTERLEAVED_BYTES + RTP_HEADER_BYTES..packet.end],
            );
        }
    }

    /// Appends the packets of `next`.
    pub(crate) fn append(&mut self, next: &Self) -> Result<(), RtpParseError> {
        let numbers = Numbers {
            channel: 0,
            ssrc: 0,
            sequence: self.sequence_numbers,
            timestamp_offset: 0,
        };
        let before = self.buffer.len();
        { numbers }.patch(next, &mut self.buffer)?;
        self.ends.extend(next.ends.iter().map(|end| before + end));
        self.sequence_numbers = self.sequence_numbers.wrapping_add(next.sequence_numbers);
        self.payload_octets += next.payload_octets;
        Ok(())
    }

    /// Each packet's range in the buffer, including the interleaving header.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .map(|(start, end)| start..end)
    }

    fn push(
        &mut self,
        kind: u8,
        payload: &[&[u8]],
        marker: bool,
        timestamp: u32,
    ) -> Result<(), RtpWriteError> {
        let octets: usize = payload.iter().map(|part| part.len()).sum();
        let length = u16::try_from(octets + RTP_HEADER_BYTES).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&[b'$', 0]);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        let builder = RtpPacketBuilder::<&[u8], &[u8]>::new()
            .payload_type(kind)
            .marker_bit(marker)
            .sequence_number(self.sequence_numbers)
            .timestamp(timestamp);
        payload
            .iter()
            .fold(builder, |builder, part| builder.payload(part))
            .write_into_vec(&mut self.buffer)?;
        self.ends.push(self.buffer.len());
        self.sequence_numbers = self.sequence_numbers.wrapping_add(1);
        self.payload_octets += octets;
        Ok(())
    }
}

impl Numbers {
    /// Appends `packets` to `out` with this session's numbers, and advances by their sequence
    /// numbers.
    pub(crate) fn patch(
        &mut self,
        packets: &Packets,
        out: &mut Vec<u8>,
    ) -> Result<(), RtpParseError> {
        let base = out.len();
        out.extend_from_slice(&packets.buffer);
        for range in packets.ranges() {
            let packet = &mut out[base + range.start..base + range.end];
            packet[1] = self.channel;
            self.patch_one(&mut packet[INTERLEAVED_BYTES..])?;
        }
        self.sequence = self.sequence.wrapping_add(packets.sequence_numbers);
        Ok(())
    }

    fn patch_one(&self, packet: &mut [u8]) -> Result<(), RtpParseError> {
        let seen = rtp_types::RtpPacket::parse(packet)?;
        let (sequence, timestamp) = (seen.sequence_number(), seen.timestamp());
        let mut packet = RtpPacketMut::parse(packet)?;
        packet.set_sequence_number(self.sequence.wrapping_add(sequence));
        packet.set_timestamp(self.timestamp_offset.wrapping_add(timestamp));
        packet.set_ssrc(self.ssrc);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp_types::RtpPacket;

    fn numbers() -> Numbers {
        Numbers {
            channel: 2,
            ssrc: 0xabcd,
            sequence: u16::MAX,
            timestamp_offset: u32::MAX,
        }
    }

    fn patched(packets: &Packets) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        numbers().patch(packets, &mut out).unwrap();
        packets.ranges().map(|range| out[range].to_vec()).collect()
    }

    #[test]
    fn packets_have_the_sessions_numbers_and_fit_their_frames() {
        let nal = |size: usize| vec![0x65_u8; size];
        let nals = [nal(3), nal(5000), nal(1401)];
        let parts: Vec<&[u8]> = nals.iter().map(Vec::as_slice).collect();
        let packets = patched(&Packets::of_access_unit(Codec::H264, &parts, 1).unwrap());
        assert_eq!(packets.len(), 1 + 4 + 2);
        for (at, bytes) in packets.iter().enumerate() {
            let packet = RtpPacket::parse(&bytes[INTERLEAVED_BYTES..]).unwrap();
            assert!(packet.payload_len() <= packing::PAYLOAD_BYTES_MAX);
            assert_eq!(packet.marker_bit(), at + 1 == packets.len());
            assert_eq!(packet.sequence_number(), u16::MAX.wrapping_add(at as u16));
            assert_eq!(
                (packet.timestamp(), packet.ssrc(), bytes[1]),
                (0, 0xabcd, 2)
            );
            assert_eq!(
                usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
                bytes.len() - INTERLEAVED_BYTES
            );
        }
    }

    #[test]
    fn payloads_that_are_lost_take_their_numbers() {
        let payload = |is_lost| Payload {
            is_lost,
            ..Payload::new(vec![0x41, 1], 0)
        };
        let packets =
            Packets::of_payloads(&[payload(false), payload(true), payload(false)]).unwrap();
        assert_eq!((packets.len(), packets.sequence_numbers), (2, 3));
        let last = patched(&packets).remove(1);
        assert_eq!(
            RtpPacket::parse(&last[INTERLEAVED_BYTES..])
                .unwrap()
                .sequence_number(),
            1
        );
    }

    #[test]
    fn packets_are_put_behind_others() {
        let audio =
            |timestamp| Packets::of_audio(AUDIO_PAYLOAD_TYPE, &[1, 2], false, timestamp).unwrap();
        let mut packets = audio(5);
        packets.append(&audio(9)).unwrap();
        let seen: Vec<(u16, u32)> = patched(&packets)
            .iter()
            .map(|bytes| RtpPacket::parse(&bytes[INTERLEAVED_BYTES..]).unwrap())
            .map(|packet| (packet.sequence_number(), packet.timestamp().wrapping_add(1)))
            .collect();
        assert_eq!(seen, [(u16::MAX, 5), (0, 9)]);
    }

    #[test]
    fn dropped_packets_leave_a_hole() {
        let nal = vec![0x41u8; 5000];
        let mut packets = Packets::of_access_unit(Codec::H264, &[&nal], 0).unwrap();
        packets.drop_first(2);
        assert_eq!((packets.len(), packets.sequence_numbers), (2, 4));
        let first = patched(&packets).remove(0);
        let sequence = RtpPacket::parse(&first[INTERLEAVED_BYTES..])
            .unwrap()
            .sequence_number();
        assert_eq!(sequence, u16::MAX.wrapping_add(2));
        packets.drop_first(9);
        assert_eq!((packets.len(), packets.sequence_numbers), (0, 4));
    }

    #[test]
    fn garbage_keeps_the_rtp_headers() {
        let mut packets = Packets::of_access_unit(Codec::H264, &[&[0x41u8; 3000]], 7).unwrap();
        packets.garble(&mut Random::seeded(1));
        let after = patched(&packets);
        assert!(after.iter().all(|bytes| {
            RtpPacket::parse(&bytes[INTERLEAVED_BYTES..])
                .unwrap()
                .ssrc()
                == 0xabcd
        }));
        assert_ne!(after.iter().flatten().collect::<Vec<_>>().len(), 0);
        let payloads: Vec<u8> = after
            .iter()
            .flat_map(|bytes| bytes[16..].to_vec())
            .collect();
        assert!(payloads.iter().filter(|&&byte| byte == 0x41).count() < payloads.len() / 10);
    }
}
