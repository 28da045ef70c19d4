//! Frames as RTP packets (RFC 3550; H.264: RFC 6184, non-interleaved mode), built once a camera and patched for each session.

use crate::random::Random;
use rtp_types::prelude::*;
use rtp_types::{RtpPacketBuilder, RtpPacketMut, RtpParseError, RtpWriteError};
use std::ops::Range;

/// RTP payload bytes of one packet at most, so that it fits an Ethernet frame.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1400;
pub(crate) const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// PCMU at 8 kHz (RFC 3551, table 4).
pub(crate) const AUDIO_PAYLOAD_TYPE: u8 = 0;

/// `$`, channel and length before each packet on a TCP connection (RFC 2326, 10.12).
pub(crate) const INTERLEAVED_BYTES: usize = 4;
const RTP_HEADER_BYTES: usize = 12;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// The packets of one frame, one behind the other in the form of an interleaved TCP stream. Channel, SSRC and the bases of sequence number and
/// timestamp are each session's own, see [`Numbers::patch`].
#[derive(Debug, Default)]
pub(crate) struct Packets {
    buffer: Vec<u8>,
    ends: Vec<usize>,
    /// RTP sequence numbers that the frame takes, dropped packets included.
    pub(crate) sequence_numbers: u16,
    pub(crate) payload_octets: usize,
}

/// What is a session's own in the packets of one track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) channel: u8,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp_offset: u32,
}

impl Packets {
    /// One access unit; the last packet has the marker.
    pub(crate) fn of_access_unit(nals: &[&[u8]], timestamp: u32) -> Result<Self, RtpWriteError> {
        let mut packets = Self::default();
        for (at, nal) in nals.iter().enumerate() {
            packets.push_nal(nal, at + 1 == nals.len(), timestamp)?;
        }
        Ok(packets)
    }

    /// One packet of audio samples.
    pub(crate) fn of_audio(samples: &[u8], timestamp: u32) -> Result<Self, RtpWriteError> {
        let mut packets = Self::default();
        packets.push(AUDIO_PAYLOAD_TYPE, &[samples], false, timestamp)?;
        Ok(packets)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Leaves out the first `count` packets; their sequence numbers stay taken.
    pub(crate) fn drop_first(&mut self, count: usize) {
        let count = count.min(self.ends.len());
        let Some(&cut) = count.checked_sub(1).and_then(|last| self.ends.get(last)) else { return };
        self.buffer.drain(..cut);
        self.ends = self.ends[count..].iter().map(|end| end - cut).collect();
    }

    /// Replaces every payload by noise of the same length.
    pub(crate) fn garble(&mut self, random: &mut Random) {
        for packet in self.ranges().collect::<Vec<_>>() {
            random.fill(&mut self.buffer[packet.start + INTERLEAVED_BYTES + RTP_HEADER_BYTES..packet.end]);
        }
    }

    /// Each packet's place in the buffer, interleaving header included.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }

    fn push_nal(&mut self, nal: &[u8], last: bool, timestamp: u32) -> Result<(), RtpWriteError> {
        let Some((&header, body)) = nal.split_first() else { return Ok(()) };
        if nal.len() <= PAYLOAD_BYTES_MAX {
            return self.push(VIDEO_PAYLOAD_TYPE, &[nal], last, timestamp);
        }
        let fragments = body.chunks(PAYLOAD_BYTES_MAX - 2);
        let count = fragments.len();
        for (at, fragment) in fragments.enumerate() {
            let start = if at == 0 { FU_START } else { 0 };
            let end = if at + 1 == count { FU_END } else { 0 };
            let fu = [header & 0xe0 | FU_A, start | end | header & 0x1f];
            self.push(VIDEO_PAYLOAD_TYPE, &[&fu, fragment], last && end != 0, timestamp)?;
        }
        Ok(())
    }

    fn push(&mut self, kind: u8, payload: &[&[u8]], marker: bool, timestamp: u32) -> Result<(), RtpWriteError> {
        let octets: usize = payload.iter().map(|part| part.len()).sum();
        let length = u16::try_from(octets + RTP_HEADER_BYTES).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&[b'$', 0]);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        let builder = RtpPacketBuilder::<&[u8], &[u8]>::new()
            .payload_type(kind)
            .marker_bit(marker)
            .sequence_number(self.sequence_numbers)
            .timestamp(timestamp);
        payload.iter().fold(builder, |builder, part| builder.payload(part)).write_into_vec(&mut self.buffer)?;
        self.ends.push(self.buffer.len());
        self.sequence_numbers = self.sequence_numbers.wrapping_add(1);
        self.payload_octets += octets;
        Ok(())
    }
}

impl Numbers {
    /// Appends `packets` to `out` with this session's numbers, and moves on by as many sequence numbers.
    pub(crate) fn patch(&mut self, packets: &Packets, out: &mut Vec<u8>) -> Result<(), RtpParseError> {
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
    use proptest::prelude::*;
    use rtp_types::RtpPacket;

    fn numbers() -> Numbers {
        Numbers { channel: 2, ssrc: 0xabcd, sequence: u16::MAX, timestamp_offset: u32::MAX }
    }

    fn patched(packets: &Packets) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        numbers().patch(packets, &mut out).unwrap();
        packets.ranges().map(|range| out[range].to_vec()).collect()
    }

    /// Undoes RFC 6184, 5.6 and 5.8.
    fn reassemble(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        for bytes in packets {
            let packet = RtpPacket::parse(&bytes[INTERLEAVED_BYTES..]).unwrap();
            match packet.payload() {
                [indicator, header, rest @ ..] if indicator & 0x1f == FU_A => {
                    if header & FU_START != 0 {
                        nals.push(vec![indicator & 0xe0 | header & 0x1f]);
                    }
                    nals.last_mut().unwrap().extend_from_slice(rest);
                }
                whole => nals.push(whole.to_vec()),
            }
        }
        nals
    }

    proptest! {
        #[test]
        fn an_access_unit_survives_its_packets(sizes in prop::collection::vec(1usize..5000, 1..6)) {
            let nals: Vec<Vec<u8>> = sizes.iter().map(|&size| (0..size).map(|i| if i == 0 { 0x65 } else { i as u8 }).collect()).collect();
            let parts: Vec<&[u8]> = nals.iter().map(Vec::as_slice).collect();
            let packets = patched(&Packets::of_access_unit(&parts, 1).unwrap());
            prop_assert_eq!(reassemble(&packets), nals);
            for (at, bytes) in packets.iter().enumerate() {
                let packet = RtpPacket::parse(&bytes[INTERLEAVED_BYTES..]).unwrap();
                prop_assert!(packet.payload_len() <= PAYLOAD_BYTES_MAX);
                prop_assert_eq!(packet.marker_bit(), at + 1 == packets.len());
                prop_assert_eq!(packet.sequence_number(), u16::MAX.wrapping_add(at as u16));
                prop_assert_eq!((packet.timestamp(), packet.ssrc(), bytes[1]), (0, 0xabcd, 2));
                prop_assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len() - INTERLEAVED_BYTES);
            }
        }
    }

    #[test]
    fn dropped_packets_leave_a_hole() {
        let nal = vec![0x41u8; 5000];
        let mut packets = Packets::of_access_unit(&[&nal], 0).unwrap();
        packets.drop_first(2);
        assert_eq!((packets.len(), packets.sequence_numbers), (2, 4));
        let first = patched(&packets).remove(0);
        let sequence = RtpPacket::parse(&first[INTERLEAVED_BYTES..]).unwrap().sequence_number();
        assert_eq!(sequence, u16::MAX.wrapping_add(2));
        packets.drop_first(9);
        assert_eq!((packets.len(), packets.sequence_numbers), (0, 4));
    }

    #[test]
    fn garbage_keeps_the_rtp_headers() {
        let mut packets = Packets::of_access_unit(&[&[0x41u8; 3000]], 7).unwrap();
        let before = reassemble(&patched(&packets));
        packets.garble(&mut Random::seeded(1));
        let after = patched(&packets);
        assert!(after.iter().all(|bytes| RtpPacket::parse(&bytes[INTERLEAVED_BYTES..]).unwrap().ssrc() == 0xabcd));
        assert_ne!(after.iter().flatten().collect::<Vec<_>>().len(), 0);
        let payloads: Vec<u8> = after.iter().flat_map(|bytes| bytes[16..].to_vec()).collect();
        assert!(payloads.iter().filter(|&&byte| byte == 0x41).count() < payloads.len() / 10);
        assert_eq!(before.len(), 1);
    }
}
