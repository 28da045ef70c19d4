//! RTP packets of an audio track in, frames of audio out: AAC (RFC 3640) and G.711 (RFC 3551,
//! 4.5.14). Pure but for what retina logs.

use super::{Fault, Packet};
use crate::capture::ingest::media::{AudioCodec, MediaFrame, TrackParameters};
use bytes::{Bytes, BytesMut};
use holdfast_storage::chunk::AccessPoint;
use holdfast_storage::ids::TrackKind;
use retina::codec::{Depacketizer, ParametersRef};
use std::num::NonZeroU16;
use std::sync::Arc;

/// A longer frame of audio is refused: AAC's are at most 6,144 bits a channel (ISO/IEC 14496-3,
/// 4.5.3.1).
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Frames that one packet may hold.
const FRAMES_PER_PACKET_MAX: usize = 64;
/// The length of an ADTS header without a checksum, and what its checksum adds (ISO/IEC 14496-3,
/// 1.A.2).
const ADTS_BYTES: usize = 7;
const ADTS_CHECKSUM_BYTES: usize = 2;

pub(crate) struct AudioDepacketizer {
    format: Format,
    timescale: u32,
    channels: u16,
    /// To go out with the next frame.
    announce: Option<Arc<TrackParameters>>,
    /// What an AAC frame's first fragments held.
    fragment: BytesMut,
    lost: u16,
}

enum Format {
    Aac(AacFormat),
    /// Bytes are samples, of all channels in turn.
    G711,
}

/// How AU headers look (RFC 3640, 4.1), in bits, and how long a frame is, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AacFormat {
    size_bits: u32,
    index_bits: u32,
    frame_ticks: u32,
}

/// What an SDP says of an audio track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AudioOffer<'a> {
    pub(crate) codec: AudioCodec,
    pub(crate) clock_hz: u32,
    pub(crate) channels: Option<NonZeroU16>,
    pub(crate) fmtp: Option<&'a str>,
}

impl AudioDepacketizer {
    /// # Errors
    /// The track cannot be recorded; says what the description lacks.
    pub(crate) fn new(offer: &AudioOffer<'_>) -> Result<Self, String> {
        let encoding = match offer.codec {
            AudioCodec::Aac => "mpeg4-generic",
            AudioCodec::Pcma => "pcma",
            AudioCodec::Pcmu => "pcmu",
        };
        let read = Depacketizer::new(
            "audio",
            encoding,
            offer.clock_hz,
            offer.channels,
            offer.fmtp,
        )?;
        let Some(ParametersRef::Audio(audio)) = read.parameters() else {
            return Err("its parameters are not in the description".to_owned());
        };
        let channels = audio.channels().get();
        let format = match offer.codec {
            AudioCodec::Aac => Format::Aac(AacFormat::of(
                offer.fmtp.unwrap_or_default(),
                audio.frame_length().map_or(1024, std::num::NonZeroU32::get),
            )?),
            AudioCodec::Pcma | AudioCodec::Pcmu => Format::G711,
        };
        let parameters = TrackParameters::Audio {
            codec: offer.codec,
            config: Bytes::copy_from_slice(audio.extra_data()),
            channels,
            timescale: offer.clock_hz,
        };
        Ok(Self {
            format,
            timescale: offer.clock_hz,
            channels,
            announce: Some(Arc::new(parameters)),
            fragment: BytesMut::new(),
            lost: 0,
        })
    }

    /// Takes the next packet; its frames go to `out`.
    ///
    /// # Errors
    /// Part of it could not be used; what came before that part was.
    pub(crate) fn push(
        &mut self,
        packet: &Packet<'_>,
        out: &mut impl Extend<MediaFrame>,
    ) -> Result<(), Fault> {
        if packet.payload.is_empty() {
            return Err(Fault::Empty);
        }
        self.lost = self.lost.saturating_add(packet.lost);
        if packet.lost > 0 {
            self.fragment.clear();
        }
        match self.format {
            Format::G711 => {
                let ticks = packet.payload.len() / usize::from(self.channels.max(1));
                let data = Bytes::copy_from_slice(packet.payload);
                self.emit(
                    packet,
                    packet.rtp,
                    data,
                    u32::try_from(ticks).unwrap_or(u32::MAX),
                    out,
                );
                Ok(())
            }
            Format::Aac(format) => self.push_aac(packet, format, out),
        }
    }

    fn push_aac(
        &mut self,
        packet: &Packet<'_>,
        format: AacFormat,
        out: &mut impl Extend<MediaFrame>,
    ) -> Result<(), Fault> {
        let (sizes, data) = format.headers(packet.payload).ok_or(Fault::Payload)?;
        if let [size] = sizes[..]
            && (size > data.len() || !self.fragment.is_empty())
        {
            return self.push_fragment(packet, format, size, data, out);
        }
        let mut rest = data;
        for (index, size) in (0_i64..).zip(sizes) {
            let frame = rest.get(..size).ok_or(Fault::Payload)?;
            rest = &rest[size..];
            let rtp = packet
                .rtp
                .saturating_add(index * i64::from(format.frame_ticks));
            let frame = without_adts(frame);
            if !frame.is_empty() {
                self.emit(
                    packet,
                    rtp,
                    Bytes::copy_from_slice(frame),
                    format.frame_ticks,
                    out,
                );
            }
        }
        Ok(())
    }

    /// A frame in several packets (RFC 3640, 3.2.3): each names the whole frame's size.
    fn push_fragment(
        &mut self,
        packet: &Packet<'_>,
        format: AacFormat,
        size: usize,
        data: &[u8],
        out: &mut impl Extend<MediaFrame>,
    ) -> Result<(), Fault> {
        if size > FRAME_BYTES_MAX || self.fragment.len() + data.len() > size {
            self.fragment.clear();
            return Err(Fault::Oversize);
        }
        self.fragment.extend_from_slice(data);
        if self.fragment.len() == size {
            let frame = self.fragment.split().freeze();
            let frame = frame.slice_ref(without_adts(&frame));
            self.emit(packet, packet.rtp, frame, format.frame_ticks, out);
        }
        Ok(())
    }

    fn emit(
        &mut self,
        packet: &Packet<'_>,
        rtp: i64,
        data: Bytes,
        ticks: u32,
        out: &mut impl Extend<MediaFrame>,
    ) {
        out.extend([MediaFrame {
            track: TrackKind::Audio,
            rtp,
            timescale: self.timescale,
            received: packet.arrival.instant,
            received_wall: packet.arrival.wall,
            data,
            access: Some(AccessPoint::Sync),
            lost_packets: std::mem::take(&mut self.lost),
            is_damaged: false,
            length: Some(ticks),
            parameters: self.announce.take(),
        }]);
    }
}

impl AacFormat {
    /// `fmtp`: `sizelength`, `indexlength` and their like (RFC 3640, 4.1).
    fn of(fmtp: &str, frame_ticks: u32) -> Result<Self, String> {
        let number = |name: &str| {
            let parameters = fmtp
                .split(';')
                .filter_map(|parameter| parameter.split_once('='));
            let mut named = parameters.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            named
                .next()
                .and_then(|(_, value)| value.trim().parse::<u32>().ok())
        };
        // AAC-hbr is what cameras send (RFC 3640, 3.3.6).
        let size_bits = number("sizelength").unwrap_or(13);
        let index_bits = number("indexlength").unwrap_or(3);
        if !(1..=24).contains(&size_bits) || index_bits > 16 {
            return Err(format!("AU headers of {size_bits} and {index_bits} bits"));
        }
        Ok(Self {
            size_bits,
            index_bits,
            frame_ticks,
        })
    }

    /// The sizes of the frames, in bytes, and what follows the AU headers; `None` if they do not
    /// add up.
    fn headers(self, payload: &[u8]) -> Option<(Vec<usize>, &[u8])> {
        let (bits, rest) = payload.split_first_chunk::<2>()?;
        let bits = u32::from(u16::from_be_bytes(*bits));
        let headers = rest.get(..usize::try_from(bits.div_ceil(8)).ok()?)?;
        let data = &rest[headers.len()..];
        let each = self.size_bits + self.index_bits;
        let frames = usize::try_from(bits / each).ok()?;
        if bits == 0 || bits % each != 0 || frames > FRAMES_PER_PACKET_MAX {
            return None;
        }
        let read = |from: u32, count: u32| {
            (from..from + count).fold(0_usize, |number, at| {
                let byte = headers[at as usize / 8];
                number << 1 | usize::from(byte >> (7 - at % 8) & 1)
            })
        };
        let sizes = (0..frames as u32)
            .map(|frame| read(frame * each, self.size_bits))
            .collect();
        Some((sizes, data))
    }
}

/// A frame without the ADTS header that some cameras send (ISO/IEC 14496-3, 1.A.2.2).
fn without_adts(frame: &[u8]) -> &[u8] {
    let Some(header) = frame.first_chunk::<ADTS_BYTES>() else {
        return frame;
    };
    let is_sync = header[0] == 0xff && header[1] & 0xf6 == 0xf0;
    let length = usize::from(header[3] & 3) << 11
        | usize::from(header[4]) << 3
        | usize::from(header[5] >> 5);
    if !is_sync || length != frame.len() {
        return frame;
    }
    let has_checksum = header[1] & 1 == 0;
    &frame[ADTS_BYTES + if has_checksum { ADTS_CHECKSUM_BYTES } else { 0 }..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ingest::codec::Arrival;
    use holdfast_storage::time::Timestamp;

    const FMTP: &str = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;\
                        indexdeltalength=3;config=1190";

    fn packet(payload: &[u8]) -> Packet<'_> {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let instant = std::time::Instant::now();
        let arrival = Arrival {
            instant,
            wall: Timestamp(0),
        };
        Packet {
            payload,
            rtp: 48_000,
            marker: true,
            lost: 0,
            arrival,
        }
    }

    fn aac() -> AudioDepacketizer {
        let offer = AudioOffer {
            codec: AudioCodec::Aac,
            clock_hz: 48_000,
            channels: NonZeroU16::new(2),
            fmtp: Some(FMTP),
        };
        AudioDepacketizer::new(&offer).unwrap()
    }

    /// RTP time and bytes.
    type Frames = Vec<(i64, Vec<u8>)>;

    fn frames(depacketizer: &mut AudioDepacketizer, payload: &[u8]) -> (Frames, Result<(), Fault>) {
        let mut out = Vec::new();
        let outcome = depacketizer.push(&packet(payload), &mut out);
        (
            out.into_iter()
                .map(|frame| (frame.rtp, frame.data.to_vec()))
                .collect(),
            outcome,
        )
    }

    #[test]
    fn aac_frames_of_one_packet_follow_each_other() {
        let payload = [0, 32, 0, 3 << 3, 0, 2 << 3, 1, 2, 3, 4, 5];
        let (frames, outcome) = frames(&mut aac(), &payload);
        assert_eq!(frames, [(48_000, vec![1, 2, 3]), (49_024, vec![4, 5])]);
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn an_aac_frame_may_come_in_fragments() {
        let mut depacketizer = aac();
        assert_eq!(
            frames(&mut depacketizer, &[0, 16, 0, 5 << 3, 1, 2, 3]).0,
            []
        );
        assert_eq!(
            frames(&mut depacketizer, &[0, 16, 0, 5 << 3, 4, 5]).0,
            [(48_000, vec![1, 2, 3, 4, 5])]
        );
    }

    #[test]
    fn adts_headers_are_left_out() {
        let adts = [0xff, 0xf1, 0x4c, 0x80, 9 >> 3, (9 & 7) << 5, 0xfc, 1, 2];
        let payload = [&[0, 16, 0, 9 << 3][..], &adts].concat();
        assert_eq!(frames(&mut aac(), &payload).0, [(48_000, vec![1, 2])]);
    }

    #[test]
    fn headers_that_do_not_add_up_cost_their_packet() {
        let mut depacketizer = aac();
        for payload in [
            &[0, 16][..],
            &[0, 0, 1],
            &[0, 15, 0, 0],
            &[0xff; 4],
            &[0, 32, 0, 8, 0, 80, 1],
        ] {
            assert!(frames(&mut depacketizer, payload).1.is_err(), "{payload:?}");
        }
        assert_eq!(
            frames(&mut depacketizer, &[0, 16, 0, 8, 7]).0,
            [(48_000, vec![7])]
        );
    }

    #[test]
    fn a_description_without_configuration_is_refused() {
        let offer = AudioOffer {
            codec: AudioCodec::Aac,
            clock_hz: 48_000,
            channels: None,
            fmtp: None,
        };
        assert!(AudioDepacketizer::new(&offer).is_err());
    }

    #[test]
    fn g711_is_taken_as_it_comes() {
        let offer = AudioOffer {
            codec: AudioCodec::Pcma,
            clock_hz: 8_000,
            channels: None,
            fmtp: None,
        };
        let mut depacketizer = AudioDepacketizer::new(&offer).unwrap();
        let mut out = Vec::new();
        depacketizer.push(&packet(&[0x55; 160]), &mut out).unwrap();
        assert_eq!((out[0].length, out[0].data.len()), (Some(160), 160));
        assert!(out[0].parameters.is_some());
    }

    proptest::proptest! {
        #[test]
        fn any_payload_is_taken_or_refused(payloads: Vec<Vec<u8>>) {
            let mut depacketizer = aac();
            for payload in payloads {
                drop(frames(&mut depacketizer, &payload));
                proptest::prop_assert!(depacketizer.fragment.len() <= FRAME_BYTES_MAX);
            }
        }
    }
}
