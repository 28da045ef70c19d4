//! Opens a volume: its lock, its identity, and the threads of writer, keeper and scrub. The cost
//! does not depend on how much is stored.

mod handle;
mod reading;

use crate::segments::find_segments;
use crate::segments::identity_of_segments;
pub use handle::VolumeHandle;

use crate::Error;
use crate::clock::{Clock, SystemClock};
use crate::damage::Damage;
use crate::disk::BatchDisk as _;
use crate::disk::{Disk, LocalFuture, RealDisk, Root, WriterHost};
use crate::identity::{Lock, identify};
use crate::ids::SegmentId;
use crate::intake::{Budget, Intake};
use crate::keeper::{Keeper, keep};
use crate::layout::Layout;
use crate::locks::{lock, write};
use crate::options::VolumeOptions;
use crate::scrub::{Remembered, Scrub};
use crate::state::Job;
use crate::state::Shared;
use crate::writer::{Start, Writer};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;
use tokio::sync::oneshot;

/// The running volume. The caller that opened it awaits [`Volume::run`].
pub struct Volume {
    shared: Arc<Shared>,
    /// One for each thread: its sender is dropped when the thread ends, in whatever way.
    ended: Vec<oneshot::Receiver<()>>,
}

impl Volume {
    /// Opens a data directory and starts recording to it; the segments of earlier processes are
    /// listed in the background. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Another process has the directory, it belongs to another cluster, it cannot be written, or
    /// an option is wrong.
    pub fn open(options: VolumeOptions) -> Result<(Self, VolumeHandle), Error> {
        options.check()?;
        prepare_root(&options.path)?;
        let root = Root::open(&options.path).map_err(Error::io("open", &options.path))?;
        Self::open_in(options, Arc::new(root))
    }

    /// Like [`Volume::open`], in a directory that is open already, wherever its path leads now.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn open_in(options: VolumeOptions, root: Arc<Root>) -> Result<(Self, VolumeHandle), Error> {
        options.check()?;
        let lock = Lock::take(&root)?;
        let disk = RealDisk::in_root(options.io, root)
            .map_err(Error::io("use io_uring on", &options.path))?;
        Self::start(options, Arc::new(disk), Arc::new(SystemClock), lock)
    }

    /// Like [`Volume::open`], on a disk and a clock that the caller provides.
    ///
    /// # Errors
    /// As [`Volume::open`].
    pub fn open_on<D: WriterHost>(
        options: VolumeOptions,
        disk: Arc<D>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, VolumeHandle), Error> {
        options.check()?;
        prepare_root(&options.path)?;
        let root = Root::open(&options.path).map_err(Error::io("open", &options.path))?;
        Self::start(options, disk, clock, Lock::take(&root)?)
    }

    fn start<D: WriterHost>(
        options: VolumeOptions,
        disk: Arc<D>,
        clock: Arc<dyn Clock>,
        lock: Lock,
    ) -> Result<(Self, VolumeHandle), Error> {
        let Parts {
            shared,
            intake,
            start,
            keeper,
            jobs,
            remembered,
        } = Parts::new(options, &disk, clock, now())?;
        let budget = Arc::clone(&intake.budget);
        let lock = Arc::new(lock);
        let thread = || Thread {
            shared: Arc::clone(&shared),
            budget: Arc::clone(&budget),
            lock: Arc::clone(&lock),
        };
        let scrub = Scrub::new(Arc::clone(&shared), Arc::clone(&budget), &remembered);
        // Dropped after the writer's end was reported: a failed volume's durable footage can still
        // be read.
        let stops = (
            StopKeeper(start.keeper.clone()),
            StopScrub(Arc::clone(&shared)),
        );
        let ended = vec![
            thread().spawn("writer", stops, move || run_writer(&*disk, start))?,
            thread().spawn("keeper", (), move || {
                keep(keeper, &jobs);
                Ok(())
            })?,
            thread().spawn("scrub", (), move || {
                run_scrub(scrub);
                Ok(())
            })?,
        ];
        let handle = VolumeHandle::new(Arc::clone(&shared), intake);
        Ok((Self { shared, ended }, handle))
    }

    /// Waits until all threads of the volume have ended. A hanging disk delays that as long as it
    /// hangs.
    ///
    /// # Errors
    /// The reason of the failure, if it failed. After [`VolumeHandle::close`] it is `Ok`.
    pub async fn run(self) -> Result<(), Error> {
        for ended in self.ended {
            // The sender is dropped at the thread's end at the latest.
            ended.await.ok();
        }
        let reason = self.shared.failed.borrow().clone();
        reason.map_or(Ok(()), |reason| {
            Err(Error::Failed {
                path: self.shared.layout.root.clone(),
                reason,
            })
        })
    }
}

/// The parts of a volume, before anything runs.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) intake: Intake,
    pub(crate) start: Start,
    pub(crate) keeper: Keeper,
    pub(crate) jobs: Receiver<Job>,
    /// State saved by the scrub of an earlier process; its damage is in the register.
    pub(crate) remembered: Remembered,
}

impl Parts {
    /// Reads the directory by its names, and gives it an identity if it has none.
    pub(crate) fn new<D: Disk>(
        options: VolumeOptions,
        disk: &Arc<D>,
        clock: Arc<dyn Clock>,
        now: Instant,
    ) -> Result<Self, Error> {
        let layout = Layout {
            root: options.path.clone(),
        };
        for class in &options.retention {
            let path = layout.class(&class.name);
            disk.create_dir(&path).map_err(Error::io("create", &path))?;
        }
        let found = find_segments(&**disk, &layout)?;
        let (identity, adoption) = identify(&**disk, &layout, options.cluster, || {
            identity_of_segments(&**disk, &layout, &found)
        })?;
        let next = found.iter().map(|found| found.id.0).max().unwrap_or(0) + 1;
        let (intake, requests) = Intake::new(options.buffer_bytes_max);
        let blocking = Arc::clone(disk) as Arc<dyn Disk>;
        // Copies of held footage on an adopted volume keep the other cluster's identity.
        let options = VolumeOptions {
            cluster: identity.cluster,
            ..options
        };
        let mut shared = Shared::new(
            options,
            layout,
            identity.volume,
            blocking,
            clock,
            SegmentId(next),
        );
        shared.take_over(adoption);
        let remembered = Remembered::load(&**disk, &shared.layout, shared.volume);
        *write(&shared.damage) = Damage::of(remembered.damaged.clone());
        let shared = Arc::new(shared);
        let (sender, jobs) = mpsc::channel();
        let start = Start {
            shared: Arc::clone(&shared),
            budget: Arc::clone(&intake.budget),
            requests,
            keeper: sender,
        };
        let keeper = Keeper::new(Arc::clone(&shared), found, now);
        Ok(Self {
            shared,
            intake,
            start,
            keeper,
            jobs,
            remembered,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an edge: the instant from which the keeper's thread counts"
)]
fn now() -> Instant {
    Instant::now()
}

/// What a thread of the volume needs for an orderly end.
struct Thread {
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    /// Held by all threads: no other process can open the directory while one of them may still
    /// write.
    lock: Arc<Lock>,
}

impl Thread {
    /// If `body` ends in any way but an orderly stop, the volume has failed. `stops` is dropped
    /// after that was reported.
    fn spawn(
        self,
        name: &'static str,
        stops: impl Send + 'static,
        body: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<oneshot::Receiver<()>, Error> {
        let (end, ended) = oneshot::channel();
        let root = self.shared.layout.root.clone();
        let run = move || {
            match catch_unwind(AssertUnwindSafe(body)) {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => self.fail(problem),
                Err(_panic) => self.fail(format!("the {name} panicked: this is a bug")),
            }
            drop(stops);
            drop(self.lock);
            // The volume's supervisor may be gone.
            end.send(()).ok();
        };
        let spawned = std::thread::Builder::new()
            .name(format!("holdfast-{name}"))
            .spawn(run);
        spawned
            .map(|_| ended)
            .map_err(Error::io("start a thread for", &root))
    }

    /// The first reason is kept.
    fn fail(&self, problem: String) {
        tracing::error!(
            volume = %self.shared.layout.root.display(), %problem,
            "the volume has failed and takes no more records"
        );
        let reason: Arc<str> = Arc::from(problem);
        let reason = self.budget.failure.get_or_init(|| reason);
        self.shared
            .failed
            .send_if_modified(|failed| failed.replace(Arc::clone(reason)).is_none());
    }
}

/// Runs the writer to its end; then the keeper, which has no more work, and the scrub have to end.
fn run_writer<D: WriterHost>(disk: &D, start: Start) -> Result<(), String> {
    let mode = Arc::clone(&start.shared);
    let body: Box<dyn FnOnce(D::Batch) -> LocalFuture<()>> = Box::new(move |batch_disk| {
        *lock(&mode.io_mode) = Some(batch_disk.mode());
        tracing::info!(
            volume = %mode.layout.root.display(), io = %batch_disk.mode(),
            "the volume is open"
        );
        Box::pin(Writer::new(batch_disk, start).run())
    });
    disk.run_writer(body)
        .map_err(|error| format!("the writer cannot start: {error}"))
}

/// A bug of the scrub must not end recording.
fn run_scrub(scrub: Scrub) {
    if catch_unwind(AssertUnwindSafe(|| scrub.run())).is_err() {
        tracing::error!(
            "the scrub panicked: this is a bug; the volume is not scrubbed until its node starts \
             again"
        );
    }
}

pub(crate) struct StopScrub(pub(crate) Arc<Shared>);

impl Drop for StopScrub {
    fn drop(&mut self) {
        self.0.scrub.stop();
    }
}

/// Stops the keeper, also if the writer panics.
pub(crate) struct StopKeeper(pub(crate) Sender<Job>);

impl Drop for StopKeeper {
    fn drop(&mut self) {
        // The keeper may have ended already.
        self.0.send(Job::Stop).ok();
    }
}

/// Opens a volume's directory. If it is missing: creates it if `is_wanted`, else returns `None`.
///
/// # Errors
/// It is no directory, or cannot be created or opened.
pub fn open_root(path: &Path, is_wanted: bool) -> Result<Option<Arc<Root>>, Error> {
    if is_wanted {
        prepare_root(path)?;
    }
    match Root::open(path) {
        Ok(root) => Ok(Some(Arc::new(root))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Error::NotADirectory {
            path: path.to_owned(),
        }),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// Creates the directory if it is missing, and checks early that it can be used.
fn prepare_root(path: &Path) -> Result<(), Error> {
    match std::fs::create_dir_all(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
            ) =>
        {
            Err(Error::NotADirectory {
                path: path.to_owned(),
            })
        }
        other => other.map_err(Error::io("create", path)),
    }
}
