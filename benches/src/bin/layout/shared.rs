//! One log for all cameras: this store, with its default chunks of 400 ms and a flush every 250 ms.

use crate::{FRAME_BYTES, Layout};
use bytes::Bytes;
use holdfast_benches::Outcome;
use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::ids::{
    CameraId, Epoch, NodeId, Rank, SessionId, StreamId, StreamKind, TrackKind,
};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{ClassId, Volume, VolumeHandle, VolumeOptions};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

const CHUNK: Duration = Duration::from_millis(400);
/// Chunk and flush together stay well under the second that may be at risk; the rest is for the
/// disk.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
const CLOSE_DEADLINE: Duration = Duration::from_secs(120);
const EPOCH_US: i64 = 1_800_000_000_000_000;

pub(crate) struct Shared {
    volume: Volume,
    handle: VolumeHandle,
    class: ClassId,
    frame: Bytes,
    cameras: Vec<Camera>,
}

#[derive(Default)]
struct Camera {
    /// Of the chunk in the making.
    first: Option<Duration>,
    frames: u32,
    sequence: u32,
    /// Appended and not yet durable: arrival of the first frame, end.
    pending: VecDeque<(Duration, Timestamp)>,
}

impl Layout for Shared {
    fn open(dir: &Path, cameras: u32) -> Outcome<Self> {
        let options = VolumeOptions {
            flush_interval: FLUSH_INTERVAL,
            free_bytes_min: 1 << 20,
            ..VolumeOptions::new(dir.join("volume"), NodeId(1), uuid::Uuid::new_v4())
        };
        let (volume, handle) = Volume::open(options)?;
        let class = handle.class("default").ok_or("no class")?;
        let frame = Bytes::from(vec![0x5a; FRAME_BYTES]);
        for camera in 1..=cameras {
            let bytes = frame.slice(..700);
            let init = Init {
                camera: CameraId(camera),
                stream: StreamKind::Main,
                track: TrackKind::Video,
                bytes,
            };
            handle.append(class, Record::Init(init))?;
        }
        Ok(Self {
            volume,
            handle,
            class,
            frame,
            cameras: (0..cameras).map(|_| Camera::default()).collect(),
        })
    }

    fn frame(&mut self, camera: u32, at: Duration) -> Outcome<()> {
        let state = &mut self.cameras[camera as usize];
        if let Some(first) = state.first.filter(|first| at - *first >= CHUNK) {
            let end = Timestamp(EPOCH_US + at.as_micros() as i64);
            let chunk = chunk(CameraId(camera + 1), state, first, end, &self.frame);
            // If the buffer is full the trial has failed: its frames stay at risk.
            self.handle.append(self.class, Record::Chunk(chunk)).ok();
            state.pending.push_back((first, end));
            *state = Camera {
                sequence: state.sequence + 1,
                pending: std::mem::take(&mut state.pending),
                ..Camera::default()
            };
        }
        state.first.get_or_insert(at);
        state.frames += 1;
        Ok(())
    }

    fn oldest_at_risk(&mut self) -> Option<Duration> {
        let handle = &self.handle;
        let oldest = |(camera, state): (u32, &mut Camera)| {
            let durable = handle.durable_until(StreamId::main(CameraId(camera)));
            while state
                .pending
                .pop_front_if(|(_, end)| durable.is_some_and(|durable| *end <= durable))
                .is_some()
            {}
            state
                .pending
                .front()
                .map(|(first, _)| *first)
                .or(state.first)
        };
        (1..).zip(&mut self.cameras).filter_map(oldest).min()
    }

    fn close(self) -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            tokio::time::timeout(CLOSE_DEADLINE, self.handle.close()).await??;
            tokio::time::timeout(CLOSE_DEADLINE, self.volume.run()).await??;
            Ok(())
        })
    }
}

fn chunk(
    camera: CameraId,
    state: &Camera,
    first: Duration,
    end: Timestamp,
    frame: &Bytes,
) -> Chunk {
    let start = Timestamp(EPOCH_US + first.as_micros() as i64);
    let meta = ChunkMeta {
        camera,
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node: NodeId(1),
        epoch: Epoch(1),
        rank: Rank::Owner,
        session: SessionId(1),
        sequence: state.sequence,
        init: InitId::of(&frame.slice(..700)),
        start,
        duration_us: (end.micros() - start.micros()) as u32,
        frames: state.frames,
        access: Some(Access::sync(state.sequence)),
        since_access_ms: Some(0),
        after_loss: false,
        damaged: false,
    };
    Chunk {
        meta,
        parts: vec![frame.clone(); state.frames as usize],
    }
}
