//! One playing RTSP session: turns what its sockets bring into frames, within deadlines and bounds.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

mod media;
mod open;

use self::open::SetUpSession;

use self::media::{Asked, Media, TurnError};
use super::budget::Budget;
use super::codec::Fault;
use super::error::SessionError;
use super::media::{SessionItem, Undecodable};
use super::rtsp::connection::Connection;
use super::rtsp::login::LoginMemory;
use super::runtime::yield_to_others;
use holdfast_consensus::model::Source;
use holdfast_storage::time::Timestamp;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::{Sleep, sleep, timeout};

/// How many bytes a session handles before it yields to others.
const TURN_BYTES_MAX: usize = 256 << 10;
/// How soon a session checks units and packets that wait for more.
const SOON: Duration = Duration::from_millis(100);
/// A camera's session is kept alive at least this often.
const KEEPALIVE_MAX: Duration = Duration::from_secs(30);
/// Packets of video in a row that could not be used.
const FAULTS_IN_ROW_MAX: u32 = 500;

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Name lookup, connecting, and DESCRIBE with authentication.
    pub describe: Duration,
    /// Each SETUP.
    pub setup: Duration,
    pub play: Duration,
    /// Longest time without a video frame, while playing, of a camera that sends many a second.
    pub stall: Duration,
    /// TEARDOWN when the session is closed.
    pub teardown: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            describe: Duration::from_secs(5),
            setup: Duration::from_secs(3),
            play: Duration::from_secs(3),
            stall: Duration::from_secs(3),
            teardown: Duration::from_millis(250),
        }
    }
}

/// What sessions of one camera learn for later ones. Cheap to clone; all clones share it.
#[derive(Clone, Debug, Default)]
pub struct CameraMemory {
    pub(crate) login: LoginMemory,
    /// The camera refuses interleaved data.
    pub(crate) needs_udp: Arc<AtomicBool>,
    /// The longest usual distance of its frames, in milliseconds; 0: not known.
    pub(crate) rhythm_ms: Arc<AtomicU64>,
    /// Its usual rate, in bits per second; 0: not known.
    pub(crate) mean_bps: Arc<AtomicU64>,
}

impl CameraMemory {
    /// The camera refuses interleaved data.
    #[must_use]
    pub fn needs_udp(&self) -> bool {
        self.needs_udp.load(Relaxed)
    }
}

/// A playing session. Its memory is bounded: [`crate::capture::ingest::rtsp::framing`]'s bounds,
/// one access unit in the making for each track, and the data of one read.
pub struct Session {
    connection: Connection,
    media: Media,
    deadlines: Deadlines,
    /// How long no frame may come, if the camera's settings say so.
    stall_after: Option<Duration>,
    memory: CameraMemory,
    keepalive: Keepalive,
    /// What PLAY was sent to.
    url: String,
    /// Ends the session once everything received is handed out.
    end: Option<SessionError>,
    /// Armed for when something is due; armed again only when it has run out, not for each frame.
    alarm: Pin<Box<Sleep>>,
    /// When [`Self::alarm`] runs out.
    alarm_at: Instant,
    /// Bytes handled since the session last yielded.
    spent_bytes: usize,
    budget: Budget,
    /// How much longer than usual the camera may send no frame.
    extra_patience: Option<Duration>,
}

/// Requests that keep the session alive at the camera (RFC 2326, 10.8 and 12.37).
#[derive(Debug)]
struct Keepalive {
    method: &'static str,
    every: Duration,
    sent: Instant,
    /// The camera has not answered yet.
    is_open: bool,
    /// When it last answered.
    answered: Option<Instant>,
}

impl Session {
    /// Connects, describes, sets up and plays.
    ///
    /// # Errors
    /// Every class of [`SessionError`] but `Stalled`.
    pub async fn open(
        source: &Source,
        deadlines: Deadlines,
        memory: &CameraMemory,
    ) -> Result<Self, SessionError> {
        SetUpSession::open(source, deadlines, memory)
            .await?
            .play()
            .await
    }

    /// Whether the camera answers with a stream that could be recorded; nothing is set up at it.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn probe(source: &Source, deadline: Duration) -> Result<(), SessionError> {
        open::probe(source, deadline).await
    }

    /// The next frame or sender report. Cancel safe.
    ///
    /// # Errors
    /// The session is over.
    pub async fn next(&mut self) -> Result<SessionItem, SessionError> {
        loop {
            if let Some(item) = self.media.ready.pop_front() {
                return Ok(item);
            }
            if let Some(end) = self.end.clone() {
                return Err(end);
            }
            let turned = match self.look(Instant::now()) {
                Ok(()) => poll_fn(|context| self.poll_turn(context)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = turned {
                self.media.finish();
                self.end = Some(error);
            }
        }
    }

    /// Whether [`Self::next`] has an item without another look at the sockets.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.media.ready.is_empty()
    }

    /// How often each kind of fault occurred since this was asked last; `None`: never.
    pub fn take_faults(&mut self) -> Option<[u32; Fault::ALL.len()]> {
        self.media.take_faults()
    }

    /// How much longer than a camera of many frames a second this one may send none.
    #[must_use]
    pub fn extra_patience(&self) -> Option<Duration> {
        self.extra_patience
    }

    /// Why nothing that comes can be decoded, as far as the session knows.
    #[must_use]
    pub fn undecodable(&self) -> Option<&Undecodable> {
        self.media.undecodable()
    }

    /// Ends the session with a TEARDOWN that has a deadline; then closes the sockets, with or
    /// without an answer.
    pub async fn close(mut self) {
        let torn_down = self
            .connection
            .request("TEARDOWN", &self.url, &[], |_, _| {});
        match timeout(self.deadlines.teardown, torn_down).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(
                    %error,
                    "TEARDOWN failed; the camera's own timeout ends the session"
                )
            }
            Err(_) => tracing::debug!(
                "TEARDOWN was not answered; the camera's own timeout ends the session"
            ),
        }
    }

    /// Does what is due by the clock, regardless of the sockets.
    fn look(&mut self, now: Instant) -> Result<(), SessionError> {
        self.media.idle(now);
        let answers = self
            .keepalive
            .answered
            .is_some_and(|answered| answered > self.media.last_video);
        let by_rhythm = || self.media.rhythm.patience(self.deadlines.stall, answers);
        let patience = self.stall_after.unwrap_or_else(by_rhythm);
        self.extra_patience = patience
            .checked_sub(self.deadlines.stall)
            .filter(|extra| !extra.is_zero());
        let silent = now.saturating_duration_since(self.media.last_video);
        if silent >= patience {
            return Err(SessionError::Stalled(patience));
        }
        if self.media.faults_in_row > FAULTS_IN_ROW_MAX {
            return Err(self.media.too_many_faults());
        }
        if let Some(longest) = self.media.rhythm.longest() {
            self.memory
                .rhythm_ms
                .store(longest.as_millis() as u64, Relaxed);
        }
        // A camera of unknown rhythm is asked whether it is there before it counts as stalled.
        let asks = !self.media.rhythm.is_known() && silent >= self.deadlines.stall / 2;
        let is_due = now.saturating_duration_since(self.keepalive.sent) >= self.keepalive.every;
        if is_due
            || (asks && self.keepalive.sent < self.media.last_video + self.deadlines.stall / 2)
        {
            self.keepalive.sent = now;
            self.keepalive.is_open = true;
            self.connection.queue(self.keepalive.method, &self.url, &[]);
        }
        let due = self.due(now, silent, patience);
        if due < self.alarm_at {
            self.arm(due);
        }
        Ok(())
    }

    /// When to look again if nothing comes.
    fn due(&self, now: Instant, silent: Duration, patience: Duration) -> Instant {
        if self.media.is_waiting() {
            return now + SOON;
        }
        let half = self.deadlines.stall / 2;
        let stalled = patience.saturating_sub(silent);
        let next = if silent < half {
            stalled.min(half - silent)
        } else {
            stalled
        };
        let keepalive = self
            .keepalive
            .every
            .saturating_sub(now.saturating_duration_since(self.keepalive.sent));
        now + next.min(keepalive).max(Duration::from_millis(1))
    }

    fn arm(&mut self, at: Instant) {
        self.alarm_at = at;
        self.alarm.as_mut().reset(at.into());
    }

    /// One look at the sockets; ready where something came or is due.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SessionError>> {
        if self.spent_bytes >= TURN_BYTES_MAX {
            self.spent_bytes = 0;
            yield_to_others(context);
            return Poll::Pending;
        }
        let now = Instant::now();
        let arrival = || super::codec::Arrival {
            instant: now,
            wall: Timestamp::from_system(SystemTime::now()),
        };
        let mut read = 0;
        self.media.arrival = arrival();
        let (connection, media) = (&mut self.connection, &mut self.media);
        match connection.poll_turn(context, |event| media.take(event)) {
            Poll::Ready(Ok(bytes)) => read += bytes,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(ended(error))),
            Poll::Pending => {}
        }
        read += self.media.poll_udp(context)?;
        if read > 0 {
            self.spent_bytes += read;
            self.spend(read as u64, now)?;
            self.converse();
            return Poll::Ready(Ok(()));
        }
        if self.alarm.as_mut().poll(context).is_ready() {
            // Far away; `look` arms it for what is due.
            self.arm(now + KEEPALIVE_MAX);
            return Poll::Ready(Ok(()));
        }
        self.spent_bytes = 0;
        Poll::Pending
    }

    fn spend(&mut self, bytes: u64, now: Instant) -> Result<(), SessionError> {
        let spent = self.budget.spend(bytes, now);
        self.memory.mean_bps.store(self.budget.mean_bps(), Relaxed);
        spent.map_err(|exceeded| SessionError::OverBudget {
            sent_bps: exceeded.sent_bps,
            budget_bps: exceeded.budget_bps,
        })
    }

    /// Answers the camera's requests, and handles its answers.
    fn converse(&mut self) {
        for asked in std::mem::take(&mut self.media.asked) {
            match asked {
                Asked::Request { status, sequence } => {
                    self.connection.answer(status, sequence.as_deref())
                }
                Asked::Answer { status, challenges } => {
                    self.answered(status, challenges.as_deref())
                }
            }
        }
    }

    /// Any answer is one to the keepalive: the session sends no other request while it plays.
    fn answered(&mut self, status: u16, challenges: Option<&[u8]>) {
        self.keepalive.answered = Some(Instant::now());
        if !std::mem::take(&mut self.keepalive.is_open) {
            return;
        }
        match status {
            401 => match self.connection.challenged(challenges) {
                Ok(()) => {
                    self.keepalive.is_open = true;
                    self.connection.queue(self.keepalive.method, &self.url, &[]);
                }
                Err(why) => tracing::debug!(?why, "the camera refuses the login of a keepalive"),
            },
            // Not implemented, not allowed, not supported: the other one the next time.
            405 | 501 | 551 => {
                let is_options = self.keepalive.method == "OPTIONS";
                self.keepalive.method = if is_options {
                    "GET_PARAMETER"
                } else {
                    "OPTIONS"
                };
            }
            _ => self.connection.accepted(),
        }
    }
}

fn ended(error: TurnError) -> SessionError {
    match error {
        TurnError::Ended => SessionError::Ended,
        TurnError::Connection(error) => open::lost(super::error::Stage::Stream, error),
    }
}

impl Session {
    /// `url`: what PLAY was sent to.
    fn new(set_up: SetUpSession, media: Media, url: String) -> Self {
        let now = Instant::now();
        let SetUpSession {
            connection,
            deadlines,
            memory,
            settings,
            has_get_parameter,
            ..
        } = set_up;
        let every = (connection.timeout / 2).min(KEEPALIVE_MAX);
        let method = if has_get_parameter {
            "GET_PARAMETER"
        } else {
            "OPTIONS"
        };
        let mean_bps = memory.mean_bps.load(Relaxed);
        Self {
            keepalive: Keepalive {
                method,
                every,
                sent: now,
                is_open: false,
                answered: None,
            },
            connection,
            media,
            deadlines,
            stall_after: settings.stall_after,
            memory,
            url,
            end: None,
            alarm: Box::pin(sleep(Duration::ZERO)),
            alarm_at: now,
            spent_bytes: 0,
            budget: Budget::new(settings.budget_bps, mean_bps, now),
            extra_patience: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
