//! Exports of recordings with scripted times: whatever a recorder's clock did, ffmpeg's plain `-f
//! null -` prints nothing.

use crate::clips::{Clip, GOP_FRAMES};
use crate::judges;
use holdfast_control_api::playback::Tracks;
use holdfast_control_api::playback::export::plan_export;
use holdfast_control_api::playback::rebase::Rebaser;
use holdfast_control_api::range::Range;
use holdfast_storage::chunk::{Access, AccessPoint, ChunkEntry, ChunkLocation, ChunkMeta, InitId};
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::cmaf::init::{
    AudioCodec, AudioParameters, VIDEO_TIMESCALE, VideoCodec, VideoParameters, audio_init,
    video_init,
};
use holdfast_storage::cmaf::merge::merge_inits;
use holdfast_storage::ids::{
    CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamKind, TrackKind,
};
use holdfast_storage::time::Timestamp;
use std::path::Path;

const START: Timestamp = Timestamp(1_795_341_600_000_000);
const FRAME_US: i64 = 40_000;
const FRAMES: i64 = 600;
/// The recorder's default number of frames in a chunk, at 25 frames a second.
const CHUNK_FRAMES: usize = 10;
const AUDIO_HZ: u32 = 8000;
const AUDIO_CHUNK_SAMPLES: i64 = 3200;

/// A recording as it would be stored, each chunk under the number that its entry has as offset.
struct Recording {
    inits: [(InitId, Vec<u8>); 2],
    tracks: Tracks,
    chunks: Vec<Vec<u8>>,
}

/// When frame `n` was recorded, in microseconds after the first.
type Times = fn(i64) -> i64;

/// A corrected clock, uneven cameras, gaps, two recorders that meet.
const STORIES: [(&str, Times); 11] = [
    ("as the camera sends", |n| n * FRAME_US),
    ("30 ms taken back at 0.5 %", |n| {
        n * FRAME_US - (n.clamp(200, 350) - 200) * 200
    }),
    ("200 ms taken back at half speed", |n| {
        n * FRAME_US - (n.clamp(50, 60) - 50) * 20_000
    }),
    ("the line 30 ms forward, and back again", |n| {
        n * FRAME_US + 30_000 * i64::from((100..300).contains(&n))
    }),
    ("another recorder, 25 ms behind", |n| {
        n * FRAME_US - 25_000 * i64::from(n >= 200)
    }),
    ("a crystal that is fast", |n| n * (FRAME_US - 40)),
    ("an early gap that ends off the rhythm", |n| {
        n * FRAME_US + 5_011_000 * i64::from(n >= 10)
    }),
    ("timestamps of milliseconds that jitter", |n| {
        n * FRAME_US + n * 7 % 5 * 2_000
    }),
    ("a little faster than its nominal rate, with jitter", |n| {
        n * 39_920 + n * 7 % 5 * 2_000
    }),
    ("slower by night", |n| {
        n * FRAME_US + (n - 300).max(0) * 160_000
    }),
    ("30 frames a second, in whole microseconds", |n| {
        n * 1_000_000 / 30
    }),
];

#[test]
#[ignore = "needs ffmpeg: cargo xtask verify"]
fn every_export_decodes_without_a_message() {
    let clip = access_units(&std::fs::read(Clip::H264.path()).unwrap());
    let dir = tempfile::tempdir().unwrap();
    for (story, times) in STORIES {
        let recording = Recording::of(&clip, times);
        let path = dir.path().join("export.mp4");
        let (frames, packets) = recording.export(&path);
        println!("{story}: {frames} frames, {packets} chunks of audio");
        judges::decode_without_a_message(path.to_str().unwrap());
        let samples = judges::parse_mp4(&path);
        assert_eq!(samples, [frames, packets], "{story}");
        assert_eq!(
            judges::probe(path.to_str().unwrap()).video.unwrap().frames as usize,
            frames,
            "{story}"
        );
    }
}

impl Recording {
    fn of(clip: &[AccessUnit], times: Times) -> Self {
        let frames: Vec<Frame> = (0..FRAMES)
            .map(|n| clip[n as usize % clip.len()].frame(START, (times(n), times(n + 1))))
            .collect();
        let seconds = times(FRAMES) / 1_000_000;
        let (video, audio) = (video_header(clip), audio_header());
        let mut recording = Self {
            inits: [video, audio],
            tracks: Tracks::default(),
            chunks: Vec::new(),
        };
        for (number, frames) in frames.chunks(CHUNK_FRAMES).enumerate() {
            let start = START.plus_micros(times((number * CHUNK_FRAMES) as i64));
            let end = START.plus_micros(times((number * CHUNK_FRAMES + frames.len()) as i64));
            recording.store(TrackKind::Video, number, (start, end), frames);
        }
        for number in 0..seconds * i64::from(AUDIO_HZ) / AUDIO_CHUNK_SAMPLES {
            let at = |number: i64| {
                START.plus_micros(number * AUDIO_CHUNK_SAMPLES * 1_000_000 / i64::from(AUDIO_HZ))
            };
            let sound = Frame {
                data: vec![0xff; AUDIO_CHUNK_SAMPLES as usize].into(),
                decode_time: at(number).ticks(AUDIO_HZ),
                duration: AUDIO_CHUNK_SAMPLES as u32,
                composition_offset: 0,
                access: Some(AccessPoint::Sync),
            };
            recording.store(
                TrackKind::Audio,
                number as usize,
                (at(number), at(number + 1)),
                &[sound],
            );
        }
        recording
    }

    fn store(
        &mut self,
        track: TrackKind,
        number: usize,
        (start, end): (Timestamp, Timestamp),
        frames: &[Frame],
    ) {
        let bytes = build_chunk(track, number as u32, start, frames)
            .unwrap()
            .concat();
        let is_video = track == TrackKind::Video;
        let meta = ChunkMeta {
            camera: CameraId(1),
            stream: StreamKind::Main,
            track,
            node: NodeId(1),
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(1),
            sequence: number as u32,
            init: self.inits[usize::from(!is_video)].0,
            start,
            duration_us: u32::try_from(end.micros_since(start)).unwrap(),
            frames: frames.len() as u32,
            access: frames[0].access.filter(|_| is_video).map(|point| Access {
                point,
                slices_crc: 1,
            }),
            since_access_ms: is_video.then_some(0),
            after_loss: false,
            damaged: false,
        };
        let location = ChunkLocation {
            volume: 0,
            segment: SegmentId(1),
            offset: self.chunks.len() as u64,
            payload_bytes: bytes.len() as u32,
            holder: meta.node,
        };
        self.chunks.push(bytes);
        let entries = if is_video {
            &mut self.tracks.video
        } else {
            &mut self.tracks.audio
        };
        entries.push(ChunkEntry { meta, location });
    }

    /// Number of frames and of audio chunks in the file.
    fn export(&self, path: &Path) -> (usize, usize) {
        let range = Range {
            from: START,
            to: START.plus_micros(3_600_000_000),
        };
        let plan = plan_export(&self.tracks, range, false).unwrap();
        let [video, audio] = self.inits.clone().map(|(id, bytes)| (id, bytes.into()));
        let init = merge_inits(&[video], &[audio]).unwrap();
        let mut file = init.bytes.to_vec();
        let mut rebaser = Rebaser::in_frames(plan.base, init, plan.frame_interval_ns);
        for entry in &plan.chunks {
            let chunk = self.chunks[entry.location.offset as usize].clone();
            file.extend_from_slice(&rebaser.place(&entry.meta, chunk.into()).unwrap());
        }
        std::fs::write(path, file).unwrap();
        let of = |track| {
            plan.chunks
                .iter()
                .filter(move |entry| entry.meta.track == track)
        };
        let frames = of(TrackKind::Video)
            .map(|entry| entry.meta.frames as usize)
            .sum();
        (frames, of(TrackKind::Audio).count())
    }
}

pub(crate) fn video_header(clip: &[AccessUnit]) -> (InitId, Vec<u8>) {
    let set = |kind| {
        clip[0]
            .0
            .iter()
            .find(|nal| nal[0] & 0x1f == kind)
            .expect("parameter sets before the first frame")
    };
    let (sps, pps) = (set(7), set(8));
    let length = |nal: &[u8]| (nal.len() as u16).to_be_bytes();
    // ISO/IEC 14496-15, 5.3.3.1: version, profile, compatibility, level, lengths of 4 bytes, one
    // SPS, one PPS.
    let head = [1, sps[1], sps[2], sps[3], 0xff, 0xe1];
    let avcc = [&head[..], &length(sps), sps, &[1], &length(pps), pps].concat();
    let codec = VideoCodec::Avc { avcc };
    let bytes = video_init(&VideoParameters {
        codec,
        width: 320,
        height: 240,
        pixel_aspect: None,
    })
    .unwrap();
    (InitId::of(&bytes), bytes.to_vec())
}

fn audio_header() -> (InitId, Vec<u8>) {
    let sound = AudioParameters {
        codec: AudioCodec::PcmUlaw,
        sample_rate_hz: AUDIO_HZ,
        channels: 1,
    };
    let bytes = audio_init(&sound).unwrap();
    (InitId::of(&bytes), bytes.to_vec())
}

/// The NAL units of one frame.
pub(crate) struct AccessUnit(Vec<Vec<u8>>);

impl AccessUnit {
    /// The frame, shown from `at_us` to `next_us` after `began`.
    pub(crate) fn frame(&self, began: Timestamp, (at_us, next_us): (i64, i64)) -> Frame {
        let decode_time = began.plus_micros(at_us).ticks(VIDEO_TIMESCALE);
        let next = began.plus_micros(next_us).ticks(VIDEO_TIMESCALE);
        let with_length = |nal: &Vec<u8>| [&(nal.len() as u32).to_be_bytes()[..], nal].concat();
        Frame {
            data: self
                .0
                .iter()
                .flat_map(with_length)
                .collect::<Vec<u8>>()
                .into(),
            decode_time,
            duration: (next - decode_time) as u32,
            composition_offset: 0,
            access: self
                .0
                .iter()
                .any(|nal| nal[0] & 0x1f == 5)
                .then_some(AccessPoint::Sync),
        }
    }
}

/// Splits a stream of ITU-T H.264, annex B, at its access unit delimiters, which are left out.
pub(crate) fn access_units(stream: &[u8]) -> Vec<AccessUnit> {
    let mut starts: Vec<usize> = (0..stream.len() - 3)
        .filter(|&at| stream[at..].starts_with(&[0, 0, 1]))
        .collect();
    starts.push(stream.len());
    let mut units = Vec::new();
    for pair in starts.windows(2) {
        let nal = &stream[pair[0] + 3..pair[1]];
        let nal = &nal[..nal
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1)];
        match nal[0] & 0x1f {
            9 => units.push(AccessUnit(Vec::new())),
            _ => units
                .last_mut()
                .expect("a delimiter first")
                .0
                .push(nal.to_vec()),
        }
    }
    assert_eq!(units.len() as u64 % GOP_FRAMES, 0, "the clip can be looped");
    units
}
