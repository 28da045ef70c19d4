//! One recorder of a simulated node: the real pipeline, status and backoff, with sessions to
//! simulated cameras. A frame's bytes end with its number, so that durable footage can be compared
//! with the camera's frames.

use super::held::{Held, Leave, PATIENCE};
use super::volume::Volume;
use bytes::Bytes;
use holdfast_consensus::model::Treatment;
use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_node::capture::hub::Hub;
use holdfast_node::capture::ingest::backoff::Backoff;
use holdfast_node::capture::ingest::error::SessionError;
use holdfast_node::capture::ingest::media::{MediaFrame, SessionItem, TrackParameters, VideoCodec};
use holdfast_node::capture::ingest::turns::Turns;
use holdfast_node::capture::ingest::wall::WallTrust;
use holdfast_node::capture::recorder::chunker::Limits;
use holdfast_node::capture::recorder::mux::{self, Frame, Mux};
use holdfast_node::capture::recorder::pipeline::{Before, Context, Now, Pipeline};
use holdfast_node::capture::recorder::reconcile::{DesiredRecording, Phase, Running};
use holdfast_node::capture::recorder::status::{Counters, Status, StatusCell};
use holdfast_storage::chunk::{AccessPoint, Chunk, GapCause};
use holdfast_storage::ids::{NodeId, StreamId, TrackKind};
use holdfast_storage::time::Timestamp;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How often a camera sends a frame.
pub(super) const FRAME_INTERVAL: Duration = Duration::from_millis(200);
/// A session without a frame for this long is over.
const STALL: Duration = Duration::from_secs(3);
const TIMESCALE: u32 = 90_000;
/// As the server sets them: chunks of 400 ms.
const LIMITS: Limits = Limits {
    duration_us: 400_000,
    bytes: 1 << 20,
    frames: 512,
    idle_us: 500_000,
};
/// A session that lasted this long makes the next failure a first one.
const PROVEN_AFTER: Duration = Duration::from_secs(10);

static PARAMETERS: LazyLock<Arc<TrackParameters>> = LazyLock::new(|| {
    let (codec, config, timescale) = (VideoCodec::H264, Bytes::from_static(b"avcC"), TIMESCALE);
    Arc::new(TrackParameters::Video {
        codec,
        config,
        width: 1280,
        height: 720,
        pixel_aspect_ratio: None,
        timescale,
    })
});

/// Puts frames one behind the other.
struct PlainMux;

impl Mux for PlainMux {
    fn init(&self, parameters: &TrackParameters) -> Result<Bytes, mux::Error> {
        Ok(Bytes::from(format!("{parameters:?}")))
    }

    fn chunk(
        &self,
        _: TrackKind,
        _: u32,
        _: Timestamp,
        frames: &[Frame],
    ) -> Result<Vec<Bytes>, mux::Error> {
        Ok(frames.iter().map(|frame| frame.data.clone()).collect())
    }
}

/// A slice that says its number.
fn slice(number: u64, keyframe: bool) -> Bytes {
    let header = if keyframe { 0x65 } else { 0x41 };
    Bytes::from([&[0, 0, 0, 9, header][..], &number.to_be_bytes()].concat())
}

/// Which frames are in a chunk. Frames that were lost end a chunk, so they are consecutive.
pub(super) fn frames_of(chunk: &Chunk) -> Range<u64> {
    let number = |bytes: &Bytes| bytes.last_chunk().copied().map_or(0, u64::from_be_bytes);
    let first = chunk.parts.first().map_or(0, number);
    first..chunk.parts.last().map_or(0, number) + 1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    Waiting,
    /// The camera is held back.
    Held,
    Dialing,
    Open {
        since: Duration,
        heard_at: Duration,
    },
}

/// The circumstances of an attempt: what the node knew of the camera, and for how long it had run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    pub(super) knew: Treatment,
    pub(super) uptime: Duration,
}

pub(super) struct Recorder {
    /// Distinguishes this recorder from earlier ones of the same camera.
    pub(super) number: u64,
    pub(super) running: Running,
    pub(super) session: Session,
    pub(super) tried: Option<Tried>,
    status: Arc<StatusCell>,
    pipeline: Pipeline,
    backoff: Backoff,
    held: Held,
    parameters_sent: bool,
    /// It has left its session because of a quarantine, and not recorded since.
    has_left: bool,
    /// Frames that did not arrive though the session was open.
    missed: u16,
}

/// The parameters of a recorder.
pub(super) struct Start {
    pub(super) stream: StreamId,
    pub(super) node: NodeId,
    pub(super) number: u64,
    pub(super) with: DesiredRecording,
    pub(super) before: Before,
    pub(super) volume: Arc<Volume>,
    pub(super) totals: Arc<Counters>,
    pub(super) turns: Turns,
    pub(super) wall: WallTrust,
}

impl Recorder {
    pub(super) fn start(start: Start, now: Now) -> Self {
        let Start {
            stream,
            node,
            number,
            with,
            before,
            volume,
            totals,
            turns,
            wall,
        } = start;
        let status = Arc::new(StatusCell::new(stream, with.identity()));
        status.resume(before.recorded_until);
        let publisher = Hub::default().publisher(stream);
        let context = Context {
            stream,
            node,
            retention_class: with.retention_class.clone(),
            limits: LIMITS,
            mux: Arc::new(PlainMux),
            sink: volume,
            status: Arc::clone(&status),
            totals,
            wall,
        };
        let pipeline = Pipeline::new(context, publisher, with.identity(), before, now);
        Self {
            number,
            held: Held::new(turns, with.treatment),
            running: Running {
                phase: Phase::Running,
                with,
            },
            session: Session::Waiting,
            tried: None,
            status,
            pipeline,
            backoff: Backoff::default(),
            parameters_sent: false,
            has_left: false,
            missed: 0,
        }
    }

    pub(super) fn status(&self) -> Status {
        self.status.read()
    }

    pub(super) fn update(&mut self, with: DesiredRecording, now: Now) {
        self.pipeline.set_identity(with.identity());
        let is_held_back =
            is_quarantine(with.treatment) && !is_quarantine(self.running.with.treatment);
        self.running.with = with;
        // A node that has just started may hear of it after it has begun.
        if is_held_back && self.held.exposure(now.instant).is_some() {
            self.hold_back(now);
        }
    }

    /// Leaves the session: the next attempt waits for the end of the quarantine.
    fn hold_back(&mut self, now: Now) {
        self.held.left();
        self.has_left = true;
        self.pipeline.session_lost(GapCause::Quarantined, now);
        self.begin_attempt(now);
    }

    /// Ends it. Returns how far it recorded, and up to where the ledger explains the rest.
    pub(super) fn finish(mut self, now: Now) -> (Option<Timestamp>, Option<Timestamp>) {
        self.pipeline.finish(now);
        (self.status.received_until(), self.status.accounted_until())
    }

    /// Whether it receives and records frames.
    pub(super) fn is_recording(&self) -> bool {
        matches!(self.session, Session::Open { .. })
            && self.status().state == RecorderState::Recording
    }

    /// Whether it waits because the camera may be deadly, or has left the camera for that reason
    /// and not returned.
    pub(super) fn is_held_back(&self) -> bool {
        self.session == Session::Held || self.has_left
    }

    /// Begins to open a session, if the camera may be tried now; `Some(true)`: in its turn as a
    /// suspect.
    pub(super) fn begin_attempt(&mut self, now: Now) -> Option<bool> {
        let leave = self.held.ask(self.running.with.treatment);
        if leave == (Leave::Waits { is_new: true }) {
            self.pipeline.session_lost(GapCause::Quarantined, now);
            match self.running.with.treatment {
                Treatment::Quarantined { .. } => self.status.failing("in quarantine".to_owned()),
                Treatment::Suspect | Treatment::Usual => {
                    self.status.awaiting("a suspect".to_owned())
                }
            }
        }
        let waits = matches!(leave, Leave::Waits { .. });
        self.session = if waits {
            Session::Held
        } else {
            Session::Dialing
        };
        self.status.set_patience(waits.then_some(PATIENCE));
        self.expose(now);
        (!waits).then_some(leave == Leave::InTurn)
    }

    /// Makes heartbeats report what the session exposes this process to.
    fn expose(&self, now: Now) {
        self.status.set_exposure(self.held.exposure(now.instant));
    }

    /// The camera has answered; the session is left at once if the camera is in quarantine by now.
    pub(super) fn opened(&mut self, at: Now, now: Duration) {
        if is_quarantine(self.running.with.treatment) {
            return self.hold_back(at);
        }
        self.held.opened(at.instant);
        self.expose(at);
        self.status.connected();
        self.session = Session::Open {
            since: now,
            heard_at: now,
        };
        (self.parameters_sent, self.missed) = (false, 0);
        self.backoff.accept();
    }

    pub(super) fn miss(&mut self) {
        if matches!(self.session, Session::Open { .. }) {
            self.missed = self.missed.saturating_add(1);
        }
    }

    pub(super) fn frame(&mut self, number: u64, keyframe: bool, now: Now, monotonic: Duration) {
        let Session::Open { since, heard_at } = &mut self.session else {
            return;
        };
        *heard_at = monotonic;
        self.held.keep_turn(
            self.pipeline.is_recording(),
            monotonic.saturating_sub(*since),
        );
        let first = !std::mem::replace(&mut self.parameters_sent, true);
        let frame = MediaFrame {
            track: TrackKind::Video,
            rtp: i64::try_from(number).unwrap_or(i64::MAX) * i64::from(TIMESCALE) / 5,
            timescale: TIMESCALE,
            received: now.instant,
            received_wall: now.wall,
            data: slice(number, keyframe),
            access: keyframe.then_some(AccessPoint::Sync),
            lost_packets: std::mem::take(&mut self.missed),
            is_damaged: false,
            length: None,
            parameters: first.then(|| Arc::clone(&PARAMETERS)),
        };
        if let Err(error) = self.pipeline.item(SessionItem::Frame(frame)) {
            unreachable!("the simulated camera's parameters are sound: {error}");
        }
        self.has_left &= !self.is_recording();
    }

    /// Does periodic work. Returns whether the session is over for lack of frames.
    pub(super) fn tick(&mut self, now: Now, monotonic: Duration) -> bool {
        self.pipeline.tick(now);
        self.expose(now);
        matches!(
            self.session,
            Session::Open { heard_at, .. } if monotonic.saturating_sub(heard_at) >= STALL
        )
    }

    /// The session is over, or there was none. Returns how long until the next attempt.
    pub(super) fn failed(
        &mut self,
        error: &SessionError,
        now: Now,
        monotonic: Duration,
        random: u32,
    ) -> Duration {
        if let Session::Open { since, .. } = self.session
            && monotonic.saturating_sub(since) >= PROVEN_AFTER
        {
            self.backoff.reset();
        }
        self.held
            .failed(matches!(self.session, Session::Open { .. }));
        self.expose(now);
        self.session = Session::Waiting;
        self.pipeline.session_lost(error.gap_cause(), now);
        self.status.failing(error.to_string());
        self.backoff.next_delay(random)
    }

    pub(super) fn stalled() -> SessionError {
        SessionError::Stalled(STALL)
    }
}

fn is_quarantine(treatment: Treatment) -> bool {
    matches!(treatment, Treatment::Quarantined { .. })
}
