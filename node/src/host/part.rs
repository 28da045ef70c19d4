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
use std::time::Instant;
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
    /// Beginning of the present one, after `since`; [`NO_TURN`] between turns.
    began_us: AtomicU64,
}

const NO_TURN: u64 = u64::MAX;

/// The states of a part, by number.
const STATES: [PartState; 4] = [
    PartState::Running,
    PartState::Stopped,
    PartState::Ended,
    PartState::Failed,
];

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
                Err(error) if error.is_cancelled() => {
                    turns.state.store(PartState::Stopped as u8, Relaxed);
                    return;
                }
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
            began_us: AtomicU64::new(NO_TURN),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Returns the beginning, for [`Turns::end`].
    fn begin(&self) -> u64 {
        let began = self.now_us();
        self.began_us.store(began, Relaxed);
        began
    }

    fn end(&self, began: u64) {
        let ended = self.now_us();
        let took = ended.saturating_sub(began);
        self.began_us.store(NO_TURN, Relaxed);
        self.count.fetch_add(1, Relaxed);
        self.busy_us.fetch_add(took, Relaxed);
        self.longest_us.fetch_max(took, Relaxed);
        self.last_us.store(ended, Relaxed);
    }

    fn status(&self, name: &str) -> Part {
        let seconds = |us: u64| us as f64 / 1e6;
        let (count, now) = (self.count.load(Relaxed), self.now_us());
        let state = STATES[usize::from(self.state.load(Relaxed))];
        // A turn that does not end is seen while it lasts.
        let began = Some(self.began_us.load(Relaxed))
            .filter(|began| *began != NO_TURN && state == PartState::Running);
        let present = began.map_or(0, |began| now.saturating_sub(began));
        let idle = match began {
            Some(_) => 0,
            None => now.saturating_sub(self.last_us.load(Relaxed)),
        };
        Part {
            name: name.to_owned(),
            state,
            turns: count,
            // Without the present turn: a counter must never go back.
            busy_seconds: seconds(self.busy_us.load(Relaxed)),
            longest_turn_seconds: seconds(self.longest_us.load(Relaxed).max(present)),
            idle_seconds: (count > 0).then(|| seconds(idle)),
        }
    }
}

struct Measured {
    part: Pin<Box<dyn Future<Output = ()> + Send>>,
    turns: Arc<Turns>,
}

impl Future for Measured {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let began = self.turns.begin();
        let polled = self.part.as_mut().poll(context);
        self.turns.end(began);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
        while parts.statuses()[0].state != PartState::Stopped {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_turn_that_does_not_end_is_seen_while_it_lasts() {
        let (mut parts, _broken) = Parts::new();
        let (release, held) = std::sync::mpsc::channel::<()>();
        parts.run("hangs", async move { held.recv().unwrap_or_default() });
        let long = Duration::from_millis(50).as_secs_f64();
        while parts.statuses()[0].longest_turn_seconds < long {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let hanging = &parts.statuses()[0];
        assert_eq!((hanging.turns, hanging.state), (0, PartState::Running));
        drop(release);
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
