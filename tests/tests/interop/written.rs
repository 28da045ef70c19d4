//! Writes footage with arbitrary times directly into a node's volume: hours in a second.

use crate::clips::{Clip, GOP_FRAMES};
use crate::constructed::{AccessUnit, access_units, video_header};
use holdfast_storage::chunk::{Access, AccessPoint, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::cmaf::init::{AudioCodec, AudioParameters, VIDEO_TIMESCALE, audio_init};
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{ClassId, Volume, VolumeHandle, VolumeOptions};

const FRAME_US: i64 = 40_000;
const GOP_US: i64 = GOP_FRAMES as i64 * FRAME_US;
/// Number of frames in each chunk of a GOP, as a recorder cuts them.
const CHUNKS: [usize; 3] = [10, 10, 5];

const SOUND_HZ: u32 = 16_000;
/// Samples of one access unit (ISO/IEC 14496-3).
const SOUND_SAMPLES: i64 = 1024;
/// Access units in a chunk: less than half a second.
const SOUND_FRAMES: usize = 6;
const ADTS_HEADER_BYTES: usize = 7;

/// A camera's footage in pieces, each of which is a recording of its own.
pub(crate) struct Written {
    pub(crate) camera: CameraId,
    pub(crate) node: NodeId,
    /// The beginning of each piece, and its length in seconds.
    pub(crate) pieces: Vec<(Timestamp, i64)>,
}

impl Written {
    /// Writes the footage with the store itself, while no node has the volume open.
    pub(crate) async fn write(&self, options: VolumeOptions) {
        let (volume, handle) = Volume::open(options).unwrap();
        let writer = Writer {
            of: self,
            class: handle.class("default").unwrap(),
            handle: &handle,
        };
        writer.append_all().await;
        handle.flush().await.unwrap();
        handle.close().await.unwrap();
        volume.run().await.unwrap();
    }
}

struct Writer<'a> {
    of: &'a Written,
    handle: &'a VolumeHandle,
    class: ClassId,
}

/// A track of one piece.
#[derive(Clone, Copy)]
struct Track {
    kind: TrackKind,
    init: InitId,
    began: Timestamp,
}

impl Writer<'_> {
    async fn append_all(&self) {
        let clip = access_units(&std::fs::read(Clip::H264.path()).unwrap());
        let adts = std::fs::read(Clip::Aac.path()).unwrap();
        let sound = sound_units(&adts);
        let (_, video_header) = video_header(&clip);
        let aac = AudioCodec::Aac {
            config: vec![0x14, 0x08],
        };
        let parameters = AudioParameters {
            codec: aac,
            sample_rate_hz: SOUND_HZ,
            channels: 1,
        };
        let (camera, stream) = (self.of.camera, StreamKind::Main);
        let video = self.init(Init {
            camera,
            stream,
            track: TrackKind::Video,
            bytes: video_header.into(),
        });
        let bytes = audio_init(&parameters).unwrap();
        let audio = self.init(Init {
            camera,
            stream,
            track: TrackKind::Audio,
            bytes,
        });
        for &(began, seconds) in &self.of.pieces {
            let track = |kind, init| Track { kind, init, began };
            self.video(&clip, track(TrackKind::Video, video), seconds);
            self.sound(&sound, track(TrackKind::Audio, audio), seconds);
            // Before the writer holds more than it may.
            self.handle.flush().await.unwrap();
        }
    }

    fn init(&self, init: Init) -> InitId {
        let id = init.id();
        self.handle.append(self.class, Record::Init(init)).unwrap();
        id
    }

    fn video(&self, clip: &[AccessUnit], track: Track, seconds: i64) {
        let mut sequence = 0;
        for gop in 0..seconds * 1_000_000 / GOP_US {
            let mut number = gop * GOP_FRAMES as i64;
            for count in CHUNKS {
                let numbers = number..number + count as i64;
                let frames: Vec<Frame> = numbers
                    .map(|number| {
                        let unit = &clip[number as usize % clip.len()];
                        unit.frame(track.began, (number * FRAME_US, (number + 1) * FRAME_US))
                    })
                    .collect();
                self.chunk(
                    track,
                    sequence,
                    (number * FRAME_US, count as i64 * FRAME_US),
                    &frames,
                );
                number += count as i64;
                sequence += 1;
            }
        }
    }

    fn sound(&self, units: &[&[u8]], track: Track, seconds: i64) {
        let at_us = |number: i64| number * SOUND_SAMPLES * 1_000_000 / i64::from(SOUND_HZ);
        let all: Vec<i64> = (0..)
            .take_while(|number| at_us(*number + 1) <= seconds * 1_000_000)
            .collect();
        for (sequence, numbers) in (0..).zip(all.chunks(SOUND_FRAMES)) {
            let first = track.began.ticks(SOUND_HZ);
            let frame = |number: &i64| Frame {
                data: units[*number as usize % units.len()].to_vec().into(),
                decode_time: first + (number * SOUND_SAMPLES) as u64,
                duration: SOUND_SAMPLES as u32,
                composition_offset: 0,
                access: Some(AccessPoint::Sync),
            };
            let frames: Vec<Frame> = numbers.iter().map(frame).collect();
            let (from, to) = (at_us(numbers[0]), at_us(numbers[0] + numbers.len() as i64));
            self.chunk(track, sequence, (from, to - from), &frames);
        }
    }

    fn chunk(
        &self,
        track: Track,
        sequence: u32,
        (at_us, duration_us): (i64, i64),
        frames: &[Frame],
    ) {
        let is_video = track.kind == TrackKind::Video;
        let start = track.began.plus_micros(at_us);
        let into_gop_us = at_us % GOP_US;
        let meta = ChunkMeta {
            camera: self.of.camera,
            stream: StreamKind::Main,
            track: track.kind,
            node: self.of.node,
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(track.began.micros().unsigned_abs()),
            sequence,
            init: track.init,
            start,
            duration_us: u32::try_from(duration_us).unwrap(),
            frames: u32::try_from(frames.len()).unwrap(),
            access: (is_video && into_gop_us == 0).then_some(Access::sync(sequence)),
            since_access_ms: is_video.then_some(u32::try_from(into_gop_us / 1000).unwrap()),
            after_loss: false,
            damaged: false,
        };
        let parts = build_chunk(track.kind, sequence, start, frames).unwrap();
        self.handle
            .append(self.class, Record::Chunk(Chunk { meta, parts }))
            .unwrap();
    }
}

/// The access units of AAC in ADTS frames (ISO/IEC 14496-3, 1.A.3.2).
fn sound_units(mut adts: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some(&[_, _, _, high, middle, low, _]) = adts.get(..ADTS_HEADER_BYTES) {
        let length = usize::from(high & 3) << 11 | usize::from(middle) << 3 | usize::from(low >> 5);
        let (frame, rest) = adts.split_at(length);
        units.push(&frame[ADTS_HEADER_BYTES..]);
        adts = rest;
    }
    assert!(!units.is_empty(), "the clip has sound");
    units
}

const _: () = assert!(
    VIDEO_TIMESCALE as i64 * FRAME_US % 1_000_000 == 0,
    "frames last whole ticks"
);
