//! Runs many seeds of a simulation on all cores, until one fails.

#![expect(clippy::disallowed_methods, reason = "progress is shown in real time")]

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Name of the threads that run seeds; a panic in one of them is part of the finding and is not
/// printed.
const THREAD: &str = "seeds";
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// A seed takes seconds. One that takes this long never ends: it spins, or waits for an event that
/// does not happen.
const SEED_MAX: Duration = Duration::from_secs(180);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The outcome of one run, and the sum of many.
pub trait Outcome: Default + fmt::Display + Send {
    fn add(&mut self, other: &Self);
}

/// The outcome of all seeds.
pub struct Found<O> {
    /// The command that repeats a seed, without the seed's number.
    repeat: &'static str,
    pub seeds: u64,
    pub sum: O,
    /// The lowest seed that failed among those that ran, and its failure.
    pub failure: Option<(u64, String)>,
}

impl<O: Outcome> fmt::Display for Found<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seeds: {}", self.seeds, self.sum)?;
        match &self.failure {
            Some((seed, problem)) => write!(
                f,
                "\n{problem}\nrepeat it with: {} --seed {seed}",
                self.repeat
            ),
            None => Ok(()),
        }
    }
}

impl<O: Outcome> Found<O> {
    fn note(&mut self, seed: u64, result: Result<O, String>) {
        self.seeds += 1;
        match result {
            Ok(outcome) => self.sum.add(&outcome),
            Err(problem)
                if self
                    .failure
                    .as_ref()
                    .is_none_or(|(lowest, _)| seed < *lowest) =>
            {
                self.failure = Some((seed, problem));
            }
            Err(_) => {}
        }
    }
}

/// Runs `count` seeds from `first`, endlessly if `count` is 0. Stops at the first failure; a panic
/// is a failure. `repeat` is the command that repeats a seed, without the seed's number.
///
/// A seed that hangs cannot be stopped: the process prints the seed and aborts.
#[must_use]
pub fn search<O: Outcome>(
    repeat: &'static str,
    (first, count): (u64, u64),
    run: impl Fn(u64) -> Result<O, String> + Sync,
) -> Found<O> {
    keep_quiet();
    let end = if count == 0 { u64::MAX } else { first + count };
    let found = Mutex::new(Found {
        repeat,
        seeds: 0,
        sum: O::default(),
        failure: None,
    });
    let next = AtomicU64::new(first);
    let begun = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            lock(&begun).insert(seed, Instant::now());
            let result = try_run(seed, &run);
            lock(&begun).remove(&seed);
            if result.is_err() {
                next.store(end, Ordering::Relaxed);
            }
            lock(&found).note(seed, result);
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let spawn = |_| {
            thread::Builder::new()
                .name(THREAD.to_owned())
                .spawn_scoped(scope, work)
        };
        let workers: Vec<_> = (0..threads)
            .filter_map(|number| spawn(number).ok())
            .collect();
        let (started, mut shown) = (Instant::now(), Duration::ZERO);
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(LOOK_INTERVAL);
            if let Some((seed, _)) = lock(&begun)
                .iter()
                .find(|(_, since)| since.elapsed() >= SEED_MAX)
            {
                eprintln!(
                    "seed {seed} has not ended within {SEED_MAX:?}\n\
                     repeat it with: {repeat} --seed {seed}"
                );
                std::process::abort();
            }
            if started.elapsed() >= shown + PROGRESS_INTERVAL {
                shown = started.elapsed();
                let found = lock(&found);
                println!(
                    "{:>5} s, next seed {}, {found}",
                    shown.as_secs(),
                    next.load(Ordering::Relaxed)
                );
            }
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn try_run<O>(seed: u64, run: impl Fn(u64) -> Result<O, String>) -> Result<O, String> {
    let said = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "?".to_owned())
    };
    catch_unwind(AssertUnwindSafe(|| run(seed)))
        .unwrap_or_else(|panic| Err(format!("seed {seed}: panicked: {}", said(panic))))
}

fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if thread::current().name() != Some(THREAD) {
                usual(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sum(u64);

    impl fmt::Display for Sum {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    impl Outcome for Sum {
        fn add(&mut self, other: &Self) {
            self.0 += other.0;
        }
    }

    #[test]
    fn all_seeds_are_run_once() {
        let found = search("again", (3, 100), |seed| Ok(Sum(seed)));
        assert_eq!(
            (found.seeds, found.sum.0, found.failure),
            (100, (3..103).sum(), None)
        );
    }

    #[test]
    fn a_failure_and_a_panic_end_it_and_say_how_to_repeat_them() {
        for fails in [
            |_| Err("wrong".to_owned()),
            |_| -> Result<Sum, String> { panic!("wrong") },
        ] {
            let found = search("again", (0, 0), |seed| {
                if seed == 40 { fails(seed) } else { Ok(Sum(1)) }
            });
            assert!(
                found
                    .failure
                    .as_ref()
                    .is_some_and(|(seed, why)| *seed == 40 && why.contains("wrong"))
            );
            assert!(
                found
                    .to_string()
                    .ends_with("repeat it with: again --seed 40"),
                "{found}"
            );
        }
    }
}
