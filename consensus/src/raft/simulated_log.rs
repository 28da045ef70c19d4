//! The real log on a disk whose flushes take simulated time, and that loses unflushed data when the
//! power fails.
//!
//! Each write is executed and fsynced immediately while the simulation waits, so that the log's own
//! thread adds no randomness. Its durability is reported later, once the flush's time is over;
//! writes that are not reported yet are lost when the power fails, up to a point that the seed
//! chooses.

use super::log_store::LogStore;
use super::simulated_disk::{Disk, SavedVote};
use super::{Entry, LogId, TypeConfig, Vote};
use crate::raft::identity::ledger::Keep;
use futures::future::BoxFuture;
use openraft::OptionalSend;
use openraft::async_runtime::Oneshot as _;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::alias::OneshotOf;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use tokio::task::unconstrained;
use tokio::time::sleep_until;

#[derive(Clone)]
pub(crate) struct SimulatedLog {
    inner: LogStore,
    disk: Disk,
}

impl SimulatedLog {
    pub(crate) fn new(inner: LogStore, disk: Disk) -> Self {
        Self { inner, disk }
    }

    /// Fsyncs what was written, and waits as long as the simulated disk takes for it.
    async fn flushed(&self) -> io::Result<()> {
        let flush = self.disk.begin_flush();
        sleep_until(flush.ends_at).await;
        self.disk.end_flush(&flush)
    }
}

impl Keep for SimulatedLog {
    fn keep(&self, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.check()?;
            at_once(self.inner.keep(bytes))?;
            self.flushed().await
        })
    }
}

/// Runs `work` to its end while everything else waits.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(unconstrained(work));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
        thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn saved(vote: &Vote) -> SavedVote {
    SavedVote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        is_committed: vote.committed,
    }
}

impl RaftLogReader<TypeConfig> for SimulatedLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.inner.try_get_log_entries(range).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.inner.read_vote().await?;
        self.disk.found_vote(vote.as_ref().map(saved));
        Ok(vote)
    }
}

impl RaftLogStorage<TypeConfig> for SimulatedLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.inner.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.disk.check()?;
        if !self.disk.forgets_votes() {
            at_once(self.inner.save_vote(vote))?;
        }
        self.flushed().await?;
        self.disk.saved_vote(saved(vote));
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.disk.check()?;
        self.inner.save_committed(committed).await?;
        at_once(self.inner.durably(|_| Ok(())))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.inner.read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.disk.check()?;
        let (sender, written) = OneshotOf::<TypeConfig>::channel();
        at_once(self.inner.append(entries, IOFlushed::signal(sender)))?;
        at_once(written).map_err(io::Error::other)??;
        let flush = self.disk.begin_flush();
        if self.disk.acknowledges_early() {
            callback.io_completed(Ok(()));
            let disk = self.disk.clone();
            tokio::spawn(async move {
                sleep_until(flush.ends_at).await;
                drop(disk.end_flush(&flush));
            });
            return Ok(());
        }
        let disk = self.disk.clone();
        tokio::spawn(async move {
            sleep_until(flush.ends_at).await;
            callback.io_completed(disk.end_flush(&flush));
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.disk.check()?;
        at_once(self.inner.truncate_after(last))?;
        self.flushed().await
    }

    /// Durable immediately: files of the log may be deleted with it.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.disk.check()?;
        at_once(self.inner.purge(upto))?;
        let flush = self.disk.begin_flush();
        self.disk.end_flush(&flush)
    }
}
