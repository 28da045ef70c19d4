//! Builds batches: where a record is written, and what must precede it.

use super::run::Writer;
use super::segment::Slot;
use super::{BATCH_BYTES_MAX, LONG_BUFFERS_BYTES_MAX};
use crate::chunk::{Init, InitId, Record};
use crate::disk::BatchDisk;
use crate::format::index::Row;
use crate::format::{BATCH_HEADER_BYTES, BatchBuilder, encoded_bytes, padded};
use crate::ids::{CameraId, SegmentId};
use crate::time::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// An init segment that no chunk has needed for this long is forgotten; a session that resumes
/// appends it again. Not by the wall clock, which may be set while a session continues.
const INIT_KEPT: Duration = Duration::from_secs(3600);

/// A batch that is being filled. Its place in its segment is fixed.
pub(super) struct Filling<B> {
    pub(super) segment: SegmentId,
    pub(super) buffer: B,
    pub(super) builder: BatchBuilder,
    pub(super) offset: u64,
    pub(super) rows: Vec<Row>,
}

/// A batch that waits for its file or its turn.
pub(super) struct Ready<B> {
    pub(super) sequence: u64,
    pub(super) segment: SegmentId,
    pub(super) buffer: B,
    pub(super) bytes: usize,
    pub(super) offset: u64,
}

/// What to publish of a batch once it is durable.
pub(super) struct Contents {
    pub(super) rows: Vec<Row>,
    pub(super) end: u64,
    pub(super) created_at: Timestamp,
}

/// The init segments in use, to be repeated in every new segment.
#[derive(Default)]
pub(super) struct Inits {
    known: HashMap<(CameraId, InitId), (Init, Instant)>,
}

impl Inits {
    pub(super) fn note(&mut self, record: &Record, now: Instant) {
        match record {
            Record::Init(init) => {
                self.known
                    .insert((init.camera, init.id()), (init.clone(), now));
            }
            Record::Chunk(chunk) => {
                if let Some((_, used_at)) =
                    self.known.get_mut(&(chunk.meta.camera, chunk.meta.init))
                {
                    *used_at = now;
                }
            }
            Record::Gap(_) => {}
        }
    }

    /// The init segment that decodes `record`, if it is a chunk and the recorder has appended that
    /// init segment.
    fn of(&self, record: &Record) -> Option<Init> {
        let Record::Chunk(chunk) = record else {
            return None;
        };
        self.known
            .get(&(chunk.meta.camera, chunk.meta.init))
            .map(|(init, _)| init.clone())
    }

    pub(super) fn forget_unused(&mut self, now: Instant) {
        self.known
            .retain(|_, (_, used_at)| now.saturating_duration_since(*used_at) < INIT_KEPT);
    }
}

impl<D: BatchDisk> Writer<D> {
    /// Adds a record to its class's batch. Returns the record while no buffer is free.
    pub(super) fn place(&mut self, class: usize, record: Record) -> Result<(), Record> {
        let Ok(init) = self.room_for(class, &record) else {
            return Err(record);
        };
        if let Some(init) = init {
            self.push(class, &Record::Init(init));
        }
        self.inits.note(&record, Self::instant());
        self.push(class, &record);
        self.budget.release(&record);
        Ok(())
    }

    /// Makes sure that `record`, and the init segment that has to precede it, fit into the class's
    /// batch. Returns that init segment.
    fn room_for(&mut self, class: usize, record: &Record) -> Result<Option<Init>, NoBuffer> {
        let init = self.inits.of(record);
        let init_bytes = init
            .as_ref()
            .map_or(0, |init| encoded_bytes(&Record::Init(init.clone())));
        let bytes = init_bytes + encoded_bytes(record);
        if self.filling[class]
            .as_ref()
            .is_some_and(|filling| !filling.has_room(bytes))
        {
            self.finish_batch(class);
        }
        if self.filling[class].is_none() {
            self.begin_batch(class, padded(BATCH_HEADER_BYTES + bytes))?;
        }
        let is_missing = self
            .slot_of(class)
            .is_some_and(|slot| slot.fill.missing_init(record).is_some());
        if is_missing && init.is_none() {
            self.complain_of_missing_init(record);
        }
        Ok(init.filter(|_| is_missing))
    }

    fn complain_of_missing_init(&self, record: &Record) {
        let before = self
            .shared
            .counters
            .chunks_without_init
            .fetch_add(1, Ordering::Relaxed);
        if let (0, Record::Chunk(chunk)) = (before, record) {
            let camera = chunk.meta.camera;
            tracing::error!(
                %camera,
                "a chunk came before its init segment; it is stored, but cannot be decoded"
            );
        }
    }

    /// Takes a buffer, and the next place in the class's segment, or in the next segment if the
    /// present one is full.
    fn begin_batch(&mut self, class: usize, bytes: usize) -> Result<(), NoBuffer> {
        if self.long_bytes + long_bytes(bytes) > LONG_BUFFERS_BYTES_MAX {
            return Err(NoBuffer);
        }
        let buffer = self
            .disk
            .buffer(bytes.max(BATCH_BYTES_MAX))
            .ok_or(NoBuffer)?;
        self.rotate(class, bytes.max(BATCH_BYTES_MAX));
        let Some(slot) = self.slot_of(class) else {
            return Err(NoBuffer);
        };
        let (segment, offset) = (slot.id, slot.fill.next_offset);
        self.long_bytes += long_bytes(buffer.len());
        self.filling[class] = Some(Filling {
            segment,
            buffer,
            builder: BatchBuilder::default(),
            offset,
            rows: Vec::new(),
        });
        Ok(())
    }

    fn push(&mut self, class: usize, record: &Record) {
        let Some(filling) = &mut self.filling[class] else {
            return;
        };
        let at = filling.builder.push(record, &mut filling.buffer);
        filling
            .rows
            .push(Row::of_record(record, filling.offset + at as u64));
        if let Some(slot) = self.slots.get_mut(&filling.segment) {
            slot.fill.note(record);
        }
    }

    /// Ends the class's batch, which then waits for its turn.
    pub(super) fn finish_batch(&mut self, class: usize) {
        let Some(mut filling) = self.filling[class].take() else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&filling.segment) else {
            return;
        };
        let created_at = self.shared.clock.now();
        let bytes = filling.builder.finish(
            filling.segment,
            self.shared.volume,
            slot.fill.next_batch,
            created_at,
            &mut filling.buffer,
        );
        slot.fill.next_batch += 1;
        slot.fill.next_offset += bytes as u64;
        slot.unpublished += 1;
        let contents = Contents {
            rows: filling.rows,
            end: slot.fill.next_offset,
            created_at,
        };
        let sequence = self.ledger.push(filling.segment, contents);
        let Filling {
            segment,
            buffer,
            offset,
            ..
        } = filling;
        self.ready.push_back(Ready {
            sequence,
            segment,
            buffer,
            bytes,
            offset,
        });
        self.note_dirty();
    }

    pub(super) fn finish_batches(&mut self) {
        for class in 0..self.filling.len() {
            self.finish_batch(class);
        }
    }

    pub(super) fn slot_of(&self, class: usize) -> Option<&Slot<D::File>> {
        self.slots.get(&self.current[class]?)
    }
}

/// All pooled buffers are in use, or longer ones take as much memory as they may.
struct NoBuffer;

/// The memory that a buffer of this length takes beyond the pool.
pub(super) fn long_bytes(buffer_bytes: usize) -> usize {
    if buffer_bytes > BATCH_BYTES_MAX {
        buffer_bytes
    } else {
        0
    }
}

impl<B: std::ops::Deref<Target = [u8]>> Filling<B> {
    fn has_room(&self, bytes: usize) -> bool {
        self.builder.has_room(bytes, self.buffer.len())
    }
}
