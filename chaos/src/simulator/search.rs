//! Many seeds on all cores, until one fails.

#![expect(clippy::disallowed_methods, reason = "progress is shown in real time")]

use super::twist::Twist;
use super::world::{Outcome, run};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Threads that run seeds are called so; what panics there is part of the finding, not noise on the terminal.
const THREAD: &str = "simulate";
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What the seeds came to.
#[derive(Default)]
pub struct Found {
    pub seeds: u64,
    pub sum: Outcome,
    /// The lowest seed that failed among those that ran, and what was wrong.
    pub failure: Option<(u64, String)>,
}

impl Found {
    /// So that a run that tries nothing does not pass.
    #[must_use]
    pub fn has_seen_everything(&self) -> bool {
        let Outcome { faults, acknowledged, moves, frames, stored, .. } = self.sum;
        faults > self.seeds && acknowledged > self.seeds && moves > self.seeds && stored < frames && stored > frames / 2
    }

    fn add(&mut self, outcome: &Outcome) {
        let sum = &mut self.sum;
        sum.digest ^= outcome.digest;
        sum.seconds += outcome.seconds;
        sum.faults += outcome.faults;
        sum.decided += outcome.decided;
        sum.acknowledged += outcome.acknowledged;
        sum.moves += outcome.moves;
        sum.frames += outcome.frames;
        sum.stored += outcome.stored;
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { seconds, faults, decided, acknowledged, moves, frames, stored, .. } = self.sum;
        write!(
            f,
            "{} seeds: {} h simulated, {faults} faults, {decided} entries decided, {acknowledged} changes acknowledged, {moves} moves, \
             {stored} of {frames} frames stored",
            self.seeds,
            seconds / 3600
        )?;
        match &self.failure {
            Some((seed, problem)) => write!(f, "\n{problem}\nrepeat it with: cargo xtask simulate --seed {seed}"),
            None => Ok(()),
        }
    }
}

/// Runs a seed; what panics is a finding.
fn try_run(seed: u64, twist: Twist) -> Result<Outcome, String> {
    let said = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "?".to_owned())
    };
    catch_unwind(AssertUnwindSafe(|| run(seed, twist)))
        .unwrap_or_else(|panic| Err(format!("seed {seed}: panicked: {}", said(panic))))
}

/// Runs `count` seeds from `first`, without end where `count` is 0. Ends at the first failure.
#[must_use]
pub fn search(first: u64, count: u64, twist: Twist) -> Found {
    keep_quiet();
    let end = if count == 0 { u64::MAX } else { first + count };
    let (next, found, started) = (AtomicU64::new(first), Mutex::new(Found::default()), Instant::now());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let result = try_run(seed, twist);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.seeds += 1;
            match result {
                Ok(outcome) => found.add(&outcome),
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
        let spawn = |_| std::thread::Builder::new().name(THREAD.to_owned()).spawn_scoped(scope, work);
        let workers: Vec<_> = (0..threads).filter_map(|number| spawn(number).ok()).collect();
        let mut shown = started;
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(LOOK_INTERVAL);
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
