//! Sessions that wait at cameras, set up and not playing, for the recorder that needs them at once.

use super::session::Prepared;
use holdfast_consensus::model::Source;
use holdfast_storage::ids::CameraId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone; all clones are the same shelf. Holds one session of a camera at most.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sessions: Mutex<BTreeMap<CameraId, (Source, Prepared)>>,
    totals: Totals,
}

/// What became of prepared sessions. Counters only grow.
#[derive(Debug, Default)]
pub struct Totals {
    /// Played by a recorder.
    pub played: AtomicU64,
    /// Found dead by a recorder, which opened a fresh one.
    pub dead: AtomicU64,
    /// Attempts to prepare one that the camera did not bear.
    pub refused: AtomicU64,
}

impl Shelf {
    pub fn put(&self, camera: CameraId, source: Source, session: Prepared) {
        let before = self.sessions().insert(camera, (source, session));
        // Without the lock: dropping a session starts its TEARDOWN.
        drop(before);
    }

    /// Takes the camera's session; one that was prepared for another `source` is dropped.
    #[must_use]
    pub fn take(&self, camera: CameraId, source: &Source) -> Option<Prepared> {
        let (prepared_for, session) = self.sessions().remove(&camera)?;
        (prepared_for == *source).then_some(session)
    }

    /// Takes the camera's session, whatever it was prepared for.
    #[must_use]
    pub fn remove(&self, camera: CameraId) -> Option<Prepared> {
        self.sessions().remove(&camera).map(|(_, session)| session)
    }

    /// Whose sessions it holds.
    #[must_use]
    pub fn cameras(&self) -> BTreeSet<CameraId> {
        self.sessions().keys().copied().collect()
    }

    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.0.totals
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<CameraId, (Source, Prepared)>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
