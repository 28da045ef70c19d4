//! Copies held footage into a segment of the class `hold`, in small steps, so that the keeper can
//! do urgent work in between.
//!
//! Batches are made durable before the footer is begun: a footer never lists what a power cut may
//! take. An interrupted copy is a segment without a footer; recovery lists its sound part, and the
//! next copy leaves that out.

use super::Keeper;
use crate::Error;
use crate::chunk::{Chunk, Gap, Init, InitId, Record};
use crate::disk::BATCH_BYTES_MAX;
use crate::disk::DiskFile;
use crate::format::index::{ChunkRow, InitRow, Row, SegmentIndex};
use crate::format::{
    BATCH_HEADER_BYTES, BLOCK, BatchBuilder, Decoded, Footer, FooterHead, FormatError,
    RECORD_HEAD_BYTES, SegmentHeader, Trailer, decode_record, encoded_bytes, padded, span_of,
};
use crate::hold::HOLD_CLASS;
use crate::ids::{CameraId, SegmentId};
use crate::seal::seal;
use crate::state::Shared;
use crate::state::caches::Moves;
use crate::time::Timestamp;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes written between syncs: few enough that recording's own flushes do not wait long behind
/// them.
const STEP_BYTES: u64 = 8 << 20;

/// What has to be copied of a segment.
pub(super) struct Copy {
    pub(super) segment: SegmentId,
    /// Length of the segment.
    pub(super) bytes: u64,
    /// All held bytes in it, whether copied before or not.
    pub(super) held_bytes: u64,
    pub(super) path: PathBuf,
    /// In the order of writing.
    pub(super) chunks: Vec<ChunkRow>,
    pub(super) gaps: Vec<Gap>,
    pub(super) inits: Vec<InitRow>,
}

/// A copy under way.
pub(super) struct Copying {
    segment: SegmentId,
    bytes: u64,
    source: Source,
    chunks: VecDeque<ChunkRow>,
    gaps: VecDeque<Gap>,
    inits: Vec<InitRow>,
    target: Target,
    moves: Moves,
}

struct Source {
    file: Arc<dyn DiskFile>,
    id: SegmentId,
    path: PathBuf,
}

struct Target {
    file: Arc<dyn DiskFile>,
    id: SegmentId,
    path: PathBuf,
    index: SegmentIndex,
    inits: BTreeSet<(CameraId, InitId)>,
    end: u64,
    batches: u32,
    closed_at: Timestamp,
}

enum Failure {
    /// The original cannot be read, or is damaged.
    Source(Error),
    Target(Error),
}

/// A batch that is being filled.
struct Batch {
    builder: BatchBuilder,
    buffer: Vec<u8>,
    rows: Vec<Row>,
}

impl Keeper {
    /// Begins the copy if that is possible now. Returns whether it turned out only now that the
    /// segment cannot be deleted.
    pub(super) fn begin_copy(&mut self, copy: Copy) -> bool {
        let is_news = self.holding.keep(copy.segment, copy.held_bytes);
        // Copies that are not listed yet would be made twice.
        let are_copies_listed = self
            .to_recover
            .iter()
            .all(|found| &*found.class != HOLD_CLASS);
        if self.holding.is_copying() || !self.holding.may_copy(self.now) || !are_copies_listed {
            return is_news;
        }
        let segment = copy.segment;
        match Copying::begin(&self.shared, copy) {
            Ok(copying) => {
                self.holding.copying = Some(copying);
                false
            }
            Err(error) => {
                tracing::warn!(
                    %segment, %error,
                    "held footage cannot be copied now; its segment stays"
                );
                self.holding.copy_later(self.now);
                true
            }
        }
    }

    /// Copies one step; `false` if no copy is in progress.
    pub(super) fn copy_some(&mut self) -> bool {
        let Some(mut copying) = self.holding.copying.take() else {
            return false;
        };
        match copying.advance(&self.shared) {
            Ok(true) => self.finish_copy(copying),
            Ok(false) => self.holding.copying = Some(copying),
            Err(Failure::Source(error)) => {
                tracing::error!(
                    segment = %copying.segment, %error,
                    "held footage cannot be copied: its segment is kept whole"
                );
                self.holding.keep(copying.segment, copying.bytes);
                self.remove_copy(&copying);
            }
            Err(Failure::Target(error)) => self.put_off(&copying, &error),
        }
        true
    }

    /// Called when the process ends.
    pub(super) fn give_up_copy(&mut self) {
        if let Some(copying) = self.holding.copying.take() {
            self.remove_copy(&copying);
        }
    }

    fn put_off(&mut self, copying: &Copying, error: &Error) {
        tracing::warn!(
            segment = %copying.segment, %error,
            "held footage is not copied yet; its segment stays"
        );
        self.remove_copy(copying);
        self.holding.copy_later(self.now);
    }

    /// Otherwise the rest of it would be recovered at the next start, which is harmless.
    fn remove_copy(&self, copying: &Copying) {
        if let Err(error) = self.shared.disk.remove(&copying.target.path) {
            tracing::warn!(
                path = %copying.target.path.display(), %error,
                "an unfinished copy is not removed"
            );
        }
    }

    /// The original is deleted when retention selects it again and finds that nothing is missing.
    fn finish_copy(&mut self, copying: Copying) {
        let (head, trailer) = match copying.target.close(&self.shared) {
            Ok(closed) => closed,
            Err(error) => return self.put_off(&copying, &error),
        };
        let Copying {
            segment,
            target,
            moves,
            ..
        } = copying;
        tracing::info!(
            %segment, copy = %target.id, chunks = target.index.chunks(),
            bytes = trailer.file_bytes(),
            "copied held footage"
        );
        self.shared
            .counters
            .copied_segments
            .fetch_add(1, Ordering::Relaxed);
        self.shared
            .counters
            .copied_bytes
            .fetch_add(trailer.file_bytes(), Ordering::Relaxed);
        self.list(&Arc::from(HOLD_CLASS), &trailer, &head);
        self.shared.caches.keep_moves(segment, &moves);
        self.retain_soon();
    }
}

impl Copying {
    fn begin(shared: &Shared, copy: Copy) -> Result<Self, Error> {
        let Copy {
            segment,
            bytes,
            path,
            chunks,
            gaps,
            inits,
            ..
        } = copy;
        let file = shared
            .disk
            .open_read(&path)
            .map_err(Error::io("open", &path))?;
        let source = Source {
            file,
            id: segment,
            path,
        };
        let target = Target::create(shared)?;
        let (chunks, gaps) = (chunks.into(), gaps.into());
        Ok(Self {
            segment,
            bytes,
            source,
            chunks,
            gaps,
            inits,
            target,
            moves: Moves::new(),
        })
    }

    /// Copies up to [`STEP_BYTES`] and makes them durable. Returns whether that was all.
    fn advance(&mut self, shared: &Shared) -> Result<bool, Failure> {
        let until = self.target.end + STEP_BYTES;
        while self.target.end < until && !(self.chunks.is_empty() && self.gaps.is_empty()) {
            let batch = self.next_batch()?;
            self.target.write(shared, batch).map_err(Failure::Target)?;
        }
        self.target.sync().map_err(Failure::Target)?;
        Ok(self.chunks.is_empty() && self.gaps.is_empty())
    }

    fn next_batch(&mut self) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        while let Some(gap) = self.gaps.front() {
            if !batch.push(&Record::Gap(*gap), self.target.end) {
                return Ok(batch);
            }
            self.gaps.pop_front();
        }
        while let Some(row) = self.chunks.front().copied() {
            let init = self.missing_init(&row)?;
            let chunk = self.source.chunk(&row).map_err(Failure::Source)?;
            let bytes = init.as_ref().map_or(0, encoded_bytes) + encoded_bytes(&chunk);
            if !batch.has_room(bytes) {
                break;
            }
            if let Some(init) = init {
                batch.push(&init, self.target.end);
                self.target.inits.insert((row.meta.camera, row.meta.init));
            }
            batch.push(&chunk, self.target.end);
            if let Some(Row::Chunk(copied)) = batch.rows.last() {
                self.moves
                    .insert(row.offset, (self.target.id, copied.offset));
            }
            self.chunks.pop_front();
        }
        Ok(batch)
    }

    /// The init segment that has to precede a chunk. A chunk that had none in its segment has none
    /// in the copy.
    fn missing_init(&self, row: &ChunkRow) -> Result<Option<Record>, Failure> {
        let (camera, id) = (row.meta.camera, row.meta.init);
        let found = self
            .inits
            .iter()
            .find(|init| init.key.camera == camera && init.id == id);
        let missing = found.filter(|_| !self.target.inits.contains(&(camera, id)));
        missing
            .map(|init| self.source.init(init))
            .transpose()
            .map_err(Failure::Source)
    }
}

impl Source {
    fn chunk(&self, row: &ChunkRow) -> Result<Record, Error> {
        let record = Bytes::from(self.record(row.offset)?);
        match decode_record(&record) {
            Ok((Decoded::Chunk { meta, payload }, _)) if meta == row.meta => {
                Ok(Record::Chunk(Chunk {
                    meta,
                    parts: vec![record.slice_ref(payload)],
                }))
            }
            Ok(_) => Err(self.damaged(row.offset, FormatError::Invalid { what: "chunk" })),
            Err(reason) => Err(self.damaged(row.offset, reason)),
        }
    }

    fn init(&self, row: &InitRow) -> Result<Record, Error> {
        let record = Bytes::from(self.record(row.offset)?);
        match decode_record(&record) {
            Ok((
                Decoded::Init {
                    camera,
                    stream,
                    track,
                    id,
                    payload,
                },
                _,
            )) if id == row.id && InitId::of(payload) == id => Ok(Record::Init(Init {
                camera,
                stream,
                track,
                bytes: record.slice_ref(payload),
            })),
            Ok(_) => Err(self.damaged(
                row.offset,
                FormatError::Invalid {
                    what: "init segment",
                },
            )),
            Err(reason) => Err(self.damaged(row.offset, reason)),
        }
    }

    fn record(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let mut head = [0; RECORD_HEAD_BYTES];
        self.file
            .read_exact_at(&mut head, offset)
            .map_err(Error::io("read", &self.path))?;
        let span = span_of(&head).map_err(|reason| self.damaged(offset, reason))?;
        let mut record = vec![0; span.bytes()];
        self.file
            .read_exact_at(&mut record, offset)
            .map_err(Error::io("read", &self.path))?;
        Ok(record)
    }

    fn damaged(&self, offset: u64, reason: FormatError) -> Error {
        Error::Damaged {
            segment: self.id,
            offset,
            reason,
        }
    }
}

impl Target {
    fn create(shared: &Shared) -> Result<Self, Error> {
        let (id, opened_at) = (shared.take_segment_id(), shared.clock.now());
        let class = shared.layout.class(HOLD_CLASS);
        shared
            .disk
            .create_dir(&class)
            .map_err(Error::io("create", &class))?;
        let path = shared.layout.segment(HOLD_CLASS, id);
        let header = header(shared, id, opened_at).map_err(Error::format(&path))?;
        shared
            .disk
            .replace(&path, &header)
            .map_err(Error::io("create", &path))?;
        let file = shared
            .disk
            .open_write(&path)
            .map_err(Error::io("open", &path))?;
        let (index, inits) = (SegmentIndex::default(), BTreeSet::new());
        Ok(Self {
            file,
            id,
            path,
            index,
            inits,
            end: BLOCK,
            batches: 0,
            closed_at: opened_at,
        })
    }

    fn write(&mut self, shared: &Shared, batch: Batch) -> Result<(), Error> {
        let Batch {
            builder,
            mut buffer,
            rows,
        } = batch;
        self.closed_at = shared.clock.now();
        let bytes = builder.finish(
            self.id,
            shared.volume,
            self.batches,
            self.closed_at,
            &mut buffer,
        );
        self.file
            .write_all_at(&buffer[..bytes], self.end)
            .map_err(Error::io("write", &self.path))?;
        rows.into_iter().for_each(|row| self.index.add(row));
        self.end += bytes as u64;
        self.batches += 1;
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", &self.path))
    }

    fn close(&self, shared: &Shared) -> Result<(FooterHead, Trailer), Error> {
        let footer = Footer {
            segment: self.id,
            volume: shared.volume,
            offset: self.end,
            closed_at: self.closed_at,
            batches: self.batches,
            damaged_batches: 0,
        };
        let id = self.file.id().map_err(Error::io("look at", &self.path))?;
        seal(&*shared.disk, &self.path, id, &footer, &self.index)
    }
}

fn header(
    shared: &Shared,
    segment: SegmentId,
    opened_at: Timestamp,
) -> Result<Vec<u8>, FormatError> {
    let header = SegmentHeader {
        cluster: shared.options.cluster,
        volume: shared.volume,
        node: shared.options.node,
        segment,
        opened_at,
        class: HOLD_CLASS.to_owned(),
    };
    Ok(header.encode()?.to_vec())
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            builder: BatchBuilder::default(),
            buffer: vec![0; BATCH_BYTES_MAX],
            rows: Vec::new(),
        }
    }
}

impl Batch {
    /// A record longer than a batch also fits if it is the first.
    fn has_room(&mut self, bytes: usize) -> bool {
        if self.rows.is_empty() {
            let needed = padded(BATCH_HEADER_BYTES + bytes);
            self.buffer.resize(needed.max(BATCH_BYTES_MAX), 0);
        }
        self.builder.has_room(bytes, self.buffer.len())
    }

    /// Returns whether the record was added.
    fn push(&mut self, record: &Record, batch_at: u64) -> bool {
        let is_taken = self.has_room(encoded_bytes(record));
        if is_taken {
            let at = self.builder.push(record, &mut self.buffer);
            self.rows.push(Row::of_record(record, batch_at + at as u64));
        }
        is_taken
    }
}
