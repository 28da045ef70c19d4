//! Clips that ffmpeg encodes, taken apart into frames and codec parameters, as ingest would get
//! them from a camera.

use super::ffmpeg::run;
use bytes::Bytes;
use holdfast_storage::chunk::AccessPoint;
use holdfast_storage::cmaf::chunk::Frame;
use holdfast_storage::cmaf::init::{
    AudioCodec, AudioParameters, VIDEO_TIMESCALE, VideoCodec, VideoParameters, audio_init,
    video_init,
};
use holdfast_storage::cmaf::probe;
use holdfast_storage::ids::TrackKind;
use mp4_atom::{Decode, Esds};

pub(crate) struct Clip {
    pub(crate) track: TrackKind,
    pub(crate) timescale: u32,
    pub(crate) init: Bytes,
    /// Decode times count from 0.
    pub(crate) frames: Vec<Frame>,
}

/// H.264 with 25 frames per second and a keyframe every second; `bframes` reorders frames.
pub(crate) fn h264(size: &str, seconds: u32, bframes: u32) -> Clip {
    let (b, g) = (bframes.to_string(), "keyint=25:min-keyint=25:scenecut=0");
    let file = encode_video(
        size,
        seconds,
        &[
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-bf",
            &b,
            "-x264-params",
            g,
        ],
    );
    video(
        &file,
        VideoCodec::Avc {
            avcc: box_body(&file, b"avcC"),
        },
        size,
    )
}

/// H.264 with 25 frames per second and one keyframe, the first.
pub(crate) fn h264_of_one_gop(size: &str, seconds: u32) -> Clip {
    let gop = "keyint=infinite:scenecut=0";
    let file = encode_video(
        size,
        seconds,
        &[
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-x264-params",
            gop,
        ],
    );
    video(
        &file,
        VideoCodec::Avc {
            avcc: box_body(&file, b"avcC"),
        },
        size,
    )
}

/// H.264 with 25 frames per second whose only IDR picture is the first: each second a gradual
/// refresh begins, or an open GOP.
pub(crate) fn h264_without_idr(size: &str, seconds: u32, gradual: bool) -> Clip {
    let params = if gradual {
        "keyint=25:min-keyint=25:scenecut=0:intra-refresh=1:bframes=0"
    } else {
        "keyint=25:min-keyint=25:scenecut=0:open-gop=1:bframes=2:b-adapt=0"
    };
    let file = encode_video(
        size,
        seconds,
        &[
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-x264-params",
            params,
        ],
    );
    let mut clip = video(
        &file,
        VideoCodec::Avc {
            avcc: box_body(&file, b"avcC"),
        },
        size,
    );
    clip.frames
        .iter_mut()
        .for_each(|frame| frame.access = access_point(&frame.data));
    assert_eq!(
        clip.frames
            .iter()
            .filter(|frame| frame.access == Some(AccessPoint::Sync))
            .count(),
        1
    );
    clip
}

/// How decoding can begin at an access unit of H.264: an IDR picture, or a recovery point SEI
/// message (ITU-T H.264, D.1.8).
fn access_point(mut data: &[u8]) -> Option<AccessPoint> {
    let mut recovery = None;
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        match (nal[0] & 0x1f, nal[1]) {
            (5, _) => return Some(AccessPoint::Sync),
            (6, 6) => recovery = Some(exp_golomb(&nal[3..])),
            _ => {}
        }
        data = rest;
    }
    recovery.map(|frames| {
        if frames == 0 {
            AccessPoint::Open
        } else {
            AccessPoint::Recovery { frames }
        }
    })
}

/// `ue(v)` (9.1).
fn exp_golomb(bytes: &[u8]) -> u16 {
    let bits = u32::from_be_bytes(*bytes.first_chunk().unwrap_or(&[
        bytes[0],
        *bytes.get(1).unwrap_or(&0),
        0,
        0,
    ]));
    let zeros = bits.leading_zeros();
    u16::try_from((bits << zeros >> (31 - zeros)) - 1).unwrap()
}

/// H.265 with 25 frames per second and a keyframe every second.
pub(crate) fn h265(size: &str, seconds: u32) -> Clip {
    let params = "keyint=25:min-keyint=25:scenecut=0:log-level=none";
    let file = encode_video(
        size,
        seconds,
        &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-tag:v",
            "hvc1",
            "-x265-params",
            params,
        ],
    );
    video(
        &file,
        VideoCodec::Hevc {
            hvcc: box_body(&file, b"hvcC"),
        },
        size,
    )
}

/// AAC, mono.
pub(crate) fn aac(sample_rate_hz: u32, seconds: u32) -> Clip {
    let file = encode(
        &sine(sample_rate_hz, seconds),
        &["-c:a", "aac", "-b:a", "64k"],
    );
    let at = position(&file, b"esds") - 4;
    let esds = Esds::decode(&mut &file[at..]).unwrap();
    let config = esds.es_desc.dec_config.dec_specific.unwrap().raw;
    let parameters = AudioParameters {
        codec: AudioCodec::Aac { config },
        sample_rate_hz,
        channels: 1,
    };
    Clip {
        track: TrackKind::Audio,
        timescale: sample_rate_hz,
        init: audio_init(&parameters).unwrap(),
        frames: frames(&file),
    }
}

/// G.711 in frames of 20 ms, as RTP carries it.
pub(crate) fn g711(codec: AudioCodec, seconds: u32) -> Clip {
    let format = if codec == AudioCodec::PcmAlaw {
        "alaw"
    } else {
        "mulaw"
    };
    let input = sine(8000, seconds);
    let args: Vec<&str> = ["-v", "error"]
        .into_iter()
        .chain(input.iter().map(String::as_str))
        .chain(["-f", format, "-"])
        .collect();
    let raw = run("ffmpeg", &args);
    let frame = |(index, data): (usize, &[u8])| Frame {
        data: Bytes::copy_from_slice(data),
        decode_time: index as u64 * 160,
        duration: 160,
        composition_offset: 0,
        access: Some(AccessPoint::Sync),
    };
    let parameters = AudioParameters {
        codec,
        sample_rate_hz: 8000,
        channels: 1,
    };
    let frames = raw.chunks(160).enumerate().map(frame).collect();
    Clip {
        track: TrackKind::Audio,
        timescale: 8000,
        init: audio_init(&parameters).unwrap(),
        frames,
    }
}

/// In chunks of up to 500 ms that end at keyframes.
pub(crate) fn chunked(clip: &Clip) -> Vec<&[Frame]> {
    let half = u64::from(clip.timescale) / 2;
    let mut chunks = Vec::new();
    let mut begin = 0;
    for (index, frame) in clip.frames.iter().enumerate().skip(1) {
        let long = frame.decode_time - clip.frames[begin].decode_time >= half;
        if long || (frame.access.is_some() && clip.track == TrackKind::Video) {
            chunks.push(&clip.frames[begin..index]);
            begin = index;
        }
    }
    chunks.push(&clip.frames[begin..]);
    chunks
}

fn sine(sample_rate_hz: u32, seconds: u32) -> Vec<String> {
    [
        "-f",
        "lavfi",
        "-i",
        &format!("sine=sample_rate={sample_rate_hz}:duration={seconds}"),
    ]
    .map(str::to_owned)
    .to_vec()
}

fn encode_video(size: &str, seconds: u32, codec: &[&str]) -> Vec<u8> {
    let input = [
        "-f",
        "lavfi",
        "-i",
        &format!("testsrc=size={size}:rate=25:duration={seconds}"),
    ]
    .map(str::to_owned);
    encode(
        &input,
        &[
            codec,
            &["-pix_fmt", "yuv420p", "-video_track_timescale", "90000"],
        ]
        .concat(),
    )
}

fn encode(input: &[String], codec: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let output = [
        "-f",
        "mp4",
        "-movflags",
        "empty_moov+default_base_moof+delay_moov",
        "-frag_duration",
        "700000",
        path.to_str().unwrap(),
    ];
    run(
        "ffmpeg",
        &[&["-v", "error"][..], &input, codec, &output].concat(),
    );
    std::fs::read(path).unwrap()
}

fn video(file: &[u8], codec: VideoCodec, size: &str) -> Clip {
    let (width, height) = size.split_once('x').unwrap();
    let parameters = VideoParameters {
        codec,
        width: width.parse().unwrap(),
        height: height.parse().unwrap(),
        pixel_aspect: Some((1, 1)),
    };
    Clip {
        track: TrackKind::Video,
        timescale: VIDEO_TIMESCALE,
        init: video_init(&parameters).unwrap(),
        frames: frames(file),
    }
}

/// Reads the frames of ffmpeg's fragments, which are not ours.
fn frames(file: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for range in probe::chunk_ranges(file) {
        let range = range.unwrap();
        // ffmpeg ends its files with an index.
        let chunk = &file[range];
        for sample in probe::samples(chunk).unwrap() {
            frames.push(Frame {
                data: Bytes::copy_from_slice(&chunk[sample.offset..sample.offset + sample.size]),
                decode_time: sample.decode_time,
                duration: sample.duration,
                composition_offset: sample.composition_offset as i32,
                access: sample.is_sync.then_some(AccessPoint::Sync),
            });
        }
    }
    assert!(!frames.is_empty());
    frames
}

fn box_body(file: &[u8], kind: &[u8; 4]) -> Vec<u8> {
    let at = position(file, kind);
    let size = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
    file[at + 4..at - 4 + size].to_vec()
}

fn position(file: &[u8], kind: &[u8; 4]) -> usize {
    file.windows(4).position(|window| window == kind).unwrap()
}
