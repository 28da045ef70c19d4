//! What the rings of a node may hold together.
//!
//! A ring may use its maximum as long as all of them leave an eighth of the budget free. Beyond
//! that, rings that are larger than an equal share give way until that is so again, each at its
//! next frame or housekeeping. If the budget is used up all the same, the ring that grows gives
//! way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

#[derive(Debug)]
pub(super) struct Budget {
    ring_bytes_max: usize,
    bytes_max: usize,
    used: AtomicUsize,
    /// Rings that are filled.
    rings: AtomicUsize,
    cut_gops: AtomicU64,
}

impl Budget {
    pub(super) fn new(ring_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            ring_bytes_max,
            bytes_max,
            used: AtomicUsize::new(0),
            rings: AtomicUsize::new(0),
            cut_gops: AtomicU64::new(0),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(super) fn cut_gops(&self) -> u64 {
        self.cut_gops.load(Relaxed)
    }

    pub(super) fn count_cut_gop(&self) {
        self.cut_gops.fetch_add(1, Relaxed);
    }

    pub(super) fn add_ring(&self) {
        self.rings.fetch_add(1, Relaxed);
    }

    pub(super) fn remove_ring(&self) {
        self.rings.fetch_sub(1, Relaxed);
    }

    /// What a ring may hold now, in bytes.
    pub(super) fn allowance(&self) -> usize {
        let easy = self.bytes_max - self.bytes_max / 8;
        if self.used() <= easy {
            self.ring_bytes_max
        } else {
            self.ring_bytes_max
                .min(easy / self.rings.load(Relaxed).max(1))
        }
    }

    /// A ring has changed its size. Returns by how much the budget is exceeded now.
    pub(super) fn changed(&self, from: usize, to: usize) -> usize {
        if to >= from {
            let used = self.used.fetch_add(to - from, Relaxed) + (to - from);
            used.saturating_sub(self.bytes_max)
        } else {
            self.used.fetch_sub(from - to, Relaxed);
            0
        }
    }
}
