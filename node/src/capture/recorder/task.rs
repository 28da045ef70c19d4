//! One recorder: sessions one after the other, with backoff, on an ingest lane until it is stopped.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

mod held;

use super::chunker::Limits;
use super::contact::Contact;
use super::mux::Mux;
use super::pipeline::{Before, Context, Now, Pipeline};
use super::sink::RecordSink;
use super::status::{Counters, Identity, StatusCell};
use crate::capture::hub::Hub;
use crate::capture::ingest::admission::Admission;
use crate::capture::ingest::backoff::{Backoff, DELAY_MAX};
use crate::capture::ingest::error::SessionError;
use crate::capture::ingest::runtime::{self, Carrier, IngestHandle, Lane, LiveTick};
use crate::capture::ingest::session::{CameraMemory, Deadlines, Session};
use crate::capture::ingest::turns::{Newcomer, TURN, Turn};
use crate::capture::ingest::wall::WallTrust;
use holdfast_consensus::model::{Source, Transport, Treatment};
use holdfast_consensus::observe::heartbeat::{Exposure, HEARTBEAT_INTERVAL};
use holdfast_storage::chunk::GapCause;
use holdfast_storage::ids::{NodeId, StreamId};
use holdfast_storage::time::Timestamp;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

/// For this long after the start of an attempt its lane wakes at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Attempts after a success that are worth waking at once for; a camera that stays away is not.
const AT_ONCE_FAILURES_MAX: u32 = 2;
/// A session that lasted this long makes the next failure worth a line in the log again.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

/// A camera that was left alone for its budget is given this long after its next attempt to show
/// that it keeps it.
const LEFT_ALONE_MARGIN: Duration = Duration::from_secs(10);

/// By then heartbeats have announced that a suspect has its turn, in case its process ends at once.
const ANNOUNCED_AFTER: Duration = HEARTBEAT_INTERVAL.saturating_mul(2);

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub limits: Limits,
    pub deadlines: Deadlines,
    /// How often a recorder looks for idle chunks and due pieces of the gap ledger.
    pub housekeeping: Duration,
    /// How long a suspect must record to have proven itself.
    pub turn: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let (limits, deadlines) = (Limits::default(), Deadlines::default());
        Self {
            limits,
            deadlines,
            housekeeping: Duration::from_millis(200),
            turn: TURN,
        }
    }
}

/// What to record.
#[derive(Clone, Debug)]
pub struct Config {
    pub stream: StreamId,
    pub node: NodeId,
    pub source: Source,
    pub retention_class: String,
    /// 0 to 255; the highest connects first.
    pub priority: u8,
    pub treatment: Treatment,
    pub identity: Identity,
    pub before: Before,
}

/// What recorders share.
#[derive(Clone)]
pub struct Services {
    pub mux: Arc<dyn Mux>,
    pub sink: Arc<dyn RecordSink>,
    pub hub: Hub,
    pub ingest: IngestHandle,
    pub admission: Admission,
    /// Counters over all recorders.
    pub totals: Arc<Counters>,
    pub wall: WallTrust,
}

/// Controls one recorder; dropping the last clone stops it.
#[derive(Clone, Debug)]
pub struct RecorderHandle {
    control: Arc<watch::Sender<Control>>,
    status: Arc<StatusCell>,
}

#[derive(Clone, Copy, Debug)]
struct Control {
    identity: Identity,
    priority: u8,
    treatment: Treatment,
    stop: bool,
}

struct Recorder {
    source: Source,
    deadlines: Deadlines,
    /// The carrier that the keeper's lane is for.
    carrier: Carrier,
    /// The camera has refused one carrier, and the other was tried.
    has_switched: bool,
    admission: Admission,
    totals: Arc<Counters>,
    status: Arc<StatusCell>,
    backoff: Backoff,
    memory: CameraMemory,
    logged: Option<&'static str>,
    /// As the status has it.
    patience: Option<Duration>,
    /// Until the first attempt to connect is over.
    newcomer: Option<Newcomer>,
    /// How long a suspect must record to have proven itself.
    turn: Duration,
    keeper: Keeper,
}

/// Does the recording's housekeeping while something else is awaited.
struct Keeper {
    pipeline: Pipeline,
    lane: Lane,
    /// While the session has viewers.
    live: Option<LiveTick>,
    control: watch::Receiver<Control>,
    housekeeping: Interval,
    contact: Contact,
    status: Arc<StatusCell>,
    /// As the status has it.
    exposure: Option<Exposure>,
    /// As it was when `control` was looked at last.
    treatment: Treatment,
}

/// Why an awaited operation is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// The recorder was stopped.
    Stopped,
    /// The camera went into quarantine while it exposes this process to what it sends.
    HeldBack,
}

/// Starts a recorder on an ingest lane. Its task ends when it is stopped, or by a panic.
///
/// # Errors
/// All lanes are full.
pub fn start(
    config: Config,
    services: &Services,
    options: &Options,
) -> Result<(RecorderHandle, JoinHandle<()>), runtime::Error> {
    let status = Arc::new(StatusCell::new(config.stream, config.identity));
    status.resume(config.before.recorded_until);
    let Config {
        identity,
        priority,
        treatment,
        ..
    } = config;
    let initial = Control {
        identity,
        priority,
        treatment,
        stop: false,
    };
    let (sender, control) = watch::channel(initial);
    let handle = RecorderHandle {
        control: Arc::new(sender),
        status: Arc::clone(&status),
    };
    let (task_services, options) = (services.clone(), *options);
    let carrier = if config.source.transport == Transport::Udp {
        Carrier::Udp
    } else {
        Carrier::Tcp
    };
    let ingest = services.ingest.clone();
    // Counted before a suspect that is started later can check.
    let newcomer = (treatment == Treatment::Usual).then(|| services.admission.turns().newcomer());
    let make = move |lane| async move {
        let mut recorder = Recorder::new(
            config,
            task_services,
            options,
            lane,
            carrier,
            control,
            status,
        );
        recorder.newcomer = newcomer;
        if let Some(recorder) = recorder.run().await {
            continue_over_udp(recorder, &ingest).await;
        }
    };
    let task = services.ingest.spawn(carrier, make)?;
    Ok((handle, task))
}

/// Runs a recorder whose camera refuses interleaved data on the lane for UDP, and propagates a
/// panic from there.
async fn continue_over_udp(recorder: Recorder, ingest: &IngestHandle) {
    match ingest.spawn(Carrier::Udp, |lane| recorder.moved(lane).run()) {
        Ok(task) => {
            if let Err(error) = task.await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
        Err(error) => tracing::error!(%error, "a camera that refuses TCP cannot be recorded"),
    }
}

impl RecorderHandle {
    /// The chunks that follow carry `identity`; the session continues.
    pub fn set_identity(&self, identity: Identity) {
        self.control.send_if_modified(|control| {
            std::mem::replace(&mut control.identity, identity) != identity
        });
    }

    /// Takes effect at the next attempt to connect.
    pub fn set_priority(&self, priority: u8) {
        self.control
            .send_modify(|control| control.priority = priority);
    }

    /// Takes effect at the next attempt to connect, or at once if the recorder waits for one.
    pub fn set_treatment(&self, treatment: Treatment) {
        self.control.send_if_modified(|control| {
            std::mem::replace(&mut control.treatment, treatment) != treatment
        });
    }

    /// Makes the recorder hand over the last chunk and tear down the session; the task ends when
    /// that is done.
    pub fn stop(&self) {
        self.control.send_modify(|control| control.stop = true);
    }

    #[must_use]
    pub fn status(&self) -> Arc<StatusCell> {
        Arc::clone(&self.status)
    }
}

impl Recorder {
    fn new(
        config: Config,
        services: Services,
        options: Options,
        lane: Lane,
        carrier: Carrier,
        control: watch::Receiver<Control>,
        status: Arc<StatusCell>,
    ) -> Self {
        let context = Context {
            stream: config.stream,
            node: config.node,
            retention_class: config.retention_class,
            limits: options.limits,
            mux: services.mux,
            sink: services.sink,
            status: Arc::clone(&status),
            totals: Arc::clone(&services.totals),
            wall: services.wall,
        };
        let publisher = services.hub.publisher(config.stream);
        let pipeline = Pipeline::new(context, publisher, config.identity, config.before, now());
        Self {
            source: config.source,
            deadlines: options.deadlines,
            carrier,
            has_switched: false,
            admission: services.admission,
            totals: services.totals,
            status: Arc::clone(&status),
            backoff: Backoff::default(),
            memory: CameraMemory::default(),
            logged: None,
            patience: None,
            newcomer: None,
            turn: options.turn,
            keeper: Keeper {
                pipeline,
                lane,
                live: None,
                control,
                housekeeping: every(options.housekeeping),
                contact: Contact::default(),
                status,
                exposure: None,
                treatment: config.treatment,
            },
        }
    }

    /// Runs until it is stopped, or until it must continue over UDP, on another lane.
    #[tracing::instrument(name = "recorder", skip_all, fields(stream = %self.status.stream()))]
    async fn run(mut self) -> Option<Self> {
        loop {
            match self.attempt().await {
                Ok(()) => {}
                // The next attempt waits for the end of the quarantine, and says so.
                Err(Halt::HeldBack) => {
                    self.keeper.contact.left();
                    self.keeper
                        .pipeline
                        .session_lost(GapCause::Quarantined, now());
                }
                Err(Halt::Stopped) => break,
            }
            if self.carrier == Carrier::Tcp && self.memory.needs_udp() {
                return Some(self);
            }
        }
        self.keeper.pipeline.finish(now());
        None
    }

    /// The recorder for the lane for UDP.
    fn moved(mut self, lane: Lane) -> Self {
        (self.keeper.lane, self.keeper.live, self.carrier) = (lane, None, Carrier::Udp);
        // A timer belongs to the lane where it was made.
        self.keeper.housekeeping = every(self.keeper.housekeeping.period());
        self
    }

    /// One session and the pause after it.
    async fn attempt(&mut self) -> Result<(), Halt> {
        let turn = self.wait_for_turn().await?;
        let error = match self.open(turn.is_some()).await? {
            Ok(session) => self.play(session, turn).await?,
            Err(error) => {
                drop(turn);
                error
            }
        };
        let is_refused = matches!(error, SessionError::TransportRefused(_));
        if is_refused
            && self.source.transport == Transport::Auto
            && !std::mem::replace(&mut self.has_switched, true)
        {
            // The next session asks for the other.
            return Ok(());
        }
        let delay = self.failed(&error);
        self.keeper.until(tokio::time::sleep(delay)).await
    }

    /// A fresh session.
    async fn open(&mut self, in_turn: bool) -> Result<Result<Session, SessionError>, Halt> {
        let priority = if in_turn {
            0
        } else {
            self.keeper.control.borrow().priority
        };
        let _permit = self.keeper.until(self.admission.admit(priority)).await?;
        self.keeper.check_quarantine()?;
        self.keeper.contact.opens(in_turn);
        self.keeper.expose();
        if in_turn {
            self.keeper
                .until(tokio::time::sleep(ANNOUNCED_AFTER))
                .await?;
        }
        if self.backoff.failures() <= AT_ONCE_FAILURES_MAX {
            self.keeper.lane.wake_at_once(AT_ONCE);
        }
        let opened = self
            .keeper
            .until(Session::open(&self.source, self.deadlines, &self.memory))
            .await?;
        // A change that came while the camera seemed to be away has ended nothing.
        self.keeper.check_quarantine()?;
        match &opened {
            Ok(_) => self.keeper.contact.opened(Instant::now()),
            Err(_) => self.keeper.contact.failed(),
        }
        self.keeper.expose();
        self.newcomer = None;
        Ok(opened)
    }

    /// Records until the session fails.
    async fn play(
        &mut self,
        mut session: Session,
        mut turn: Option<Turn>,
    ) -> Result<SessionError, Halt> {
        let began = Instant::now();
        self.count(|counters| &counters.sessions);
        self.status.connected();
        self.backoff.accept();
        let error = loop {
            match self.keeper.until(session.next()).await {
                Ok(Ok(item)) => {
                    self.note(&mut session);
                    if turn.is_some() {
                        turn = self.keep_turn(turn, began);
                    }
                    if let Err(error) = self.keeper.pipeline.item(item) {
                        break error;
                    }
                    if !session.has_ready() {
                        self.keeper.pipeline.turn_ended();
                    }
                }
                Ok(Err(error)) => break error,
                Err(Halt::Stopped) => {
                    // The footage first: the camera may take its time to answer.
                    self.keeper.pipeline.finish(now());
                    session.close().await;
                    return Err(Halt::Stopped);
                }
                Err(Halt::HeldBack) => {
                    // Nothing more of it is read, a TEARDOWN's answer included.
                    drop(session);
                    return Err(Halt::HeldBack);
                }
            }
        };
        self.note(&mut session);
        self.keeper.contact.turn_is_over();
        if self.keeper.pipeline.is_recording() {
            self.backoff.reset();
        }
        if began.elapsed() >= PROVEN_AFTER {
            self.logged = None;
            self.backoff.keeps_budget();
        }
        Ok(error)
    }

    /// Records a failure. Returns how long to wait before the next attempt.
    fn failed(&mut self, error: &SessionError) -> Duration {
        let now = now();
        self.count(|counters| &counters.failures);
        self.keeper.pipeline.session_lost(error.gap_cause(), now);
        let login_refused =
            matches!(error, SessionError::AuthFailed(_)) && self.source.credentials.is_some();
        let delay = match error {
            _ if login_refused => self.backoff.next_delay_refused(random()),
            SessionError::OverBudget { .. } => self.backoff.next_delay_over_budget(random()),
            _ => self.backoff.next_delay(random()),
        };
        // Another node would fare no better with a camera that sends too much.
        let is_left_alone = matches!(error, SessionError::OverBudget { .. });
        self.set_patience(is_left_alone.then_some(delay + LEFT_ALONE_MARGIN));
        self.status.failing(failure_message(error, now.wall, delay));
        if self.logged.replace(error.class()) != Some(error.class()) {
            tracing::warn!(
                class = error.class(), %error, next_attempt_in = ?delay,
                "not recording; trying again"
            );
        }
        delay
    }

    /// Keeps what the session found out about the camera.
    fn note(&mut self, session: &mut Session) {
        if let Some(faults) = session.take_faults() {
            self.status.faults.add(&faults);
        }
        self.set_patience(session.extra_patience());
        self.keeper.pipeline.set_undecodable(session.undecodable());
    }

    fn set_patience(&mut self, patience: Option<Duration>) {
        if std::mem::replace(&mut self.patience, patience) != patience {
            self.status.set_patience(patience);
        }
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) {
        counter(&self.status.counters).fetch_add(1, Relaxed);
        counter(&self.totals).fetch_add(1, Relaxed);
    }
}

impl Keeper {
    /// Awaits `future`, which has a deadline of its own or ends with the recorder.
    async fn until<F: Future>(&mut self, future: F) -> Result<F::Output, Halt> {
        let mut future = pin!(future);
        loop {
            // Seen before each frame, and without the registration that waiting for it costs.
            if self.control.has_changed().map_err(|_| Halt::Stopped)? {
                self.obey()?;
            }
            tokio::select! {
                biased;
                // Before housekeeping, which checks for how long nothing came.
                output = &mut future => return Ok(output),
                _ = self.housekeeping.tick() => {
                    self.expose();
                    self.pipeline.tick(now());
                    self.heed_viewers();
                }
                changed = self.control.changed() => {
                    changed.map_err(|_| Halt::Stopped)?;
                    self.obey()?;
                }
            }
        }
    }

    /// Reads the session more often while it has viewers.
    fn heed_viewers(&mut self) {
        if self.live.is_some() != self.pipeline.has_viewers() {
            self.live = match self.live.take() {
                Some(_) => None,
                None => Some(self.lane.live_tick()),
            };
        }
    }

    /// Makes heartbeats report what the session exposes this process to.
    fn expose(&mut self) {
        let exposure = self.contact.exposure(Instant::now());
        if std::mem::replace(&mut self.exposure, exposure) != exposure {
            self.status.set_exposure(exposure);
        }
    }

    /// # Errors
    /// The camera has gone into quarantine since this attempt began.
    fn check_quarantine(&self) -> Result<(), Halt> {
        if is_quarantine(self.control.borrow().treatment) {
            Err(Halt::HeldBack)
        } else {
            Ok(())
        }
    }

    fn obey(&mut self) -> Result<(), Halt> {
        let control = *self.control.borrow_and_update();
        if control.stop {
            return Err(Halt::Stopped);
        }
        self.pipeline.set_identity(control.identity);
        let was = std::mem::replace(&mut self.treatment, control.treatment);
        let is_held_back = is_quarantine(control.treatment) && !is_quarantine(was);
        // A node that has just started may hear of it after it has begun.
        if is_held_back && self.contact.exposure(Instant::now()).is_some() {
            return Err(Halt::HeldBack);
        }
        Ok(())
    }
}

fn is_quarantine(treatment: Treatment) -> bool {
    matches!(treatment, Treatment::Quarantined { .. })
}

/// The message about a failure for operators; if the next attempt is far off, with its time.
fn failure_message(error: &SessionError, now: Timestamp, delay: Duration) -> String {
    if delay <= DELAY_MAX {
        return error.to_string();
    }
    let next_second = now.plus(delay).micros() / 1_000_000;
    let next = Timestamp(next_second * 1_000_000);
    format!("{error}; the next attempt is at {next}, or at once when the camera is changed here")
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: Timestamp::from_system(SystemTime::now()),
    }
}

fn random() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_attempt_is_reported_with_its_time() {
        let (error, now) = (
            SessionError::AuthFailed(401),
            Timestamp(1_795_341_600_400_000),
        );
        let plain = error.to_string();
        assert_eq!(failure_message(&error, now, DELAY_MAX), plain);
        let expected = format!(
            "{plain}; the next attempt is at 2026-11-22T10:00:30.000000Z, or at once when the \
             camera is changed here"
        );
        assert_eq!(
            failure_message(&error, now, Duration::from_secs(30)),
            expected
        );
    }
}
