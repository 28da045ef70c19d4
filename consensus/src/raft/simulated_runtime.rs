//! tokio, with randomness from a seed and file work done immediately while a simulation runs on
//! this thread. Otherwise plain tokio.

use super::simulated_watch::FairWatch;
use holdfast_storage::random::Random;
use openraft::async_runtime::AsyncRuntime;
use openraft::impls::TokioRuntime;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::cell::RefCell;
use std::io;
use std::time::Duration;

thread_local! {
    static CHANCE: RefCell<Option<Random>> = const { RefCell::new(None) };
}

/// While it exists, this thread simulates.
#[derive(Debug)]
pub(crate) struct Seeded(());

impl Seeded {
    pub(crate) fn new(random: Random) -> Self {
        CHANCE.with_borrow_mut(|chance| *chance = Some(random));
        Self(())
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        CHANCE.with_borrow_mut(|chance| *chance = None);
    }
}

fn simulates() -> bool {
    CHANCE.with_borrow(Option::is_some)
}

#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + Send> = <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = FairWatch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: Send + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + Send>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + Send>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> SmallRng {
        let seed = CHANCE.with_borrow_mut(|chance| chance.as_mut().map(Random::next));
        seed.map_or_else(
            || SmallRng::from_rng(&mut TokioRuntime::thread_rng()),
            SmallRng::seed_from_u64,
        )
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }

    /// In a simulation no time passes during this, and nothing else happens.
    async fn spawn_blocking<F, T>(work: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if simulates() {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)
    }
}
