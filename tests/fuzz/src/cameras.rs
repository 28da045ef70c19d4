//! Fuzz targets for data from cameras: nothing panics, bounds are kept, and the output matches the
//! input, however it was split.

#![allow(dead_code, reason = "each fuzzer uses one target")]
#![allow(clippy::unwrap_used, reason = "a panic is a finding")]
#![allow(
    clippy::disallowed_methods,
    reason = "any instant will do as an origin"
)]

use holdfast::capture::ingest::codec::{Arrival, Fault, Packet};
use holdfast::capture::ingest::fuzzing::{self, Audio, Heard, Track, Video};
use holdfast::capture::ingest::media::{
    AudioCodec, MediaFrame, SessionItem, TrackParameters, VideoCodec,
};
use holdfast_storage::chunk::FRAME_BYTES_MAX;
use holdfast_storage::time::Timestamp;
use memchr::memmem;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The maximum size of a frame of audio.
const AUDIO_FRAME_BYTES_MAX: usize = 64 << 10;
/// NAL units of one run that are searched for in the sent data.
const LOOKED_FOR_MAX: usize = 64;
/// The maximum size of a configuration record: all parameter sets with their lengths, and the bytes
/// before them.
const CONFIG_BYTES_MAX: usize = 56 << 10;

/// The contents of a connection are the same however reads split it, except for bytes that belong
/// to nothing.
pub(crate) fn rtsp(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes(*cut));
    let useful = |heard: Vec<Heard>| {
        heard
            .into_iter()
            .filter(|heard| *heard != Heard::Fault)
            .collect::<Vec<_>>()
    };
    let (whole, is_sound) = fuzzing::connection([bytes].into_iter());
    let (halves, halves_sound) = fuzzing::connection(
        [
            &bytes[..cut.min(bytes.len())],
            &bytes[cut.min(bytes.len())..],
        ]
        .into_iter(),
    );
    let (pieces, pieces_sound) = fuzzing::connection(bytes.chunks(cut % 1500 + 1));
    let whole = useful(whole);
    for (heard, was_sound) in [
        (useful(halves), halves_sound),
        (useful(pieces), pieces_sound),
    ] {
        // A violated bound is noticed earlier if less data has arrived.
        if is_sound && was_sound {
            assert_eq!(heard, whole);
        } else {
            assert!(heard.iter().zip(&whole).all(|(one, other)| one == other));
        }
    }
    for answer in fuzzing::answers(bytes) {
        assert!(
            !answer.iter().any(|byte| matches!(byte, b'\r' | b'\n')),
            "the camera wrote a line of ours"
        );
    }
}

/// A description is read the same with any line ends.
pub(crate) fn sdp(data: &[u8]) {
    let described = fuzzing::description(data);
    if let Some(described) = &described {
        assert!(described.media <= fuzzing::MEDIA_MAX && described.formats <= 32);
        assert!(
            described
                .clocks_hz
                .iter()
                .all(|hz| (1_000..=192_000).contains(hz))
        );
    }
    let unix: Vec<u8> = data
        .iter()
        .map(|byte| if *byte == b'\r' { b'\n' } else { *byte })
        .collect();
    assert_eq!(fuzzing::description(&unix), described);
}

pub(crate) fn h264(data: &[u8]) {
    video(VideoCodec::H264, "packetization-mode=2", data);
}

pub(crate) fn h265(data: &[u8]) {
    video(VideoCodec::H265, "sprop-max-don-diff=1", data);
}

/// The packets of a track after RTP has been removed; the first byte decides whether they have
/// decoding order numbers, which `numbered` announces.
fn video(codec: VideoCodec, numbered: &str, data: &[u8]) {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let has_numbers = mode & 1 == 1;
    let mut video = Video::new(codec, has_numbers.then_some(numbered));
    let (mut frames, mut sent) = (Vec::new(), Sent::default());
    for (packet, idles) in packets(data) {
        let taken = video.push(&packet, &mut frames);
        // A parameter set that cannot be read stays in its frame.
        sent.note(
            codec,
            packet.payload,
            matches!(taken, Ok(()) | Err(Fault::ParameterSet)),
        );
        if idles {
            video.idle(packet.arrival.instant, &mut frames);
        }
    }
    video.finish(&mut frames);
    assert!(
        frames
            .windows(2)
            .all(|pair| pair[0].received <= pair[1].received),
        "frames are in the order of their packets"
    );
    let mut left = LOOKED_FOR_MAX;
    for frame in &frames {
        check_frame(codec, frame);
        for nal in nals(&frame.data).take(left) {
            left = left.saturating_sub(1);
            assert!(
                has_numbers || sent.has(codec, nal),
                "a NAL unit that the camera did not send: {nal:02x?}"
            );
        }
    }
}

fn check_frame(codec: VideoCodec, frame: &MediaFrame) {
    assert!((1..=FRAME_BYTES_MAX).contains(&frame.data.len()));
    assert_eq!(
        nals(&frame.data).map(|nal| nal.len() + 4).sum::<usize>(),
        frame.data.len(),
        "lengths add up"
    );
    assert!(
        nals(&frame.data).any(|nal| fuzzing::is_coded(codec, nal)),
        "a frame without a slice"
    );
    assert!(
        !(frame.is_damaged && frame.access.is_some()),
        "decoding begins at a whole frame"
    );
    if let Some(parameters) = frame.parameters.as_deref() {
        check_parameters(parameters);
    }
}

/// The NAL units of a sample.
fn nals(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<4>()?;
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        data = rest;
        Some(nal)
    })
}

/// The data that a camera sent, without the bytes that the payload format adds to fragments.
#[derive(Default)]
struct Sent {
    /// Of accepted packets, concatenated.
    taken: Vec<u8>,
    /// Of packets that were possibly accepted in part.
    others: Vec<Vec<u8>>,
}

impl Sent {
    fn note(&mut self, codec: VideoCodec, payload: &[u8], is_taken: bool) {
        let Some(header) = payload.first() else {
            return;
        };
        let (unit_type, header_bytes) = match codec {
            VideoCodec::H264 => (header & 0x1f, 1),
            VideoCodec::H265 => (header >> 1 & 0x3f, 2),
        };
        let (fragment, aggregate) = match codec {
            VideoCodec::H264 => (28, 24),
            VideoCodec::H265 => (49, 48),
        };
        if !is_taken {
            self.others.push(payload.to_vec());
        } else if unit_type == fragment {
            self.taken
                .extend_from_slice(payload.get(header_bytes + 1..).unwrap_or_default());
        } else if unit_type != aggregate || payload.len() >= header_bytes + 2 {
            self.taken.extend_from_slice(payload);
        }
    }

    /// Whether the NAL unit was sent, apart from its header, which fragments carry in pieces.
    fn has(&self, codec: VideoCodec, nal: &[u8]) -> bool {
        let header_bytes = if codec == VideoCodec::H264 { 1 } else { 2 };
        let body = nal.get(header_bytes..).unwrap_or_default();
        let finder = memmem::Finder::new(body);
        finder.find(&self.taken).is_some()
            || self.others.iter().any(|other| finder.find(other).is_some())
    }
}

/// Packets: a byte of flags, the time since the last packet in a unit of its own, the length, the
/// payload. Each with whether a long pause followed it.
fn packets(mut data: &[u8]) -> impl Iterator<Item = (Packet<'_>, bool)> {
    let (mut rtp, mut instant) = (90_000_i64, origin());
    std::iter::from_fn(move || {
        let ([flags, ticks, length], rest) = data.split_first_chunk::<3>()?;
        let length = usize::from(*length) * if flags & 0x10 == 0 { 1 } else { 8 };
        let (payload, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        rtp += i64::from(*ticks) * 600;
        instant += Duration::from_millis(if flags & 0x20 == 0 { 1 } else { 700 });
        let lost = if flags & 2 == 0 {
            0
        } else {
            u16::from(flags >> 6) + 1
        };
        let arrival = Arrival {
            instant,
            wall: Timestamp(0),
        };
        Some((
            Packet {
                payload,
                rtp,
                marker: flags & 1 == 1,
                lost,
                arrival,
            },
            flags & 4 != 0,
        ))
    })
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// RTP and RTCP packets, unchanged and also as valid ones with numbers that jump, over TCP and UDP.
pub(crate) fn rtp(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let codec = if mode & 1 == 0 {
        VideoCodec::H264
    } else {
        VideoCodec::H265
    };
    let mut track = Track::new(codec, mode & 2 != 0);
    let mut number = 65_500_u16;
    let mut payload_bytes = 0;
    for (packet, idles) in packets(data) {
        let is_raw = packet.lost > 0;
        let bytes = if is_raw {
            packet.payload.to_vec()
        } else {
            sound_packet(&packet, &mut number)
        };
        payload_bytes += bytes.len();
        // The session counts data that it cannot use.
        let _ = track.packet(is_raw && packet.marker, &bytes, packet.arrival);
        if idles {
            let _ = track.idle(packet.arrival.instant);
        }
    }
    track.finish();
    let mut out_bytes = 0;
    for item in track.take() {
        if let SessionItem::Frame(frame) = item {
            check_frame(codec, &frame);
            // Each NAL unit has four bytes of length, and at least one of its own.
            out_bytes += frame.data.len();
        }
    }
    assert!(
        out_bytes <= 5 * payload_bytes,
        "{out_bytes} bytes came of {payload_bytes}"
    );
}

/// RFC 3550, 5.1; the sequence number jumps by the payload's first byte.
fn sound_packet(packet: &Packet<'_>, number: &mut u16) -> Vec<u8> {
    let jump = match packet.payload.first() {
        Some(first) if first >> 5 == 7 => u16::from(*first).wrapping_mul(257),
        Some(first) if first >> 5 == 6 => 3,
        _ => 1,
    };
    *number = number.wrapping_add(jump);
    let mut bytes = vec![0x80, 96 | u8::from(packet.marker) << 7];
    bytes.extend(number.to_be_bytes());
    bytes.extend((packet.rtp as u32).to_be_bytes());
    bytes.extend([0, 0, 0, 1]);
    bytes.extend_from_slice(packet.payload);
    bytes
}

/// Supplemental information: reading it from a NAL unit gives the same as a plain reader of its
/// payload.
pub(crate) fn sei(data: &[u8]) {
    for (codec, header) in [
        (VideoCodec::H264, &[0x06][..]),
        (VideoCodec::H265, &[39 << 1, 1]),
    ] {
        let raw = [header, data].concat();
        // Any input: it must not panic.
        let _ = fuzzing::recovery(codec, &raw);
        let escaped = [header, &escaped(data)].concat();
        assert_eq!(
            fuzzing::recovery(codec, &escaped),
            plain_recovery(codec, data),
            "{codec:?}"
        );
    }
}

/// Adds emulation prevention (H.264, 7.4.1).
fn escaped(payload: &[u8]) -> Vec<u8> {
    let (mut out, mut zeros) = (Vec::with_capacity(payload.len()), 0);
    for byte in payload {
        if zeros >= 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        out.push(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
    }
    out
}

/// Reads the messages of `payload` one after the other (H.264, 7.3.2.3).
fn plain_recovery(codec: VideoCodec, mut payload: &[u8]) -> Option<u16> {
    for _ in 0..32 {
        let kind = plain_number(&mut payload)?;
        let bytes = plain_number(&mut payload)?;
        if kind == 6 {
            return recovery_count(codec, payload);
        }
        if bytes > 256 {
            return None;
        }
        payload = payload.get(bytes..)?;
    }
    None
}

fn plain_number(payload: &mut &[u8]) -> Option<usize> {
    let last = payload.iter().position(|byte| *byte != 0xff)?;
    let number = last * 255 + usize::from(payload[last]);
    *payload = &payload[last + 1..];
    Some(number)
}

/// `recovery_frame_cnt` or `recovery_poc_cnt`, in Exp-Golomb code.
fn recovery_count(codec: VideoCodec, payload: &[u8]) -> Option<u16> {
    let bits: Vec<u64> = payload
        .iter()
        .take(16)
        .flat_map(|byte| (0..8).rev().map(move |at| u64::from(byte >> at & 1)))
        .collect();
    let zeros = bits
        .iter()
        .position(|bit| *bit == 1)
        .filter(|zeros| *zeros <= 31)?;
    let code = bits
        .get(zeros..=2 * zeros)?
        .iter()
        .fold(0, |number, bit| number << 1 | bit)
        - 1;
    let count = match codec {
        VideoCodec::H264 => code,
        VideoCodec::H265 if code % 2 == 0 => 0,
        VideoCodec::H265 => code.div_ceil(2),
    };
    Some(u16::try_from(count).unwrap_or(u16::MAX))
}

/// Parameter sets of a description and of a stream: the first byte selects the codec. Each NAL unit
/// is preceded by a byte of length; its highest bit requests emulation prevention.
pub(crate) fn parameter_sets(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let codec = if mode & 1 == 0 {
        VideoCodec::H264
    } else {
        VideoCodec::H265
    };
    let fmtp = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut rest = &data[fmtp.len()..];
    let mut nals = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (nal, after) = after.split_at(usize::from(length & 0x7f).min(after.len()));
        nals.push(if length & 0x80 == 0 {
            nal.to_vec()
        } else {
            escaped(nal)
        });
        rest = after;
    }
    let configurations = fuzzing::configurations(codec, &String::from_utf8_lossy(fmtp), &nals);
    configurations.iter().flatten().for_each(check_parameters);
    let again = fuzzing::configurations(
        codec,
        &String::from_utf8_lossy(fmtp),
        &[nals.clone(), nals].concat(),
    );
    if let (Some(Some(_)), Some(last)) = (configurations.last(), again.last()) {
        assert!(last.is_some(), "repeated sets spoil the existing ones");
    }
}

fn check_parameters(parameters: &TrackParameters) {
    match parameters {
        TrackParameters::Video {
            codec,
            config,
            timescale,
            ..
        } => {
            assert!(config.len() <= CONFIG_BYTES_MAX && *timescale > 0);
            let sets = sets_of(*codec, config);
            assert!(
                sets.is_some_and(|sets| sets >= 2),
                "a configuration record that does not add up"
            );
        }
        TrackParameters::Audio {
            channels,
            timescale,
            ..
        } => assert!(*channels > 0 && *timescale > 0),
    }
}

/// The number of parameter sets in an `AVCDecoderConfigurationRecord` or
/// `HEVCDecoderConfigurationRecord` (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1); `None` if it does not
/// end with the last of them.
fn sets_of(codec: VideoCodec, config: &[u8]) -> Option<usize> {
    let mut sets = 0;
    let mut rest = config;
    let mut take = |rest: &mut &[u8], count: usize| {
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<2>()?;
            *rest = after.get(usize::from(u16::from_be_bytes(*length))..)?;
            sets += 1;
        }
        Some(())
    };
    match codec {
        VideoCodec::H264 => {
            rest = rest.get(5..)?;
            for mask in [0x1f, 0xff] {
                let (count, after) = rest.split_first()?;
                rest = after;
                take(&mut rest, usize::from(count & mask))?;
            }
        }
        VideoCodec::H265 => {
            let (arrays, after) = rest.get(22..)?.split_first()?;
            rest = after;
            for _ in 0..*arrays {
                let (head, after) = rest.split_first_chunk::<3>()?;
                rest = after;
                take(
                    &mut rest,
                    usize::from(u16::from_be_bytes([head[1], head[2]])),
                )?;
            }
        }
    }
    rest.is_empty().then_some(sets)
}

/// The announcements of audio in descriptions.
const AUDIO: [(AudioCodec, u32, &str); 3] = [
    (AudioCodec::Pcma, 8_000, ""),
    (AudioCodec::Pcmu, 16_000, ""),
    (
        AudioCodec::Aac,
        48_000,
        "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1190",
    ),
];

/// Packets of an audio track; the first byte selects its kind.
pub(crate) fn audio(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let (codec, clock_hz, fmtp) = AUDIO[usize::from(*mode) % AUDIO.len()];
    let mut audio = Audio::new(
        codec,
        clock_hz,
        Some(2),
        Some(fmtp).filter(|fmtp| !fmtp.is_empty()),
    )
    .unwrap();
    let (mut frames, mut payloads) = (Vec::new(), Vec::new());
    for (packet, _) in packets(data) {
        let before = frames.len();
        // The session counts data that it cannot use.
        let _ = audio.push(&packet, &mut frames);
        assert!(
            frames.len() - before <= 64,
            "{} frames of one packet",
            frames.len() - before
        );
        payloads.push(packet.payload);
    }
    let bytes: usize = payloads.iter().map(|payload| payload.len()).sum();
    assert!(
        frames.iter().map(|frame| frame.data.len()).sum::<usize>() <= bytes,
        "more came out than went in"
    );
    for frame in frames.iter().take(LOOKED_FOR_MAX) {
        assert!((1..=AUDIO_FRAME_BYTES_MAX).contains(&frame.data.len()) && frame.length.is_some());
        // A longer frame may consist of several fragments.
        let is_sent = || {
            payloads
                .iter()
                .any(|payload| memmem::find(payload, &frame.data).is_some())
        };
        let is_first_sent = || {
            payloads
                .iter()
                .any(|payload| memmem::find(payload, &frame.data[..1]).is_some())
        };
        assert!(
            is_sent() || (codec == AudioCodec::Aac && is_first_sent()),
            "a frame that the camera did not send"
        );
        if let Some(parameters) = frame.parameters.as_deref() {
            check_parameters(parameters);
        }
    }
}
