//! The data of hostile cameras on the RTSP connection after PLAY.

use super::Hostile;
use super::pipe::Pipe;
use crate::codec::Codec;
use crate::packing;
use crate::random::Random;
use crate::reel::{Reel, ReelName};
use std::io;
use std::time::Duration;

const FRAME_PAUSE: Duration = Duration::from_millis(40);
const FRAME_TICKS: u32 = 3600;
const DRIP_PAUSE: Duration = Duration::from_millis(500);
const SSRC: u32 = 0x1122_3344;
/// RTP payload of a giant NAL unit's fragments: as much as fits one interleaved packet.
const FRAGMENT_BYTES: usize = 60_000;
const FU_A: u8 = 0x60 | 28;
const IDR: u8 = 5;

/// Interleaved RTP packets of one track, with consecutive numbers.
pub(super) struct Writer {
    pub(super) channel: u8,
    pub(super) sequence: u16,
    pub(super) ssrc: u32,
}

impl Writer {
    pub(super) fn new(channel: u8) -> Self {
        Self {
            channel,
            sequence: 0,
            ssrc: SSRC,
        }
    }

    /// Appends one packet.
    pub(super) fn push(
        &mut self,
        marker: bool,
        timestamp: u32,
        payload: &[&[u8]],
        out: &mut Vec<u8>,
    ) {
        let octets: usize = payload.iter().map(|part| part.len()).sum();
        out.extend_from_slice(&[b'$', self.channel]);
        out.extend_from_slice(&((octets + 12) as u16).to_be_bytes());
        out.extend_from_slice(&[0x80, packing::VIDEO_PAYLOAD_TYPE | u8::from(marker) << 7]);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        payload.iter().for_each(|part| out.extend_from_slice(part));
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// One frame of the clip.
    pub(super) fn frame(&mut self, reel: &Reel, number: u64, timestamp: u32) -> Vec<u8> {
        let frame = &reel.frame(number).frame;
        let nals: Vec<&[u8]> = frame
            .head
            .iter()
            .chain(&frame.slices)
            .map(AsRef::as_ref)
            .collect();
        let mut out = Vec::new();
        for payload in packing::of_access_unit(reel.codec, &nals, timestamp) {
            self.push(payload.marker, timestamp, &[&payload.bytes], &mut out);
        }
        out
    }
}

/// Sends until the client closes or the camera stops.
pub(super) fn play(pipe: &mut Pipe<'_>, hostile: Hostile, channel: u8) -> io::Result<()> {
    let reel = Reel::load(ReelName::Slices).map_err(io::Error::other)?;
    let mut writer = Writer::new(channel);
    match hostile {
        Hostile::TinyUnits => pipe.send_without_end(&tiny_units(channel, &[0x41, 0x9a])),
        Hostile::TinyUnitsH265 => pipe.send_without_end(&tiny_units(channel, &[2, 1, 0x9a])),
        Hostile::EndlessHeadLine => {
            pipe.send(&writer.frame(&reel, 0, 0))?;
            pipe.send(b"RTSP/1.0 200 OK\r\nCSeq: 99\r\nX: ")?;
            pipe.send_without_end(&[b'y'; 16 * 1024])
        }
        Hostile::EndlessFragments => {
            pipe.send(&writer.frame(&reel, 0, 0))?;
            fragments(pipe, &mut writer, FRAME_TICKS, None)
        }
        Hostile::GiantAccessUnit => loop {
            fragments(pipe, &mut writer, 0, Some((1 << 20, false)))?;
        },
        Hostile::TinyAndGiantUnits => tiny_and_giant(pipe, &mut writer, &reel),
        Hostile::GiantKeyframe => {
            pipe.send(&writer.frame(&reel, 0, 0))?;
            fragments(pipe, &mut writer, FRAME_TICKS, Some((150_000_000, true)))?;
            frames(pipe, &mut writer, &reel, |number| {
                number as u32 * FRAME_TICKS + 2 * FRAME_TICKS
            })
        }
        Hostile::TinyKeyframes => tiny_keyframes(pipe, &mut writer, &reel),
        Hostile::ParameterSetFlood => parameter_sets(pipe, &mut writer, &reel),
        Hostile::TimesAtTheWrap => frames(pipe, &mut writer, &reel, |number| {
            if number % 2 == 0 {
                number as u32
            } else {
                u32::MAX
            }
        }),
        Hostile::TimesJump => {
            let mut random = Random::seeded(1);
            frames(pipe, &mut writer, &reel, |_| random.next_u32())
        }
        Hostile::TimesFast => frames(pipe, &mut writer, &reel, |number| {
            (number as u32).wrapping_mul(300 * FRAME_TICKS)
        }),
        Hostile::RtcpFlood => pipe.send_without_end(&rtcp(channel)),
        Hostile::UnknownChannels => pipe.send_without_end(&unknown_channels()),
        Hostile::OddLengths => pipe.send_without_end(&odd_lengths(channel)),
        Hostile::DripFrames => pipe.drip(&writer.frame(&reel, 0, 0), DRIP_PAUSE),
        Hostile::SpoofedSources => spoofed(pipe, channel),
        Hostile::TeardownStorm => {
            let request = "TEARDOWN rtsp://c/hostile RTSP/1.0\r\nCSeq: 7\r\nSession: 1\r\n\r\n";
            let other = "GET_PARAMETER rtsp://c/hostile RTSP/1.0\r\nCSeq: 8\r\nSession: 1\r\n\r\n";
            pipe.send_without_end([request, other].concat().repeat(200).as_bytes())
        }
        Hostile::UnaskedAnswers => pipe.send_without_end(
            "RTSP/1.0 200 OK\r\nCSeq: 99\r\nSession: 1\r\n\r\n"
                .repeat(500)
                .as_bytes(),
        ),
        Hostile::AggregationBomb => pipe.send_without_end(&aggregates(channel)),
        // The others play correctly; their hostile behaviour is at another stage, or is that they
        // read nothing.
        _ => frames(pipe, &mut writer, &reel, |number| {
            number as u32 * FRAME_TICKS
        }),
    }
}

/// Ordinary frames, 25 a second, with these times.
pub(super) fn frames(
    pipe: &mut Pipe<'_>,
    writer: &mut Writer,
    reel: &Reel,
    mut time: impl FnMut(u64) -> u32,
) -> io::Result<()> {
    for number in 1_u64.. {
        pipe.send(&writer.frame(reel, number - 1, time(number)))?;
        pipe.meter.wait(FRAME_PAUSE)?;
    }
    Ok(())
}

/// Covers all sequence numbers once, so that the same bytes can be sent again and again.
pub(super) fn tiny_units(channel: u8, unit: &[u8]) -> Vec<u8> {
    let (mut writer, mut out) = (Writer::new(channel), Vec::new());
    (0..=u16::MAX).for_each(|_| writer.push(false, 1000, &[unit], &mut out));
    out
}

/// Fragments of one IDR slice: of a given size with the marker on the last, or endless.
fn fragments(
    pipe: &mut Pipe<'_>,
    writer: &mut Writer,
    timestamp: u32,
    size: Option<(usize, bool)>,
) -> io::Result<()> {
    let body = [0x5a; FRAGMENT_BYTES];
    let mut out = Vec::with_capacity(FRAGMENT_BYTES + 32);
    let mut left = size.map(|(bytes, _)| bytes);
    for at in 0_u64.. {
        let length = left.unwrap_or(FRAGMENT_BYTES).min(FRAGMENT_BYTES);
        let ends = left.is_some_and(|left| left <= FRAGMENT_BYTES);
        let header = IDR | u8::from(at == 0) << 7 | u8::from(ends) << 6;
        let marker = ends && size.is_some_and(|(_, marker)| marker);
        out.clear();
        writer.push(
            marker,
            timestamp,
            &[&[FU_A, header], &body[..length]],
            &mut out,
        );
        pipe.send(&out)?;
        if ends {
            return Ok(());
        }
        left = left.map(|left| left - length);
    }
    Ok(())
}

fn tiny_and_giant(pipe: &mut Pipe<'_>, writer: &mut Writer, reel: &Reel) -> io::Result<()> {
    for number in 0_u32.. {
        let timestamp = number.wrapping_mul(FRAME_TICKS);
        pipe.send(&writer.frame(reel, 0, timestamp))?;
        fragments(
            pipe,
            writer,
            timestamp.wrapping_add(1000),
            Some((16 << 20, true)),
        )?;
        let mut tiny = Vec::new();
        (0..1000).for_each(|at| {
            writer.push(
                at == 999,
                timestamp.wrapping_add(2000),
                &[&[0x41, 0x9a]],
                &mut tiny,
            )
        });
        pipe.send(&tiny)?;
    }
    Ok(())
}

fn tiny_keyframes(pipe: &mut Pipe<'_>, writer: &mut Writer, reel: &Reel) -> io::Result<()> {
    for number in 0_u32.. {
        let timestamp = number.wrapping_mul(90);
        let mut out = Vec::new();
        reel.sets
            .iter()
            .for_each(|set| writer.push(false, timestamp, &[set], &mut out));
        writer.push(true, timestamp, &[&[0x65, 0x88, 0x84, 0x21]], &mut out);
        pipe.send(&out)?;
    }
    Ok(())
}

/// Each keyframe has a level of its own.
fn parameter_sets(pipe: &mut Pipe<'_>, writer: &mut Writer, reel: &Reel) -> io::Result<()> {
    let pause = Duration::from_millis(2);
    for number in 0_u64.. {
        let timestamp = (number as u32).wrapping_mul(180);
        let mut out = Vec::new();
        for set in &reel.sets {
            let mut set = set.to_vec();
            if set[0] & 0x1f == 7 {
                set[3] = (number % 200) as u8 + 10;
            }
            writer.push(false, timestamp, &[&set], &mut out);
        }
        // The clip's keyframe, without its parameter sets.
        let slices = &reel.frame(0).frame.slices;
        for (at, slice) in slices.iter().enumerate() {
            for payload in packing::of_access_unit(Codec::H264, &[slice], timestamp) {
                let marker = payload.marker && at + 1 == slices.len();
                writer.push(marker, timestamp, &[&payload.bytes], &mut out);
            }
        }
        pipe.send(&out)?;
        pipe.meter.wait(pause)?;
    }
    Ok(())
}

fn rtcp(channel: u8) -> Vec<u8> {
    let report = [
        &[b'$', channel + 1, 0, 8, 0x80, 201, 0, 1][..],
        &SSRC.to_be_bytes(),
    ]
    .concat();
    report.repeat(4000)
}

fn unknown_channels() -> Vec<u8> {
    let packet =
        |channel: u8| [&[b'$', channel][..], &1400_u16.to_be_bytes(), &[b'x'; 1400]].concat();
    (10..50).flat_map(packet).collect()
}

fn odd_lengths(channel: u8) -> Vec<u8> {
    let mut out = vec![b'$', channel, 0, 0];
    out.extend_from_slice(&[b'$', channel, 0xff, 0xff]);
    out.resize(out.len() + usize::from(u16::MAX), 0x80);
    out
}

fn spoofed(pipe: &mut Pipe<'_>, channel: u8) -> io::Result<()> {
    let mut random = Random::seeded(1);
    loop {
        let mut out = Vec::new();
        for _ in 0..200 {
            let mut writer = Writer {
                channel,
                sequence: random.next_u16(),
                ssrc: random.next_u32(),
            };
            writer.push(true, random.next_u32(), &[&[0x41, 0x9a, 1, 2]], &mut out);
        }
        pipe.send(&out)?;
    }
}

/// STAP-A (RFC 6184, 5.7.1) of 20,000 units of one byte; each packet is a frame.
fn aggregates(channel: u8) -> Vec<u8> {
    let payload = [&[0x78][..], &[0, 1, 0x41].repeat(20_000)].concat();
    let (mut writer, mut out) = (Writer::new(channel), Vec::new());
    (0..16_u32).for_each(|at| writer.push(true, at * FRAME_TICKS, &[&payload], &mut out));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp_types::RtpPacket;

    fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut packets = Vec::new();
        while let Some((head, rest)) = bytes.split_at_checked(4) {
            let (packet, tail) = rest.split_at(usize::from(u16::from_be_bytes([head[2], head[3]])));
            packets.push(packet);
            bytes = tail;
        }
        packets
    }

    #[test]
    fn tiny_units_are_a_constant_buffer_of_all_sequence_numbers() {
        let bytes = tiny_units(2, &[0x41, 0x9a]);
        let packets = split(&bytes);
        assert_eq!((packets.len(), bytes.len()), (65_536, 65_536 * 18));
        let last = RtpPacket::parse(packets[65_535]).unwrap();
        assert_eq!(
            (last.sequence_number(), last.timestamp(), last.payload()),
            (u16::MAX, 1000, &[0x41, 0x9a][..])
        );
    }

    #[test]
    fn an_ordinary_frame_is_whole() {
        let reel = Reel::load(ReelName::Slices).unwrap();
        let bytes = Writer::new(0).frame(&reel, 0, 7);
        let packets = split(&bytes);
        let marked: Vec<bool> = packets
            .iter()
            .map(|packet| RtpPacket::parse(packet).unwrap().marker_bit())
            .collect();
        assert_eq!(marked.iter().filter(|marker| **marker).count(), 1);
        assert_eq!(marked.last(), Some(&true));
    }

    #[test]
    fn floods_are_what_they_say() {
        assert_eq!(
            split(&odd_lengths(0))
                .iter()
                .map(|packet| packet.len())
                .collect::<Vec<_>>(),
            [0, 65_535]
        );
        assert!(split(&rtcp(0)).iter().all(|packet| packet[1] == 201));
        assert_eq!(split(&aggregates(0))[0].len(), 12 + 60_001);
        assert_eq!(split(&unknown_channels()).len(), 40);
    }
}
