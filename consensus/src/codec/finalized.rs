//! The version of the cluster that this process has seen finalised.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The newest version of the cluster that this process has seen finalised; all that it stores or
/// sends is written accordingly. Clones share it.
///
/// The state machine raises it with each state that it reads, receives or computes. It never
/// decreases: a cluster's finalised version never does, and a recovery, which begins another
/// generation, is followed by a new start. It may be behind the cluster's, never ahead: 0 until a
/// state is known, as in a node that asks to join. Then the oldest versions are written, which
/// every program reads.
#[derive(Clone, Debug, Default)]
pub struct Finalized(Arc<AtomicU16>);

impl Finalized {
    #[must_use]
    pub fn at(version: u16) -> Self {
        Self(Arc::new(AtomicU16::new(version)))
    }

    // Relaxed: it protects no other data.
    pub(crate) fn version(&self) -> u16 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn raise_to(&self, version: u16) {
        self.0.fetch_max(version, Ordering::Relaxed);
    }
}
