//! One track of a recording: its clock, its open chunk, its init segment and the number of its next
//! chunk.

use super::chunker::{Chunker, Cut, Limits};
use super::mux;
use super::pipeline::Context;
use super::sink::SinkError;
use super::status::Identity;
use crate::capture::ingest::clock::TrackClock;
use crate::capture::ingest::media::{SenderReport, VideoCodec};
use holdfast_storage::chunk::{Chunk, ChunkMeta, Init, InitId, Record, SINCE_ACCESS_MS_MAX};
use holdfast_storage::ids::{SessionId, TrackKind};
use holdfast_storage::pictures::{Pictures, Shown};
use holdfast_storage::time::Timestamp;

/// Why a chunk was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStored {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("a chunk was left out: {0}")]
    Mux(#[from] mux::Error),
    /// On the volume that the camera moved to, frames before the next keyframe could not be
    /// decoded.
    #[error("recording continues on another volume at the next keyframe")]
    AwaitsKeyframe,
}

pub(super) struct Track {
    kind: TrackKind,
    pub(super) chunker: Chunker,
    pub(super) clock: TrackClock,
    pub(super) report: Option<SenderReport>,
    init: Init,
    pub(super) init_id: InitId,
    /// The sink has taken the init segment in this session.
    init_stored: bool,
    sequence: u32,
    pub(super) lost: bool,
    /// What a decoder holds after the session's stored chunks.
    pictures: Pictures,
    /// Where the session's last access point is.
    access_start: Option<Timestamp>,
}

impl Track {
    /// A track whose frames are not stamped before `floor`.
    pub(super) fn new(
        init: Init,
        (codec, timescale): (Option<VideoCodec>, u32),
        limits: Limits,
        floor: Timestamp,
    ) -> Self {
        Self {
            kind: init.track,
            chunker: Chunker::new(codec, timescale, limits),
            clock: TrackClock::new(timescale, floor),
            report: None,
            init_id: init.id(),
            init,
            init_stored: false,
            sequence: 0,
            lost: false,
            pictures: Pictures::default(),
            access_start: None,
        }
    }

    /// The track's chunks must have been flushed.
    pub(super) fn set_init(&mut self, init: Init, codec: Option<VideoCodec>) {
        (self.init_id, self.init_stored) = (init.id(), false);
        self.chunker.set_codec(codec);
        self.forget_pictures();
        self.init = init;
    }

    pub(super) fn begin_session(&mut self) {
        (self.sequence, self.init_stored) = (0, false);
        self.forget_pictures();
    }

    /// What decodes the frames.
    pub(super) fn init(&self) -> (InitId, &Init) {
        (self.init_id, &self.init)
    }

    /// The next frames do not refer to the ones before.
    fn forget_pictures(&mut self) {
        (self.pictures, self.access_start) = (Pictures::default(), None);
    }

    /// The wall clock was set by `by_us`. The track's chunks must have been flushed.
    pub(super) fn shift_clock(&mut self, by_us: i64, floor: Timestamp) {
        self.clock.shift(by_us, floor);
        self.chunker.restart();
    }

    /// Appends the chunk; a rejected one uses up no sequence number. Returns how a decoder shows
    /// its pictures.
    pub(super) fn store(
        &mut self,
        context: &Context,
        identity: Identity,
        session: SessionId,
        cut: &Cut,
    ) -> Result<Shown, NotStored> {
        let (pictures, shown) = self.show(cut);
        let access_start = match shown {
            Shown::Nothing => None,
            Shown::Whole | Shown::Damaged => {
                let access = cut.access.filter(|_| self.kind == TrackKind::Video);
                access.map(|_| cut.start).or(self.access_start)
            }
        };
        let meta = ChunkMeta {
            since_access_ms: access_start.map(|access_start| since_ms(access_start, cut.start)),
            damaged: shown == Shown::Damaged,
            ..self.meta(context, identity, session, cut)
        };
        if let Err(error) = self.append(context, meta, cut) {
            self.pictures.lose();
            return Err(error);
        }
        (self.pictures, self.access_start) = (pictures, access_start);
        Ok(shown)
    }

    /// What a decoder holds after the chunk, and how it shows the chunk. On tracks other than video
    /// every frame stands for itself.
    fn show(&self, cut: &Cut) -> (Pictures, Shown) {
        if self.kind != TrackKind::Video {
            return (self.pictures, Shown::Whole);
        }
        let mut pictures = self.pictures;
        if cut.after_loss {
            pictures.lose();
        }
        let shown = pictures.show(cut.access.map(|access| access.point), frames(cut));
        (pictures, shown)
    }

    fn append(&mut self, context: &Context, meta: ChunkMeta, cut: &Cut) -> Result<(), NotStored> {
        let parts = context
            .mux
            .chunk(self.kind, self.sequence, cut.start, &cut.frames)?;
        self.store_init(context)?;
        context.sink.append(
            &context.retention_class,
            Record::Chunk(Chunk { meta, parts }),
        )?;
        self.sequence = self.sequence.saturating_add(1);
        Ok(())
    }

    fn store_init(&mut self, context: &Context) -> Result<(), SinkError> {
        if !self.init_stored {
            context
                .sink
                .append(&context.retention_class, Record::Init(self.init.clone()))?;
            self.init_stored = true;
        }
        Ok(())
    }

    fn meta(
        &self,
        context: &Context,
        identity: Identity,
        session: SessionId,
        cut: &Cut,
    ) -> ChunkMeta {
        ChunkMeta {
            camera: context.stream.camera,
            stream: context.stream.kind,
            track: self.kind,
            node: context.node,
            epoch: identity.epoch,
            rank: identity.rank,
            session,
            sequence: self.sequence,
            init: self.init_id,
            start: cut.start,
            duration_us: cut.duration_us,
            frames: frames(cut),
            access: cut.access,
            since_access_ms: None,
            after_loss: cut.after_loss,
            damaged: false,
        }
    }
}

fn frames(cut: &Cut) -> u32 {
    u32::try_from(cut.frames.len()).unwrap_or(u32::MAX)
}

/// Rounded up, and capped at the largest value that a chunk can hold.
fn since_ms(access_start: Timestamp, start: Timestamp) -> u32 {
    let ms = (start.micros_since(access_start).max(0) + 999) / 1000;
    u32::try_from(ms).map_or(SINCE_ACCESS_MS_MAX, |ms| ms.min(SINCE_ACCESS_MS_MAX))
}
