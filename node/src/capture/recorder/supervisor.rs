//! Starts, updates and stops recorders to match the desired set, and restarts those that panicked.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use super::accounts::Accounts;
use super::reconcile::{Action, DesiredRecording, Phase, Running, reconcile};
use super::status::{Counters, Status, StatusCell};
use super::task::{self, Config, RecorderHandle, Services};
use crate::capture::ingest::backoff::Backoff;
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{NodeId, StreamId};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Requests to shut down that may wait; there is one, from the process' own shutdown.
const REQUESTS_MAX: usize = 4;
/// After a recorder has run this long, its next panic counts as a first one.
const PROVEN_AFTER: Duration = Duration::from_secs(60);

pub type Desired = BTreeMap<StreamId, DesiredRecording>;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub node: NodeId,
    pub recorder: task::Options,
    /// How long [`SupervisorHandle::shutdown`] waits for last chunks and TEARDOWNs.
    pub shutdown_deadline: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the recording supervisor is gone")]
    Gone,
    #[error(
        "{} recorder(s) did not stop within {deadline:?}, so their last chunk may be missing: \
         streams {streams:?}",
        .streams.len()
    )]
    StillRunning {
        streams: Vec<StreamId>,
        deadline: Duration,
    },
}

/// The service.
pub struct Supervisor {
    options: Options,
    services: Services,
    desired: watch::Receiver<Desired>,
    /// The sender of the desired recordings is gone. The last set continues to be recorded: footage
    /// before everything else.
    undirected: bool,
    requests: mpsc::Receiver<ShutDown>,
    shared: Arc<Shared>,
    recorders: BTreeMap<StreamId, Entry>,
    accounts: Accounts,
    tasks: JoinSet<(StreamId, Result<(), JoinError>)>,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct SupervisorHandle {
    shared: Arc<Shared>,
    requests: mpsc::Sender<ShutDown>,
}

#[derive(Debug)]
struct Shared {
    statuses: Mutex<BTreeMap<StreamId, Arc<StatusCell>>>,
    totals: Arc<Counters>,
}

#[derive(Debug)]
struct ShutDown(oneshot::Sender<Result<(), Error>>);

struct Entry {
    running: Running,
    handle: Option<RecorderHandle>,
    backoff: Backoff,
    started: Instant,
    /// When a resting one starts again.
    rests_until: Instant,
    /// Why nothing is recorded between this recorder and the next.
    cause: Option<GapCause>,
}

enum Event {
    Changed,
    Ended(StreamId, Result<(), JoinError>),
    Rested,
    ShutDown(ShutDown),
    Undirected,
    /// All handles are gone: no caller could stop it any more.
    Orphaned,
}

impl Supervisor {
    #[must_use]
    pub fn new(
        options: Options,
        services: Services,
        desired: watch::Receiver<Desired>,
    ) -> (Self, SupervisorHandle) {
        let totals = Arc::clone(&services.totals);
        let shared = Arc::new(Shared {
            statuses: Mutex::default(),
            totals,
        });
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let handle = SupervisorHandle {
            shared: Arc::clone(&shared),
            requests: sender,
        };
        let supervisor = Self {
            options,
            services,
            desired,
            undirected: false,
            requests,
            shared,
            recorders: BTreeMap::new(),
            accounts: Accounts::default(),
            tasks: JoinSet::new(),
        };
        (supervisor, handle)
    }

    /// Sets what an earlier process left behind of the cameras. Call it before [`Self::run`].
    pub fn go_by(&mut self, accounts: Accounts) {
        self.accounts = accounts;
    }

    /// Runs until shut down, or until all handles are gone; then stops all recorders.
    pub async fn run(mut self) {
        self.desired.mark_changed();
        loop {
            match self.select().await {
                Event::ShutDown(ShutDown(reply)) => {
                    let outcome = self.stop_all().await;
                    // The caller may have stopped waiting; a failed stop was logged where it
                    // happened.
                    drop(reply.send(outcome));
                    return;
                }
                Event::Orphaned => {
                    drop(self.stop_all().await);
                    return;
                }
                event => self.apply(event),
            }
        }
    }

    async fn select(&mut self) -> Event {
        let resting = self
            .recorders
            .values()
            .filter(|entry| entry.running.phase == Phase::Resting);
        let rested_at = resting.map(|entry| entry.rests_until).min();
        tokio::select! {
            request = self.requests.recv() => request.map_or(Event::Orphaned, Event::ShutDown),
            Some(ended) = self.tasks.join_next() => match ended {
                Ok((stream, outcome)) => Event::Ended(stream, outcome),
                // The watching tasks only await; they neither panic nor are they aborted before
                // shutdown.
                Err(error) => unreachable!("a watcher of a recorder failed: {error}"),
            },
            changed = self.desired.changed(), if !self.undirected => {
                changed.map_or(Event::Undirected, |()| Event::Changed)
            }
            () = sleep_until(rested_at.unwrap_or_else(Instant::now)), if rested_at.is_some() => {
                Event::Rested
            }
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Changed | Event::ShutDown(_) | Event::Orphaned => {}
            Event::Ended(stream, outcome) => self.ended(stream, outcome),
            Event::Rested => self.wake_rested(Instant::now()),
            Event::Undirected => {
                tracing::error!(
                    "the assignments are not updated any more; the last known ones stay in force"
                );
                self.undirected = true;
            }
        }
        let desired = self.desired.borrow_and_update().clone();
        let running = self
            .recorders
            .iter()
            .map(|(id, entry)| (*id, entry.running.clone()))
            .collect();
        for action in reconcile(&desired, &running) {
            self.act(action, &desired);
        }
    }

    fn act(&mut self, action: Action, desired: &Desired) {
        match action {
            Action::Start(stream) => {
                if let Some(want) = desired.get(&stream) {
                    self.start(stream, want.clone());
                }
            }
            Action::Update(stream) => {
                if let Some((entry, want)) =
                    self.recorders.get_mut(&stream).zip(desired.get(&stream))
                {
                    entry.update(want.clone());
                }
            }
            Action::Stop(stream) => {
                let wanted = desired.contains_key(&stream);
                if let Some(entry) = self.recorders.get_mut(&stream) {
                    entry.stop(wanted.then_some(GapCause::RecorderStopped));
                }
            }
            Action::Forget(stream) => self.forget(stream),
        }
    }

    fn start(&mut self, stream: StreamId, want: DesiredRecording) {
        let before = self.recorders.remove(&stream);
        let backoff = before
            .as_ref()
            .map(|entry| entry.backoff)
            .unwrap_or_default();
        let before = self
            .accounts
            .before(stream, before.and_then(|entry| entry.cause));
        let config = Config {
            stream,
            node: self.options.node,
            source: want.source.clone(),
            retention_class: want.retention_class.clone(),
            priority: want.priority,
            treatment: want.treatment,
            identity: want.identity(),
            before,
        };
        let mut entry = Entry::new(want, backoff, before.cause);
        match task::start(config, &self.services, &self.options.recorder) {
            Ok((handle, task)) => {
                self.shared.statuses().insert(stream, handle.status());
                entry.handle = Some(handle);
                self.tasks.spawn(async move { (stream, task.await) });
            }
            Err(error) => {
                tracing::error!(%stream, %error, "recorder not started");
                self.accounts.not_begun(stream, &before);
                entry.rest(random());
            }
        }
        self.recorders.insert(stream, entry);
    }

    /// A recorder's task has ended, as requested or by a panic.
    fn ended(&mut self, stream: StreamId, outcome: Result<(), JoinError>) {
        let Some(entry) = self.recorders.get_mut(&stream) else {
            return;
        };
        let status = entry.handle.take().map(|handle| handle.status());
        if let Some(status) = &status {
            self.accounts
                .ended(stream, status.received_until(), status.accounted_until());
        }
        match outcome {
            Ok(()) if entry.running.phase == Phase::Stopping && entry.cause.is_none() => {
                self.forget(stream)
            }
            // Its source changed: start it again at once.
            Ok(()) => entry.running.phase = Phase::Rested,
            Err(error) => {
                tracing::error!(%stream, %error, "recorder panicked; starting it again");
                self.shared.totals.panics.fetch_add(1, Relaxed);
                if let Some(status) = status {
                    status.counters.panics.fetch_add(1, Relaxed);
                    status.failing(
                        "the recorder failed on what the camera sent; it is being started again"
                            .to_owned(),
                    );
                }
                entry.cause = Some(GapCause::Unknown);
                entry.rest(random());
            }
        }
    }

    fn wake_rested(&mut self, now: Instant) {
        for entry in self.recorders.values_mut() {
            if entry.running.phase == Phase::Resting && entry.rests_until <= now {
                entry.running.phase = Phase::Rested;
            }
        }
    }

    fn forget(&mut self, stream: StreamId) {
        self.recorders.remove(&stream);
        self.shared.statuses().remove(&stream);
    }

    async fn stop_all(&mut self) -> Result<(), Error> {
        for entry in self.recorders.values_mut() {
            entry.stop(None);
        }
        let deadline = self.options.shutdown_deadline;
        let until = Instant::now() + deadline;
        while let Ok(Some(ended)) = timeout_at(until, self.tasks.join_next()).await {
            if let Ok((stream, outcome)) = ended {
                self.ended(stream, outcome);
            }
        }
        let streams: Vec<_> = self
            .recorders
            .iter()
            .filter(|(_, entry)| entry.handle.is_some())
            .map(|(id, _)| *id)
            .collect();
        if streams.is_empty() {
            return Ok(());
        }
        let error = Error::StillRunning { streams, deadline };
        tracing::error!(%error, "shutdown");
        Err(error)
    }
}

impl Entry {
    fn new(with: DesiredRecording, backoff: Backoff, cause: Option<GapCause>) -> Self {
        let now = Instant::now();
        let running = Running {
            phase: Phase::Running,
            with,
        };
        Self {
            running,
            handle: None,
            backoff,
            started: now,
            rests_until: now,
            cause,
        }
    }

    fn update(&mut self, want: DesiredRecording) {
        if let Some(handle) = &self.handle {
            handle.set_identity(want.identity());
            if want.priority != self.running.with.priority {
                handle.set_priority(want.priority);
            }
            handle.set_treatment(want.treatment);
        }
        self.running.with = want;
    }

    fn stop(&mut self, cause: Option<GapCause>) {
        self.cause = cause;
        self.running.phase = Phase::Stopping;
        if let Some(handle) = &self.handle {
            handle.stop();
        }
    }

    fn rest(&mut self, random: u32) {
        if self.started.elapsed() >= PROVEN_AFTER {
            self.backoff.reset();
        }
        self.running.phase = Phase::Resting;
        self.rests_until = Instant::now() + self.backoff.next_delay(random);
    }
}

impl SupervisorHandle {
    /// The status of every recorder, for heartbeats and metrics.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        self.shared
            .statuses()
            .values()
            .map(|status| status.read())
            .collect()
    }

    /// Counters over all recorders of this process.
    #[must_use]
    pub fn totals(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.totals)
    }

    /// Stops all recorders and waits until their last chunks are handed to the sink.
    ///
    /// # Errors
    /// [`Error::StillRunning`] after the deadline, [`Error::Gone`] if it was shut down already.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let (reply, outcome) = oneshot::channel();
        self.requests
            .send(ShutDown(reply))
            .await
            .map_err(|_| Error::Gone)?;
        // Bounded by the supervisor's own deadline.
        outcome.await.map_err(|_| Error::Gone)?
    }
}

impl Shared {
    fn statuses(&self) -> MutexGuard<'_, BTreeMap<StreamId, Arc<StatusCell>>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

#[cfg(test)]
mod tests;
