//! The threads that run RTSP sessions, and nothing else.
//!
//! The cost of ingest is wake-ups, not bytes: threads wake by the tick, not by the packet. A
//! *ticked* lane is a current-thread runtime that turns its reactor once per tick: between ticks,
//! data waits in the sockets' buffers (the kernel grows those of TCP by itself), and each tick
//! handles all of it. UDP buffers would overflow in a tick, so UDP sessions run on a lane that
//! wakes at once. A ticked lane also wakes at once for a while when a session requests it
//! ([`Lane::wake_at_once`]): an RTSP handshake is half a dozen round trips, and a failover must not
//! pay a tick for each. While one of its sessions has viewers ([`Lane::live_tick`]), its tick is
//! at most [`LIVE_TICK`].
//!
//! A session whose sockets do not run dry is interrupted ([`yield_to_others`]) until the lane has
//! looked at the sockets of all others.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it waits for the world, and keeps deadlines"
)]

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Sessions that one lane accepts.
pub const SESSIONS_PER_LANE_MAX: usize = 2048;
/// How many times a tick turns the reactor: once to learn what arrived, once to handle it. What
/// that wakes has to wait for the next tick, unless a session has more: a sender that holds back
/// the rest of a frame until its beginning is acknowledged (RFC 896) would cost a second read a
/// tick otherwise.
const TURNS_PER_TICK: usize = 2;
/// Tasks that one turn may run before it looks at the reactor again: more than a lane can hold, so
/// that one turn runs all. No task wakes itself within a turn.
const TASKS_PER_TURN: u32 = 4 * SESSIONS_PER_LANE_MAX as u32;
/// For this long a ticked lane wakes at once before it checks whether it still should.
const AT_ONCE_SLICE: Duration = Duration::from_millis(20);
/// The tick of a lane without sessions: it handles what sessions left behind, such as closing
/// sockets.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// The longest tick while a session has viewers: about a frame, so that they receive frames one by
/// one rather than in bursts.
pub const LIVE_TICK: Duration = Duration::from_millis(40);
/// Lanes that can be configured.
const LANES_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time between two looks at the sockets.
    pub tick: Duration,
    /// Threads for sessions over TCP; UDP has one of its own.
    pub tcp_lanes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            tcp_lanes: 1,
        }
    }
}

/// What carries a session's packets: the RTSP connection itself, or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Tcp,
    Udp,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("ingest tick of {0:?} is outside 1 ms to 1 s; set tick_ms")]
    Tick(Duration),
    #[error("{0} ingest lanes are outside 1 to {LANES_MAX}")]
    Lanes(usize),
    #[error("could not start an ingest thread: {0}")]
    Thread(#[from] io::Error),
    #[error("all ingest lanes are full with {SESSIONS_PER_LANE_MAX} sessions each")]
    Full,
}

/// Owns the threads.
#[derive(Debug)]
pub struct IngestRuntime {
    handle: IngestHandle,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Starts sessions; cheap to clone.
#[derive(Clone, Debug)]
pub struct IngestHandle {
    tcp: Arc<[Lane]>,
    udp: Lane,
}

/// One thread of sessions.
#[derive(Clone, Debug)]
pub struct Lane {
    runtime: tokio::runtime::Handle,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Until when to wake at once, in milliseconds after `started`.
    at_once_until_ms: AtomicU64,
    sessions: AtomicUsize,
    /// Sessions with viewers.
    live: AtomicUsize,
    turns: AtomicU64,
    stopping: AtomicBool,
    stop: tokio::sync::Notify,
    sleeper: std::sync::OnceLock<thread::Thread>,
}

/// While it exists, the tick of its lane is at most [`LIVE_TICK`].
#[derive(Debug)]
pub struct LiveTick(Arc<Shared>);

/// Counts a session until it ends, be it by a panic.
struct Counted(Arc<Shared>);

impl IngestRuntime {
    /// Starts the threads.
    ///
    /// # Errors
    /// Options out of range, or the system refuses a thread or an epoll instance.
    pub fn start(options: Options) -> Result<Self, Error> {
        if !(Duration::from_millis(1)..=Duration::from_secs(1)).contains(&options.tick) {
            return Err(Error::Tick(options.tick));
        }
        if !(1..=LANES_MAX).contains(&options.tcp_lanes) {
            return Err(Error::Lanes(options.tcp_lanes));
        }
        let mut threads = Vec::new();
        let mut tcp = Vec::new();
        for i in 0..options.tcp_lanes {
            tcp.push(start_lane(
                format!("ingest-tcp-{i}"),
                Some(options.tick),
                &mut threads,
            )?);
        }
        let udp = start_lane("ingest-udp".to_owned(), None, &mut threads)?;
        Ok(Self {
            handle: IngestHandle {
                tcp: tcp.into(),
                udp,
            },
            threads,
        })
    }

    #[must_use]
    pub fn handle(&self) -> IngestHandle {
        self.handle.clone()
    }

    /// Stops the threads and waits for them. Sessions that still run are dropped: stop the
    /// recorders first.
    pub fn shutdown(self) {
        for lane in self.handle.lanes() {
            lane.shared.request_stop();
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("an ingest thread panicked");
            }
        }
    }
}

impl IngestHandle {
    /// Runs what `make` returns on the lane with the fewest sessions that fits the carrier. A panic
    /// in it ends it alone and is in the join handle.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn spawn<F>(
        &self,
        carrier: Carrier,
        make: impl FnOnce(Lane) -> F,
    ) -> Result<JoinHandle<F::Output>, Error>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let lane = match carrier {
            Carrier::Tcp => self
                .tcp
                .iter()
                .min_by_key(|lane| lane.sessions())
                .unwrap_or(&self.udp),
            Carrier::Udp => &self.udp,
        };
        if lane.shared.sessions.fetch_add(1, Ordering::AcqRel) >= SESSIONS_PER_LANE_MAX {
            lane.shared.sessions.fetch_sub(1, Ordering::AcqRel);
            return Err(Error::Full);
        }
        let counted = Counted(Arc::clone(&lane.shared));
        let session = make(lane.clone());
        let task = lane.runtime.spawn(async move {
            let _counted = counted;
            session.await
        });
        lane.shared.wake();
        Ok(task)
    }

    /// How many times the threads looked at their sockets, in sum: what ingest costs.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.lanes()
            .map(|lane| lane.shared.turns.load(Ordering::Relaxed))
            .sum()
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.tcp.iter().chain([&self.udp])
    }
}

impl Lane {
    /// From now on and for `duration`, arrivals are handled at once rather than at the next tick.
    pub fn wake_at_once(&self, duration: Duration) {
        let until = (self.shared.started.elapsed() + duration).as_millis();
        self.shared
            .at_once_until_ms
            .fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::AcqRel);
        self.shared.wake();
    }

    /// A session has viewers until the result is dropped. Makes no difference to a lane that wakes
    /// at once.
    #[must_use]
    pub fn live_tick(&self) -> LiveTick {
        self.shared.live.fetch_add(1, Ordering::AcqRel);
        self.shared.wake();
        LiveTick(Arc::clone(&self.shared))
    }

    fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Acquire)
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            at_once_until_ms: AtomicU64::new(0),
            sessions: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            stop: tokio::sync::Notify::new(),
            sleeper: std::sync::OnceLock::new(),
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.sleeper.get() {
            thread.unpark();
        }
    }

    fn request_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_one();
        self.wake();
    }

    fn wakes_at_once(&self) -> bool {
        self.started.elapsed().as_millis()
            < u128::from(self.at_once_until_ms.load(Ordering::Acquire))
    }
}

impl Drop for LiveTick {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

fn start_lane(
    name: String,
    tick: Option<Duration>,
    threads: &mut Vec<thread::JoinHandle<()>>,
) -> Result<Lane, io::Error> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_PER_TURN)
        .build()?;
    let shared = Arc::new(Shared::new());
    let lane = Lane {
        runtime: runtime.handle().clone(),
        shared: Arc::clone(&shared),
    };
    threads.push(
        thread::Builder::new()
            .name(name)
            .spawn(move || match tick {
                Some(tick) => run_ticked(runtime, &shared, tick),
                None => run_at_once(runtime, &shared),
            })?,
    );
    Ok(lane)
}

fn run_ticked(runtime: Runtime, shared: &Shared, tick: Duration) {
    // Only this thread sets it.
    shared.sleeper.get_or_init(thread::current);
    while !shared.stopping.load(Ordering::Acquire) {
        let began = Instant::now();
        shared.turns.fetch_add(1, Ordering::Relaxed);
        if shared.wakes_at_once() {
            runtime.block_on(async { tokio::time::sleep(AT_ONCE_SLICE).await });
            continue;
        }
        runtime.block_on(turn());
        if HAS_MORE.take() {
            continue;
        }
        if shared.sessions.load(Ordering::Acquire) == 0 {
            // A spawned session, or a stop of the lane, wakes it.
            thread::park_timeout(IDLE_TICK);
            continue;
        }
        let is_live = shared.live.load(Ordering::Acquire) > 0;
        let tick = if is_live { tick.min(LIVE_TICK) } else { tick };
        // A token left by `wake` ends the sleep early, which costs one turn.
        thread::park_timeout(tick.saturating_sub(began.elapsed()));
    }
    // Does not wait for a name lookup that hangs in the runtime's blocking pool.
    runtime.shutdown_background();
}

thread_local! {
    /// A session of this lane yielded with data left.
    static HAS_MORE: Cell<bool> = const { Cell::new(false) };
}

/// Has the task of `context`, which returns [`Poll::Pending`] now, polled again after the others.
/// The reactor turns before that: if the task woke itself, the lane would run it alone, because
/// nothing would show that other sockets are readable.
///
/// [`Poll::Pending`]: std::task::Poll::Pending
pub fn yield_to_others(context: &mut Context<'_>) {
    HAS_MORE.set(true);
    // Its first poll only registers the task, to be woken once the reactor has turned.
    let is_ready = pin!(tokio::task::yield_now()).poll(context).is_ready();
    debug_assert!(!is_ready);
}

/// Lets every task that is ready, or becomes so, run.
async fn turn() {
    for _ in 0..TURNS_PER_TICK {
        // What a session has more now is handled in this round.
        HAS_MORE.set(false);
        tokio::task::yield_now().await;
    }
}

fn run_at_once(runtime: Runtime, shared: &Shared) {
    runtime.block_on(shared.stop.notified());
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests;
