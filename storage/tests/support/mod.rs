//! Shared by the store's tests: generated chunks, and a volume in its own directory.

#![expect(clippy::disallowed_methods, reason = "tests run in real time")]
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "test code; clippy exempts only functions marked as tests"
)]

pub(crate) mod faulty;

use bytes::Bytes;
use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, Gap, GapCause, Init, InitId, Record};
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::retention::Caution;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Range, Volume, VolumeHandle, VolumeOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const NODE: NodeId = NodeId(3);
pub(crate) const T0: i64 = 1_795_000_000_000_000;
pub(crate) const CHUNK_US: i64 = 500_000;

pub(crate) fn init_bytes(camera: u32) -> Bytes {
    Bytes::from(format!("ftyp+moov of camera {camera}"))
}

pub(crate) fn init(camera: u32) -> Record {
    Record::Init(Init {
        camera: CameraId(camera),
        stream: StreamKind::Main,
        track: TrackKind::Video,
        bytes: init_bytes(camera),
    })
}

pub(crate) fn payload(camera: u32, sequence: u32, bytes: usize) -> Bytes {
    let seed = camera.wrapping_mul(31).wrapping_add(sequence);
    (0..bytes)
        .map(|at| (at as u32).wrapping_mul(7).wrapping_add(seed) as u8)
        .collect()
}

pub(crate) fn meta(camera: u32, sequence: u32) -> ChunkMeta {
    ChunkMeta {
        camera: CameraId(camera),
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node: NODE,
        epoch: Epoch(1),
        rank: Rank::Owner,
        session: SessionId(T0 as u64),
        sequence,
        init: InitId::of(&init_bytes(camera)),
        start: Timestamp(T0 + i64::from(sequence) * CHUNK_US),
        duration_us: CHUNK_US as u32,
        frames: 12,
        access: sequence.is_multiple_of(2).then_some(Access::sync(sequence)),
        since_access_ms: Some(500 * (sequence % 2)),
        after_loss: false,
        damaged: false,
    }
}

/// In two parts, as frames arrive.
pub(crate) fn chunk(camera: u32, sequence: u32, bytes: usize) -> Record {
    let whole = payload(camera, sequence, bytes);
    let parts = vec![whole.slice(..bytes / 3), whole.slice(bytes / 3..)];
    Record::Chunk(Chunk {
        meta: meta(camera, sequence),
        parts,
    })
}

pub(crate) fn gap(camera: u32, start_us: i64, end_us: i64) -> Gap {
    Gap {
        camera: CameraId(camera),
        stream: StreamKind::Main,
        node: NODE,
        epoch: Epoch(1),
        start: Timestamp(start_us),
        end: Timestamp(end_us),
        cause: GapCause::CameraStalled,
        frames_missing: None,
    }
}

pub(crate) struct Dir {
    dir: TempDir,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::with_prefix("holdfast-storage-").unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn options(&self) -> VolumeOptions {
        VolumeOptions {
            io: IoChoice::Plain,
            free_bytes_min: 0,
            caution: Caution::NONE,
            ..VolumeOptions::new(self.dir.path(), NODE, Uuid::from_u128(1))
        }
    }

    /// All segment files, oldest first.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let classes = std::fs::read_dir(self.path().join("segments")).unwrap();
        let files = classes.flat_map(|class| std::fs::read_dir(class.unwrap().path()).unwrap());
        let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        paths.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
        paths
    }
}

pub(crate) fn append(handle: &VolumeHandle, record: Record) {
    let class = handle.class("default").unwrap();
    handle.append(class, record).unwrap();
}

/// One camera's init segment and chunks `from..to`.
pub(crate) fn record_chunks(handle: &VolumeHandle, camera: u32, sequences: std::ops::Range<u32>) {
    append(handle, init(camera));
    for sequence in sequences {
        append(handle, chunk(camera, sequence, 10_000));
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("took more than 20 s")
}

pub(crate) async fn close(volume: Volume, handle: VolumeHandle) {
    within(handle.close()).await.unwrap();
    within(volume.run()).await.unwrap();
}

pub(crate) fn await_recovery(handle: &VolumeHandle) {
    let started = Instant::now();
    while !(handle.stats().is_recovered() && handle.stats().is_catalogue_open) {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "recovery hangs: {:?}",
            handle.stats()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The listed sequence numbers; each chunk is read and compared with what was written.
pub(crate) fn stored(handle: &VolumeHandle, camera: u32) -> Vec<u32> {
    let entries = handle
        .entries(Range::all(CameraId(camera), StreamKind::Main))
        .unwrap();
    let check = |entry: &holdfast_storage::chunk::ChunkEntry| {
        let sequence = entry.meta.sequence;
        assert_eq!(entry.meta, meta(camera, sequence));
        let bytes = entry.location.payload_bytes as usize;
        assert_eq!(
            handle.read(&entry.location).unwrap(),
            payload(camera, sequence, bytes)
        );
        sequence
    };
    entries.iter().map(check).collect()
}

pub(crate) const MAIN: StreamKind = StreamKind::Main;

pub(crate) fn camera(id: u32) -> CameraId {
    CameraId(id)
}
