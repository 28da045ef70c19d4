//! Bounded caches of open files and chunk tables; the least recently used entries are dropped
//! first.

use crate::chunk::ChunkEntry;
use crate::disk::DiskFile;
use crate::format::index::TrackKey;
use crate::ids::SegmentId;
use crate::locks::lock;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

/// The most files held open for reading.
const FILES_MAX: usize = 64;

/// The most rows of chunk tables kept in memory, about 120 bytes each.
const TABLE_ROWS_MAX: usize = 65_536;

/// The most chunks whose new places are remembered, about 60 bytes each.
const MOVED_MAX: usize = 65_536;

type Table = Arc<Vec<ChunkEntry>>;

/// Where each chunk of a segment was moved, by its earlier offset.
pub(crate) type Moves = HashMap<u64, (SegmentId, u64)>;

/// A cache bounded by weight that drops the least recently used entry first. Small enough for
/// eviction to scan all of it.
struct Lru<K, V> {
    entries: HashMap<K, (u64, usize, V)>,
    clock: u64,
    weight: usize,
    weight_max: usize,
}

impl<K: Hash + Eq + Copy, V: Clone> Lru<K, V> {
    fn new(weight_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            clock: 0,
            weight: 0,
            weight_max,
        }
    }

    fn get(&mut self, key: K) -> Option<V> {
        self.clock += 1;
        let (used, _, value) = self.entries.get_mut(&key)?;
        *used = self.clock;
        Some(value.clone())
    }

    fn insert(&mut self, key: K, weight: usize, value: V) {
        self.remove(key);
        if weight > self.weight_max {
            return;
        }
        while self.weight + weight > self.weight_max
            && let Some(oldest) = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.0)
                .map(|(key, _)| *key)
        {
            self.remove(oldest);
        }
        self.clock += 1;
        self.weight += weight;
        self.entries.insert(key, (self.clock, weight, value));
    }

    fn remove(&mut self, key: K) {
        if let Some((_, weight, _)) = self.entries.remove(&key) {
            self.weight -= weight;
        }
    }

    fn remove_if(&mut self, is_gone: impl Fn(&K) -> bool) {
        let gone: Vec<K> = self
            .entries
            .keys()
            .filter(|key| is_gone(key))
            .copied()
            .collect();
        gone.into_iter().for_each(|key| self.remove(key));
    }
}

pub(crate) struct Caches {
    files: Mutex<Lru<SegmentId, Arc<dyn DiskFile>>>,
    tables: Mutex<Lru<(SegmentId, TrackKey), Table>>,
    /// Segments whose held chunks were copied and whose file was deleted.
    moved: Mutex<Lru<SegmentId, Arc<Moves>>>,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            files: Mutex::new(Lru::new(FILES_MAX)),
            tables: Mutex::new(Lru::new(TABLE_ROWS_MAX)),
            moved: Mutex::new(Lru::new(MOVED_MAX)),
        }
    }
}

impl Caches {
    pub(crate) fn file(&self, id: SegmentId) -> Option<Arc<dyn DiskFile>> {
        lock(&self.files).get(id)
    }

    pub(crate) fn keep_file(&self, id: SegmentId, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        lock(&self.files).insert(id, 1, Arc::clone(&file));
        file
    }

    pub(crate) fn table(&self, id: SegmentId, key: TrackKey) -> Option<Table> {
        lock(&self.tables).get((id, key))
    }

    pub(crate) fn keep_table(
        &self,
        id: SegmentId,
        key: TrackKey,
        entries: Vec<ChunkEntry>,
    ) -> Table {
        let table = Arc::new(entries);
        lock(&self.tables).insert((id, key), table.len().max(1), Arc::clone(&table));
        table
    }

    /// The new place of a chunk that was moved recently.
    pub(crate) fn moved(&self, id: SegmentId, offset: u64) -> Option<(SegmentId, u64)> {
        lock(&self.moved).get(id)?.get(&offset).copied()
    }

    /// Adds to the known moves of a segment's chunks.
    pub(crate) fn keep_moves(&self, id: SegmentId, moves: &Moves) {
        let mut moved = lock(&self.moved);
        let all: Moves = moved
            .get(id)
            .iter()
            .flat_map(|before| before.iter())
            .chain(moves)
            .map(|(at, to)| (*at, *to))
            .collect();
        moved.insert(id, all.len(), Arc::new(all));
    }

    /// The segment was deleted.
    pub(crate) fn forget(&self, id: SegmentId) {
        lock(&self.files).remove(id);
        lock(&self.tables).remove_if(|(segment, _)| *segment == id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first_and_the_weight_is_kept() {
        let mut lru = Lru::new(10);
        lru.insert(1, 4, 'a');
        lru.insert(2, 4, 'b');
        assert_eq!(lru.get(1), Some('a'));
        lru.insert(3, 4, 'c');
        assert_eq!(
            (lru.get(1), lru.get(2), lru.get(3)),
            (Some('a'), None, Some('c'))
        );
        lru.insert(4, 11, 'd');
        assert_eq!(lru.get(4), None);
        lru.remove_if(|key| *key == 1);
        assert_eq!(lru.weight, 4);
    }
}
