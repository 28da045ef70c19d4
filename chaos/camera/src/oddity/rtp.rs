//! Odd RTP and RTCP packets of a session: their headers, their order, their source.

use super::kinds::kinds;
use crate::codec::Codec;
use crate::packetize::Numbers;
use crate::packing::Payload;
use crate::random::Random;
use crate::reel::ReelName;

kinds! {
    /// How a session's packets differ from RFC 3550.
    RtpOddity {
        MarkerOnEverySlice: "the marker bit is set on the last packet of each slice (H.264, three \
                             slices)",
            "OpenIPC/smolrtsp#43, iamscottxu/obs-rtspserver#199";
        MarkerNever: "no packet has the marker bit", "scottlamb/retina#13";
        SequenceReset: "the sequence number begins again somewhere else every 2 s",
            "bluenviron/gortsplib#750";
        SequenceLie: "RTP-Info names a sequence number that the first packet does not have",
            "cameras behind proxies; ffmpeg takes no notice";
        SsrcChange: "SSRC, sequence number and RTP time begin again every 6 s",
            "encoder restarts; moonfire-nvr#36";
        SsrcStray: "at every 50th frame a packet of an old session (another SSRC)",
            "scottlamb/moonfire-nvr#209, #302";
        Duplicates: "every 10th packet comes twice", "cameras on bridged networks; RFC 3550, A.1";
        Reordered: "UDP: neighbouring packets are swapped", "scottlamb/retina#30";
        OtherPort: "UDP: packets come from another port than SETUP says",
            "pedroSG94/RootEncoder#48";
        OtherAddress: "UDP: packets come from another address of the camera",
            "cameras with two interfaces";
        EmptyPayloads: "at every 25th frame a packet without a payload",
            "keep-alive packets of encoders";
        Padding: "every packet is padded", "RFC 3550, 5.1";
        HeaderExtension: "every packet has a header extension",
            "ONVIF streaming specification, 6.3";
        ContributingSources: "every packet names a contributing source", "RFC 3550, 5.1";
        UnknownPayloadType: "at every 25th frame a packet of payload type 112", "vendors' metadata";
        UnknownChannel: "TCP: packets on channel 10, which was not set up",
            "mbullington/yellowstone#26";
        RtcpFlood: "20 RTCP packets with every frame", "a sibling of the unknown channel";
        NoRtcp: "no sender reports", "moonfire-nvr#36";
        ReportsOf1970: "sender reports with times of 1970 that jump", "cameras without a clock";
        ByeAndOn: "an RTCP BYE every 4 s, and the stream continues", "a sibling of the SSRC change";
    }
}

/// The destination of a track's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Rtp,
    Rtcp,
    /// Interleaved, on a channel that was not set up.
    Channel(u8),
    /// To the client's RTP port, from another port or address.
    RtpFromElsewhere,
}

/// A packet without its interleaving header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) lane: Lane,
    pub(crate) packet: Vec<u8>,
}

/// Changes one session's video packets.
#[derive(Debug)]
pub(crate) struct Bender {
    oddity: RtpOddity,
    /// Number of frames of this session.
    frames: u64,
    packets: u64,
    random: Random,
}

impl RtpOddity {
    pub(super) fn needs_udp(self) -> bool {
        matches!(self, Self::Reordered | Self::OtherPort | Self::OtherAddress)
    }

    pub(super) fn codec(self) -> Option<Codec> {
        (self == Self::MarkerOnEverySlice).then_some(Codec::H264)
    }

    pub(super) fn reel(self) -> Option<ReelName> {
        (self == Self::MarkerOnEverySlice).then_some(ReelName::Slices)
    }

    /// Changes the payloads of a frame's packets, for all sessions alike.
    pub(crate) fn bend_payloads(self, number: u64, payloads: &mut Vec<Payload>) {
        let timestamp = payloads.first().map_or(0, |payload| payload.timestamp);
        let rarely = number % 25 == 12;
        match self {
            Self::MarkerOnEverySlice => {
                payloads
                    .iter_mut()
                    .filter(|p| p.is_slice && p.ends_unit)
                    .for_each(|p| p.marker = true);
            }
            Self::MarkerNever => payloads
                .iter_mut()
                .for_each(|payload| payload.marker = false),
            Self::EmptyPayloads if rarely => {
                payloads.insert(0, Payload::new(Vec::new(), timestamp))
            }
            Self::UnknownPayloadType if rarely => {
                payloads.insert(
                    0,
                    Payload {
                        kind: 112,
                        ..Payload::new(b"vendor".to_vec(), timestamp)
                    },
                );
            }
            _ => {}
        }
    }

    /// The wall time in a sender report that is due; `None` for a camera that sends none.
    pub(crate) fn report_us(self, wall_us: u64, random: &mut Random) -> Option<u64> {
        match self {
            Self::NoRtcp => None,
            Self::ReportsOf1970 => {
                let days = [0, 1, 365][(random.next_u16() % 3) as usize];
                Some(days * 86_400_000_000)
            }
            _ => Some(wall_us),
        }
    }
}

impl Bender {
    pub(crate) fn new(oddity: RtpOddity, random: Random) -> Self {
        Self {
            oddity,
            frames: 0,
            packets: 0,
            random,
        }
    }

    /// Changes the session's numbers before its next frame. Rates assume 25 frames a second.
    pub(crate) fn renumber(&mut self, numbers: &mut Numbers) {
        self.frames += 1;
        match self.oddity {
            RtpOddity::SequenceReset if self.frames.is_multiple_of(50) => {
                numbers.sequence = [0, 60_000][(self.frames / 50 % 2) as usize];
            }
            RtpOddity::SsrcChange if self.frames.is_multiple_of(150) => {
                numbers.ssrc = self.random.next_u32();
                numbers.sequence = self.random.next_u16();
                numbers.timestamp_offset = self.random.next_u32();
            }
            _ => {}
        }
    }

    /// The packets to send for a frame.
    pub(crate) fn bend(&mut self, ssrc: u32, packets: Vec<Vec<u8>>) -> Vec<Outgoing> {
        let mut out = Vec::new();
        self.before(ssrc, &mut out);
        for mut packet in packets {
            self.packets += 1;
            match self.oddity {
                RtpOddity::Padding => pad(&mut packet),
                RtpOddity::HeaderExtension => extend(&mut packet),
                RtpOddity::ContributingSources => name_a_source(&mut packet),
                RtpOddity::Duplicates if self.packets.is_multiple_of(10) => {
                    out.push(Outgoing {
                        lane: Lane::Rtp,
                        packet: packet.clone(),
                    });
                }
                _ => {}
            }
            let lane = match self.oddity {
                RtpOddity::OtherPort | RtpOddity::OtherAddress => Lane::RtpFromElsewhere,
                _ => Lane::Rtp,
            };
            out.push(Outgoing { lane, packet });
        }
        if self.oddity == RtpOddity::Reordered {
            out.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
        out
    }

    fn before(&mut self, ssrc: u32, out: &mut Vec<Outgoing>) {
        match self.oddity {
            RtpOddity::SsrcStray if self.frames % 50 == 49 => {
                let mut packet = vec![0x80, 0xe0, 3, 9, 0, 0x12, 0xd6, 0x87];
                packet.extend_from_slice(&ssrc.wrapping_add(0x5a5a).to_be_bytes());
                packet.extend_from_slice(b"\x41stale");
                out.push(Outgoing {
                    lane: Lane::Rtp,
                    packet,
                });
            }
            RtpOddity::UnknownChannel if self.frames % 25 == 3 => {
                out.push(Outgoing {
                    lane: Lane::Channel(10),
                    packet: vec![b'x'; 40],
                });
            }
            RtpOddity::RtcpFlood => {
                // Receiver reports without a block (RFC 3550, 6.4.2).
                let report = [&[0x80, 201, 0, 1][..], &ssrc.to_be_bytes()].concat();
                out.extend(std::iter::repeat_n(
                    Outgoing {
                        lane: Lane::Rtcp,
                        packet: report,
                    },
                    20,
                ));
            }
            RtpOddity::ByeAndOn if self.frames % 100 == 99 => {
                let packet = [
                    &[0x80, 201, 0, 1][..],
                    &ssrc.to_be_bytes(),
                    &[0x81, 203, 0, 1],
                    &ssrc.to_be_bytes(),
                ];
                out.push(Outgoing {
                    lane: Lane::Rtcp,
                    packet: packet.concat(),
                });
            }
            _ => {}
        }
    }
}

const HEADER_BYTES: usize = 12;

fn pad(packet: &mut Vec<u8>) {
    packet[0] |= 0x20;
    packet.extend_from_slice(&[0, 0, 0, 4]);
}

/// A profile-specific extension of one word, as ONVIF's replay has (RFC 3550, 5.3.1).
fn extend(packet: &mut Vec<u8>) {
    packet[0] |= 0x10;
    packet.splice(HEADER_BYTES..HEADER_BYTES, [0xab, 0xac, 0, 1, 1, 2, 3, 4]);
}

fn name_a_source(packet: &mut Vec<u8>) {
    packet[0] |= 1;
    packet.splice(HEADER_BYTES..HEADER_BYTES, [9, 9, 9, 9]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp_types::RtpPacket;

    fn packet() -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 5];
        packet.extend_from_slice(&[0x41, 1, 2, 3]);
        packet
    }

    fn bent(oddity: RtpOddity, frames: u64) -> Vec<Outgoing> {
        let mut bender = Bender::new(oddity, Random::seeded(1));
        let mut numbers = Numbers {
            channel: 0,
            ssrc: 5,
            sequence: 7,
            timestamp_offset: 0,
        };
        let mut all = Vec::new();
        for _ in 0..frames {
            bender.renumber(&mut numbers);
            all.extend(bender.bend(5, vec![packet(); 2]));
        }
        all
    }

    #[test]
    fn headers_are_longer_and_payloads_the_same() {
        for oddity in [
            RtpOddity::Padding,
            RtpOddity::HeaderExtension,
            RtpOddity::ContributingSources,
        ] {
            let bent = bent(oddity, 1);
            let seen = RtpPacket::parse(&bent[0].packet).unwrap();
            assert_eq!(
                (seen.payload(), seen.ssrc(), seen.sequence_number()),
                (&[0x41, 1, 2, 3][..], 5, 7)
            );
            assert!(bent[0].packet.len() > packet().len(), "{oddity:?}");
        }
    }

    #[test]
    fn strays_duplicates_and_byes_come_in_between() {
        let count = |oddity, frames| bent(oddity, frames).len();
        assert_eq!(count(RtpOddity::SsrcStray, 50), 101);
        assert_eq!(count(RtpOddity::Duplicates, 50), 110);
        assert_eq!(count(RtpOddity::RtcpFlood, 1), 22);
        assert_eq!(
            bent(RtpOddity::ByeAndOn, 99)
                .iter()
                .filter(|out| out.lane == Lane::Rtcp)
                .count(),
            1
        );
        assert!(
            bent(RtpOddity::OtherPort, 1)
                .iter()
                .all(|out| out.lane == Lane::RtpFromElsewhere)
        );
    }

    #[test]
    fn numbers_begin_again() {
        let mut bender = Bender::new(RtpOddity::SequenceReset, Random::seeded(1));
        let mut numbers = Numbers {
            channel: 0,
            ssrc: 5,
            sequence: 7,
            timestamp_offset: 0,
        };
        let sequences: Vec<u16> = (0..100)
            .map(|_| {
                bender.renumber(&mut numbers);
                numbers.sequence
            })
            .collect();
        assert_eq!(
            (sequences[48], sequences[49], sequences[99]),
            (7, 60_000, 0)
        );
    }

    #[test]
    fn reports_have_other_times() {
        let mut random = Random::seeded(1);
        assert_eq!(RtpOddity::NoRtcp.report_us(5, &mut random), None);
        assert_eq!(RtpOddity::Padding.report_us(5, &mut random), Some(5));
        assert!(
            RtpOddity::ReportsOf1970.report_us(u64::MAX, &mut random) < Some(366 * 86_400_000_000)
        );
    }
}
