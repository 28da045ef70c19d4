//! The footage to read: a volume with many small chunks, among which instants are looked up, and
//! with some cameras' footage of usual size, which is exported.

use bytes::Bytes;
use holdfast_benches::Outcome;
use holdfast_storage::chunk::{Access, AccessPoint, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::cmaf::chunk::{Frame, build_chunk};
use holdfast_storage::cmaf::init::{VideoCodec, VideoParameters, video_init};
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{AppendError, ClassId, Volume, VolumeHandle, VolumeOptions};
use std::ops::Range;
use std::time::Duration;

/// Frames of the three chunks of a GOP of a second, as a recorder cuts them: 25 frames a second, at
/// most 400 ms a chunk, the first begins with a keyframe.
const GOP: [usize; 3] = [10, 10, 5];
const FRAME_US: i64 = 40_000;
const FRAME_TICKS: u32 = 3_600;
const TIMESCALE: u32 = 90_000;
const GOP_US: i64 = 1_000_000;

/// Frames are cut from it.
const NOISE_BYTES: usize = 8 << 20;

/// How long the feeder waits while the volume's buffer is full.
const FULL_PAUSE: Duration = Duration::from_micros(500);

/// Some cameras, recorded at once from one instant on.
#[derive(Clone, Debug)]
pub(crate) struct Footage {
    pub(crate) cameras: Range<u32>,
    pub(crate) from: Timestamp,
    /// Seconds of each camera; as many GOPs.
    pub(crate) seconds: i64,
    pub(crate) keyframe_bytes: usize,
    pub(crate) frame_bytes: usize,
    /// Of the segments it is written to: a minute's footage.
    pub(crate) segment_bytes: u64,
}

impl Footage {
    /// Small frames: as many chunks in as little space as possible.
    pub(crate) fn small(chunks: u64, from: Timestamp) -> Outcome<Self> {
        let seconds = i64::try_from(chunks)? / (100 * GOP.len() as i64);
        let (keyframe_bytes, frame_bytes) = (800, 160);
        Ok(Self {
            cameras: 1001..1101,
            from,
            seconds,
            keyframe_bytes,
            frame_bytes,
            segment_bytes: 40 << 20,
        })
    }

    /// 2 Mbit/s.
    pub(crate) fn usual(cameras: u32, minutes: i64, from: Timestamp) -> Self {
        let (keyframe_bytes, frame_bytes) = (40_000, 8_750);
        let segment_bytes = (u64::from(cameras) * 60 * 250_000).max(4 << 20);
        Self {
            cameras: 1..cameras + 1,
            from,
            seconds: minutes * 60,
            keyframe_bytes,
            frame_bytes,
            segment_bytes,
        }
    }

    pub(crate) fn to(&self) -> Timestamp {
        self.from.plus_micros(self.seconds * GOP_US)
    }

    pub(crate) fn chunks(&self) -> u64 {
        u64::from(self.cameras.end - self.cameras.start)
            * self.seconds.unsigned_abs()
            * GOP.len() as u64
    }

    /// Writes all of it with the store itself.
    pub(crate) async fn write(&self, options: VolumeOptions) -> Outcome<()> {
        let node = options.node;
        let segment_bytes_max = self.segment_bytes;
        let (volume, handle) = Volume::open(VolumeOptions {
            segment_bytes_max,
            free_bytes_min: 64 << 20,
            ..options
        })?;
        let class = handle.class("default").ok_or("no class")?;
        let mut feeder = Feeder {
            footage: self,
            handle: &handle,
            class,
            node,
            noise: noise(),
            at: 0,
        };
        feeder.feed()?;
        handle.flush().await?;
        handle.close().await?;
        Ok(volume.run().await?)
    }
}

struct Feeder<'a> {
    footage: &'a Footage,
    handle: &'a VolumeHandle,
    class: ClassId,
    node: NodeId,
    noise: Bytes,
    at: usize,
}

impl Feeder<'_> {
    fn feed(&mut self) -> Outcome<()> {
        // A header that decodes nothing: the pictures are never shown.
        let codec = VideoCodec::Avc {
            avcc: vec![1, 0x64, 0, 30, 0xff, 0xe0, 0],
        };
        let init = video_init(&VideoParameters {
            codec,
            width: 1920,
            height: 1080,
            pixel_aspect: None,
        })?;
        let init_id = InitId::of(&init);
        for camera in self.footage.cameras.clone().map(CameraId) {
            let init = Init {
                camera,
                stream: StreamKind::Main,
                track: TrackKind::Video,
                bytes: init.clone(),
            };
            self.append(&Record::Init(init))?;
        }
        for second in 0..self.footage.seconds {
            let mut frames_before = 0;
            for (part, frames) in (0..).zip(GOP) {
                let start = self
                    .footage
                    .from
                    .plus_micros(second * GOP_US + frames_before * FRAME_US);
                let sequence = u32::try_from(second)? * GOP.len() as u32 + part;
                for camera in self.footage.cameras.clone().map(CameraId) {
                    let record = self.chunk(camera, init_id, start, sequence, frames)?;
                    self.append(&record)?;
                }
                frames_before += frames as i64;
            }
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        camera: CameraId,
        init: InitId,
        start: Timestamp,
        sequence: u32,
        frames: usize,
    ) -> Outcome<Record> {
        let is_keyframe = sequence.is_multiple_of(GOP.len() as u32);
        let first_time = start.ticks(TIMESCALE);
        let frame = |number: usize| {
            let keyframe = number == 0 && is_keyframe;
            let bytes = if keyframe {
                self.footage.keyframe_bytes
            } else {
                self.footage.frame_bytes
            };
            Frame {
                data: self.cut(bytes),
                decode_time: first_time + u64::from(FRAME_TICKS) * number as u64,
                duration: FRAME_TICKS,
                composition_offset: 0,
                access: keyframe.then_some(AccessPoint::Sync),
            }
        };
        let built: Vec<Frame> = (0..frames).map(frame).collect();
        let meta = ChunkMeta {
            camera,
            stream: StreamKind::Main,
            track: TrackKind::Video,
            node: self.node,
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(self.footage.from.micros().unsigned_abs()),
            sequence,
            init,
            start,
            duration_us: u32::try_from(frames as i64 * FRAME_US)?,
            frames: u32::try_from(frames)?,
            access: is_keyframe.then_some(Access::sync(sequence)),
            since_access_ms: Some(500 * (sequence % GOP.len() as u32)),
            after_loss: false,
            damaged: false,
        };
        Ok(Record::Chunk(Chunk {
            meta,
            parts: build_chunk(TrackKind::Video, sequence, start, &built)?,
        }))
    }

    fn cut(&mut self, bytes: usize) -> Bytes {
        if self.at + bytes > self.noise.len() {
            self.at = 0;
        }
        let cut = self.noise.slice(self.at..self.at + bytes);
        self.at += bytes;
        cut
    }

    /// Waits while the buffer is full, as long as the disk takes.
    fn append(&self, record: &Record) -> Outcome<()> {
        loop {
            match self.handle.append(self.class, record.clone()) {
                Err(AppendError::Full { .. }) => std::thread::sleep(FULL_PAUSE),
                other => return Ok(other?),
            }
        }
    }
}

/// Incompressible, and the same in each run.
fn noise() -> Bytes {
    let mut random = crate::Random(0x9e37_79b9_7f4a_7c15);
    (0..NOISE_BYTES / 8)
        .flat_map(|_| random.next().to_le_bytes())
        .collect::<Vec<u8>>()
        .into()
}
