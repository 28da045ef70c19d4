//! A map that is cheap to publish: clones share its rows, and a change copies only the row and the
//! spine.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows by id, in id order. A clone costs one reference count; the first change after it copies the
/// spine, never the other rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table<K: Ord, V>(Arc<BTreeMap<K, Arc<V>>>);

impl<K: Ord, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Copy, V: Clone> Table<K, V> {
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        self.0.get(&key).map(Arc::as_ref)
    }

    #[must_use]
    pub fn contains(&self, key: K) -> bool {
        self.0.contains_key(&key)
    }

    /// Whether both are clones of one another without changes. If that is not known, they count as
    /// different.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.0.iter().map(|(key, row)| (*key, row.as_ref()))
    }

    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.0.keys().copied()
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(Arc::as_ref)
    }

    pub(crate) fn insert(&mut self, key: K, row: V) {
        Arc::make_mut(&mut self.0).insert(key, Arc::new(row));
    }

    pub(crate) fn remove(&mut self, key: K) {
        Arc::make_mut(&mut self.0).remove(&key);
    }

    /// The row of `key`, to be changed.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        Arc::make_mut(&mut self.0).get_mut(&key).map(Arc::make_mut)
    }
}
