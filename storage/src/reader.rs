//! Reads what is durable: entries, spans, gaps, init segments, payloads. Every call blocks on the
//! disk.
//!
//! A payload's path: one `pread` of the whole record into its own memory (the one copy, out of the
//! page cache; a cold read fills that first), one checksum over it, and then the same bytes up to
//! the socket.

mod damaged;
mod medium;
mod rescan;

use crate::Error;
use crate::catalogue::{Broken, Catalogue, InitPlace, StreamRow};
use crate::chunk::{ChunkEntry, ChunkLocation, ChunkMeta, Gap, InitId};
use crate::damage::cut;
use crate::format::index::InitRow;
use crate::format::{
    BLOCK_BYTES, Decoded, FormatError, RECORD_HEAD_BYTES, RECORD_PAYLOAD_BYTES_MAX, TrackTable,
    chunk_record_bytes, decode_record, decode_table, init_record_bytes, span_of,
};
use crate::hold::HOLD_CLASS;
use crate::ids::{CameraId, Epoch, NodeId, Rank, SegmentId, SessionId, StreamId, TrackKind};
use crate::locks::{read, write};
use crate::range::Range;
use crate::state::Shared;
use crate::time::Timestamp;
use crate::timeline::{Span, close_seams, join_seams, stretches_of};
use crate::watermark::Watermark;
use bytes::Bytes;
use damaged::sound_init;
use medium::is_bad_sector;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Shared {
    /// While held footage has been copied and its original still exists, a chunk is stored in two
    /// segments; it is listed once, with the place that stays.
    pub(crate) fn entries(&self, range: Range) -> Result<Vec<ChunkEntry>, Error> {
        let mut entries = self.listed(range)?;
        let copies = self.copies_among(&entries);
        entries.sort_by_key(|entry| {
            (
                key_of(&entry.meta),
                !copies.contains(&entry.location.segment),
            )
        });
        entries.dedup_by(|later, first| later.meta == first.meta);
        Ok(entries)
    }

    /// The chunks that overlap `range` and have a listed copy.
    pub(crate) fn copied(&self, range: Range) -> Result<BTreeSet<ChunkKey>, Error> {
        let entries = self.listed(range)?;
        let copies = self.copies_among(&entries);
        let copied = entries
            .iter()
            .filter(|entry| copies.contains(&entry.location.segment));
        Ok(copied.map(|entry| key_of(&entry.meta)).collect())
    }

    pub(crate) fn segments_with_gaps(&self, range: Range) -> Result<Vec<SegmentId>, Error> {
        let Range {
            camera,
            stream,
            from,
            to,
        } = range;
        self.ask_catalogue(|catalogue| catalogue.segments_with_gaps(camera, stream, from, to))
    }

    fn copies_among(&self, entries: &[ChunkEntry]) -> BTreeSet<SegmentId> {
        let known = read(&self.known);
        let is_copy = |id: &SegmentId| {
            known
                .get(id)
                .is_some_and(|known| &*known.class == HOLD_CLASS)
        };
        let segments: BTreeSet<SegmentId> =
            entries.iter().map(|entry| entry.location.segment).collect();
        segments.into_iter().filter(is_copy).collect()
    }

    /// Every place of every chunk, except where it is known to be damaged: a damaged copy neither
    /// hides its sound original nor allows its deletion.
    pub(crate) fn listed(&self, range: Range) -> Result<Vec<ChunkEntry>, Error> {
        let mut entries = self.stored(range)?;
        read(&self.damage).leave_out(&mut entries);
        Ok(entries)
    }

    /// Every place of every chunk, damaged or not. The open segments are read first: one that is
    /// sealed in the meantime appears twice rather than not at all.
    pub(super) fn stored(&self, range: Range) -> Result<Vec<ChunkEntry>, Error> {
        let (mut entries, seen) = self.open_entries(range);
        for row in self
            .rows(range)?
            .iter()
            .filter(|row| !seen.contains(&row.segment))
        {
            for table in row
                .tables
                .iter()
                .filter(|table| range.overlaps(table.start, table.end))
            {
                match self.table(row.segment, table) {
                    Ok(rows) => entries.extend(
                        rows.iter()
                            .filter(|entry| range.overlaps(entry.meta.start, entry.meta.end())),
                    ),
                    // Retention deleted it in the meantime.
                    Err(Error::NoSegment { .. }) => {}
                    // It costs itself, not what other segments hold.
                    Err(error @ Error::Damaged { .. }) => {
                        tracing::error!(
                            segment = %row.segment, %error,
                            "a segment's chunks cannot be listed"
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(entries)
    }

    fn open_entries(&self, range: Range) -> (Vec<ChunkEntry>, BTreeSet<SegmentId>) {
        let (mut entries, mut seen) = (Vec::new(), BTreeSet::new());
        for (id, segment) in read(&self.open).iter() {
            let state = read(&segment.state);
            let rows = state
                .index
                .rows(range.camera, range.stream, range.from, range.to);
            entries.extend(rows.map(|row| row.entry(self.options.place(), *id)));
            seen.insert(*id);
        }
        (entries, seen)
    }

    /// Spans and gaps together: a seam between segments is a hole if the ledger has an entry in it,
    /// so a reader of both needs only one query.
    pub(crate) fn recorded(&self, range: Range) -> Result<(Vec<Span>, Vec<Gap>), Error> {
        let wide = Range {
            from: range.from.plus_micros(-SEAM_US_MAX),
            to: range.to.plus_micros(SEAM_US_MAX),
            ..range
        };
        let (open, seen) = self.open_entries(wide);
        let Range {
            camera,
            stream,
            from,
            to,
        } = wide;
        let open: Vec<ChunkMeta> = open.iter().map(|entry| entry.meta).collect();
        let mut stretches = stretches_of(&open);
        if !range.is_empty() {
            let sealed = self.ask_catalogue(|catalogue| {
                catalogue.stretches(camera, stream, (from, to), &seen)
            })?;
            stretches.extend(sealed);
        }
        let lost = self.lost(range)?;
        let mut gaps = self.ledger(wide, &lost)?;
        close_seams(&mut stretches, &gaps);
        let spans = stretches.into_iter().map(|stretch| stretch.span).collect();
        let spans = clip(join_seams(cut(spans, &lost), &gaps), range);
        gaps.retain(|gap| range.overlaps(gap.start, gap.end));
        Ok((spans, gaps))
    }

    pub(crate) fn gaps(&self, range: Range) -> Result<Vec<Gap>, Error> {
        self.ledger(range, &self.lost(range)?)
    }

    fn ledger(&self, range: Range, lost: &[Span]) -> Result<Vec<Gap>, Error> {
        let mut gaps: Vec<Gap> = Vec::new();
        for segment in read(&self.open).values() {
            let state = read(&segment.state);
            let is_mine = |gap: &&Gap| gap.camera == range.camera && gap.stream == range.stream;
            let here = state.index.gaps().iter().filter(is_mine);
            gaps.extend(here.filter(|gap| range.overlaps(gap.start, gap.end)));
        }
        if !range.is_empty() {
            gaps.extend(self.ask_catalogue(|catalogue| {
                catalogue.gaps(range.camera, range.stream, range.from, range.to)
            })?);
        }
        gaps.extend(crate::damage::gaps(lost, range));
        gaps.sort_by_key(|gap| (gap.start, gap.end, gap.cause, gap.node, gap.epoch));
        gaps.dedup();
        Ok(gaps)
    }

    /// The newest watermark of this process, or else of an earlier one.
    pub(crate) fn watermark(&self, stream: StreamId) -> Option<Watermark> {
        let newest = read(&self.watermarks).newest(stream);
        newest.or_else(|| {
            let rows = self
                .ask_catalogue(|catalogue| catalogue.last_rows(stream.camera, stream.kind))
                .ok()?;
            newest_mark(&rows)
        })
    }

    pub(crate) fn watermark_before(&self, stream: StreamId, at: Timestamp) -> Option<Watermark> {
        let rows = self
            .ask_catalogue(|catalogue| catalogue.last_rows_before(stream.camera, stream.kind, at))
            .ok()?;
        let spans = rows
            .iter()
            .flat_map(|row| &row.stretches)
            .map(|stretch| stretch.span)
            .filter(|span| span.start < at);
        let Span {
            epoch,
            rank,
            start,
            end,
            ..
        } = spans.max_by_key(|span| (span.epoch, Reverse(span.rank), span.end))?;
        Some(Watermark {
            epoch,
            rank,
            durable_end: end,
            first_keyframe: Some(start),
        })
    }

    pub(crate) fn camera_highest(&self) -> Option<CameraId> {
        let of_now = read(&self.watermarks).camera_highest();
        // If the catalogue is not open yet, the caller asks again later.
        of_now.max(self.ask_catalogue(Catalogue::camera_highest).ok().flatten())
    }

    pub(crate) fn init(&self, camera: CameraId, id: InitId) -> Result<Bytes, Error> {
        let place_of = |row: InitRow, segment| InitPlace {
            segment,
            offset: row.offset,
            bytes: row.bytes,
        };
        let open = read(&self.open).iter().rev().find_map(|(segment, open)| {
            Some(place_of(
                read(&open.state).index.init(camera, id)?,
                *segment,
            ))
        });
        let place = match open {
            Some(place) => place,
            None => self
                .ask_catalogue(|catalogue| catalogue.init(camera, id))?
                .ok_or(Error::NoInit { camera, id: id.0 })?,
        };
        let InitPlace {
            segment,
            offset,
            bytes,
        } = place;
        let record = self
            .record(segment, offset, init_record_bytes(bytes as usize))
            .and_then(|record| {
                sound_init(&record, id).map_err(|reason| self.damaged(segment, offset, reason))
            });
        match record {
            Err(error @ (Error::Damaged { .. } | Error::Io { .. })) => {
                self.init_elsewhere(camera, id, segment).ok_or(error)
            }
            other => other,
        }
    }

    /// The payloads of several chunks, in their order. The disk is informed of all of them before
    /// the first read, so that it can prefetch them.
    pub(crate) fn payloads(&self, locations: &[ChunkLocation]) -> Vec<Result<Bytes, Error>> {
        for ChunkLocation {
            segment,
            offset,
            payload_bytes,
            ..
        } in locations.iter().skip(1)
        {
            // A file that cannot be opened is reported when it is read.
            if let Ok((file, _)) = self.file(*segment) {
                file.advise_next(*offset, chunk_record_bytes(*payload_bytes as usize) as u64);
            }
        }
        locations
            .iter()
            .map(|location| self.payload(location))
            .collect()
    }

    /// A chunk's payload, verified.
    pub(crate) fn payload(&self, location: &ChunkLocation) -> Result<Bytes, Error> {
        let ChunkLocation {
            mut segment,
            mut offset,
            payload_bytes,
            ..
        } = *location;
        let bytes = chunk_record_bytes(payload_bytes as usize);
        let record = match self.record(segment, offset, bytes) {
            // The caller learned of the chunk before it was moved.
            Err(Error::NoSegment { .. })
                if let Some(moved) = self.caches.moved(segment, offset) =>
            {
                (segment, offset) = moved;
                self.record(segment, offset, bytes)?
            }
            other => other?,
        };
        let record = Bytes::from(record);
        match decode_record(&record) {
            Ok((Decoded::Chunk { payload, .. }, _)) if payload.len() == payload_bytes as usize => {
                Ok(record.slice_ref(payload))
            }
            Ok(_) => {
                Err(self.damaged_chunk(segment, offset, FormatError::Invalid { what: "chunk" }))
            }
            Err(reason) => Err(self.damaged_chunk(segment, offset, reason)),
        }
    }

    /// The bytes of one record, unverified except for its length. The index knows that length, so
    /// `bytes` bytes are read at once; if the record's head says that it is longer, the rest is
    /// read then. A record with a wrong length is damaged.
    fn record(&self, segment: SegmentId, offset: u64, bytes: usize) -> Result<Vec<u8>, Error> {
        let (file, path) = self.file(segment)?;
        let mut record = Vec::new();
        let read_up_to = |record: &mut Vec<u8>, end: usize| {
            let (missing, at) = (
                end.saturating_sub(record.len()),
                offset + record.len() as u64,
            );
            match file.append_exact_at(record, missing, at) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    Err(self.damaged_chunk(segment, offset, FormatError::Short { what: "record" }))
                }
                Err(error) if is_bad_sector(&*file, &error, at) => Err(self.damaged_chunk(
                    segment,
                    offset,
                    FormatError::Unreadable {
                        what: "the record",
                        error: error.to_string(),
                    },
                )),
                Err(error) => {
                    write(&self.damage).suspect(segment);
                    Err(Error::io("read", &path)(error))
                }
                Ok(()) => Ok(()),
            }
        };
        read_up_to(&mut record, bytes.min(RECORD_BYTES_MAX))?;
        let span =
            span_of(&record).map_err(|reason| self.damaged_chunk(segment, offset, reason))?;
        read_up_to(&mut record, span.bytes())?;
        record.truncate(span.bytes());
        Ok(record)
    }

    fn rows(&self, range: Range) -> Result<Vec<StreamRow>, Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.ask_catalogue(|catalogue| {
            catalogue.rows(range.camera, range.stream, range.from, range.to)
        })
    }

    /// While the catalogue is being opened the result is an error rather than half an answer.
    fn ask_catalogue<T>(
        &self,
        ask: impl FnOnce(&Catalogue) -> Result<T, Broken>,
    ) -> Result<T, Error> {
        let problem = |problem: String| Error::Catalogue {
            path: self.layout.catalogue(),
            problem,
        };
        let catalogue = read(&self.catalogue)
            .clone()
            .ok_or_else(|| problem("it is not open yet".to_owned()))?;
        ask(&catalogue).map_err(|error| {
            self.is_catalogue_suspect.store(true, Ordering::Relaxed);
            problem(error.to_string())
        })
    }

    /// One track's chunks of a sealed segment. If its table is damaged, or lies in a bad sector,
    /// they are read from the batches instead, around bad sectors (`rescan`).
    fn table(&self, segment: SegmentId, table: &TrackTable) -> Result<Arc<Vec<ChunkEntry>>, Error> {
        if let Some(rows) = self.caches.table(segment, table.key) {
            return Ok(rows);
        }
        let (file, path) = self.file(segment)?;
        let mut bytes = vec![0; table.bytes()];
        let rows = match file.read_exact_at(&mut bytes, table.offset) {
            Ok(()) => decode_table(table, &bytes),
            Err(error) if is_bad_sector(&*file, &error, table.offset) => {
                Err(FormatError::Unreadable {
                    what: "the chunk table",
                    error: error.to_string(),
                })
            }
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let rows = match rows {
            Ok(rows) => rows,
            Err(reason) => return self.rescan((segment, table.key), (&file, &path), &reason),
        };
        let entries = rows
            .into_iter()
            .map(|row| row.entry(self.options.place(), segment))
            .collect();
        Ok(self.caches.keep_table(segment, table.key, entries))
    }

    fn file(
        &self,
        segment: SegmentId,
    ) -> Result<(Arc<dyn crate::disk::DiskFile>, std::path::PathBuf), Error> {
        let path = self
            .segment_path(segment)
            .ok_or(Error::NoSegment { segment })?;
        if let Some(file) = self.caches.file(segment) {
            return Ok((file, path));
        }
        let file = self
            .disk
            .open_read(&path)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::NoSegment { segment },
                _ => Error::io("open", &path)(error),
            })?;
        if read(&self.open).contains_key(&segment) {
            file.advise_random();
        }
        Ok((self.caches.keep_file(segment, file), path))
    }
}

/// How far around a range the chunks next to a seam are searched for, in microseconds: longer than
/// a camera may go without a frame (see `docs/cameras.md`).
const SEAM_US_MAX: i64 = 60_000_000;

/// The most that is read at once, whatever length a record claims.
const RECORD_BYTES_MAX: usize = RECORD_PAYLOAD_BYTES_MAX + BLOCK_BYTES;

const _: () = assert!(BLOCK_BYTES > RECORD_HEAD_BYTES);

/// As [`crate::watermark::Watermarks`] defines it: the furthest of the preferred recorder, by video
/// alone. What cannot be played counts, because it is durable; spans leave it out.
fn newest_mark(rows: &[StreamRow]) -> Option<Watermark> {
    let is_video = |table: &&TrackTable| table.key.track == TrackKind::Video;
    let with_video = || {
        rows.iter()
            .filter(|row| row.tables.iter().any(|table| is_video(&table)))
    };
    let spans = with_video()
        .flat_map(|row| &row.stretches)
        .map(|stretch| stretch.span);
    let span = spans.max_by_key(|span| (span.epoch, Reverse(span.rank), span.end))?;
    let stored_end = with_video()
        .flat_map(|row| row.tables.iter().filter(is_video))
        .map(|table| table.end)
        .max();
    let durable_end = stored_end.map_or(span.end, |end| end.max(span.end));
    Some(Watermark {
        epoch: span.epoch,
        rank: span.rank,
        durable_end,
        first_keyframe: Some(span.start),
    })
}

/// Identifies a chunk of one stream: its copies have the same key, and no other chunk has it.
pub(crate) type ChunkKey = (Timestamp, TrackKind, SessionId, u32, Epoch, Rank, NodeId);

pub(crate) fn key_of(meta: &ChunkMeta) -> ChunkKey {
    (
        meta.start,
        meta.track,
        meta.session,
        meta.sequence,
        meta.epoch,
        meta.rank,
        meta.node,
    )
}

fn clip(spans: Vec<Span>, Range { from, to, .. }: Range) -> Vec<Span> {
    let clipped = spans.into_iter().map(|span| Span {
        start: span.start.max(from),
        end: span.end.min(to),
        ..span
    });
    clipped.filter(|span| span.start < span.end).collect()
}
