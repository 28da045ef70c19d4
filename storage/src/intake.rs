//! The queue from recorders to the writer, bounded in bytes. Appending takes no lock and never
//! waits.

use crate::AppendError;
use crate::chunk::Record;
use crate::class::ClassId;
use crate::format::{RECORD_PAYLOAD_BYTES_MAX, encoded_bytes};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Notify, mpsc, oneshot};

/// What a waiting record costs beyond its bytes, so that small records are bounded too.
const RECORD_OVERHEAD_BYTES: u64 = 256;

/// The writer is woken early once this much has arrived.
const WAKE_BYTES: u64 = 1 << 20;

/// A request to the writer.
#[derive(Debug)]
pub(crate) enum Request {
    Record(ClassId, Record),
    /// Make everything before it durable and visible, then answer.
    Flush(oneshot::Sender<()>),
    /// Like `Flush`, then stop.
    Close(oneshot::Sender<()>),
}

/// Shared by the handles and the writer.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    queued_bytes: AtomicU64,
    /// A record has arrived and may wait for others; or the last handle was dropped.
    pub(crate) arrived: Notify,
    /// The recorder has appended everything that it had; nothing follows immediately.
    pub(crate) complete: Notify,
    /// Much has arrived, or a caller waits for an answer.
    pub(crate) hurry: Notify,
    pub(crate) has_no_space: AtomicBool,
    /// Why the writer failed.
    pub(crate) failure: OnceLock<Arc<str>>,
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            queued_bytes: AtomicU64::new(0),
            arrived: Notify::new(),
            complete: Notify::new(),
            hurry: Notify::new(),
            has_no_space: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Called when the writer has copied the record.
    pub(crate) fn release(&self, record: &Record) {
        self.queued_bytes.fetch_sub(cost(record), Ordering::Relaxed);
    }

    fn take(&self, bytes: u64) -> Result<(), AppendError> {
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.bytes_max {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let is_disk_full = self.has_no_space.load(Ordering::Relaxed);
            return Err(if is_disk_full {
                AppendError::NoSpace
            } else {
                AppendError::Full {
                    bytes_max: self.bytes_max,
                }
            });
        }
        if before < WAKE_BYTES && before + bytes >= WAKE_BYTES {
            self.hurry.notify_one();
        }
        Ok(())
    }
}

fn cost(record: &Record) -> u64 {
    encoded_bytes(record) as u64 + RECORD_OVERHEAD_BYTES
}

/// The recorders' end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(crate) budget: Arc<Budget>,
    sender: mpsc::UnboundedSender<Request>,
    // Declared below the sender: when it is dropped for the last time, the channel is closed.
    _farewell: Arc<Farewell>,
}

/// Wakes the writer when the last handle is dropped: it sleeps on [`Budget::arrived`], not on the
/// queue.
#[derive(Debug)]
struct Farewell(Arc<Budget>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.arrived.notify_one();
    }
}

impl Intake {
    /// The queue has no length limit of its own: every entry is charged to the budget first.
    pub(crate) fn new(bytes_max: u64) -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let budget = Arc::new(Budget::new(bytes_max));
        let farewell = Arc::new(Farewell(Arc::clone(&budget)));
        (
            Self {
                budget,
                sender,
                _farewell: farewell,
            },
            receiver,
        )
    }

    pub(crate) fn append(&self, class: ClassId, record: Record) -> Result<(), AppendError> {
        self.append_quietly(class, record)?;
        self.budget.arrived.notify_one();
        Ok(())
    }

    /// Does not wake the writer; the caller does.
    pub(crate) fn append_quietly(&self, class: ClassId, record: Record) -> Result<(), AppendError> {
        let bytes = encoded_bytes(&record);
        if bytes > RECORD_PAYLOAD_BYTES_MAX {
            return Err(AppendError::TooLong { bytes });
        }
        if let Some(reason) = self.budget.failure.get() {
            return Err(AppendError::Failed(Arc::clone(reason)));
        }
        let cost = cost(&record);
        self.budget.take(cost)?;
        self.sender
            .send(Request::Record(class, record))
            .map_err(|_| {
                self.budget.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
                self.budget
                    .failure
                    .get()
                    .map_or(AppendError::Closed, |reason| {
                        AppendError::Failed(Arc::clone(reason))
                    })
            })
    }

    /// Returns `false` if the writer has stopped.
    pub(crate) fn ask(&self, request: Request) -> bool {
        let is_sent = self.sender.send(request).is_ok();
        self.budget.hurry.notify_one();
        is_sent
    }
}
