//! Turns one recorder's session items into records. It never waits and reads no clock: every call
//! passes the time.
//!
//! A recording session begins at a keyframe and numbers its chunks without holes, per track. It
//! ends with the RTSP session, or when the system's wall clock steps: then a new one begins at the
//! next keyframe, anchored to the new wall time but never before the end of the footage (see
//! [`crate::capture::ingest::wall`]). When the camera's volume fails and another one takes over, a
//! new session begins with the next chunk that starts at a keyframe, and what the old volume lost
//! is a gap. A change of identity ends chunks, not the session; if recorded time had run far ahead,
//! a new epoch begins at true time (`realign`).

mod live;
mod realign;
mod sound;
mod store;

use self::sound::SoundCuts;
use super::awaited::Awaited;
use super::chunker::{Cut, Limits, TimedFrame};
use super::corrections::Corrections;
use super::gaps::Ledger;
use super::mux::Mux;
use super::sink::{RecordSink, SinkError};
use super::status::{Counters, Identity, StatusCell};
use super::track::{NotStored, Track};
use crate::capture::hub::Publisher;
use crate::capture::ingest::clock::{Arrived, Correction, JUMP_US};
use crate::capture::ingest::error::SessionError;
use crate::capture::ingest::media::{MediaFrame, SessionItem, TrackParameters, Undecodable};
use crate::capture::ingest::wall::{WallClock, WallTrust};
use holdfast_storage::chunk::{AccessPoint, FRAME_BYTES_MAX, GapCause, Init};
use holdfast_storage::ids::{NodeId, SessionId, StreamId, TrackKind};
use holdfast_storage::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a step of the wall clock may wait for a keyframe to begin a new session at.
const STEP_PATIENCE: Duration = Duration::from_secs(10);

/// A session's first frames are held for this long, so that they anchor its clock together. About
/// as long as a chunk by default: little is handed over later for it.
const FIRST_WINDOW: Duration = Duration::from_millis(400);
/// More first frames are not held.
const FIRST_FRAMES_MAX: usize = 256;

/// Frames that are later belong to a session that has stalled, which ends.
const LATE_US_MAX: i64 = 3_000_000;

/// One instant on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    pub wall: Timestamp,
}

/// What stays the same for the life of a recorder.
#[derive(Clone)]
pub struct Context {
    pub stream: StreamId,
    pub node: NodeId,
    pub retention_class: String,
    pub limits: Limits,
    pub mux: Arc<dyn Mux>,
    pub sink: Arc<dyn RecordSink>,
    pub status: Arc<StatusCell>,
    /// Counters over all recorders.
    pub totals: Arc<Counters>,
    pub wall: WallTrust,
}

/// What preceded a recorder: where earlier footage ended, and why.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// Nothing is stamped before it.
    pub recorded_until: Option<Timestamp>,
    /// Since when there is neither footage nor an entry in the ledger; `None`: since recording was
    /// requested.
    pub missing_since: Option<Timestamp>,
    /// Why nothing was recorded since; `None` if no node was responsible for recording it.
    pub cause: Option<GapCause>,
}

pub struct Pipeline {
    context: Context,
    publisher: Publisher,
    identity: Identity,
    /// A newer identity that begins with the next keyframe, at true time.
    realigns_to: Option<(Identity, Instant)>,
    sound: SoundCuts,
    wall: WallClock,
    /// Since when the wall clock has stepped, until a new session begins.
    stepped_at: Option<Instant>,
    ledger: Ledger,
    /// End of the last chunk of video: nothing is stamped before it.
    recorded_until: Option<Timestamp>,
    /// When recording was requested: this recorder does not explain earlier gaps.
    began: Timestamp,
    /// End of the last chunk of video that this recorder handed over.
    reached: Option<Timestamp>,
    /// The first frames of a session, until they anchor its clock.
    first: Vec<MediaFrame>,
    anchored: bool,
    session: Option<SessionId>,
    last_session: SessionId,
    awaited: Awaited,
    /// The session's volume is gone: the next one begins with a chunk that starts at a keyframe.
    awaits_keyframe: bool,
    /// Why the stored video cannot be decoded up to the next access point: none came since the
    /// session began or its parameters changed.
    torn_by: Option<GapCause>,
    video: Option<Track>,
    audio: Option<Track>,
    /// The latest time that was passed in: reports come without one.
    latest: Instant,
    corrections: Corrections,
}

impl Pipeline {
    #[must_use]
    pub fn new(
        context: Context,
        mut publisher: Publisher,
        identity: Identity,
        before: Before,
        now: Now,
    ) -> Self {
        let floor = before.recorded_until.unwrap_or(Timestamp::MIN);
        let wall = WallClock::new(now.instant, now.wall, floor);
        let began = wall.time_of(now.instant);
        let mut ledger = Ledger::default();
        if let Some(cause) = before.cause {
            let since = before.missing_since.unwrap_or(began);
            ledger.open(since, began, cause);
            publisher.gap(since, cause);
        }
        Self {
            context,
            publisher,
            identity,
            realigns_to: None,
            sound: SoundCuts::default(),
            wall,
            stepped_at: None,
            ledger,
            recorded_until: before.recorded_until,
            began,
            reached: None,
            first: Vec::new(),
            anchored: false,
            session: None,
            last_session: SessionId(0),
            awaited: Awaited::default(),
            awaits_keyframe: false,
            torn_by: None,
            video: None,
            audio: None,
            latest: now.instant,
            corrections: Corrections::default(),
        }
    }

    /// Takes one item of the RTSP session.
    ///
    /// # Errors
    /// The track's parameters cannot be recorded: the session is of no use.
    pub fn item(&mut self, item: SessionItem) -> Result<(), SessionError> {
        match item {
            SessionItem::Report(kind, report) => {
                let time = self.wall.time_of(self.latest);
                if let Some(track) = self.track(kind) {
                    track.report = Some(report);
                    track.clock.report(report, time);
                }
                Ok(())
            }
            SessionItem::Frame(frame) => self.frame(frame),
        }
    }

    /// The session has no more items for now.
    pub fn turn_ended(&mut self) {
        self.publisher.flush();
    }

    /// Does periodic work: ends idle chunks, writes pieces of an outage, retries.
    pub fn tick(&mut self, now: Now) {
        self.latest = self.latest.max(now.instant);
        if self.wall.observe(now.instant, now.wall) && self.session.is_none() {
            self.restart_clock(now);
        }
        if self.session.is_none() {
            self.realign(now);
        }
        let time = self.wall.time_of(now.instant);
        self.say_what_is_awaited(now.instant, time);
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let cut = self.track(kind).and_then(|track| track.chunker.idle(time));
            self.emit(kind, cut);
        }
        self.ledger.advance(self.certainly_missing_until(time));
        self.write_gaps();
        self.publisher.tick(now.instant);
    }

    /// The chunks that are open end here; those that follow carry the new identity.
    pub fn set_identity(&mut self, identity: Identity) {
        if identity == self.identity || self.begins_at_true_time(identity) {
            return;
        }
        self.flush();
        self.write_gaps();
        self.identity = identity;
        self.context.status.set_identity(identity);
    }

    /// The RTSP session is over, or none could be opened.
    pub fn session_lost(&mut self, cause: GapCause, now: Now) {
        self.release();
        self.anchored = false;
        self.flush();
        self.session = None;
        self.awaited = Awaited::default();
        self.video = None;
        self.audio = None;
        self.corrections = Corrections::default();
        self.context.status.set_clock_rate(None);
        self.ledger
            .open(self.missing_since(), self.wall.time_of(now.instant), cause);
        self.write_gaps();
        self.publisher.gap(self.missing_since(), cause);
        self.publisher.flush();
    }

    /// Hands over the rest when recording ends on purpose. An open outage ends now.
    pub fn finish(&mut self, now: Now) {
        self.release();
        self.flush();
        self.session = None;
        if self.ledger.is_open() {
            self.ledger.close(self.wall.time_of(now.instant));
        }
        self.write_gaps();
        self.publisher.flush();
    }

    /// Whether a session is being recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.session.is_some()
    }

    /// Whether what is being recorded has subscribers.
    #[must_use]
    pub fn has_viewers(&self) -> bool {
        self.is_recording() && self.publisher.has_subscribers()
    }

    /// Sets why, as far as the RTSP session knows, none of its frames can be decoded.
    pub fn set_undecodable(&mut self, why: Option<&Undecodable>) {
        if self.session.is_none() {
            self.awaited.set_undecodable(why);
        }
    }

    fn frame(&mut self, frame: MediaFrame) -> Result<(), SessionError> {
        self.latest = self.latest.max(frame.received);
        self.count(|counters| &counters.frames, 1);
        self.count(|counters| &counters.frame_bytes, frame.data.len() as u64);
        self.count(
            |counters| &counters.lost_packets,
            u64::from(frame.lost_packets),
        );
        if let Some(parameters) = &frame.parameters {
            if self.track(frame.track).is_some() {
                // The held frames were sent with the previous parameters.
                self.release();
            }
            self.set_parameters(frame.track, parameters)?;
        }
        if self.anchored {
            self.take(frame);
            return Ok(());
        }
        let window = self
            .first
            .first()
            .map(|first| frame.received.saturating_duration_since(first.received));
        self.first.push(frame);
        if window.is_some_and(|window| window >= FIRST_WINDOW)
            || self.first.len() >= FIRST_FRAMES_MAX
        {
            self.release();
            self.anchored = true;
        }
        Ok(())
    }

    /// Anchors the clock by the held frames, and takes them.
    fn release(&mut self) {
        let first = std::mem::take(&mut self.first);
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let of_track = first.iter().filter(|frame| frame.track == kind);
            let sent = |frame: &MediaFrame| {
                let arrival = self.wall.time_of(frame.received);
                let by_reports = self.alongside(kind, frame.rtp, arrival);
                (frame.rtp, by_reports.unwrap_or(arrival))
            };
            let arrivals: Vec<_> = of_track.map(sent).collect();
            if let Some(track) = self.track(kind).filter(|track| !track.clock.is_anchored()) {
                track.clock.settle(&arrivals);
            }
        }
        first.into_iter().for_each(|frame| self.take(frame));
    }

    fn take(&mut self, mut frame: MediaFrame) {
        self.follow_wall_clock(&frame);
        let arrival = self.wall.time_of(frame.received);
        self.await_access(&mut frame);
        if !self.accepts(&frame) {
            self.discard(frame.track);
            return;
        }
        let Some((timed, correction)) = self.stamp(&frame, arrival) else {
            return;
        };
        if self.session.is_none() {
            if frame.track != TrackKind::Video || frame.access.is_none() {
                // Only its arrival counts: the clock has settled somewhat when the keyframe comes.
                self.count(|counters| &counters.discarded_frames, 1);
                return;
            }
            self.begin_session(timed.decode);
            self.sound.begin(timed.decode);
        }
        if frame.track == TrackKind::Audio && self.sound.is_early(timed.decode) {
            self.count(|counters| &counters.discarded_frames, 1);
            return;
        }
        let lost = frame.lost_packets > 0 || frame.is_damaged;
        self.record(frame.track, timed, lost, correction.is_some());
    }

    /// Notes a frame of video at which decoding cannot begin; after a while recording begins
    /// anyway.
    fn await_access(&mut self, frame: &mut MediaFrame) {
        if frame.track != TrackKind::Video {
            return;
        }
        // Frames whose parameters are not known are of no use, access points or not.
        if self.session.is_some() || (frame.access.is_some() && self.video.is_some()) {
            self.awaited = Awaited::default();
        } else if self.awaited.frame(frame.received) && self.video.is_some() {
            tracing::warn!(
                stream = %self.context.stream,
                "the camera sends no keyframe; recording begins at any frame"
            );
            (frame.access, frame.is_damaged) =
                (Some(AccessPoint::Recovery { frames: u16::MAX }), true);
        }
    }

    /// Reports in the status and the ledger that a session sends frames that cannot be recorded
    /// yet.
    fn say_what_is_awaited(&mut self, now: Instant, time: Timestamp) {
        if let Some((cause, message)) = self.awaited.message(now) {
            let until = self.certainly_missing_until(time);
            self.ledger.open(self.missing_since(), until, cause);
            self.publisher.gap(self.missing_since(), cause);
            self.context.status.awaiting(message);
        }
    }

    fn record(&mut self, kind: TrackKind, timed: TimedFrame, lost: bool, corrected: bool) {
        let (decode, is_access) = (timed.decode, timed.access.is_some());
        if kind == TrackKind::Audio {
            self.cut_sound_before(decode);
        }
        let Some(track) = self.track(kind) else {
            return;
        };
        let lost = std::mem::take(&mut track.lost) || lost;
        let pushed = track.chunker.push(timed, lost);
        let has_ended = pushed.cut.is_some();
        self.emit(kind, pushed.cut);
        if kind == TrackKind::Video && (has_ended || pushed.begins) {
            self.cut_sound_with_video(decode, is_access && pushed.begins);
        }
        if let Some((start, end)) = pushed.hole.filter(|_| kind == TrackKind::Video) {
            let cause = match (lost, corrected) {
                (true, _) => GapCause::PacketsLost,
                // The camera may have sent frames, which have earlier times.
                (false, true) => GapCause::Unknown,
                (false, false) => GapCause::CameraStalled,
            };
            self.ledger.note(start, end, cause, pushed.lost_frames);
            self.write_gaps();
        }
        self.publish(kind, lost);
    }

    /// Whether a frame can be recorded at all.
    fn accepts(&mut self, frame: &MediaFrame) -> bool {
        let sized = (1..=FRAME_BYTES_MAX).contains(&frame.data.len());
        sized
            && self
                .track(frame.track)
                .is_some_and(|track| track.chunker.timescale() == frame.timescale)
    }

    fn discard(&mut self, kind: TrackKind) {
        self.count(|counters| &counters.discarded_frames, 1);
        if let Some(track) = self.track(kind) {
            track.lost = true;
        }
    }

    fn stamp(
        &mut self,
        frame: &MediaFrame,
        arrival: Timestamp,
    ) -> Option<(TimedFrame, Option<Correction>)> {
        let sent = self.alongside(frame.track, frame.rtp, arrival);
        let video = self
            .video
            .as_ref()
            .filter(|_| frame.track == TrackKind::Audio && self.audio.is_some());
        let is_held = video.is_some_and(|video| video.clock.is_held(arrival));
        let arrived = Arrived {
            rtp: frame.rtp,
            at: arrival,
            bytes: frame.data.len(),
            sent,
            is_held,
        };
        let clock = &mut self.track(frame.track)?.clock;
        let stamp = clock.stamp(&arrived);
        let length_us = frame.length.map(|ticks| clock.micros(i64::from(ticks)));
        if let Some(correction) = stamp.correction {
            let Context {
                stream,
                status,
                totals,
                ..
            } = &self.context;
            self.corrections.note(
                *stream,
                frame.track,
                correction,
                frame.received,
                (status, totals),
            );
        }
        let timed = TimedFrame {
            data: frame.data.clone(),
            decode: stamp.decode,
            composition_us: stamp.composition_us,
            access: frame.access,
            length_us,
        };
        Some((timed, stamp.correction))
    }

    fn set_parameters(
        &mut self,
        kind: TrackKind,
        parameters: &TrackParameters,
    ) -> Result<(), SessionError> {
        let bytes = match self.context.mux.init(parameters) {
            Ok(bytes) => bytes,
            Err(error) if kind == TrackKind::Video => return Err(SessionError::BadSdp(error.0)),
            Err(error) => {
                tracing::warn!(stream = %self.context.stream, %error, "recording without audio");
                return Ok(());
            }
        };
        let init = Init {
            camera: self.context.stream.camera,
            stream: self.context.stream.kind,
            track: kind,
            bytes,
        };
        let (init_id, timescale, codec) =
            (init.id(), parameters.timescale(), parameters.video_codec());
        let cut = self
            .track(kind)
            .filter(|track| track.init_id != init_id)
            .and_then(|track| track.chunker.flush());
        self.emit(kind, cut);
        match self
            .track(kind)
            .filter(|track| track.chunker.timescale() == timescale)
        {
            Some(track) if track.init_id == init_id => {}
            Some(track) => {
                track.set_init(init, codec);
                self.tear(kind, GapCause::Unknown);
            }
            None => {
                let limits = self.context.limits;
                let limits = if kind == TrackKind::Video {
                    limits
                } else {
                    sound::limits(limits)
                };
                *self.slot(kind) = Some(Track::new(init, (codec, timescale), limits, self.floor()));
            }
        }
        Ok(())
    }

    /// Notices steps of the wall clock. A new session then begins at a keyframe, or without one
    /// after [`STEP_PATIENCE`].
    fn follow_wall_clock(&mut self, frame: &MediaFrame) {
        self.realign_at(frame);
        if !self.wall.observe(frame.received, frame.received_wall) {
            self.stepped_at = None;
            return;
        }
        let since = *self.stepped_at.get_or_insert(frame.received);
        let waited = frame.received.saturating_duration_since(since);
        if (frame.track == TrackKind::Video && frame.access.is_some()) || waited >= STEP_PATIENCE {
            self.restart_clock(Now {
                instant: frame.received,
                wall: frame.received_wall,
            });
        }
    }

    /// Anchors everything to the wall clock again. A session that is being recorded ends, and the
    /// next one begins.
    fn restart_clock(&mut self, now: Now) {
        self.flush();
        self.count(|counters| &counters.clock_steps, 1);
        self.stepped_at = None;
        let before = self.wall.time_of(now.instant);
        // What is missing until now is written, and its time is not used again.
        self.ledger.write_until(before);
        let floor = self.floor();
        // Frames that arrive now were captured a little earlier. The clock restarts that much
        // later, so that none of them is stamped before the floor.
        let late_us = self.late_us(before);
        self.wall
            .restart(now.instant, now.wall, floor.plus_micros(late_us));
        let restarted = self.wall.time_of(now.instant);
        tracing::warn!(
            stream = %self.context.stream, system = %now.wall, used = %restarted,
            "the system's wall clock stepped"
        );
        for track in [&mut self.video, &mut self.audio].into_iter().flatten() {
            track.shift_clock(restarted.micros_since(before), floor);
        }
        self.ledger.rebase(restarted);
        match (self.session, self.reached) {
            (Some(_), _) => {
                let until = self.recorded_until;
                let resumed = restarted.plus_micros(-late_us);
                self.ledger
                    .note(until.unwrap_or(resumed), resumed, GapCause::Unknown, None);
                self.begin_session(resumed);
                self.tear(TrackKind::Video, GapCause::Unknown);
            }
            (None, None) => self.began = restarted,
            (None, Some(_)) => {}
        }
    }

    /// Since when nothing is recorded, if no outage is open.
    fn missing_since(&self) -> Timestamp {
        self.reached.unwrap_or(self.began)
    }

    /// How far an open outage may be written: neither a frame to come nor one of an open chunk is
    /// stamped before it.
    fn certainly_missing_until(&self, time: Timestamp) -> Timestamp {
        let Some(video) = &self.video else {
            return time;
        };
        // If no frame can be stamped for so long, the outage is written all the same.
        let earliest = time.plus_micros(-LATE_US_MAX);
        let until = video.chunker.begun().unwrap_or(video.clock.stamped_until());
        until.clamp(earliest, time)
    }

    /// How much older than its arrival at `arrival` a frame is, at most, in microseconds.
    fn late_us(&self, arrival: Timestamp) -> i64 {
        let next = [&self.video, &self.audio]
            .into_iter()
            .flatten()
            .filter_map(|track| track.clock.expected_next());
        // A track that sends nothing any more does not count.
        let late_us = next
            .map(|next| arrival.micros_since(next))
            .filter(|late_us| (0..=JUMP_US).contains(late_us));
        late_us.max().unwrap_or(0)
    }

    /// Nothing may be stamped before it: the end of all footage that was handed over, and of the
    /// ledger's gaps.
    fn floor(&self) -> Timestamp {
        let audio_until = self.audio.as_ref().and_then(|audio| audio.chunker.end());
        [
            self.recorded_until,
            audio_until,
            self.ledger.written_until(),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(Timestamp::MIN)
    }

    fn begin_session(&mut self, start: Timestamp) {
        let named = u64::try_from(start.micros()).unwrap_or(0);
        let session = SessionId(named.max(self.last_session.0 + 1));
        (self.session, self.last_session, self.awaits_keyframe) = (Some(session), session, false);
        for track in [&mut self.video, &mut self.audio].into_iter().flatten() {
            track.begin_session();
        }
        self.sound = SoundCuts::default();
        self.publisher.resumed();
        if self.ledger.is_open() {
            self.ledger.close(start);
            self.write_gaps();
        }
    }

    fn flush(&mut self) {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let cut = self.track(kind).and_then(|track| track.chunker.flush());
            self.emit(kind, cut);
        }
    }

    fn track(&mut self, kind: TrackKind) -> Option<&mut Track> {
        self.slot(kind).as_mut()
    }

    fn slot(&mut self, kind: TrackKind) -> &mut Option<Track> {
        if kind == TrackKind::Video {
            &mut self.video
        } else {
            &mut self.audio
        }
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64, by: u64) {
        counter(&self.context.status.counters).fetch_add(by, Relaxed);
        counter(&self.context.totals).fetch_add(by, Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
