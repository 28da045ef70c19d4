//! Reproducible footage: everything in a chunk follows from its camera, its session and its number.
//! Pure.

use bytes::Bytes;
use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, Init, InitId, Record};
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::time::Timestamp;
use std::sync::LazyLock;

pub(crate) const NODE: NodeId = NodeId(3);

/// The default of a node's chunker.
pub(crate) const CHUNK_US: i64 = 400_000;

/// Cameras begin within one chunk of each other, so that some camera's chunk ends in every tick.
const PHASE_US: i64 = 10_000;

const NOISE_BYTES: usize = 1 << 20;

/// A chunk that begins with a keyframe is longer than the others.
const CHUNK_BYTES: usize = 20_000;
const KEYFRAME_BYTES: usize = 30_000;
const KEYFRAME_EVERY: u32 = 5;

static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = mix(state);
        state.to_le_bytes()
    };
    (0..NOISE_BYTES / 8).flat_map(|_| next()).collect()
});

/// A run of the recorder: identified by its start, in microseconds; its epoch grows with every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) began_us: i64,
    pub(crate) epoch: u64,
}

impl Session {
    pub(crate) fn end_of(self, camera: u32, sequence: u32) -> Timestamp {
        self.start_of(camera, sequence).plus_micros(CHUNK_US)
    }

    pub(crate) fn start_of(self, camera: u32, sequence: u32) -> Timestamp {
        let phase_us = i64::from(camera) * PHASE_US % CHUNK_US;
        Timestamp(self.began_us + phase_us + i64::from(sequence) * CHUNK_US)
    }
}

/// A different one in every session, as after a change of the camera's settings.
pub(crate) fn init_bytes(camera: u32, session: Session) -> Bytes {
    Bytes::from(format!(
        "ftyp+moov of camera {camera} since {}",
        session.began_us
    ))
}

pub(crate) fn init(camera: u32, session: Session) -> Record {
    let bytes = init_bytes(camera, session);
    Record::Init(Init {
        camera: CameraId(camera),
        stream: StreamKind::Main,
        track: TrackKind::Video,
        bytes,
    })
}

pub(crate) fn meta(camera: u32, session: Session, sequence: u32) -> ChunkMeta {
    ChunkMeta {
        camera: CameraId(camera),
        stream: StreamKind::Main,
        track: TrackKind::Video,
        node: NODE,
        epoch: Epoch(session.epoch),
        rank: Rank::Owner,
        session: SessionId(session.began_us as u64),
        sequence,
        init: InitId::of(&init_bytes(camera, session)),
        start: session.start_of(camera, sequence),
        duration_us: CHUNK_US as u32,
        frames: 10,
        access: sequence
            .is_multiple_of(KEYFRAME_EVERY)
            .then_some(Access::sync(sequence ^ camera)),
        since_access_ms: Some(sequence % KEYFRAME_EVERY * (CHUNK_US as u32 / 1000)),
        after_loss: false,
        damaged: false,
    }
}

pub(crate) fn chunk(camera: u32, session: Session, sequence: u32) -> Record {
    Record::Chunk(Chunk {
        meta: meta(camera, session, sequence),
        parts: parts(camera, session, sequence).to_vec(),
    })
}

/// Whether these are the chunk's bytes.
pub(crate) fn is_payload(camera: u32, session: Session, sequence: u32, payload: &[u8]) -> bool {
    let [head, body] = parts(camera, session, sequence);
    payload
        .strip_prefix(&head[..])
        .is_some_and(|rest| rest == body)
}

/// The chunk's name, then noise of a length and from a position that depend on it.
fn parts(camera: u32, session: Session, sequence: u32) -> [Bytes; 2] {
    let name = format!(
        "camera {camera} session {} chunk {sequence};",
        session.began_us
    );
    let hash = mix(u64::from(camera) << 32 | u64::from(sequence)) ^ mix(session.began_us as u64);
    let least = if sequence.is_multiple_of(KEYFRAME_EVERY) {
        KEYFRAME_BYTES
    } else {
        CHUNK_BYTES
    };
    let length = least + (hash % 10_000) as usize;
    let from = (hash >> 16) as usize % (NOISE_BYTES - length);
    [Bytes::from(name), NOISE.slice(from..from + length)]
}

/// SplitMix64's step.
pub(crate) fn mix(state: u64) -> u64 {
    let mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
