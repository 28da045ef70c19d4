//! Damage found by readers: identify the chunk, enter it into the register, and search for another
//! copy.

use super::medium::is_bad_sector;
use crate::Error;
use crate::chunk::{ChunkEntry, ChunkMeta, InitId};
use crate::damage::{self, DamagedChunk};
use crate::format::index::{ChunkRow, SegmentIndex, TrackKey};
use crate::format::{Decoded, FormatError, decode_record, init_record_bytes};
use crate::ids::{CameraId, SegmentId, StreamKind};
use crate::locks::{read, write};
use crate::range::Range;
use crate::seal::{Sealed, read_sealed};
use crate::state::Shared;
use crate::time::Timestamp;
use crate::timeline::Span;
use crate::verify::read_table;
use bytes::Bytes;
use std::sync::atomic::Ordering;

/// The most segments that are searched for another copy of an init segment.
const COPIES_LOOKED_AT_MAX: usize = 64;

/// How far behind a damaged chunk the next access point is searched for, in microseconds.
const GOP_US_MAX: i64 = 30_000_000;

impl Shared {
    /// Counts a record that cannot be served, and has the scrub read its segment next.
    pub(super) fn damaged(&self, segment: SegmentId, offset: u64, reason: FormatError) -> Error {
        self.counters.damaged_reads.fetch_add(1, Ordering::Relaxed);
        write(&self.damage).suspect(segment);
        Error::Damaged {
            segment,
            offset,
            reason,
        }
    }

    /// Like [`Self::damaged`]; also reports once which chunk it is.
    pub(super) fn damaged_chunk(
        &self,
        segment: SegmentId,
        offset: u64,
        reason: FormatError,
    ) -> Error {
        if !read(&self.damage).has(segment, offset)
            && let Some(meta) = self.listed_at(segment, offset)
        {
            let chunk = DamagedChunk {
                segment,
                offset,
                meta,
            };
            if write(&self.damage).note(chunk) {
                self.report_damage(&chunk, "a reader");
            }
        }
        self.damaged(segment, offset, reason)
    }

    /// Logs and counts a chunk that was not known to be damaged.
    pub(crate) fn report_damage(&self, chunk: &DamagedChunk, found_by: &str) {
        self.counters.damaged_chunks.fetch_add(1, Ordering::Relaxed);
        let ChunkMeta {
            camera,
            stream,
            track,
            start,
            ..
        } = chunk.meta;
        tracing::error!(
            %camera, ?stream, ?track, from = %start, to = %chunk.meta.end(),
            volume = %self.layout.root.display(), segment = %chunk.segment, offset = chunk.offset,
            found_by,
            "a stored chunk is damaged and will not be served"
        );
    }

    /// The effect of damage on a stream, at least within the range ([`damage::lost`]). Based on the
    /// register, and on the index for the chunks that follow.
    pub(super) fn lost(&self, range: Range) -> Result<Vec<Span>, Error> {
        let damaged = read(&self.damage).video_of(range.camera, range.stream);
        let mut windows: Vec<(Timestamp, Timestamp)> = Vec::new();
        for (from, to) in damaged
            .iter()
            .map(|meta| (meta.start, meta.end().plus_micros(GOP_US_MAX)))
        {
            match windows.last_mut() {
                _ if from >= range.to || to <= range.from => {}
                Some(window) if from <= window.1 => window.1 = window.1.max(to),
                _ => windows.push((from, to)),
            }
        }
        let mut lost = Vec::new();
        for (from, to) in windows {
            let stored = self.stored(Range { from, to, ..range })?;
            let register = read(&self.damage);
            let is_damaged =
                |entry: &ChunkEntry| register.has(entry.location.segment, entry.location.offset);
            lost.extend(damage::lost(
                &stored
                    .iter()
                    .map(|entry| (entry.meta, is_damaged(entry)))
                    .collect::<Vec<_>>(),
            ));
        }
        Ok(lost)
    }

    /// The chunk that the index lists at this place, if there is one.
    fn listed_at(&self, segment: SegmentId, offset: u64) -> Option<ChunkMeta> {
        let of = |index: &SegmentIndex| {
            index
                .tracks()
                .values()
                .flatten()
                .find(|row| row.offset == offset)
                .map(|row| row.meta)
        };
        let open = read(&self.open).get(&segment).cloned();
        if let Some(open) = open {
            return of(&read(&open.state).index);
        }
        let (file, path) = self.file(segment).ok()?;
        let Ok(Sealed::Yes(_, head)) = read_sealed(&*file, &path) else {
            return None;
        };
        head.tracks.iter().find_map(|table| {
            let rows = read_table(&*file, &path, table).ok()??;
            rows.iter()
                .find(|row| row.offset == offset)
                .map(|row| row.meta)
        })
    }

    /// What readers list of a sealed segment, track by track, if its footer cannot be read (any
    /// more): the catalogue has the directory too, and tables that were read are cached. For a
    /// track whose table is damaged, readers list what a scan finds. Searches all of the catalogue.
    pub(crate) fn listed_in(
        &self,
        segment: SegmentId,
    ) -> Result<Vec<(TrackKey, Vec<ChunkRow>)>, Error> {
        let tables = self.ask_catalogue(|catalogue| catalogue.tables(segment))?;
        let (file, path) = self.file(segment)?;
        let mut listed = Vec::new();
        for table in &tables {
            let kept = self.caches.table(segment, table.key);
            let kept = kept.map(|entries| entries.iter().map(ChunkRow::of).collect());
            let rows = match kept {
                Some(rows) => Some(rows),
                None => match read_table(&*file, &path, table) {
                    Err(Error::Io { source, .. })
                        if is_bad_sector(&*file, &source, table.offset) =>
                    {
                        None
                    }
                    read => read?,
                },
            };
            listed.extend(rows.map(|rows| (table.key, rows)));
        }
        Ok(listed)
    }

    /// Every segment with chunks that need an init segment has a copy of it. Returns the first
    /// sound copy among the newest segments except `not`.
    pub(super) fn init_elsewhere(
        &self,
        camera: CameraId,
        id: InitId,
        not: SegmentId,
    ) -> Option<Bytes> {
        let streams = [StreamKind::Main, StreamKind::Sub];
        let newest = |stream| {
            self.ask_catalogue(|catalogue| {
                catalogue.newest_segments(camera, stream, COPIES_LOOKED_AT_MAX)
            })
            .ok()
        };
        let segments = streams
            .into_iter()
            .filter_map(newest)
            .flatten()
            .filter(|segment| *segment != not);
        segments
            .into_iter()
            .find_map(|segment| self.init_in(camera, id, segment))
    }

    fn init_in(&self, camera: CameraId, id: InitId, segment: SegmentId) -> Option<Bytes> {
        let (file, path) = self.file(segment).ok()?;
        let Ok(Sealed::Yes(_, head)) = read_sealed(&*file, &path) else {
            return None;
        };
        let row = head
            .inits
            .iter()
            .find(|row| row.key.camera == camera && row.id == id)?;
        let record = self
            .record(segment, row.offset, init_record_bytes(row.bytes as usize))
            .ok()?;
        sound_init(&record, id).ok()
    }
}

/// The payload of an init segment's record.
///
/// # Errors
/// It is damaged, or a different init segment.
pub(super) fn sound_init(record: &[u8], id: InitId) -> Result<Bytes, FormatError> {
    match decode_record(record)? {
        (
            Decoded::Init {
                id: found, payload, ..
            },
            _,
        ) if found == id => Ok(Bytes::copy_from_slice(payload)),
        _ => Err(FormatError::Invalid {
            what: "init segment",
        }),
    }
}
