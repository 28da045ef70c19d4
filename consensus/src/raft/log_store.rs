//! Vote and log on disk: one append-only set of files with a CRC per record (the `raft-log` crate),
//! one fsync per group of writes.
//!
//! Nothing is acknowledged before its fsync. A failed fsync raises the fatal signal, and every
//! later write fails: data that the kernel dropped after a failed fsync cannot be written again.

use super::fatal::FatalSignal;
use super::{Entry, LogId, TypeConfig, Vote};
use crate::codec::{self, Finalized, first_version};
use crate::raft::identity::ledger::Keep;
use futures::future::BoxFuture;
use openraft::entry::{EntryPayload, RaftEntry};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{BasicNode, OptionalSend};
use raft_log::api::raft_log_writer::RaftLogWriter;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Size at which a log file is closed and the next one begun; a file is deleted once everything in
/// it is purged.
const CHUNK_BYTES_MAX: usize = 16 << 20;
/// Entries kept in memory for followers; older ones are read from disk.
const CACHE_BYTES_MAX: usize = 8 << 20;
const CACHE_ENTRIES_MAX: usize = 4_096;
/// Read buffer while the log is replayed at start.
const REPLAY_BUFFER_BYTES: usize = 1 << 20;

/// ((term, node), index)
type StoredId = ((u64, u64), u64);
type Record = (StoredId, Vec<u8>);
pub(crate) type Payload = EntryPayload<crate::command::LogEntry, u64, BasicNode>;

first_version!(Payload => "the Raft log");

/// The types that `raft-log` stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogTypes;

impl raft_log::Types for LogTypes {
    /// ((term, node), index), ordered as openraft orders log ids.
    type LogId = StoredId;
    /// An entry's payload, as [`codec`] writes it.
    type LogPayload = Vec<u8>;
    /// ((term, node), 1 if committed).
    type Vote = ((u64, u64), u64);
    type Callback = Flushed;
    /// What [`crate::raft::identity::ledger`] keeps.
    type UserData = Vec<u8>;

    fn log_index(log_id: &Self::LogId) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Self::LogPayload) -> u64 {
        payload.len() as u64
    }
}

/// The flush thread calls this once a group's fsync is done.
pub(crate) struct Flushed {
    to: Waiting,
    fatal: FatalSignal,
    fault: Fault,
}

enum Waiting {
    Raft(IOFlushed<TypeConfig>),
    Caller(oneshot::Sender<io::Result<()>>),
    /// No caller waits; a failure is fatal nevertheless.
    NoCaller,
}

impl raft_log::Callback for Flushed {
    fn send(self, result: io::Result<()>) {
        let result = self.fault.strike(result);
        if let Err(error) = &result {
            self.fatal.raise(format!(
                "the Raft log could not be made durable: {error}; check the disk, then restart \
                 this node"
            ));
        }
        match self.to {
            Waiting::Raft(callback) => callback.io_completed(result),
            // A caller that is gone (its future was dropped) needs no answer.
            Waiting::Caller(caller) => drop(caller.send(result)),
            Waiting::NoCaller => {}
        }
    }
}

/// Lets tests fail an fsync. Without `cfg(test)` it is empty and does nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault {
    #[cfg(test)]
    pub(crate) armed: Arc<std::sync::atomic::AtomicBool>,
}

impl Fault {
    #[cfg(test)]
    fn strike(&self, result: io::Result<()>) -> io::Result<()> {
        if self.armed.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::Error::other("injected: fsync failed"));
        }
        result
    }

    #[cfg(not(test))]
    fn strike(&self, result: io::Result<()>) -> io::Result<()> {
        result
    }
}

/// The log of one node. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Arc<Mutex<raft_log::RaftLog<LogTypes>>>,
    fatal: FatalSignal,
    finalized: Finalized,
    pub(crate) fault: Fault,
}

impl LogStore {
    /// Opens or creates the log in `dir`; a torn last record (a write that was never acknowledged)
    /// is cut off. A record whose length field was damaged so that it reaches past the file's end
    /// cannot be distinguished from a torn one.
    ///
    /// # Errors
    /// The directory is locked by another process, cannot be read or written, or holds a damaged
    /// record before the last.
    pub(crate) fn open(dir: &Path, fatal: FatalSignal, finalized: Finalized) -> io::Result<Self> {
        super::private_dir(dir)?;
        let path = dir
            .to_str()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
        let mut config = raft_log::Config::new(path);
        config.wal.chunk_max_size = Some(CHUNK_BYTES_MAX);
        config.wal.read_buffer_size = Some(REPLAY_BUFFER_BYTES);
        config.wal.truncate_incomplete_record = Some(true);
        config.log_cache_capacity = Some(CACHE_BYTES_MAX);
        config.log_cache_max_items = Some(CACHE_ENTRIES_MAX);
        let log = raft_log::RaftLog::open(Arc::new(config))?;
        Ok(Self {
            log: Arc::new(Mutex::new(log)),
            fatal,
            finalized,
            fault: Fault::default(),
        })
    }

    /// Every operation leaves the log in a consistent state, so a panic elsewhere does not poison
    /// it.
    fn lock(&self) -> MutexGuard<'_, raft_log::RaftLog<LogTypes>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes last stored in addition to vote and log.
    pub(crate) fn kept(&self) -> Option<Vec<u8>> {
        self.lock().log_state().user_data.clone()
    }

    /// The vote and the last entry, as they are on the disk when a node starts.
    pub(crate) fn vote_and_last(&self) -> (Option<Vote>, Option<LogId>) {
        let log = self.lock();
        let state = log.log_state();
        let last = state.last().copied().max(state.purged().copied());
        (
            state.vote().copied().map(from_stored_vote),
            last.map(from_stored_id),
        )
    }

    fn flushed(&self, to: Waiting) -> Flushed {
        Flushed {
            to,
            fatal: self.fatal.clone(),
            fault: self.fault.clone(),
        }
    }

    /// Makes one change and waits until it is durable.
    pub(super) async fn durably(
        &self,
        change: impl FnOnce(&mut raft_log::RaftLog<LogTypes>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (caller, done) = oneshot::channel();
        {
            let mut log = self.lock();
            change(&mut log)?;
            log.flush(true, Some(self.flushed(Waiting::Caller(caller))))?;
        }
        // No deadline: openraft must not continue before the vote is durable; while the disk hangs,
        // this node does not answer.
        done.await
            .map_err(|_| io::Error::other("the log's flush thread has stopped"))?
    }
}

impl Keep for LogStore {
    fn keep(&self, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.durably(|log| log.save_user_data(Some(bytes)).map(drop)))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let log = self.lock();
        log.read(from, to.max(from))
            .map(|record| decode_entry(record?))
            .collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self
            .lock()
            .log_state()
            .vote()
            .copied()
            .map(from_stored_vote))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let log = self.lock();
        let state = log.log_state();
        let last_purged_log_id = state.purged().copied().map(from_stored_id);
        Ok(LogState {
            last_purged_log_id,
            last_log_id: state.last().copied().map(from_stored_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = to_stored_vote(vote);
        self.durably(|log| log.save_vote(vote).map(drop)).await
    }

    /// Fsynced without waiting, so that a node that boots alone after a power cut knows its last
    /// assignments.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else {
            return Ok(());
        };
        let mut log = self.lock();
        log.commit(to_stored_id(&committed))?;
        log.flush(true, Some(self.flushed(Waiting::NoCaller)))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self
            .lock()
            .log_state()
            .committed()
            .copied()
            .map(from_stored_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries
            .into_iter()
            .map(|entry| encode_entry(&entry, &self.finalized))
            .collect::<io::Result<Vec<_>>>()?;
        let mut log = self.lock();
        log.append(records)?;
        log.flush(true, Some(self.flushed(Waiting::Raft(callback))))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let first_gone = last.map_or(0, |last| last.index + 1);
        let next = self.lock().log_state().last().map_or(0, |last| last.1 + 1);
        if first_gone >= next {
            return Ok(());
        }
        self.durably(|log| log.truncate(first_gone).map(drop)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.durably(|log| log.purge(to_stored_id(&upto)).map(drop))
            .await
    }
}

fn encode_entry(entry: &Entry, finalized: &Finalized) -> io::Result<Record> {
    let payload = codec::encode(&entry.payload, finalized).map_err(io::Error::other)?;
    Ok((to_stored_id(&entry.log_id), payload))
}

fn decode_entry((log_id, payload): Record) -> io::Result<Entry> {
    let payload: Payload = codec::decode(&payload).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("Raft log entry {}: {error}", log_id.1),
        )
    })?;
    Ok(Entry::new(from_stored_id(log_id), payload))
}

fn to_stored_id(id: &LogId) -> StoredId {
    ((id.leader_id.term, id.leader_id.node_id), id.index)
}

fn from_stored_id(((term, node_id), index): StoredId) -> LogId {
    LogId {
        leader_id: LeaderId { term, node_id },
        index,
    }
}

fn to_stored_vote(vote: &Vote) -> ((u64, u64), u64) {
    (
        (vote.leader_id.term, vote.leader_id.node_id),
        u64::from(vote.committed),
    )
}

fn from_stored_vote(((term, node_id), committed): ((u64, u64), u64)) -> Vote {
    Vote {
        leader_id: LeaderId { term, node_id },
        committed: committed == 1,
    }
}
