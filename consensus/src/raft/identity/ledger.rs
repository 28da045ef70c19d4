//! The record of a data directory's own starts, and of other nodes. It is in the Raft log's files,
//! so that it is exactly as old as vote and log.

use super::judge::{Judgement, judge};
use super::standing::Fence;
use super::{BOOTS_MAX, Boot, Incarnation, Position, Record};
use crate::codec::{self, Finalized, first_version};
use futures::future::BoxFuture;
use holdfast_storage::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// The most other nodes of which a record is kept; more than a cluster has members.
const SEEN_MAX: usize = 256;

/// Stores bytes in place of the previous ones; they are durable when the call completes.
pub(crate) trait Keep: Send + Sync + 'static {
    fn keep(&self, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>>;
}

/// Stores through a task of the runtime on which it is created. Only that task owns the store:
/// dropping the store may take as long as its disk hangs, and no other thread must wait for that.
pub(crate) struct Apart(mpsc::Sender<(Vec<u8>, oneshot::Sender<io::Result<()>>)>);

impl Apart {
    pub(crate) fn new(store: impl Keep) -> Self {
        // A writer waits until its bytes are durable.
        let (asks, mut asked) = mpsc::channel::<(Vec<u8>, oneshot::Sender<_>)>(1);
        tokio::spawn(async move {
            while let Some((bytes, done)) = asked.recv().await {
                // A caller that no longer waits does not need the answer.
                drop(done.send(store.keep(bytes).await));
            }
        });
        Self(asks)
    }
}

impl Keep for Apart {
    fn keep(&self, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
        let closed = || io::Error::other("the Raft log is closed");
        Box::pin(async move {
            let (done, kept) = oneshot::channel();
            self.0.send((bytes, done)).await.map_err(|_| closed())?;
            kept.await.map_err(|_| closed())?
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The newest last; at most [`BOOTS_MAX`].
    pub(crate) boots: Vec<Boot>,
    pub(crate) fence: Option<Fence>,
    pub(crate) seen: BTreeMap<NodeId, Record>,
}

first_version!(Kept => "what a node remembers of its starts and of its peers");

pub(crate) struct Ledger {
    kept: Mutex<Versioned>,
    /// The version that is durable.
    written: tokio::sync::Mutex<u64>,
    store: Box<dyn Keep>,
    finalized: Finalized,
    incarnation: Incarnation,
    /// Only set in a simulation: it accepts every directory as up to date.
    is_trusting: bool,
}

#[derive(Debug)]
struct Versioned {
    kept: Kept,
    version: u64,
}

impl Ledger {
    /// Begins the next generation, durably. `before`: the previously stored bytes; `began_at`: the
    /// durable position of vote and log.
    ///
    /// # Errors
    /// The stored bytes cannot be read, or the new start cannot be made durable.
    pub(crate) async fn begin(
        store: Box<dyn Keep>,
        before: Option<&[u8]>,
        began_at: Position,
        boot: Uuid,
        finalized: Finalized,
    ) -> io::Result<Self> {
        let read = before.map(codec::decode::<Kept>).transpose();
        let unreadable = |error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("in the Raft log: {error}"),
            )
        };
        let mut kept = read.map_err(unreadable)?.unwrap_or_default();
        let generation = kept
            .boots
            .last()
            .map_or(0, |last| last.incarnation.generation)
            + 1;
        let incarnation = Incarnation { generation, boot };
        kept.boots.push(Boot {
            incarnation,
            began_at,
        });
        let forgotten = kept.boots.len().saturating_sub(BOOTS_MAX);
        kept.boots.drain(..forgotten);
        let kept = Mutex::new(Versioned { kept, version: 1 });
        let ledger = Self {
            kept,
            written: tokio::sync::Mutex::new(0),
            store,
            finalized,
            incarnation,
            is_trusting: false,
        };
        ledger.write().await?;
        Ok(ledger)
    }

    pub(crate) fn trusting(self) -> Self {
        Self {
            is_trusting: true,
            ..self
        }
    }

    fn lock(&self) -> MutexGuard<'_, Versioned> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn history(&self) -> Vec<Boot> {
        self.lock().kept.boots.clone()
    }

    pub(crate) fn fence(&self) -> Option<Fence> {
        self.lock().kept.fence
    }

    pub(crate) fn record(&self, node: NodeId) -> Option<Record> {
        self.lock().kept.seen.get(&node).copied()
    }

    /// Makes everything known now durable. Concurrent callers share a flush.
    ///
    /// # Errors
    /// It could not be made durable.
    pub(crate) async fn write(&self) -> io::Result<()> {
        let wanted = self.lock().version;
        let mut written = self.written.lock().await;
        if *written >= wanted {
            return Ok(());
        }
        let (version, bytes) = {
            let now = self.lock();
            (
                now.version,
                codec::encode(&now.kept, &self.finalized).map_err(io::Error::other)?,
            )
        };
        self.store.keep(bytes).await?;
        *written = version;
        Ok(())
    }

    /// Records durably that this process of `node` has confirmed `position`. `false`: another
    /// process of it is known.
    ///
    /// # Errors
    /// It could not be made durable.
    pub(crate) async fn confirm(
        &self,
        node: NodeId,
        incarnation: Incarnation,
        position: Position,
    ) -> io::Result<bool> {
        match self.note(node, incarnation, position) {
            Noted::Another => Ok(false),
            // Information that was noted only in memory must be durable too before it is counted.
            Noted::Known | Noted::News => self.write().await.map(|()| true),
        }
    }

    /// Like [`Self::confirm`], in memory: durable with the next write.
    pub(crate) fn note(&self, node: NodeId, incarnation: Incarnation, position: Position) -> Noted {
        let mut now = self.lock();
        let Versioned { kept, version } = &mut *now;
        let has_room = kept.seen.len() < SEEN_MAX;
        match kept.seen.get_mut(&node) {
            Some(record) if record.incarnation != incarnation => return Noted::Another,
            Some(record) if record.position >= position => return Noted::Known,
            Some(record) => record.position = position,
            None if has_room => {
                _ = kept.seen.insert(
                    node,
                    Record {
                        incarnation,
                        position,
                    },
                )
            }
            None => return Noted::Another,
        }
        *version += 1;
        Noted::News
    }

    /// Judges `node`'s history by its record.
    pub(crate) fn judge(&self, node: NodeId, history: &[Boot]) -> Judgement {
        match self.record(node) {
            None => Judgement::Later,
            Some(_) if self.is_trusting => Judgement::Later,
            Some(record) => judge(history, &record),
        }
    }

    /// Records the newest process of `node` as the one that counts, durably, unless the record has
    /// changed since it was judged.
    ///
    /// # Errors
    /// It could not be made durable.
    pub(crate) async fn admit(&self, node: NodeId, history: &[Boot]) -> io::Result<bool> {
        let Some(newest) = history.last() else {
            return Ok(false);
        };
        {
            let mut now = self.lock();
            let Versioned { kept, version } = &mut *now;
            let before = kept.seen.get(&node).copied();
            if !self.is_trusting
                && before.is_some_and(|record| judge(history, &record) == Judgement::Older)
            {
                return Ok(false);
            }
            if before.is_none_or(|record| record.incarnation != newest.incarnation) {
                if before.is_none() && kept.seen.len() >= SEEN_MAX {
                    return Ok(false);
                }
                kept.seen.insert(
                    node,
                    Record {
                        incarnation: newest.incarnation,
                        position: newest.began_at,
                    },
                );
                *version += 1;
            }
        }
        self.write().await.map(|()| true)
    }

    /// # Errors
    /// It could not be made durable.
    pub(crate) async fn fence_off(&self, fence: Fence) -> io::Result<()> {
        {
            let mut now = self.lock();
            if now.kept.fence.is_none() {
                now.kept.fence = Some(fence);
                now.version += 1;
            }
        }
        self.write().await
    }

    /// Removes records if there are too many; nodes that left may still be heard for a while.
    pub(crate) fn keep(&self, is_kept: impl Fn(NodeId) -> bool) {
        let mut now = self.lock();
        let before = now.kept.seen.len();
        if before <= SEEN_MAX / 2 {
            return;
        }
        now.kept.seen.retain(|node, _| is_kept(*node));
        if now.kept.seen.len() != before {
            now.version += 1;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    Known,
    News,
    /// From another process, or there is no room: it does not count.
    Another,
}

#[cfg(test)]
mod tests {
    use super::super::standing::Why;
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>, Arc<AtomicUsize>);

    impl Keep for Memory {
        fn keep(&self, bytes: Vec<u8>) -> BoxFuture<'_, io::Result<()>> {
            *self.0.lock().unwrap() = bytes;
            self.1.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        }
    }

    fn at(index: u64) -> Position {
        Position {
            vote: (1, 1),
            last: Some((1, 1, index)),
        }
    }

    async fn begin(memory: &Memory, began_at: Position) -> Ledger {
        let before = memory.0.lock().unwrap().clone();
        let before = (!before.is_empty()).then_some(before);
        Ledger::begin(
            Box::new(memory.clone()),
            before.as_deref(),
            began_at,
            Uuid::new_v4(),
            Finalized::default(),
        )
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn each_start_is_a_generation_of_its_own_and_the_newest_are_remembered() {
        let memory = Memory::default();
        for generation in 1..=BOOTS_MAX as u64 + 5 {
            let ledger = begin(&memory, at(generation)).await;
            assert_eq!(ledger.incarnation().generation, generation);
            assert_eq!(ledger.history().last().unwrap().began_at, at(generation));
            assert!(ledger.history().len() <= BOOTS_MAX);
        }
    }

    #[tokio::test]
    async fn what_is_confirmed_is_durable_and_what_is_known_already_costs_nothing() {
        let (memory, peer) = (
            Memory::default(),
            Incarnation {
                generation: 1,
                boot: Uuid::new_v4(),
            },
        );
        let ledger = begin(&memory, Position::default()).await;
        let writes = || memory.1.load(Ordering::Relaxed);
        let before = writes();
        assert!(ledger.confirm(NodeId(2), peer, at(7)).await.unwrap());
        assert_eq!(writes(), before + 1);
        assert!(ledger.confirm(NodeId(2), peer, at(7)).await.unwrap());
        assert!(ledger.confirm(NodeId(2), peer, at(3)).await.unwrap());
        assert_eq!(writes(), before + 1);
        // A heartbeat's information is only in memory; what is counted must be on the disk.
        assert_eq!(ledger.note(NodeId(2), peer, at(9)), Noted::News);
        assert_eq!(writes(), before + 1);
        assert!(ledger.confirm(NodeId(2), peer, at(9)).await.unwrap());
        assert_eq!(writes(), before + 2);
        let other = Incarnation {
            generation: 2,
            ..peer
        };
        assert!(!ledger.confirm(NodeId(2), other, at(10)).await.unwrap());
        assert_eq!(
            begin(&memory, at(0)).await.record(NodeId(2)),
            Some(Record {
                incarnation: peer,
                position: at(9)
            })
        );
    }

    #[tokio::test]
    async fn a_later_process_takes_the_place_of_the_one_before_and_an_older_directory_does_not() {
        let (memory, theirs) = (Memory::default(), Memory::default());
        let ledger = begin(&memory, Position::default()).await;
        let first = begin(&theirs, Position::default()).await;
        let put_back = theirs.0.lock().unwrap().clone();
        assert!(ledger.admit(NodeId(2), &first.history()).await.unwrap());
        assert!(
            ledger
                .confirm(NodeId(2), first.incarnation(), at(5))
                .await
                .unwrap()
        );
        let second = begin(&theirs, at(5)).await;
        assert!(ledger.admit(NodeId(2), &second.history()).await.unwrap());
        assert_eq!(
            ledger.record(NodeId(2)).unwrap().incarnation,
            second.incarnation()
        );

        *theirs.0.lock().unwrap() = put_back;
        let older = begin(&theirs, at(2)).await;
        assert_eq!(ledger.judge(NodeId(2), &older.history()), Judgement::Older);
        assert!(!ledger.admit(NodeId(2), &older.history()).await.unwrap());
        assert_eq!(
            ledger.record(NodeId(2)).unwrap().incarnation,
            second.incarnation()
        );
    }

    #[tokio::test]
    async fn a_fence_stays_in_the_directory() {
        let memory = Memory::default();
        let fence = Fence {
            by: NodeId(3),
            why: Why::Older,
        };
        begin(&memory, at(1)).await.fence_off(fence).await.unwrap();
        assert_eq!(begin(&memory, at(1)).await.fence(), Some(fence));
    }
}
