//! Which segments hold which camera and time: a cache, in sled, of the segments' footers. sled does
//! not fsync; the catalogue can be deleted at any time.
//!
//! sled panics on some kinds of damage and on a read-only disk, so every call is guarded; any error
//! here means: delete the catalogue and rebuild it. A segment is added and removed in one atomic
//! batch; several segments share a batch when more follow immediately.

mod bucket;
mod fuzz;
mod keys;
mod pending;
#[cfg(test)]
mod tests;
mod varint;

pub(crate) use self::fuzz::read_row;
pub(crate) use bucket::StreamRow;

use self::keys::{
    BucketKey, bucket_key, bucket_range, gap_key, gap_range, init_key, length_key, segment_key,
    stream_prefix,
};
use self::pending::Pending;
use crate::chunk::{Gap, InitId};
use crate::format::index::{InitRow, overlaps};
use crate::format::{FORMAT_VERSION, FooterHead, TrackTable, Trailer};
use crate::ids::{CameraId, SegmentId, StreamKind};
use crate::locks::lock;
use crate::segments::Known;
use crate::time::Timestamp;
use crate::timeline::Stretch;
use bucket::bucket_of;
use rustix::fs::{Access, FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Grows with every change of the rows; a catalogue of another version is rebuilt, and so is one of
/// another segment format: it must not list segments that an older release refuses to read.
const CATALOGUE_VERSION: u16 = 6;

/// sled's page cache.
const CACHE_BYTES: u64 = 8 << 20;

/// How many rows back the end of a stream is searched for: the newest row may not show it if the
/// stream is recorded into two classes in turn, or if its last segments have no video.
const NEWEST_ROWS_MAX: usize = 16;

const VERSION_KEY: &[u8] = b"v";

/// A failed catalogue operation. The catalogue must be rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

#[derive(Serialize, Deserialize)]
struct SegmentRow {
    class: String,
    bytes: u64,
    closed_at: Timestamp,
}

/// The place of an init segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InitPlace {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// An init segment whose newest known place was deleted, and an instant at which its stream was
/// recorded there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placeless {
    pub(crate) camera: CameraId,
    pub(crate) stream: StreamKind,
    pub(crate) id: InitId,
    pub(crate) near: Timestamp,
}

/// The longest row of each kind in microseconds: the furthest that a row which reaches an instant
/// may start before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Longest {
    stream_us: i64,
    gap_us: i64,
}

pub(crate) struct Catalogue {
    db: Db,
    longest: Mutex<Longest>,
    pending: Mutex<Pending>,
}

/// Whether the catalogue's files are still open. sled's own threads release them a moment after the
/// last handle is dropped; a catalogue in use is not a damaged one.
pub(crate) fn is_held(path: &Path) -> bool {
    let Ok(file) = std::fs::File::open(path.join("db")) else {
        return false;
    };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// Whether sled may write there. If it may not, it panics at some point, and the catalogue has to
/// be elsewhere. Changes nothing except that it may create an empty folder.
pub(crate) fn is_writable(path: &Path) -> bool {
    let may = |path: &Path| rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK).is_ok();
    let entries =
        || std::fs::read_dir(path).map(|entries| entries.flatten().all(|entry| may(&entry.path())));
    std::fs::create_dir_all(path).is_ok() && may(path) && entries().unwrap_or(false)
}

/// Closing the database writes, and sled may panic then, as in every call.
struct Db(Option<sled::Db>);

impl Deref for Db {
    type Target = sled::Db;
    fn deref(&self) -> &sled::Db {
        match &self.0 {
            Some(db) => db,
            None => unreachable!("it is taken when it is dropped"),
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let db = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!("sled panicked when a catalogue was closed; it is rebuilt if need be");
        }
    }
}

impl Catalogue {
    /// Opens the catalogue in `path`.
    pub(crate) fn open(path: &Path, volume: Uuid) -> Result<Self, Broken> {
        Self::open_with(sled::Config::new().path(path), volume)
    }

    /// An empty catalogue, deleted with its folder when it is closed.
    pub(crate) fn temporary(path: &Path, volume: Uuid) -> Result<Self, Broken> {
        Self::open_with(sled::Config::new().path(path).temporary(true), volume)
    }

    fn open_with(config: sled::Config, volume: Uuid) -> Result<Self, Broken> {
        guarded(|| {
            let config = config
                .cache_capacity(CACHE_BYTES)
                .mode(sled::Mode::LowSpace)
                .flush_every_ms(Some(1000));
            let db = Db(Some(config.open().map_err(broken)?));
            check_version(&db, volume)?;
            let longest = db
                .get(length_key())
                .map_err(broken)?
                .map_or(Ok(Longest::default()), |row| decode(&row))?;
            Ok(Self {
                db,
                longest: Mutex::new(longest),
                pending: Mutex::default(),
            })
        })
    }

    /// Every listed segment.
    pub(crate) fn segments(&self) -> Result<BTreeMap<SegmentId, Known>, Broken> {
        self.settled(|db| {
            let mut classes: BTreeMap<String, Arc<str>> = BTreeMap::new();
            let rows = db.scan_prefix(keys::SEGMENT);
            rows.map(|row| {
                let (key, value) = row.map_err(broken)?;
                let id = keys::segment_of(&key).ok_or_else(malformed)?;
                let row: SegmentRow = decode(&value)?;
                let class = classes
                    .entry(row.class)
                    .or_insert_with_key(|class| Arc::from(class.as_str()));
                Ok((
                    id,
                    Known {
                        class: Arc::clone(class),
                        bytes: row.bytes,
                        closed_at: row.closed_at,
                    },
                ))
            })
            .collect()
        })
    }

    /// Lists a sealed segment. If `more` follow immediately, it is written together with them.
    pub(crate) fn insert(
        &self,
        class: &str,
        trailer: &Trailer,
        head: &FooterHead,
        more: bool,
    ) -> Result<(), Broken> {
        guarded(|| {
            let mut pending = lock(&self.pending);
            let id = trailer.segment;
            let streams = stream_rows(id, head);
            let hour = streams.first().map(|(_, _, row)| bucket_of(row.start));
            if pending.is_due(hour) {
                self.commit(&mut pending)?;
            }
            pending.begin(hour);
            let mut longest = *lock(&self.longest);
            for (camera, stream, row) in streams {
                longest.stream_us = longest.stream_us.max(row.end.micros_since(row.start));
                let key = bucket_key(camera, stream, bucket_of(row.start));
                pending.add_row(key, row, || self.bucket(&key))?;
            }
            for (number, gap) in (0..).zip(&head.gaps) {
                longest.gap_us = longest.gap_us.max(gap.end.micros_since(gap.start));
                pending.put(gap_key(gap, id, number).to_vec(), encode(gap)?);
            }
            for init in &head.inits {
                let key = init_key(init.key.camera, init.id);
                let known = match pending.get(&key) {
                    Some(value) => Some(decode::<InitPlace>(value)?),
                    None => self.place(&key)?,
                };
                if known.is_none_or(|place| place.segment <= id) {
                    let place = InitPlace {
                        segment: id,
                        offset: init.offset,
                        bytes: init.bytes,
                    };
                    pending.put(key.to_vec(), encode(&place)?);
                }
            }
            *lock(&self.longest) = longest;
            pending.put(length_key(), encode(&longest)?);
            let row = SegmentRow {
                class: class.to_owned(),
                bytes: trailer.file_bytes(),
                closed_at: trailer.closed_at,
            };
            pending.put(segment_key(id).to_vec(), encode(&row)?);
            if more {
                Ok(())
            } else {
                self.commit(&mut pending)
            }
        })
    }

    fn commit(&self, pending: &mut Pending) -> Result<(), Broken> {
        match pending.take()? {
            Some(batch) => self.db.apply_batch(batch).map_err(broken),
            None => Ok(()),
        }
    }

    /// Runs `ask` after everything that was inserted has been written.
    fn settled<T>(&self, ask: impl FnOnce(&sled::Db) -> Result<T, Broken>) -> Result<T, Broken> {
        guarded(|| {
            self.commit(&mut lock(&self.pending))?;
            ask(&self.db)
        })
    }

    fn bucket(&self, key: &BucketKey) -> Result<Vec<StreamRow>, Broken> {
        self.db
            .get(key)
            .map_err(broken)?
            .map_or(Ok(Vec::new()), |value| rows_of(key, &value))
    }

    /// Removes a segment from the list. `head` is that of its footer; without it all rows are
    /// searched. Returns the init segments that have no known place any more; another segment may
    /// hold them.
    pub(crate) fn remove(
        &self,
        id: SegmentId,
        head: Option<&FooterHead>,
    ) -> Result<Vec<Placeless>, Broken> {
        let Some(head) = head else {
            return self.remove_searched(&BTreeSet::from([id]));
        };
        self.settled(|db| {
            let mut batch = sled::Batch::default();
            batch.remove(segment_key(id).to_vec());
            for (camera, stream, row) in stream_rows(id, head) {
                let key = bucket_key(camera, stream, bucket_of(row.start));
                let mut rows = self.bucket(&key)?;
                rows.retain(|row| row.segment != id);
                put_bucket(&mut batch, key, &rows)?;
            }
            for (number, gap) in (0..).zip(&head.gaps) {
                batch.remove(gap_key(gap, id, number).to_vec());
            }
            let mut placeless = Vec::new();
            for init in &head.inits {
                let key = init_key(init.key.camera, init.id);
                if self.place(&key)?.is_some_and(|place| place.segment == id) {
                    batch.remove(key.to_vec());
                    let (camera, stream) = (init.key.camera, init.key.stream);
                    let ends = head
                        .tracks
                        .iter()
                        .filter(|table| table.key == init.key)
                        .map(|table| table.end);
                    // A crash may have left the init segment without a chunk that needs it.
                    let near = ends.max().unwrap_or(Timestamp::MAX);
                    placeless.push(Placeless {
                        camera,
                        stream,
                        id: init.id,
                        near,
                    });
                }
            }
            db.apply_batch(batch).map_err(broken)?;
            Ok(placeless)
        })
    }

    /// Records `segment` as the place of the init segment.
    pub(crate) fn place_init(&self, init: &InitRow, segment: SegmentId) -> Result<(), Broken> {
        let place = InitPlace {
            segment,
            offset: init.offset,
            bytes: init.bytes,
        };
        let key = init_key(init.key.camera, init.id);
        self.settled(|db| db.insert(key, encode(&place)?).map(drop).map_err(broken))
    }

    /// Like [`Self::remove`], for any number of segments in one search.
    pub(crate) fn remove_searched(
        &self,
        ids: &BTreeSet<SegmentId>,
    ) -> Result<Vec<Placeless>, Broken> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.settled(|db| {
            let mut batch = sled::Batch::default();
            // In key order, buckets come before init segments.
            let mut removed: BTreeMap<(CameraId, StreamKind), Timestamp> = BTreeMap::new();
            let mut placeless = Vec::new();
            for row in db.iter() {
                let (key, value) = row.map_err(broken)?;
                if let Some(key) = keys::as_bucket(&key) {
                    let mut rows = rows_of(&key, &value)?;
                    let ends = rows
                        .iter()
                        .filter(|row| ids.contains(&row.segment))
                        .map(|row| row.end);
                    if let (Some(end), Some((camera, stream, _))) =
                        (ends.max(), keys::bucket_parts(&key))
                    {
                        removed.insert((camera, stream), end);
                        rows.retain(|row| !ids.contains(&row.segment));
                        put_bucket(&mut batch, key, &rows)?;
                    }
                } else if let Some((camera, id)) = keys::init_of(&key) {
                    if ids.contains(&decode::<InitPlace>(&value)?.segment) {
                        batch.remove(key);
                        // The key does not contain the stream.
                        placeless.extend([StreamKind::Main, StreamKind::Sub].map(|stream| {
                            let near = removed
                                .get(&(camera, stream))
                                .copied()
                                .unwrap_or(Timestamp::MAX);
                            Placeless {
                                camera,
                                stream,
                                id,
                                near,
                            }
                        }));
                    }
                } else if keys::segment_of(&key).is_some_and(|id| ids.contains(&id)) {
                    batch.remove(key);
                }
            }
            db.apply_batch(batch).map_err(broken)?;
            Ok(placeless)
        })
    }

    /// The chunk tables of one segment, as its footer's directory has them. Searches all rows.
    pub(crate) fn tables(&self, id: SegmentId) -> Result<Vec<TrackTable>, Broken> {
        self.settled(|db| {
            let mut tables = Vec::new();
            for bucket in db.scan_prefix([keys::STREAM]) {
                let rows = bucket_rows(bucket)?;
                tables.extend(
                    rows.into_iter()
                        .filter(|row| row.segment == id)
                        .flat_map(|row| row.tables),
                );
            }
            Ok(tables)
        })
    }

    /// The rows of a stream that overlap `[from, to)`, by start.
    pub(crate) fn rows(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<StreamRow>, Broken> {
        self.settled(|db| {
            let reach = from.plus_micros(-lock(&self.longest).stream_us);
            let mut rows = Vec::new();
            for bucket in db.range(bucket_range(camera, stream, bucket_of(reach), to)) {
                let found = bucket_rows(bucket)?;
                rows.extend(
                    found
                        .into_iter()
                        .filter(|row| overlaps(row.start, row.end, from, to)),
                );
            }
            Ok(rows)
        })
    }

    /// The stretches of a stream's rows that overlap `[from, to)`, unclipped, except those of the
    /// segments in `not`.
    pub(crate) fn stretches(
        &self,
        camera: CameraId,
        stream: StreamKind,
        (from, to): (Timestamp, Timestamp),
        not: &BTreeSet<SegmentId>,
    ) -> Result<Vec<Stretch>, Broken> {
        self.settled(|db| {
            let reach = from.plus_micros(-lock(&self.longest).stream_us);
            let mut stretches = Vec::new();
            for bucket in db.range(bucket_range(camera, stream, bucket_of(reach), to)) {
                let (key, value) = bucket.map_err(broken)?;
                let base = keys::start_of(&key).ok_or_else(malformed)?;
                let is_wanted =
                    |id, start, end| overlaps(start, end, from, to) && !not.contains(&id);
                bucket::stretches(base, &value, is_wanted, &mut stretches)?;
            }
            Ok(stretches)
        })
    }

    /// The newest rows of a stream by start, the newest first, at most [`NEWEST_ROWS_MAX`].
    pub(crate) fn last_rows(
        &self,
        camera: CameraId,
        stream: StreamKind,
    ) -> Result<Vec<StreamRow>, Broken> {
        self.newest_rows(camera, stream, NEWEST_ROWS_MAX)
    }

    /// Like [`Self::last_rows`], for the rows that start before `at`.
    pub(crate) fn last_rows_before(
        &self,
        camera: CameraId,
        stream: StreamKind,
        at: Timestamp,
    ) -> Result<Vec<StreamRow>, Broken> {
        self.settled(|db| {
            let before = db
                .range(bucket_range(camera, stream, Timestamp::MIN, at))
                .rev();
            first_rows(before, true, NEWEST_ROWS_MAX, |row| row.start < at)
        })
    }

    /// The segments with footage of any camera that begins at `from` or later. Reads every key.
    pub(crate) fn segments_beyond(&self, from: Timestamp) -> Result<BTreeSet<SegmentId>, Broken> {
        let hour_us = 3_600_000_000;
        let is_late =
            |key: &[u8]| keys::start_of(key).is_some_and(|base| base.plus_micros(hour_us) > from);
        self.settled(|db| {
            let buckets = db.scan_prefix([keys::STREAM]);
            let late =
                buckets.filter(|bucket| bucket.as_ref().map_or(true, |(key, _)| is_late(key)));
            let rows = first_rows(late, false, usize::MAX, |row| row.start >= from)?;
            Ok(rows.into_iter().map(|row| row.segment).collect())
        })
    }

    /// The newest segments with chunks of a stream, newest first.
    pub(crate) fn newest_segments(
        &self,
        camera: CameraId,
        stream: StreamKind,
        count_max: usize,
    ) -> Result<Vec<SegmentId>, Broken> {
        Ok(self
            .newest_rows(camera, stream, count_max)?
            .into_iter()
            .map(|row| row.segment)
            .collect())
    }

    fn newest_rows(
        &self,
        camera: CameraId,
        stream: StreamKind,
        count_max: usize,
    ) -> Result<Vec<StreamRow>, Broken> {
        self.settled(|db| {
            first_rows(
                db.scan_prefix(stream_prefix(camera, stream)).rev(),
                true,
                count_max,
                |_| true,
            )
        })
    }

    /// The segments with a stream's footage closest to an instant: those that begin before it and
    /// those that begin after it, the nearest first, at most `segments_max` of each.
    pub(crate) fn near(
        &self,
        camera: CameraId,
        stream: StreamKind,
        at: Timestamp,
        segments_max: usize,
    ) -> Result<Vec<SegmentId>, Broken> {
        self.settled(|db| {
            let before = db
                .range(bucket_range(camera, stream, Timestamp::MIN, at))
                .rev();
            let after = db.range(bucket_range(camera, stream, bucket_of(at), Timestamp::MAX));
            let mut rows = first_rows(before, true, segments_max, |row| row.start < at)?;
            rows.extend(first_rows(after, false, segments_max, |row| {
                row.start >= at
            })?);
            Ok(rows.into_iter().map(|row| row.segment).collect())
        })
    }

    /// The segments whose gap ledger has an entry that overlaps `[from, to)`.
    pub(crate) fn segments_with_gaps(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SegmentId>, Broken> {
        self.settled(|db| {
            let reach = from.plus_micros(-lock(&self.longest).gap_us);
            let mut ids = Vec::new();
            for row in db.range(gap_range(camera, stream, reach, to)) {
                let (key, value) = row.map_err(broken)?;
                let gap: Gap = decode(&value)?;
                if overlaps(gap.start, gap.end, from, to) {
                    ids.push(keys::segment_of(&key).ok_or_else(malformed)?);
                }
            }
            Ok(ids)
        })
    }

    pub(crate) fn gaps(
        &self,
        camera: CameraId,
        stream: StreamKind,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Gap>, Broken> {
        self.settled(|db| {
            let reach = from.plus_micros(-lock(&self.longest).gap_us);
            let rows = db.range(gap_range(camera, stream, reach, to));
            let gaps = rows
                .map(|row| decode::<Gap>(&row.map_err(broken)?.1))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(gaps
                .into_iter()
                .filter(|gap| overlaps(gap.start, gap.end, from, to))
                .collect())
        })
    }

    /// The newest place of an init segment.
    pub(crate) fn init(&self, camera: CameraId, id: InitId) -> Result<Option<InitPlace>, Broken> {
        self.settled(|_| self.place(&init_key(camera, id)))
    }

    fn place(&self, key: &[u8]) -> Result<Option<InitPlace>, Broken> {
        self.db
            .get(key)
            .map_err(broken)?
            .map(|row| decode(&row))
            .transpose()
    }

    /// The highest camera number that has footage here, without segments that are about to be
    /// listed.
    pub(crate) fn camera_highest(&self) -> Result<Option<CameraId>, Broken> {
        guarded(|| {
            let last = self
                .db
                .scan_prefix([keys::STREAM])
                .next_back()
                .transpose()
                .map_err(broken)?;
            last.map(|(key, _)| keys::camera_of(&key).ok_or_else(malformed))
                .transpose()
        })
    }

    /// Writes everything to the kernel.
    pub(crate) fn flush(&self) -> Result<(), Broken> {
        self.settled(|db| db.flush().map(|_| ()).map_err(broken))
    }
}

fn malformed() -> Broken {
    Broken("a key is malformed".to_owned())
}

fn check_version(db: &sled::Db, volume: Uuid) -> Result<(), Broken> {
    let expected = encode(&(CATALOGUE_VERSION, FORMAT_VERSION, volume))?;
    match db.get(VERSION_KEY).map_err(broken)? {
        Some(found) if found == expected => Ok(()),
        None if db.is_empty() => db.insert(VERSION_KEY, expected).map(|_| ()).map_err(broken),
        _ => Err(Broken(
            "it is of another version or another volume".to_owned(),
        )),
    }
}

/// One row per stream of a segment.
fn stream_rows(id: SegmentId, head: &FooterHead) -> Vec<(CameraId, StreamKind, StreamRow)> {
    type Parts = (Vec<TrackTable>, Vec<Stretch>);
    let mut streams: BTreeMap<(CameraId, StreamKind), Parts> = BTreeMap::new();
    for table in &head.tracks {
        streams
            .entry((table.key.camera, table.key.stream))
            .or_default()
            .0
            .push(*table);
    }
    for row in &head.spans {
        streams
            .entry((row.camera, row.stream))
            .or_default()
            .1
            .push(row.stretch);
    }
    let row_of = |((camera, stream), (tables, stretches)): ((CameraId, StreamKind), Parts)| {
        let start = tables.iter().map(|table| table.start).min()?;
        let end = tables.iter().map(|table| table.end).max()?;
        Some((
            camera,
            stream,
            StreamRow {
                segment: id,
                start,
                end,
                stretches,
                tables,
            },
        ))
    };
    streams.into_iter().filter_map(row_of).collect()
}

/// By start.
fn rows_of(key: &BucketKey, value: &[u8]) -> Result<Vec<StreamRow>, Broken> {
    let (camera, stream, base) =
        keys::bucket_parts(key).ok_or_else(|| Broken("a bucket's key is malformed".to_owned()))?;
    bucket::decode(camera, stream, base, value)
}

/// The first rows of `buckets` that match, at most `count_max`; with `is_back` each bucket is read
/// from its end.
fn first_rows(
    buckets: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    is_back: bool,
    count_max: usize,
    is_wanted: impl Fn(&StreamRow) -> bool,
) -> Result<Vec<StreamRow>, Broken> {
    let mut first = Vec::new();
    for bucket in buckets {
        let mut rows = bucket_rows(bucket)?;
        if is_back {
            rows.reverse();
        }
        first.extend(
            rows.into_iter()
                .filter(&is_wanted)
                .take(count_max - first.len()),
        );
        if first.len() == count_max {
            break;
        }
    }
    Ok(first)
}

fn bucket_rows(bucket: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Vec<StreamRow>, Broken> {
    let (key, value) = bucket.map_err(broken)?;
    let key =
        keys::as_bucket(&key).ok_or_else(|| Broken("a bucket's key is malformed".to_owned()))?;
    rows_of(&key, &value)
}

fn put_bucket(batch: &mut sled::Batch, key: BucketKey, rows: &[StreamRow]) -> Result<(), Broken> {
    let (_, _, base) =
        keys::bucket_parts(&key).ok_or_else(|| Broken("a bucket's key is malformed".to_owned()))?;
    if rows.is_empty() {
        batch.remove(&key);
    } else {
        batch.insert(&key, bucket::encode(base, rows));
    }
    Ok(())
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
