//! The keeper's knowledge of holds: which segments have held footage, and whether a segment may be
//! deleted.
//!
//! A segment with held footage is deleted only after all of that footage is in segments of the
//! class `hold`, durable and listed. Whenever and however the process ends, the footage exists at
//! least once. Readers list a chunk once even if it is stored twice, and only footage without a
//! copy is copied.

use super::Keeper;
use super::copy::{Copy, Copying};
use crate::Error;
use crate::catalogue::{Broken, Catalogue};
use crate::chunk::Gap;
use crate::disk::DiskFile;
use crate::format::index::{ChunkRow, InitRow};
use crate::format::{FooterHead, decode_table};
use crate::hold::{HOLD_CLASS, Holds};
use crate::ids::{CameraId, SegmentId, StreamKind};
use crate::locks::read;
use crate::range::Range;
use crate::reader::key_of;
use crate::retention::is_worth_keeping_whole;
use crate::scan::scan;
use crate::seal::{Sealed, read_sealed};
use crate::segments::Known;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait with copying after a copy failed.
const COPY_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// How often the log says that nothing may be deleted.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

const STREAMS: [StreamKind; 2] = [StreamKind::Main, StreamKind::Sub];

pub(super) struct Holding {
    /// The holds that `held` was computed for.
    holds: Option<Arc<Holds>>,
    /// Segments with held footage, and its bytes.
    held: BTreeMap<SegmentId, u64>,
    pub(super) copying: Option<Copying>,
    copy_at: Instant,
    complain_at: Instant,
}

impl Holding {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            holds: None,
            held: BTreeMap::new(),
            copying: None,
            copy_at: now,
            complain_at: now,
        }
    }

    /// Called when the list of segments was replaced.
    pub(super) fn forget(&mut self) {
        self.holds = None;
    }

    pub(super) fn forget_segment(&mut self, id: SegmentId) {
        self.held.remove(&id);
    }

    /// Called when a segment was listed.
    pub(super) fn note(&mut self, id: SegmentId, head: &FooterHead) {
        if let Some(bytes) = self.holds.as_ref().and_then(|holds| holds.held_bytes(head)) {
            self.held.insert(id, bytes);
        }
    }

    pub(super) fn held_bytes(&self, id: SegmentId) -> Option<u64> {
        self.held.get(&id).copied()
    }

    /// Returns whether this is new.
    pub(super) fn keep(&mut self, id: SegmentId, held_bytes: u64) -> bool {
        self.held.insert(id, held_bytes) != Some(held_bytes)
    }

    pub(super) fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    pub(super) fn may_copy(&self, now: Instant) -> bool {
        self.copy_at <= now
    }

    pub(super) fn copy_later(&mut self, now: Instant) {
        self.copy_at = now + COPY_RETRY_INTERVAL;
    }

    /// One copy is made at a time.
    pub(super) fn waits_for_copy(&self, id: SegmentId) -> bool {
        self.is_copying() && self.held.contains_key(&id)
    }

    pub(super) fn is_time_to_complain(&mut self, now: Instant) -> bool {
        let is_time = self.complain_at <= now;
        if is_time {
            self.complain_at = now + COMPLAINT_INTERVAL;
        }
        is_time
    }
}

/// What to do with a segment that retention selected.
pub(super) enum Verdict {
    /// Everything held in it is also stored elsewhere.
    Free,
    Copy(Copy),
    /// The segment stays, with this many bytes of held footage.
    Keep(u64),
}

/// The held part of a segment.
#[derive(Default)]
struct Held {
    /// In the order of writing.
    chunks: Vec<ChunkRow>,
    gaps: Vec<Gap>,
    inits: Vec<InitRow>,
}

impl Held {
    fn payload_bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|row| u64::from(row.payload_bytes))
            .sum()
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.gaps.is_empty()
    }
}

impl Keeper {
    /// The current holds, after working out which segments they cover. `None` while the holds or
    /// the segments are not known: then nothing may be deleted.
    pub(super) fn learn_holds(&mut self) -> Option<Arc<Holds>> {
        let holds = read(&self.shared.holds).clone()?;
        let catalogue = self.catalogue()?;
        if self
            .holding
            .holds
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &holds))
        {
            return Some(holds);
        }
        match held_segments(&catalogue, &holds) {
            Ok(held) => {
                tracing::debug!(segments = held.len(), "learned which segments are held");
                self.holding.held = held;
                self.holding.holds = Some(Arc::clone(&holds));
                Some(holds)
            }
            Err(error) => {
                self.rebuild_catalogue(&error);
                None
            }
        }
    }

    /// Reads the segment itself: the list may be out of date.
    pub(super) fn verdict(&self, id: SegmentId, holds: &Holds) -> Verdict {
        let Some(known) = read(&self.shared.known).get(&id).cloned() else {
            return Verdict::Free;
        };
        if holds.is_empty() {
            return Verdict::Free;
        }
        let path = self.shared.layout.segment(&known.class, id);
        match self.judge(id, &known, &path, holds) {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::error!(
                    segment = %id, %error,
                    "a segment is kept, because whether it is held is not known"
                );
                Verdict::Keep(known.bytes)
            }
        }
    }

    fn judge(
        &self,
        id: SegmentId,
        known: &Known,
        path: &Path,
        holds: &Holds,
    ) -> Result<Verdict, Error> {
        let file = self
            .shared
            .disk
            .open_read(path)
            .map_err(Error::io("open", path))?;
        let held = held_of(&*file, id, path, holds)?;
        let held_bytes = held.payload_bytes();
        if held.is_empty() {
            return Ok(Verdict::Free);
        }
        if &*known.class == HOLD_CLASS {
            return Ok(Verdict::Keep(held_bytes));
        }
        let missing = self.without_copied(&held)?;
        if missing.is_empty() {
            return Ok(Verdict::Free);
        }
        if is_worth_keeping_whole(known.bytes, held_bytes) {
            return Ok(Verdict::Keep(held_bytes));
        }
        let Held {
            chunks,
            gaps,
            inits,
        } = missing;
        Ok(Verdict::Copy(Copy {
            segment: id,
            bytes: known.bytes,
            held_bytes,
            path: path.to_owned(),
            chunks,
            gaps,
            inits,
        }))
    }

    /// The part of it that no copy has yet.
    fn without_copied(&self, held: &Held) -> Result<Held, Error> {
        let mut missing = Held {
            inits: held.inits.clone(),
            ..Held::default()
        };
        let mut streams: BTreeMap<(CameraId, StreamKind), Vec<ChunkRow>> = BTreeMap::new();
        for row in &held.chunks {
            streams
                .entry((row.meta.camera, row.meta.stream))
                .or_default()
                .push(*row);
        }
        for ((camera, stream), rows) in streams {
            let from = rows
                .iter()
                .map(|row| row.meta.start)
                .min()
                .unwrap_or_default();
            let to = rows
                .iter()
                .map(|row| row.meta.end())
                .max()
                .unwrap_or_default()
                .plus_micros(1);
            let copied = self.shared.copied(Range {
                camera,
                stream,
                from,
                to,
            })?;
            let is_missing = |row: &ChunkRow| !copied.contains(&key_of(&row.meta));
            missing.chunks.extend(rows.into_iter().filter(is_missing));
        }
        missing.chunks.sort_by_key(|row| row.offset);
        for gap in &held.gaps {
            if !self.is_gap_copied(gap)? {
                missing.gaps.push(*gap);
            }
        }
        Ok(missing)
    }

    fn is_gap_copied(&self, gap: &Gap) -> Result<bool, Error> {
        let to = gap.end.max(gap.start.plus_micros(1));
        let range = Range {
            camera: gap.camera,
            stream: gap.stream,
            from: gap.start,
            to,
        };
        let segments = self.shared.segments_with_gaps(range)?;
        let is_copy = |id: &SegmentId| {
            read(&self.shared.known)
                .get(id)
                .is_some_and(|known| &*known.class == HOLD_CLASS)
        };
        for id in segments.into_iter().filter(is_copy) {
            let path = self.shared.layout.segment(HOLD_CLASS, id);
            if self.gaps_of(&path)?.contains(gap) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn gaps_of(&self, path: &Path) -> Result<Vec<Gap>, Error> {
        let file = self
            .shared
            .disk
            .open_read(path)
            .map_err(Error::io("open", path))?;
        match read_sealed(&*file, path)? {
            Sealed::Yes(_, head) => Ok(head.gaps),
            Sealed::No(reason) => Err(Error::format(path)(reason)),
        }
    }
}

/// The segments with held footage, from the list.
fn held_segments(catalogue: &Catalogue, holds: &Holds) -> Result<BTreeMap<SegmentId, u64>, Broken> {
    let mut tables = BTreeMap::new();
    let mut held = BTreeMap::new();
    for (hold, stream) in holds
        .intervals()
        .flat_map(|hold| STREAMS.map(|stream| (hold, stream)))
    {
        for row in catalogue.rows(hold.camera, stream, hold.from, hold.to)? {
            for table in &row.tables {
                if holds.covers(hold.camera, table.start, table.end) {
                    tables.insert((row.segment, table.key), holds.held_of(table));
                }
            }
        }
        for id in catalogue.segments_with_gaps(hold.camera, stream, hold.from, hold.to)? {
            held.entry(id).or_insert(0);
        }
    }
    for ((id, _), bytes) in tables {
        *held.entry(id).or_insert(0) += bytes;
    }
    Ok(held)
}

/// Reads the held part of a segment: from its footer, or from its batches if the footer is damaged.
fn held_of(file: &dyn DiskFile, id: SegmentId, path: &Path, holds: &Holds) -> Result<Held, Error> {
    let mut held = match read_sealed(file, path)? {
        Sealed::Yes(_, head) => match held_by_footer(file, path, &head, holds)? {
            Some(held) => held,
            None => held_by_scan(file, id, path, holds)?,
        },
        Sealed::No(_) => held_by_scan(file, id, path, holds)?,
    };
    held.chunks.sort_by_key(|row| row.offset);
    Ok(held)
}

/// `None` where a chunk table is damaged.
fn held_by_footer(
    file: &dyn DiskFile,
    path: &Path,
    head: &FooterHead,
    holds: &Holds,
) -> Result<Option<Held>, Error> {
    let gaps = head
        .gaps
        .iter()
        .copied()
        .filter(|gap| holds.covers_gap(gap))
        .collect();
    let mut held = Held {
        chunks: Vec::new(),
        gaps,
        inits: head.inits.clone(),
    };
    for table in head
        .tracks
        .iter()
        .filter(|table| holds.covers(table.key.camera, table.start, table.end))
    {
        let mut bytes = vec![0; table.bytes()];
        file.read_exact_at(&mut bytes, table.offset)
            .map_err(Error::io("read", path))?;
        let Ok(rows) = decode_table(table, &bytes) else {
            return Ok(None);
        };
        held.chunks
            .extend(rows.into_iter().filter(|row| is_held(row, holds)));
    }
    Ok(Some(held))
}

fn held_by_scan(
    file: &dyn DiskFile,
    id: SegmentId,
    path: &Path,
    holds: &Holds,
) -> Result<Held, Error> {
    let index = scan(file, id)
        .map_err(Error::io("scan", path))?
        .map_err(Error::format(path))?
        .index;
    let chunks = index
        .tracks()
        .values()
        .flatten()
        .copied()
        .filter(|row| is_held(row, holds))
        .collect();
    let gaps = index
        .gaps()
        .iter()
        .copied()
        .filter(|gap| holds.covers_gap(gap))
        .collect();
    Ok(Held {
        chunks,
        gaps,
        inits: index.inits().to_vec(),
    })
}

fn is_held(row: &ChunkRow, holds: &Holds) -> bool {
    holds.covers(row.meta.camera, row.meta.start, row.meta.end())
}
