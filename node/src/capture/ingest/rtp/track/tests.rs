//! A camera's packets over TCP, and the cost of one bad byte among them.

use super::*;
use crate::capture::ingest::media::VideoCodec;
use bytes::Bytes;
use holdfast_storage::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x16, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
    0x00, 0x00, 0x03, 0x00, 0x50, 0x3c, 0x58, 0xba, 0x80,
];
const PPS: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];
/// The first bytes of slices: of an IDR picture, and of another.
const IDR: &[u8] = &[0x65, 0b1000_1000, 0b1000_0000];
const P: &[u8] = &[0x41, 0b1001_1010, 0b1000_0000];
const FRAMES: u32 = 40;
const GOP_FRAMES: u32 = 10;
const FRAME_TICKS: u32 = 3600;

#[test]
fn ntp_time_becomes_unix_time() {
    assert_eq!(ntp_micros(retina::UNIX_EPOCH.0), 0);
    assert_eq!(ntp_micros(retina::UNIX_EPOCH.0 + (3 << 31)), 1_500_000);
}

/// RFC 3550, 5.1.
fn packet(number: usize, frame: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96 | u8::from(marker) << 7];
    packet.extend((number as u16).to_be_bytes());
    packet.extend((frame * FRAME_TICKS).to_be_bytes());
    packet.extend([0x12, 0x34, 0x56, 0x78]);
    packet.extend_from_slice(payload);
    packet
}

/// Parameter sets in one packet and a keyframe in three fragments, then frames of one packet each.
fn packets() -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for frame in 0..FRAMES {
        let body: Vec<u8> = (0..90).map(|at| 0x80 | (at * 7 + frame) as u8).collect();
        if !frame.is_multiple_of(GOP_FRAMES) {
            packets.push(packet(packets.len(), frame, true, &[P, &body].concat()));
            continue;
        }
        let sets = [SPS, PPS].map(|set| [&(set.len() as u16).to_be_bytes(), set].concat());
        packets.push(packet(
            packets.len(),
            frame,
            false,
            &[&[0x78][..], &sets.concat()].concat(),
        ));
        let nal = [IDR, &body].concat();
        let bodies: Vec<_> = nal[1..].chunks(31).collect();
        for (at, body) in bodies.iter().enumerate() {
            let is_last = at + 1 == bodies.len();
            let header = u8::from(at == 0) << 7 | u8::from(is_last) << 6 | 5;
            packets.push(packet(
                packets.len(),
                frame,
                is_last,
                &[&[0x7c, header], *body].concat(),
            ));
        }
    }
    packets
}

fn samples(packets: &[Vec<u8>]) -> Vec<Bytes> {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as an origin"
    )]
    let began = Instant::now();
    let video = VideoDepacketizer::new(VideoCodec::H264, 90_000, None);
    let mut track = RtpTrack::new(96, false, Depacketizer::Video(Box::new(video)));
    let mut items = VecDeque::new();
    for (at, packet) in (0..).zip(packets) {
        let arrival = Arrival {
            instant: began + Duration::from_millis(at),
            wall: Timestamp(0),
        };
        // The session counts unusable packets.
        let _ = track.rtp(packet, arrival, &mut items);
    }
    track.finish(&mut items);
    let frame = |item| {
        if let SessionItem::Frame(frame) = item {
            Some(frame.data)
        } else {
            None
        }
    };
    items.into_iter().filter_map(frame).collect()
}

#[test]
fn every_frame_comes_out() {
    assert_eq!(samples(&packets()).len() as u32, FRAMES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Its own frame, and the one that it is taken for a part of.
    #[test]
    fn one_bad_byte_anywhere_costs_two_frames_at_most(at: prop::sample::Index, by in 1..=u8::MAX) {
        let mut packets = packets();
        let whole = samples(&packets);
        let bytes: usize = packets.iter().map(Vec::len).sum();
        let byte = packets.iter_mut().flatten().nth(at.index(bytes)).unwrap();
        *byte ^= by;
        let out = samples(&packets);
        let mut rest = out.as_slice();
        let is_left = |sample: &&Bytes| {
            let at = rest.iter().position(|other| other == *sample);
            rest = &rest[at.map_or(0, |at| at + 1)..];
            at.is_some()
        };
        let found = whole.iter().filter(is_left).count();
        prop_assert!(found + 2 >= whole.len(), "{} of {} frames are left", found, whole.len());
    }
}
