//! A file read at the scrub's rate: it waits before each read, leaves nothing in the page cache,
//! and works around blocks that the disk cannot read.

#![expect(clippy::disallowed_methods, reason = "an edge: it paces reads by time")]

use super::plan::{Load, is_behind};
use crate::disk::{DiskFile, FileId, Salvaging};
use crate::intake::Budget;
use crate::locks::lock;
use crate::state::Shared;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long to pause before checking again.
const BEHIND_PAUSE: Duration = Duration::from_millis(500);

/// A flush that ended longer ago says nothing about the present.
const FLUSH_NEWS_AGE_MAX: Duration = Duration::from_secs(5);

/// Shares the rate among reads, and watches the writer.
pub(super) struct Pacer {
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    is_paced: bool,
    seen: Mutex<Seen>,
}

struct Seen {
    /// When the next read may begin.
    free_at: Instant,
    flushes: u64,
    /// When the number of flushes was last seen to grow, and what was written by then.
    flushed_at: Instant,
    flushed_bytes: u64,
}

impl Pacer {
    pub(super) fn new(shared: Arc<Shared>, budget: Arc<Budget>) -> Self {
        Self::with(shared, budget, true, Instant::now())
    }

    /// Admits every read immediately.
    #[cfg(feature = "simulation")]
    pub(super) fn at_once(shared: Arc<Shared>, budget: Arc<Budget>, now: Instant) -> Self {
        Self::with(shared, budget, false, now)
    }

    fn with(shared: Arc<Shared>, budget: Arc<Budget>, is_paced: bool, now: Instant) -> Self {
        let seen = Mutex::new(Seen {
            free_at: now,
            flushes: 0,
            flushed_at: now,
            flushed_bytes: 0,
        });
        Self {
            shared,
            budget,
            is_paced,
            seen,
        }
    }

    /// Waits until `bytes` may be read.
    ///
    /// # Errors
    /// The scrub has to stop.
    fn admit(&self, bytes: usize) -> io::Result<()> {
        if !self.is_paced {
            return Ok(());
        }
        let rate = self.shared.options.scrub.bytes_per_second_max.max(1);
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let now = Instant::now();
        let wait = {
            let mut seen = lock(&self.seen);
            let begin = seen.free_at.max(now);
            seen.free_at = begin + cost;
            begin - now
        };
        self.sleep(wait)?;
        while is_behind(&self.load()) {
            self.shared
                .scrub
                .is_held_back
                .store(true, Ordering::Relaxed);
            self.sleep(BEHIND_PAUSE)?;
        }
        self.shared
            .scrub
            .is_held_back
            .store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Wake-ups for other reasons do not shorten the wait.
    fn sleep(&self, wait: Duration) -> io::Result<()> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !self.shared.scrub.wait(left) {
                return Err(io::Error::other("the scrub was stopped"));
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    fn load(&self) -> Load {
        let counters = &self.shared.counters;
        let (flushes, written_bytes) = (
            counters.flushes.load(Ordering::Relaxed),
            counters.written_bytes.load(Ordering::Relaxed),
        );
        let mut seen = lock(&self.seen);
        if flushes != seen.flushes {
            (seen.flushes, seen.flushed_at, seen.flushed_bytes) =
                (flushes, Instant::now(), written_bytes);
        }
        let age = seen.flushed_at.elapsed();
        let last_flush = Duration::from_micros(counters.flush_us_last.load(Ordering::Relaxed));
        Load {
            queued_bytes: self.budget.queued_bytes(),
            queued_bytes_max: self.shared.options.buffer_bytes_max,
            last_flush: if age <= FLUSH_NEWS_AGE_MAX {
                last_flush
            } else {
                Duration::ZERO
            },
            flush_interval: self.shared.options.flush_interval,
            unflushed: if written_bytes > seen.flushed_bytes {
                age
            } else {
                Duration::ZERO
            },
        }
    }
}

/// See the module documentation.
pub(super) struct Paced {
    file: Salvaging,
    pacer: Arc<Pacer>,
    read_bytes: AtomicU64,
}

impl Paced {
    pub(super) fn new(file: Arc<dyn DiskFile>, pacer: Arc<Pacer>) -> Self {
        let shared = Arc::clone(&pacer.shared);
        let file = Salvaging::new(file, move || shared.scrub.is_stopped());
        Self {
            file,
            pacer,
            read_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Offset of the first unreadable block.
    pub(super) fn first_unreadable(&self) -> Option<u64> {
        self.file.first_unreadable()
    }
}

impl DiskFile for Paced {
    fn id(&self) -> io::Result<FileId> {
        self.file.id()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.pacer.admit(buffer.len())?;
        self.file.read_exact_at(buffer, offset)?;
        let bytes = buffer.len() as u64;
        self.file.forget_cached(offset, bytes);
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pacer
            .shared
            .scrub
            .read_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
