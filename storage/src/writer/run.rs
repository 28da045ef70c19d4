//! The writer's event loop: `select` waits for the next thing to do, `apply` does it.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

mod outcome;

use super::WRITES_IN_FLIGHT_MAX;
use super::fill::{Contents, Filling, Inits, Ready};
use super::ledger::Ledger;
use super::plan::allocate_next;
use super::segment::Slot;
use crate::chunk::Record;
use crate::disk::{BatchDisk, FileId};
use crate::ids::SegmentId;
use crate::intake::{Budget, Request};
use crate::state::Job;
use crate::state::Shared;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc::Sender};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The input of a new writer.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) keeper: Sender<Job>,
}

/// A completed operation.
enum Done<D: BatchDisk> {
    Created(SegmentId, u64, io::Result<(D::File, FileId)>),
    Allocated(SegmentId, u64, io::Result<()>),
    Written(Ready<D::Buffer>, io::Result<()>),
    Synced(Instant, io::Result<()>),
}

enum Action<D: BatchDisk> {
    Done(Done<D>),
    /// Records have arrived and may wait for others; or all handles were dropped.
    Arrived,
    /// The recorder has appended everything that it had; nothing follows immediately.
    Complete,
    /// Much has arrived, or a caller waits.
    Hurry,
    /// `write_delay` is over.
    HandOver,
    /// `flush_interval` is over.
    Flush,
    /// The disk was full; try again.
    Retry,
    /// The keeper has failed.
    GiveUp,
}

pub(crate) struct Writer<D: BatchDisk> {
    pub(super) disk: D,
    pub(super) shared: Arc<Shared>,
    pub(super) budget: Arc<Budget>,
    pub(super) inits: Inits,
    pub(super) slots: BTreeMap<SegmentId, Slot<D::File>>,
    /// By class.
    pub(super) current: Vec<Option<SegmentId>>,
    /// By class: the segment opened ahead, which becomes the next one.
    pub(super) ahead: Vec<Option<SegmentId>>,
    /// By class.
    pub(super) filling: Vec<Option<Filling<D::Buffer>>>,
    pub(super) ready: VecDeque<Ready<D::Buffer>>,
    /// Memory of buffers that are longer than the pool's.
    pub(super) long_bytes: usize,
    pub(super) ledger: Ledger<Contents>,
    requests: mpsc::UnboundedReceiver<Request>,
    pub(super) keeper: Sender<Job>,
    failed: watch::Receiver<Option<Arc<str>>>,
    /// A record that waits for a buffer.
    held: Option<(usize, Record)>,
    operations: JoinSet<Done<D>>,
    writes_in_flight: usize,
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    hand_over_at: Option<Instant>,
    /// When batches that were not full were last finished.
    handed_over_at: Option<Instant>,
    flush_at: Option<Instant>,
    retry_at: Option<Instant>,
    /// How often the disk was full since the volume was left.
    pub(super) refusals_when_left: u32,
    /// A write found the disk full: all writes wait for the retry. If only a reservation was
    /// refused, batches with reserved space are still written.
    is_write_refused: bool,
    pub(super) is_closing: bool,
}

impl<D: BatchDisk> Writer<D> {
    pub(crate) fn new(disk: D, start: Start) -> Self {
        let classes = start.shared.options.retention.len();
        let failed = start.shared.failed.subscribe();
        Self {
            disk,
            shared: start.shared,
            budget: start.budget,
            inits: Inits::default(),
            slots: BTreeMap::new(),
            current: vec![None; classes],
            ahead: vec![None; classes],
            filling: (0..classes).map(|_| None).collect(),
            ready: VecDeque::new(),
            long_bytes: 0,
            ledger: Ledger::default(),
            requests: start.requests,
            keeper: start.keeper,
            failed,
            held: None,
            operations: JoinSet::new(),
            writes_in_flight: 0,
            waiting: Vec::new(),
            hand_over_at: None,
            handed_over_at: None,
            flush_at: None,
            retry_at: None,
            refusals_when_left: 0,
            is_write_refused: false,
            is_closing: false,
        }
    }

    /// Runs until the volume is closed, abandoned or failed.
    pub(crate) async fn run(mut self) {
        while !self.is_finished() {
            let action = self.select().await;
            if let Err(reason) = self.apply(action) {
                self.fail(&reason);
                break;
            }
            if self.is_abandoned() {
                break;
            }
        }
        self.requests.close();
        if self.is_finished() {
            for class in 0..self.current.len() {
                self.retire(class);
                self.give_up_ahead(class);
            }
        }
        // Operations are never dropped: the kernel may still use their buffers. A hanging disk
        // blocks only this thread.
        while self.operations.join_next().await.is_some() {}
    }

    fn is_finished(&self) -> bool {
        let is_filling = self.held.is_some() || self.filling.iter().any(Option::is_some);
        self.is_closing && !is_filling && self.ledger.is_empty() && self.operations.is_empty()
    }

    /// All handles were dropped, and everything that they appended is being written.
    fn is_abandoned(&self) -> bool {
        self.is_idle() && self.requests.is_closed() && self.requests.is_empty()
    }

    /// Nothing waits to be handed over, so no timer triggers the next look at the queue.
    fn is_idle(&self) -> bool {
        self.hand_over_at.is_none() && self.held.is_none() && !self.is_closing
    }

    /// Every branch may be dropped and polled again without loss.
    async fn select(&mut self) -> Action<D> {
        let is_idle = self.is_idle();
        tokio::select! {
            biased;
            Some(done) = self.operations.join_next() => match done {
                Ok(done) => Action::Done(done),
                Err(error) => {
                    Action::Done(Done::Synced(Instant::now(), Err(io::Error::other(error))))
                }
            },
            Ok(()) = self.failed.changed() => Action::GiveUp,
            () = at(self.retry_at) => Action::Retry,
            () = at(self.flush_at) => Action::Flush,
            () = at(self.hand_over_at) => Action::HandOver,
            () = self.budget.hurry.notified() => Action::Hurry,
            () = self.budget.complete.notified(), if is_idle => Action::Complete,
            () = self.budget.arrived.notified(), if is_idle => Action::Arrived,
        }
    }

    /// An error is the reason to give up the volume.
    fn apply(&mut self, action: Action<D>) -> Result<(), String> {
        match action {
            Action::Done(done) => self.apply_done(done)?,
            Action::Arrived | Action::Hurry => self.drain(),
            Action::Complete => {
                self.drain();
                let earliest = self
                    .handed_over_at
                    .map(|last| last + self.shared.options.write_delay);
                match earliest.filter(|earliest| Instant::now() < *earliest) {
                    Some(earliest) => {
                        self.hand_over_at = self.hand_over_at.map(|at| at.min(earliest))
                    }
                    None => self.hand_over(),
                }
            }
            Action::HandOver => {
                self.drain();
                self.hand_over();
            }
            Action::Flush => {
                // Waiting records are written now too, rather than after another interval.
                self.finish_batches();
                self.flush_at = None;
                self.ledger.want_flush();
            }
            Action::Retry => (self.retry_at, self.is_write_refused) = (None, false),
            Action::GiveUp => self.give_up(),
        }
        self.advance();
        Ok(())
    }

    /// Starts everything that can start.
    fn advance(&mut self) {
        self.drain_held();
        self.start_creates();
        self.start_writes();
        self.start_sync();
        self.answer();
    }

    fn hand_over(&mut self) {
        if self.hand_over_at.take().is_some() {
            self.handed_over_at = Some(Instant::now());
        }
        self.finish_batches();
        self.hand_over_at = None;
    }

    fn drain(&mut self) {
        while self.held.is_none()
            && let Ok(request) = self.requests.try_recv()
        {
            self.take(request);
        }
    }

    fn drain_held(&mut self) {
        if let Some((class, record)) = self.held.take() {
            self.take(Request::Record(crate::class::ClassId(class as u16), record));
            self.drain();
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Record(class, record) => {
                let class = usize::from(class.0);
                self.held = self
                    .place(class, record)
                    .err()
                    .map(|record| (class, record));
                self.note_waiting();
            }
            Request::Flush(answer) => self.flush(answer),
            Request::Close(answer) => {
                self.flush(answer);
                self.is_closing = true;
                self.requests.close();
            }
        }
    }

    /// Accepts nothing new; accepted records are made durable, and then the writer ends.
    fn give_up(&mut self) {
        if let Some(reason) = self.failed.borrow().clone() {
            self.budget.failure.get_or_init(|| reason);
        }
        self.is_closing = true;
        self.requests.close();
        self.drain();
        self.finish_batches();
        self.ledger.want_flush();
    }

    fn flush(&mut self, answer: oneshot::Sender<()>) {
        self.finish_batches();
        self.ledger.want_flush();
        self.waiting.push((self.ledger.next(), answer));
    }

    /// Monotonic time.
    pub(super) fn instant() -> Instant {
        Instant::now()
    }

    /// Called when a record has arrived: both delays count from the oldest waiting record.
    fn note_waiting(&mut self) {
        let now = Instant::now();
        self.hand_over_at
            .get_or_insert(now + self.shared.options.write_delay);
        self.flush_at
            .get_or_insert(now + self.shared.options.flush_interval);
    }

    /// Called when a batch has been finished.
    pub(super) fn note_dirty(&mut self) {
        if self.flush_at.is_none() {
            self.flush_at = Some(Instant::now() + self.shared.options.flush_interval);
        }
        if self.filling.iter().all(Option::is_none) {
            self.hand_over_at = None;
        }
    }

    fn start_creates(&mut self) {
        let waiting: Vec<_> = self
            .slots
            .values()
            .filter(|slot| slot.file.is_none())
            .map(|slot| slot.id)
            .collect();
        waiting.into_iter().for_each(|id| self.start_create(id));
    }

    pub(super) fn start_create(&mut self, id: SegmentId) {
        let Some(slot) = self
            .slots
            .get_mut(&id)
            .filter(|slot| !slot.is_busy && self.retry_at.is_none())
        else {
            return;
        };
        let header = match slot.header(&self.shared).encode() {
            Ok(header) => header.to_vec(),
            Err(error) => unreachable!("class names are checked when the volume opens: {error}"),
        };
        slot.is_busy = true;
        slot.is_left = self.shared.is_left.load(Ordering::Relaxed);
        let bytes = slot
            .allocate_step_bytes
            .min(self.shared.options.segment_bytes_max);
        let create = self.disk.create(
            &self.shared.layout.segment(&slot.class_name, id),
            header,
            bytes,
            slot.is_left,
        );
        self.operations
            .spawn_local(async move { Done::Created(id, bytes, create.await) });
    }

    /// Writes every batch whose file has space, in order within each segment's file and as many at
    /// a time as allowed.
    fn start_writes(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(batch) = self.ready.pop_front() else {
                return;
            };
            let is_turn = self.writes_in_flight < WRITES_IN_FLIGHT_MAX && !self.is_write_refused;
            if let Some(batch) = self.start_write(batch, is_turn) {
                self.ready.push_back(batch);
            }
        }
    }

    /// Returns the batch if it has to wait.
    fn start_write(&mut self, batch: Ready<D::Buffer>, is_turn: bool) -> Option<Ready<D::Buffer>> {
        let end = batch.offset + batch.bytes as u64;
        self.allocate_ahead(batch.segment, end);
        let Some(slot) = self.slots.get(&batch.segment) else {
            return Some(batch);
        };
        let Some(file) = slot
            .file
            .as_ref()
            .filter(|_| is_turn && end <= slot.allocated_bytes)
        else {
            return Some(batch);
        };
        self.writes_in_flight += 1;
        let Ready {
            sequence,
            segment,
            buffer,
            bytes,
            offset,
        } = batch;
        let write = self.disk.write(file, buffer, bytes, offset);
        self.operations.spawn_local(async move {
            let (result, buffer) = write.await;
            Done::Written(
                Ready {
                    sequence,
                    segment,
                    buffer,
                    bytes,
                    offset,
                },
                result,
            )
        });
        None
    }

    fn allocate_ahead(&mut self, id: SegmentId, end: u64) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let Some(file) = slot
            .file
            .as_ref()
            .filter(|_| !slot.is_busy && self.retry_at.is_none())
        else {
            return;
        };
        // The last step of a segment is only reserved if it is needed.
        let is_near_end = slot.allocated_bytes >= self.shared.options.segment_bytes_max
            && end <= slot.allocated_bytes;
        let Some(bytes) = allocate_next(
            slot.allocated_bytes,
            end,
            slot.allocate_step_bytes,
            self.shared.allocate_step_bytes,
        ) else {
            return;
        };
        if is_near_end || (slot.is_retired && end <= slot.allocated_bytes) {
            return;
        }
        slot.is_busy = true;
        let allocate = self.disk.allocate(file, slot.allocated_bytes, bytes);
        self.operations
            .spawn_local(async move { Done::Allocated(id, bytes, allocate.await) });
    }

    fn start_sync(&mut self) {
        let Some(segments) = self.ledger.begin_sync() else {
            return;
        };
        let files = segments
            .iter()
            .filter_map(|id| self.slots.get(id)?.file.as_ref());
        let syncs: Vec<_> = files.map(|file| self.disk.sync(file)).collect();
        let started = Instant::now();
        self.operations.spawn_local(async move {
            for sync in syncs {
                if let Err(error) = sync.await {
                    return Done::Synced(started, Err(error));
                }
            }
            Done::Synced(started, Ok(()))
        });
    }

    fn answer(&mut self) {
        let published_below = self.ledger.published_below();
        for (_, answer) in self
            .waiting
            .extract_if(.., |(below, _)| *below <= published_below)
        {
            // The caller may have given up waiting.
            answer.send(()).ok();
        }
    }

    fn fail(&mut self, reason: &str) {
        let reason: Arc<str> = Arc::from(reason);
        tracing::error!(
            volume = %self.shared.options.path.display(), %reason,
            "the volume has failed and takes no more records"
        );
        self.budget.failure.get_or_init(|| Arc::clone(&reason));
        // The first reason is kept.
        self.shared
            .failed
            .send_if_modified(|failed| failed.is_none() && failed.replace(reason).is_none());
        self.waiting.clear();
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
