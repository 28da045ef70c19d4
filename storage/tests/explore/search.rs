//! Many seeds on all cores, until one fails.

#![expect(clippy::disallowed_methods, reason = "progress is shown in real time")]

use crate::run::{Outcome, Twist, run};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Threads that run seeds are called so; what panics there is part of the finding, not noise on the terminal.
const THREAD: &str = "explore";

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What the seeds came to.
#[derive(Default)]
pub(crate) struct Found {
    seeds: u64,
    sum: Outcome,
    /// The lowest seed that failed among those that ran, and what was wrong.
    pub(crate) failure: Option<(u64, String)>,
}

impl Found {
    /// So that a run that tries nothing does not pass.
    pub(crate) fn has_seen_everything(&self) -> bool {
        let Outcome { lost, promised, deleted, failed_volumes, flipped, closed, .. } = self.sum;
        let Outcome { copied, held, found_damaged, jumps, unnamed, .. } = self.sum;
        let counts =
            [lost, promised, deleted, failed_volumes, flipped, closed, copied, held, found_damaged, jumps, unnamed];
        counts.iter().all(|count| *count > 0)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seeds: {}", self.seeds, self.sum)?;
        match &self.failure {
            Some((seed, problem)) => write!(f, "\n{problem}\nrepeat it with: cargo xtask explore --seed {seed}"),
            None => Ok(()),
        }
    }
}

/// Runs `count` seeds from `first`, without end where `count` is 0. Ends at the first failure.
pub(crate) fn search(first: u64, count: u64, twist: Twist) -> Found {
    keep_quiet();
    let end = if count == 0 { u64::MAX } else { first + count };
    let (next, found, started) = (AtomicU64::new(first), Mutex::new(Found::default()), Instant::now());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let result = run(seed, twist);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.seeds += 1;
            match result {
                Ok(outcome) => found.sum.add(&outcome),
                Err(problem) => {
                    next.store(end, Ordering::Relaxed);
                    let is_first = found.failure.as_ref().is_none_or(|(lowest, _)| seed < *lowest);
                    found.failure = if is_first { Some((seed, problem)) } else { found.failure.take() };
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let spawn = |_| std::thread::Builder::new().name(THREAD.to_owned()).spawn_scoped(scope, work).unwrap();
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        let mut shown = started;
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if shown.elapsed() >= PROGRESS_INTERVAL {
                shown = Instant::now();
                let found = found.lock().unwrap_or_else(PoisonError::into_inner);
                println!("{:>5} s, next seed {}, {found}", started.elapsed().as_secs(), next.load(Ordering::Relaxed));
            }
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(THREAD) {
                usual(panic);
            }
        }));
    });
}
