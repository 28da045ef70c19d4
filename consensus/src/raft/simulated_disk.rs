//! A disk of the simulation: what was not flushed is lost when the power fails.

#![expect(clippy::disallowed_methods, reason = "simulated time")]

use crate::command::LogEntry;
use crate::state::ClusterState;
use holdfast_storage::random::Random;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A stored vote. Ordered as Raft orders votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SavedVote {
    pub term: u64,
    pub node: u64,
    pub is_committed: bool,
}

/// An entry that a node has just applied.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    pub term: u64,
    pub index: u64,
    /// `None`: an internal entry of Raft.
    pub entry: Option<&'a LogEntry>,
    /// Including the entry.
    pub state: &'a ClusterState,
}

/// Observes one node.
pub trait Witness: Send + Sync {
    fn applied(&self, applied: Applied<'_>);
    /// The state is that of a snapshot up to `index`.
    fn installed(&self, index: u64, state: &ClusterState);
    /// It is durable, as far as the node knows.
    fn saved_vote(&self, vote: SavedVote);
    /// Called when a process starts.
    fn found_vote(&self, vote: Option<SavedVote>);
}

/// Known bugs put back, for the simulation to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Twist {
    #[default]
    None,
    /// Entries are acknowledged before they are flushed.
    AcknowledgesEarly,
    /// Votes are not written at all.
    ForgetsVotes,
    /// A restarted leader continues to lead in the same term, even if its log lost entries that
    /// others have committed.
    RestoresLeaders,
    /// A data directory that was reset to an earlier state is accepted as up to date.
    TrustsDirectories,
}

/// The disk of one process of a node. Clones are the same disk.
#[derive(Clone)]
pub struct Disk(Arc<DiskParts>);

struct DiskParts {
    log: PathBuf,
    flush_max: Duration,
    twist: Twist,
    witness: Arc<dyn Witness>,
    state: Mutex<DiskState>,
}

struct DiskState {
    random: Random,
    is_cut: bool,
    /// How far each file survives a power cut.
    durable: BTreeMap<PathBuf, u64>,
    last_flush_ends: Instant,
}

/// A flush in progress, and how far each file had been written when it began.
pub(crate) struct Flush {
    pub(crate) ends_at: Instant,
    written: BTreeMap<PathBuf, u64>,
}

impl Disk {
    /// The disk that holds the Raft folder `dir`; each flush takes up to `flush_max`.
    #[must_use]
    pub fn new(
        dir: &Path,
        flush_max: Duration,
        random: Random,
        twist: Twist,
        witness: Arc<dyn Witness>,
    ) -> Self {
        let log = dir.join("log");
        let durable = lengths(&log);
        let state = Mutex::new(DiskState {
            random,
            is_cut: false,
            durable,
            last_flush_ends: Instant::now(),
        });
        Self(Arc::new(DiskParts {
            log,
            flush_max,
            twist,
            witness,
            state,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ends immediately, and with it the power: nothing is written or becomes durable
    /// any more.
    pub fn cut(&self) {
        self.lock().is_cut = true;
    }

    /// Whether the caller has the only reference to the disk.
    #[must_use]
    pub fn is_released(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// To be called after [`Self::cut`], once the disk is released: data that was not flushed is
    /// lost from some point on.
    ///
    /// # Errors
    /// The files cannot be truncated.
    pub fn lose_unflushed(&self) -> io::Result<()> {
        let mut state = self.lock();
        for (path, length) in lengths(&self.0.log) {
            let Some(durable) = state.durable.get(&path).copied() else {
                continue;
            };
            let kept = durable + state.random.below(length.saturating_sub(durable) + 1);
            if kept < length {
                OpenOptions::new().write(true).open(&path)?.set_len(kept)?;
            }
        }
        Ok(())
    }

    /// Opening a log creates files, and they are durable.
    pub(crate) fn settle(&self) {
        self.lock().durable = lengths(&self.0.log);
    }

    pub(crate) fn check(&self) -> io::Result<()> {
        if self.lock().is_cut {
            Err(io::Error::other("simulated: the power is off"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn begin_flush(&self) -> Flush {
        let written = lengths(&self.0.log);
        let mut state = self.lock();
        let takes =
            Duration::from_millis(state.random.below(self.0.flush_max.as_millis() as u64 + 1));
        // The log has one thread: flushes end in the order in which they began.
        let ends_at = state.last_flush_ends.max(Instant::now() + takes);
        state.last_flush_ends = ends_at;
        Flush { ends_at, written }
    }

    pub(crate) fn end_flush(&self, flush: &Flush) -> io::Result<()> {
        self.check()?;
        let mut state = self.lock();
        for (path, length) in &flush.written {
            let durable = state.durable.entry(path.clone()).or_default();
            *durable = (*durable).max(*length);
        }
        Ok(())
    }

    pub(crate) fn acknowledges_early(&self) -> bool {
        self.0.twist == Twist::AcknowledgesEarly
    }

    pub(crate) fn forgets_votes(&self) -> bool {
        self.0.twist == Twist::ForgetsVotes
    }

    pub(crate) fn restores_leaders(&self) -> bool {
        self.0.twist == Twist::RestoresLeaders
    }

    pub(crate) fn checks_directories(&self) -> bool {
        self.0.twist != Twist::TrustsDirectories
    }

    pub(crate) fn witness(&self) -> Arc<dyn Witness> {
        self.0.witness.clone()
    }

    pub(crate) fn saved_vote(&self, vote: SavedVote) {
        self.0.witness.saved_vote(vote);
    }

    pub(crate) fn found_vote(&self, vote: Option<SavedVote>) {
        self.0.witness.found_vote(vote);
    }
}

/// The log's files with their lengths.
fn lengths(log: &Path) -> BTreeMap<PathBuf, u64> {
    let files = fs::read_dir(log)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let wal = files.filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    wal.filter_map(|path| path.metadata().ok().map(|meta| (path, meta.len())))
        .collect()
}
