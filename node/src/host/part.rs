//! Parts of a member: each runs in the background under a name until the member stops, and is
//! measured, so that one that hangs or takes a thread for itself is seen.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it measures how long parts take a thread"
)]

use holdfast_control_api::wire::{Part, PartState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The parts that run. A member cannot do without any of them: the first that ends by itself breaks
/// it.
pub(crate) struct Parts {
    running: Vec<Running>,
    broken: watch::Sender<Option<String>>,
}

struct Running {
    name: &'static str,
    task: AbortHandle,
    turns: Arc<Turns>,
}

/// A part's turns on a thread.
struct Turns {
    since: Instant,
    state: AtomicU8,
    count: AtomicU64,
    busy_us: AtomicU64,
    longest_us: AtomicU64,
    /// End of the last one, after `since`.
    last_us: AtomicU64,
}

/// The states of a part, by number.
const STATES: [PartState; 3] = [PartState::Running, PartState::Ended, PartState::Failed];

impl Parts {
    /// No parts yet, and what names the first one that ends by itself.
    pub(crate) fn new() -> (Self, watch::Receiver<Option<String>>) {
        let (broken, seen) = watch::channel(None);
        let running = Vec::new();
        (Self { running, broken }, seen)
    }

    /// Runs a part. Its name is stable: operators read it in the API and in metrics.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let turns = Arc::new(Turns::new());
        let part = tokio::spawn(Measured {
            part: Box::pin(part),
            turns: Arc::clone(&turns),
        });
        self.running.push(Running {
            name,
            task: part.abort_handle(),
            turns: Arc::clone(&turns),
        });
        let broken = self.broken.clone();
        tokio::spawn(async move {
            let (state, why) = match part.await {
                Ok(()) => (PartState::Ended, format!("the part `{name}` ended")),
                Err(error) => (
                    PartState::Failed,
                    format!("the part `{name}` failed: {error}"),
                ),
            };
            turns.state.store(state as u8, Relaxed);
            broken.send_if_modified(|broken| {
                let is_first = broken.is_none();
                broken.get_or_insert(why);
                is_first
            });
        });
    }

    pub(crate) fn statuses(&self) -> Vec<Part> {
        let status = |part: &Running| part.turns.status(part.name);
        self.running.iter().map(status).collect()
    }

    pub(crate) fn stop(&self) {
        self.running.iter().for_each(|part| part.task.abort());
    }
}

impl Turns {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            state: AtomicU8::new(PartState::Running as u8),
            count: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
        }
    }

    fn note(&self, began: Instant) {
        let ended = Instant::now();
        let took = micros(ended - began);
        self.count.fetch_add(1, Relaxed);
        self.busy_us.fetch_add(took, Relaxed);
        self.longest_us.fetch_max(took, Relaxed);
        self.last_us.store(micros(ended - self.since), Relaxed);
    }

    fn status(&self, name: &str) -> Part {
        let seconds = |us: u64| us as f64 / 1e6;
        let count = self.count.load(Relaxed);
        let idle = micros(self.since.elapsed()).saturating_sub(self.last_us.load(Relaxed));
        Part {
            name: name.to_owned(),
            state: STATES[usize::from(self.state.load(Relaxed))],
            turns: count,
            busy_seconds: seconds(self.busy_us.load(Relaxed)),
            longest_turn_seconds: seconds(self.longest_us.load(Relaxed)),
            idle_seconds: (count > 0).then(|| seconds(idle)),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

struct Measured {
    part: Pin<Box<dyn Future<Output = ()> + Send>>,
    turns: Arc<Turns>,
}

impl Future for Measured {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let began = Instant::now();
        let polled = self.part.as_mut().poll(context);
        self.turns.note(began);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_part_that_ends_is_named() {
        let (mut parts, mut broken) = Parts::new();
        parts.run("stays", std::future::pending());
        parts.run("panics", async { panic!("as it should") });
        let why = broken.wait_for(Option::is_some).await.unwrap().clone();
        assert!(why.unwrap().starts_with("the part `panics` failed: "));
        let states: Vec<PartState> = parts.statuses().iter().map(|part| part.state).collect();
        assert_eq!(states, [PartState::Running, PartState::Failed]);
        parts.stop();
    }

    #[tokio::test]
    async fn a_part_that_takes_the_thread_for_itself_is_seen() {
        let (mut parts, mut broken) = Parts::new();
        const TURN: Duration = Duration::from_millis(20);
        parts.run("hogs", async {
            tokio::task::yield_now().await;
            std::thread::sleep(TURN);
        });
        broken.wait_for(Option::is_some).await.unwrap();
        let hog = &parts.statuses()[0];
        assert_eq!((hog.state, hog.turns), (PartState::Ended, 2));
        assert!(hog.longest_turn_seconds >= TURN.as_secs_f64(), "{hog:?}");
        assert!(hog.busy_seconds >= hog.longest_turn_seconds && hog.idle_seconds.is_some());
    }
}
