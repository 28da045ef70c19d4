//! Simulated cameras: what each records next, and when. Sessions, epochs, parameter changes, gaps,
//! audio and sub streams are random.

use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::{MAIN, NODE};
use bytes::Bytes;
use holdfast_storage::chunk::{Access, Chunk, ChunkMeta, Gap, GapCause, Init, InitId, Record};
use holdfast_storage::ids::{CameraId, Epoch, Rank, SessionId, StreamKind, TrackKind};
use holdfast_storage::pictures::{Pictures, Shown};
use holdfast_storage::simulation::Random;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{AppendError, ClassId, VolumeHandle};

/// The minimum time between the starts of two sessions.
const CONNECT_US_MIN: i64 = 100_000;

/// One stream of one camera.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) camera: CameraId,
    pub(crate) stream: StreamKind,
    class: usize,
    has_audio: bool,
    pub(crate) epoch: Epoch,
    pub(crate) rank: Rank,
    session: SessionId,
    sequences: [u32; 2],
    /// Grows with each change of parameters.
    parameters: u32,
    /// The init segments that this session has appended.
    has_init: bool,
    after_loss: bool,
    /// The state of a decoder of the session, and the place of its last access point.
    pictures: Pictures,
    access_start: Option<Timestamp>,
    /// Start of the next chunk.
    at: Timestamp,
}

pub(crate) fn recorders(plan: &Plan, random: &mut Random) -> Vec<Recorder> {
    let mut recorders = Vec::new();
    for camera in 1..=plan.cameras {
        let main = Recorder {
            camera: CameraId(camera),
            stream: MAIN,
            class: random.below(plan.options.retention.len() as u64) as usize,
            has_audio: random.one_in(3),
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(0),
            sequences: [0; 2],
            parameters: 0,
            has_init: false,
            after_loss: false,
            pictures: Pictures::default(),
            access_start: None,
            at: Timestamp(0),
        };
        if random.one_in(5) {
            recorders.push(Recorder {
                stream: StreamKind::Sub,
                has_audio: false,
                ..main.clone()
            });
        }
        recorders.push(main);
    }
    recorders
}

impl Recorder {
    /// After a start, or when the camera returns.
    pub(crate) fn begin_session(&mut self, now: Timestamp, plan: &Plan, random: &mut Random) {
        if random.one_in(3) {
            self.epoch = self.epoch.next();
            self.rank = *random.pick(&[Rank::Owner, Rank::Owner, Rank::Mirror, Rank::Successor]);
        }
        if random.one_in(4) {
            self.class = random.below(plan.options.retention.len() as u64) as usize;
        }
        // Connecting takes longer than a record waits for others.
        let delay_us = CONNECT_US_MIN + random.below(400_000) as i64;
        self.at = now.plus_micros(delay_us).max(self.at.plus_micros(delay_us));
        self.session = SessionId(self.at.0 as u64);
        self.sequences = [0; 2];
        self.has_init = false;
        self.after_loss = false;
        (self.pictures, self.access_start) = (Pictures::default(), None);
    }

    /// Appends everything that has arrived by `now`.
    pub(crate) fn append_until(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        handle: &VolumeHandle,
        oracle: &mut Oracle,
        random: &mut Random,
    ) -> Result<(), AppendError> {
        while self.at.plus_micros(plan.chunk_us as i64) <= now {
            match random.below(60) {
                0 => {
                    self.parameters += 1;
                    self.has_init = false;
                    (self.pictures, self.access_start) = (Pictures::default(), None);
                }
                1 => self.has_init = false,
                2 => self.lose(plan, handle, oracle, random)?,
                3 => self.begin_session(self.at, plan, random),
                _ => {}
            }
            self.append(TrackKind::Video, plan, handle, oracle, random)?;
            if self.has_audio {
                self.append(TrackKind::Audio, plan, handle, oracle, random)?;
            }
            self.has_init = true;
            self.at = self.at.plus_micros(plan.chunk_us as i64);
        }
        Ok(())
    }

    /// The camera was away: a gap, and perhaps a session that continues.
    fn lose(
        &mut self,
        plan: &Plan,
        handle: &VolumeHandle,
        oracle: &mut Oracle,
        random: &mut Random,
    ) -> Result<(), AppendError> {
        let end = self.at.plus_micros(random.within(50_000..400_000) as i64);
        let gap = Gap {
            camera: self.camera,
            stream: self.stream,
            node: NODE,
            epoch: self.epoch,
            start: self.at,
            end,
            cause: GapCause::CameraStalled,
            // The length that the plan has, without another draw.
            frames_missing: u16::try_from(end.micros_since(self.at) / 40_000)
                .ok()
                .filter(|frames| *frames > 0),
        };
        put(plan, handle, self.class(handle)?, Record::Gap(gap))?;
        oracle.accept_gap(gap);
        self.at = end;
        self.after_loss = true;
        Ok(())
    }

    fn class(&self, handle: &VolumeHandle) -> Result<ClassId, AppendError> {
        handle
            .class(&format!("class-{}", self.class))
            .ok_or(AppendError::Closed)
    }

    fn append(
        &mut self,
        track: TrackKind,
        plan: &Plan,
        handle: &VolumeHandle,
        oracle: &mut Oracle,
        random: &mut Random,
    ) -> Result<(), AppendError> {
        let class = self.class(handle)?;
        let init = self.init(track);
        if !self.has_init || random.one_in(20) {
            put(plan, handle, class, Record::Init(init.clone()))?;
            oracle.accept_init(&init);
        }
        let mut chunk = self.chunk(track, init.id(), plan, random);
        let before = (self.pictures, self.access_start);
        if track == TrackKind::Video {
            self.show(&mut chunk.meta);
        }
        match put(plan, handle, class, Record::Chunk(chunk.clone())) {
            Ok(()) => {
                oracle.accept_chunk(&chunk);
                self.sequences[usize::from(track == TrackKind::Audio)] += 1;
                self.after_loss = false;
                Ok(())
            }
            // Dropped, as a recorder would.
            Err(AppendError::Full { .. } | AppendError::NoSpace) => {
                self.after_loss = true;
                (self.pictures, self.access_start) = before;
                self.pictures.lose();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Marks a chunk of video as the node's recorder does.
    fn show(&mut self, meta: &mut ChunkMeta) {
        if meta.after_loss {
            self.pictures.lose();
        }
        let shown = self
            .pictures
            .show(meta.access.map(|access| access.point), meta.frames);
        self.access_start = meta
            .access
            .map(|_| meta.start)
            .or(self.access_start)
            .filter(|_| shown != Shown::Nothing);
        meta.damaged = shown == Shown::Damaged;
        let since_us = self
            .access_start
            .map(|access_start| meta.start.micros_since(access_start));
        meta.since_access_ms = since_us.and_then(|us| u32::try_from((us + 999) / 1000).ok());
    }

    fn init(&self, track: TrackKind) -> Init {
        let bytes = Bytes::from(format!(
            "ftyp+moov of {}, {:?}, {track:?}, {}",
            self.camera, self.stream, self.parameters
        ));
        Init {
            camera: self.camera,
            stream: self.stream,
            track,
            bytes,
        }
    }

    fn chunk(&self, track: TrackKind, init: InitId, plan: &Plan, random: &mut Random) -> Chunk {
        let is_audio = track == TrackKind::Audio;
        let sequence = self.sequences[usize::from(is_audio)];
        let delay_us = if is_audio {
            random.below(plan.chunk_us / 2)
        } else {
            0
        };
        let meta = ChunkMeta {
            camera: self.camera,
            stream: self.stream,
            track,
            node: NODE,
            epoch: self.epoch,
            rank: self.rank,
            session: self.session,
            sequence,
            init,
            start: self.at.plus_micros(delay_us as i64),
            duration_us: if is_audio {
                plan.chunk_us as u32 / 2
            } else {
                plan.chunk_us as u32
            },
            frames: 10,
            access: (!is_audio && sequence.is_multiple_of(2))
                .then(|| Access::sync(random.next() as u32)),
            since_access_ms: None,
            after_loss: self.after_loss,
            damaged: false,
        };
        let is_long = random.one_in(300);
        let bytes = if is_long {
            random.within(100_000..1_300_000)
        } else {
            random.within(1..plan.payload_bytes_max)
        };
        Chunk {
            meta,
            parts: vec![noise(bytes as usize, random)],
        }
    }
}

/// Bytes that occur nowhere else.
fn noise(bytes: usize, random: &mut Random) -> Bytes {
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&random.next().to_le_bytes());
    }
    noise.truncate(bytes);
    noise.into()
}

fn put(
    plan: &Plan,
    handle: &VolumeHandle,
    class: ClassId,
    record: Record,
) -> Result<(), AppendError> {
    if plan.appends_quietly {
        handle.append_quietly(class, record)
    } else {
        handle.append(class, record)
    }
}
