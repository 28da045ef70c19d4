//! Which segments hold which camera and time: a cache of the segments' footers in sled, which does not fsync. It can be deleted at any time.
//!
//! sled panics on some damage, so every call is guarded; any error here means delete and rebuild. A segment enters and leaves in one atomic batch.

mod keys;

use self::keys::{gap_key, gap_range, init_key, length_key, segment_key, stream_key, stream_prefix, stream_range};
use crate::chunk::{Gap, InitId};
use crate::format::{FooterHead, TrackTable, Trailer};
use crate::ids::{CameraId, SegmentId, StreamKind};
use crate::index::overlaps;
use crate::shared::{Known, lock};
use crate::time::Timestamp;
use crate::timeline::Span;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Grows with every change of the rows; another version is rebuilt.
const CATALOGUE_VERSION: u16 = 1;

/// sled's page cache.
const CACHE_BYTES: u64 = 16 << 20;

/// How many segments back the end of a stream is looked for: of a stream that is recorded into two classes in turn, or whose last segments
/// have no video, the newest row does not tell.
const NEWEST_ROWS_MAX: usize = 16;

const VERSION_KEY: &[u8] = b"v";

/// What the catalogue could not do. Rebuild it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

#[derive(Serialize, Deserialize)]
struct SegmentRow {
    class: String,
    bytes: u64,
    closed_at: Timestamp,
}

/// One stream's part of one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamRow {
    pub(crate) segment: SegmentId,
    pub(crate) end: Timestamp,
    pub(crate) spans: Vec<Span>,
    pub(crate) tables: Vec<TrackTable>,
}

/// Where an init segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitPlace {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// The longest row of each kind in microseconds: how far before an instant a row that reaches it may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Longest {
    stream_us: i64,
    gap_us: i64,
}

pub(crate) struct Catalogue {
    db: sled::Db,
    longest: Mutex<Longest>,
}

/// Whether somebody has the catalogue's files open. sled's own threads let go of them a moment after the last handle is gone, and a catalogue in use is
/// not a damaged one.
pub(crate) fn is_held(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path.join("db")) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

impl Catalogue {
    /// Opens what is there.
    pub(crate) fn open(path: &Path, volume: Uuid) -> Result<Self, Broken> {
        guarded(|| {
            let db = sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .mode(sled::Mode::LowSpace)
                .flush_every_ms(Some(1000))
                .open()
                .map_err(broken)?;
            check_version(&db, volume)?;
            let longest = db.get(length_key()).map_err(broken)?.map_or(Ok(Longest::default()), |row| decode(&row))?;
            Ok(Self { db, longest: Mutex::new(longest) })
        })
    }

    /// Every segment that is listed.
    pub(crate) fn segments(&self) -> Result<BTreeMap<SegmentId, Known>, Broken> {
        guarded(|| {
            let rows = self.db.scan_prefix(keys::SEGMENT);
            rows.map(|row| {
                let (key, value) = row.map_err(broken)?;
                let id = keys::segment_of(&key).ok_or_else(|| Broken("a segment's key is malformed".to_owned()))?;
                let row: SegmentRow = decode(&value)?;
                Ok((id, Known { class: Arc::from(row.class), bytes: row.bytes, closed_at: row.closed_at }))
            })
            .collect()
        })
    }

    /// Lists a sealed segment.
    pub(crate) fn insert(&self, class: &str, trailer: &Trailer, head: &FooterHead) -> Result<(), Broken> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            let id = trailer.segment;
            let row = SegmentRow { class: class.to_owned(), bytes: trailer.file_bytes(), closed_at: trailer.closed_at };
            batch.insert(segment_key(id).to_vec(), encode(&row)?);
            let mut longest = *lock(&self.longest);
            for ((camera, stream, start), row) in stream_rows(id, head) {
                longest.stream_us = longest.stream_us.max(row.end.micros_since(start));
                batch.insert(stream_key(camera, stream, start, id).to_vec(), encode(&row)?);
            }
            for (number, gap) in (0..).zip(&head.gaps) {
                longest.gap_us = longest.gap_us.max(gap.end.micros_since(gap.start));
                batch.insert(gap_key(gap, id, number).to_vec(), encode(gap)?);
            }
            for init in &head.inits {
                let key = init_key(init.key.camera, init.id);
                let is_newest = self.place(&key)?.is_none_or(|place| place.segment <= id);
                if is_newest {
                    let place = InitPlace { segment: id, offset: init.offset, bytes: init.bytes };
                    batch.insert(key.to_vec(), encode(&place)?);
                }
            }
            batch.insert(length_key(), encode(&longest)?);
            *lock(&self.longest) = longest;
            self.db.apply_batch(batch).map_err(broken)
        })
    }

    /// Takes a segment off the list. `head` is its footer's; without it all rows are searched. Returns the init segments that stood nowhere newer: an
    /// earlier segment may have them too, and [`Self::place_init`] then says so.
    pub(crate) fn remove(&self, id: SegmentId, head: Option<&FooterHead>) -> Result<Vec<(CameraId, InitId)>, Broken> {
        guarded(|| {
            let mut batch = sled::Batch::default();
            batch.remove(segment_key(id).to_vec());
            let lost = match head {
                Some(head) => self.remove_listed(id, head, &mut batch)?,
                None => self.remove_searched(id, &mut batch)?,
            };
            self.db.apply_batch(batch).map_err(broken)?;
            Ok(lost)
        })
    }

    fn remove_listed(
        &self,
        id: SegmentId,
        head: &FooterHead,
        batch: &mut sled::Batch,
    ) -> Result<Vec<(CameraId, InitId)>, Broken> {
        for (camera, stream, start) in stream_rows(id, head).into_keys() {
            batch.remove(stream_key(camera, stream, start, id).to_vec());
        }
        for (number, gap) in (0..).zip(&head.gaps) {
            batch.remove(gap_key(gap, id, number).to_vec());
        }
        let mut lost = Vec::new();
        for init in &head.inits {
            let key = init_key(init.key.camera, init.id);
            if self.place(&key)?.is_some_and(|place| place.segment == id) {
                batch.remove(key.to_vec());
                lost.push((init.key.camera, init.id));
            }
        }
        Ok(lost)
    }

    fn remove_searched(&self, id: SegmentId, batch: &mut sled::Batch) -> Result<Vec<(CameraId, InitId)>, Broken> {
        let mut lost = Vec::new();
        for row in self.db.iter() {
            let (key, value) = row.map_err(broken)?;
            if let Some(init) = keys::init_of(&key) {
                if decode::<InitPlace>(&value)?.segment == id {
                    lost.push(init);
                    batch.remove(key);
                }
            } else if keys::segment_of(&key) == Some(id) {
                batch.remove(key);
            }
        }
        Ok(lost)
    }

    /// The segments that hold a camera.
    pub(crate) fn segments_of(&self, camera: CameraId) -> Result<BTreeSet<SegmentId>, Broken> {
        guarded(|| {
            let streams = [StreamKind::Main, StreamKind::Sub].into_iter();
            let rows = streams.flat_map(|stream| self.db.scan_prefix(stream_prefix(camera, stream)).keys());
            rows.filter_map(|key| key.map(|key| keys::segment_of(&key)).transpose())
                .collect::<Result<_, _>>()
                .map_err(broken)
        })
    }

    pub(crate) fn place_init(&self, camera: CameraId, id: InitId, place: InitPlace) -> Result<(), Broken> {
        guarded(|| self.db.insert(init_key(camera, id), encode(&place)?).map(|_| ()).map_err(broken))
    }

    /// The rows of a stream that overlap `[from, to)`, by start.
    pub(crate) fn rows(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<StreamRow>, Broken> {
        guarded(|| {
            let reach = from.plus_micros(-lock(&self.longest).stream_us);
            let mut rows = Vec::new();
            for row in self.db.range(stream_range(camera, stream, reach, to)) {
                let (key, value) = row.map_err(broken)?;
                let row: StreamRow = decode(&value)?;
                if keys::start_of(&key).is_some_and(|start| overlaps(start, row.end, from, to)) {
                    rows.push(row);
                }
            }
            Ok(rows)
        })
    }

    /// The newest rows of a stream by start, the newest first, at most [`NEWEST_ROWS_MAX`].
    pub(crate) fn newest_rows(&self, camera: CameraId, stream: StreamKind) -> Result<Vec<StreamRow>, Broken> {
        guarded(|| {
            let rows = self.db.scan_prefix(stream_prefix(camera, stream)).rev().take(NEWEST_ROWS_MAX);
            rows.map(|row| decode(&row.map_err(broken)?.1)).collect()
        })
    }

    pub(crate) fn gaps(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Gap>, Broken> {
        guarded(|| {
            let reach = from.plus_micros(-lock(&self.longest).gap_us);
            let rows = self.db.range(gap_range(camera, stream, reach, to));
            let gaps = rows.map(|row| decode::<Gap>(&row.map_err(broken)?.1)).collect::<Result<Vec<_>, _>>()?;
            Ok(gaps.into_iter().filter(|gap| overlaps(gap.start, gap.end, from, to)).collect())
        })
    }

    /// The newest place of an init segment.
    pub(crate) fn init(&self, camera: CameraId, id: InitId) -> Result<Option<InitPlace>, Broken> {
        guarded(|| self.place(&init_key(camera, id)))
    }

    fn place(&self, key: &[u8]) -> Result<Option<InitPlace>, Broken> {
        self.db.get(key).map_err(broken)?.map(|row| decode(&row)).transpose()
    }

    /// Hands everything to the kernel.
    pub(crate) fn flush(&self) -> Result<(), Broken> {
        guarded(|| self.db.flush().map(|_| ()).map_err(broken))
    }
}

fn check_version(db: &sled::Db, volume: Uuid) -> Result<(), Broken> {
    let expected = encode(&(CATALOGUE_VERSION, volume))?;
    match db.get(VERSION_KEY).map_err(broken)? {
        Some(found) if found == expected => Ok(()),
        None if db.is_empty() => db.insert(VERSION_KEY, expected).map(|_| ()).map_err(broken),
        _ => Err(Broken("it is of another version or another volume".to_owned())),
    }
}

/// One row per stream of a segment, by camera, stream and start.
fn stream_rows(id: SegmentId, head: &FooterHead) -> BTreeMap<(CameraId, StreamKind, Timestamp), StreamRow> {
    let mut tables: BTreeMap<(CameraId, StreamKind), Vec<TrackTable>> = BTreeMap::new();
    for table in &head.tracks {
        tables.entry((table.key.camera, table.key.stream)).or_default().push(*table);
    }
    let row_of = |((camera, stream), tables): (_, Vec<TrackTable>)| {
        let start = tables.iter().map(|table| table.start).min()?;
        let end = tables.iter().map(|table| table.end).max()?;
        let is_mine = |row: &&crate::index::StreamSpan| row.camera == camera && row.stream == stream;
        let spans = head.spans.iter().filter(is_mine).map(|row| row.span).collect();
        Some(((camera, stream, start), StreamRow { segment: id, end, spans, tables }))
    };
    tables.into_iter().filter_map(row_of).collect()
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, Broken> {
    postcard::to_allocvec(row).map_err(|error| Broken(error.to_string()))
}

fn decode<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Result<T, Broken> {
    postcard::from_bytes(row).map_err(|error| Broken(error.to_string()))
}

#[allow(clippy::needless_pass_by_value, reason = "fits map_err")]
fn broken(error: sled::Error) -> Broken {
    Broken(error.to_string())
}

/// Turns sled's panics into errors.
fn guarded<T>(call: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(Broken("sled panicked".to_owned())))
}
