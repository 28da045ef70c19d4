//! Chunks that this node found to be lost when it read them. A file with a missing part is a
//! different file, with a different tag, so no client joins the two. A lost chunk is tried again
//! when nothing has needed it for a while: a disk may have been repaired.

use crate::playback::tear::Absent;
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longer than a client that fetches a file in parts pauses.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// The oldest are forgotten first.
const KNOWN_MAX: usize = 16_384;

/// Chunks that are known to be lost.
#[derive(Clone)]
pub(crate) struct LostChunks {
    known: Arc<Mutex<Known>>,
    now: fn() -> Timestamp,
}

#[derive(Debug, Default)]
struct Known {
    /// With when they were last needed.
    found: HashMap<ChunkLocation, (u64, Timestamp, Absent)>,
    /// By the order in which they were found.
    order: BTreeMap<u64, ChunkLocation>,
    next: u64,
}

impl LostChunks {
    pub(crate) fn new(now: fn() -> Timestamp) -> Self {
        Self {
            known: Arc::default(),
            now,
        }
    }

    pub(crate) fn found(&self, chunk: &ChunkEntry, why: Absent) {
        self.lock().found(chunk.location, why, (self.now)());
    }

    /// Why each of these chunks is left out, `None` if it is available as far as is known; empty if
    /// all are.
    pub(crate) fn of(&self, chunks: &[ChunkEntry]) -> Vec<Option<Absent>> {
        let (mut known, now) = (self.lock(), (self.now)());
        if known.found.is_empty() {
            return Vec::new();
        }
        chunks
            .iter()
            .map(|chunk| known.why(&chunk.location, now))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every holder of the lock leaves the map consistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn found(&mut self, at: ChunkLocation, why: Absent, now: Timestamp) {
        if let Some((number, ..)) = self.found.insert(at, (self.next, now, why)) {
            self.order.remove(&number);
        }
        self.order.insert(self.next, at);
        self.next += 1;
        while self.order.len() > KNOWN_MAX {
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            self.found.remove(&oldest);
        }
    }

    fn why(&mut self, at: &ChunkLocation, now: Timestamp) -> Option<Absent> {
        let (_, needed, why) = self.found.get_mut(at)?;
        // Also if the clock was set back.
        let is_fresh = (0..KNOWN_FOR.as_micros() as i64).contains(&now.micros_since(*needed));
        is_fresh.then(|| {
            *needed = now;
            *why
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playback::testing::session;
    use holdfast_storage::ids::TrackKind::Video;

    #[test]
    fn what_was_found_lost_is_known_until_it_was_not_needed_for_an_hour() {
        let chunks = session(1, Video, 1, 0, "KdK");
        let (mut known, at) = (Known::default(), |chunk: usize| chunks[chunk].location);
        known.found(at(1), Absent::Damaged, Timestamp(5));
        let later = |micros: i64| Timestamp(5).plus(KNOWN_FOR).plus_micros(micros);
        assert_eq!(known.why(&at(1), Timestamp(5)), Some(Absent::Damaged));
        assert_eq!(known.why(&at(1), later(-1)), Some(Absent::Damaged));
        let after = |needed: Timestamp, micros: i64| needed.plus(KNOWN_FOR).plus_micros(micros);
        let needed = after(later(-1), -1);
        assert_eq!(known.why(&at(1), needed), Some(Absent::Damaged));
        assert_eq!(
            [
                known.why(&at(1), after(needed, 0)),
                known.why(&at(1), needed.plus_micros(-1)),
                known.why(&at(0), needed)
            ],
            [None; 3]
        );
        known.found(at(1), Absent::Deleted, after(needed, 0));
        assert_eq!(known.why(&at(1), after(needed, 1)), Some(Absent::Deleted));
    }

    #[test]
    fn no_more_is_known_than_there_is_room_for() {
        let mut known = Known::default();
        let mut chunk = session(1, Video, 1, 0, "K")[0].location;
        for offset in 0..KNOWN_MAX as u64 + 10 {
            chunk.offset = offset % (KNOWN_MAX as u64 + 5);
            known.found(chunk, Absent::Damaged, Timestamp(0));
        }
        assert_eq!(
            (known.found.len(), known.order.len()),
            (KNOWN_MAX, KNOWN_MAX)
        );
        chunk.offset = 4;
        assert_eq!(
            known.why(&chunk, Timestamp(0)),
            Some(Absent::Damaged),
            "it was found again since"
        );
        chunk.offset = 5;
        assert_eq!(known.why(&chunk, Timestamp(0)), None);
    }
}
