//! One camera: its state, its sessions, and the task that captures its frames on time.

use crate::clock::{Clock, micros};
use crate::faults::Faults;
use crate::film::Films;
use crate::history::{History, SoundHistory};
use crate::microphone::Hearing;
use crate::oddity::Rhythm;
use crate::options::CameraOptions;
use crate::producer::{Frame, Producer, ticks_90k};
use crate::random::Random;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The most frames that wait for one session (4 s at 25 fps). A session that falls behind further
/// is closed.
const QUEUE_FRAMES_MAX: usize = 100;
/// A camera that is later than this (for example because the process was stopped) skips frames
/// instead of capturing them all at once.
const LATE_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) options: CameraOptions,
    pub(crate) films: Films,
    clock: Clock,
    /// The instant at which this camera's RTP clocks start.
    epoch_us: u64,
    faults: Mutex<Faults>,
    history: Mutex<History>,
    sounds: Mutex<SoundHistory>,
    seats: Mutex<Seats>,
    /// Number of sessions closed because they were too slow.
    shed: AtomicU64,
    describes: AtomicU64,
}

/// Why a camera accepts no further session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Refusing,
    Full,
}

#[derive(Debug, Default)]
struct Seats {
    next_key: u64,
    taken: BTreeMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    /// `None` until the session plays.
    queue: Option<mpsc::Sender<Arc<Frame>>>,
    awaits_keyframe: bool,
    /// Dropped with the seat: this notifies the session that it has to end, even while it writes.
    _held: oneshot::Sender<()>,
}

/// A session's place at a camera, released when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    camera: Arc<Camera>,
    key: u64,
    pub(crate) ended: oneshot::Receiver<()>,
}

impl Camera {
    pub(crate) fn new(options: CameraOptions, films: Films, clock: Clock) -> Self {
        Self {
            options,
            films,
            clock,
            epoch_us: clock.now_us(),
            faults: Mutex::default(),
            history: Mutex::default(),
            sounds: Mutex::default(),
            seats: Mutex::default(),
            shed: AtomicU64::new(0),
            describes: AtomicU64::new(0),
        }
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub(crate) fn sounds(&self) -> MutexGuard<'_, SoundHistory> {
        lock(&self.sounds)
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    pub(crate) fn sessions(&self) -> usize {
        lock(&self.seats).taken.len()
    }

    pub(crate) fn sessions_shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    pub(crate) fn count_describe(&self) {
        self.describes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn describes(&self) -> u64 {
        self.describes.load(Ordering::Relaxed)
    }

    /// Ends all sessions.
    pub(crate) fn kick(&self) {
        lock(&self.seats).taken.clear();
    }

    /// The RTP timestamp of a frame captured now, before a session's own offset: video, audio.
    pub(crate) fn rtp_now(&self) -> (u32, u32) {
        let micros = self.clock.now_us() - self.epoch_us;
        let video = ticks_90k(micros).wrapping_add_signed(self.faults().timestamp_offset_90k);
        (
            video as u32,
            self.hearing().map_or(0, |hearing| hearing.ticks(micros)) as u32,
        )
    }

    pub(crate) fn hearing(&self) -> Option<Hearing> {
        Hearing::of(self.options.sound, self.options.oddity)
    }

    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Reservation, Refusal> {
        let (refusing, sessions_max) = {
            let faults = self.faults();
            (faults.refusing, faults.sessions_max)
        };
        let mut seats = lock(&self.seats);
        if refusing {
            return Err(Refusal::Refusing);
        }
        if sessions_max.is_some_and(|max| seats.taken.len() >= max) {
            return Err(Refusal::Full);
        }
        let (held, ended) = oneshot::channel();
        let key = seats.next_key;
        seats.next_key += 1;
        seats.taken.insert(
            key,
            Seat {
                queue: None,
                awaits_keyframe: self.options.start_at_keyframe,
                _held: held,
            },
        );
        Ok(Reservation {
            camera: Arc::clone(self),
            key,
            ended,
        })
    }

    fn watched(&self) -> bool {
        lock(&self.seats)
            .taken
            .values()
            .any(|seat| seat.queue.is_some())
    }

    /// Passes a frame to all sessions; never waits for one.
    fn publish(&self, frame: &Arc<Frame>) {
        let mut seats = lock(&self.seats);
        let before = seats.taken.len();
        seats.taken.retain(|_, seat| seat.offer(frame));
        let shed = before - seats.taken.len();
        drop(seats);
        if shed > 0 {
            self.shed.fetch_add(shed as u64, Ordering::Relaxed);
            tracing::debug!(
                camera = self.options.id,
                sessions = shed,
                "closed sessions that were too slow"
            );
        }
    }
}

impl Seat {
    /// Whether the session keeps up.
    fn offer(&mut self, frame: &Arc<Frame>) -> bool {
        self.awaits_keyframe &= !frame.keyframe;
        match &self.queue {
            Some(queue) if !self.awaits_keyframe => !matches!(
                queue.try_send(Arc::clone(frame)),
                Err(mpsc::error::TrySendError::Full(_))
            ),
            _ => true,
        }
    }
}

impl Reservation {
    /// Starts the frames; `None` if the session has ended in the meantime.
    pub(crate) fn play(&self) -> Option<mpsc::Receiver<Arc<Frame>>> {
        let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
        lock(&self.camera.seats).taken.get_mut(&self.key)?.queue = Some(queue);
        Some(frames)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.camera.seats).taken.remove(&self.key);
    }
}

/// Captures frames on time, until its task is aborted.
pub(crate) async fn run(camera: Arc<Camera>, mut random: Random) {
    let rhythm = Rhythm::new(camera.options.oddity, camera.options.fps);
    let (frames, seconds) = rhythm.rate();
    let interval_us = 1_000_000 * seconds / frames;
    let clip_us = 10_000_000;
    let phase_us = camera
        .options
        .phase
        .map_or_else(|| random.next_u64() % clip_us, micros);
    let start_frame = phase_us / interval_us % u64::from(u16::MAX);
    let mut producer = Producer::new(
        &camera.options,
        camera.films.clone(),
        camera.epoch_us,
        start_frame,
        random,
    );
    let mut schedule = Schedule::new(camera.epoch_us + phase_us % interval_us, frames, seconds);
    let mut held = Held::default();
    loop {
        // Waits for one frame interval at most.
        tokio::time::sleep_until(camera.clock.instant(schedule.due_us())).await;
        let due_us = schedule.due_us();
        let elapsed_us = due_us - camera.epoch_us;
        let frame = if rhythm.rests(elapsed_us) {
            None
        } else {
            capture(&camera, &mut producer, due_us)
        };
        held.take(&camera, frame, rhythm.burst(elapsed_us));
        schedule.advance(camera.clock.now_us());
    }
}

fn capture(camera: &Camera, producer: &mut Producer, captured_us: u64) -> Option<Arc<Frame>> {
    let plan = camera.faults().plan()?;
    let sequence = camera.history().push(captured_us);
    match producer.next(&plan, sequence, captured_us, camera.watched()) {
        Ok(Some(frame)) => {
            let mut faults = camera.faults();
            faults.drop_packets = faults.drop_packets.saturating_sub(frame.packets_dropped);
            drop(faults);
            camera.sounds().extend(&frame.heard);
            if frame.hurt {
                camera.history().hurt(sequence);
            }
            Some(Arc::new(frame))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::error!(
                camera = camera.options.id, sequence, %error,
                "a frame could not be made into RTP packets"
            );
            None
        }
    }
}

/// Frames held for their burst: at most one burst's.
#[derive(Debug, Default)]
struct Held {
    burst: u64,
    frames: Vec<Arc<Frame>>,
}

impl Held {
    /// Publishes the frame at once, or the last burst when the next one begins.
    fn take(&mut self, camera: &Camera, frame: Option<Arc<Frame>>, burst: Option<u64>) {
        if let Some(burst) = burst.filter(|burst| *burst != self.burst) {
            self.burst = burst;
            self.frames
                .drain(..)
                .for_each(|frame| camera.publish(&frame));
        }
        match burst {
            Some(_) => self.frames.extend(frame),
            None => frame.iter().for_each(|frame| camera.publish(frame)),
        }
    }
}

/// When frames are due: the n-th at start + n / fps, without drift.
#[derive(Debug)]
struct Schedule {
    start_us: u64,
    frames: u64,
    /// Number of frames, in this many seconds.
    rate: (u64, u64),
}

impl Schedule {
    fn new(start_us: u64, frames: u64, seconds: u64) -> Self {
        Self {
            start_us,
            frames: 0,
            rate: (frames, seconds),
        }
    }

    fn due_us(&self) -> u64 {
        self.start_us + self.frames * 1_000_000 * self.rate.1 / self.rate.0
    }

    /// Advances to the next frame; skips those that are late by more than [`LATE_MAX`].
    fn advance(&mut self, now_us: u64) {
        self.frames += 1;
        if now_us.saturating_sub(self.due_us()) > micros(LATE_MAX) {
            self.frames = (now_us - self.start_us) * self.rate.0 / (1_000_000 * self.rate.1) + 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves the value consistent, so a panic in another thread does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_without_drift() {
        let mut schedule = Schedule::new(1_000, 30, 1);
        for _ in 0..30 {
            schedule.advance(0);
        }
        assert_eq!(schedule.due_us(), 1_001_000);
    }

    #[test]
    fn frames_may_be_seconds_apart() {
        let mut schedule = Schedule::new(0, 1, 4);
        schedule.advance(0);
        assert_eq!(schedule.due_us(), 4_000_000);
        schedule.advance(100_000_000);
        assert_eq!(schedule.due_us(), 104_000_000);
    }

    #[test]
    fn a_little_late_catches_up_and_very_late_leaves_out() {
        let mut schedule = Schedule::new(0, 25, 1);
        schedule.advance(1_500_000);
        assert_eq!(schedule.due_us(), 40_000);
        schedule.advance(10_000_000);
        assert_eq!(schedule.due_us(), 10_040_000);
    }
}
