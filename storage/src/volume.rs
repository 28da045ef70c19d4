//! Opening a volume: lock, identity, the writer's and the keeper's threads. Its cost does not depend on how much is stored.

mod handle;

pub use handle::VolumeHandle;

use crate::Error;
use crate::clock::{Clock, SystemClock};
use crate::disk::BatchDisk as _;
use crate::disk::{Disk, LocalFuture, RealDisk, WriterHost};
use crate::format::{BLOCK_BYTES, SegmentHeader};
use crate::identity::{Lock, identify};
use crate::ids::SegmentId;
use crate::intake::Intake;
use crate::keeper::{Found, Job, Keeper};
use crate::layout::{Layout, parse_file_name};
use crate::options::VolumeOptions;
use crate::reader::Caches;
use crate::shared::{Counters, Shared, lock};
use crate::writer::{Start, Writer};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// The running volume. Whoever opened it awaits [`Volume::run`].
pub struct Volume {
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Volume {
    /// Opens a data directory and starts recording to it; what former processes left is listed in the background.
    /// Blocks for some milliseconds.
    ///
    /// # Errors
    /// Another process has the directory, it belongs to another cluster, it cannot be written, or an option is wrong.
    pub fn open(options: VolumeOptions) -> Result<(Self, VolumeHandle), Error> {
        options.check()?;
        prepare_root(&options.path)?;
        let layout = Layout { root: options.path.clone() };
        let lock = Lock::take(&layout)?;
        let disk = RealDisk::new(options.io, &options.path).map_err(Error::io("use io_uring on", &options.path))?;
        Self::start(options, Arc::new(disk), Arc::new(SystemClock), lock)
    }

    /// As [`Volume::open`], on a disk and a clock of the caller's.
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
        let lock = Lock::take(&Layout { root: options.path.clone() })?;
        Self::start(options, disk, clock, lock)
    }

    fn start<D: WriterHost>(
        options: VolumeOptions,
        disk: Arc<D>,
        clock: Arc<dyn Clock>,
        lock: Lock,
    ) -> Result<(Self, VolumeHandle), Error> {
        let layout = Layout { root: options.path.clone() };
        for class in &options.retention {
            let path = layout.class(&class.name);
            disk.create_dir(&path).map_err(Error::io("create", &path))?;
        }
        let found = find_segments(&*disk, &layout)?;
        let identity = identify(&*disk, &layout, options.cluster, || identity_of_segments(&*disk, &layout, &found))?;
        let next = found.iter().map(|found| found.id.0).max().unwrap_or(0) + 1;
        let (intake, requests) = Intake::new(options.buffer_bytes_max);
        let shared = Arc::new(new_shared(options, layout, identity.volume, Arc::clone(&disk) as Arc<dyn Disk>, clock));
        let (keeper, jobs) = std::sync::mpsc::channel();
        let start = Start {
            shared: Arc::clone(&shared),
            budget: Arc::clone(&intake.budget),
            requests,
            keeper: keeper.clone(),
            next_segment: SegmentId(next),
        };
        let (stop, stopped) = oneshot::channel();
        let writer = spawn("holdfast-writer", &shared, move || run_writer(&*disk, start, &keeper))?;
        let keeper = Keeper::new(Arc::clone(&shared), jobs, found);
        let keeper = spawn("holdfast-keeper", &shared, move || {
            keeper.run();
            drop(lock);
            // Whoever supervised the volume may be gone.
            stop.send(()).ok();
        })?;
        let handle = VolumeHandle::new(Arc::clone(&shared), intake);
        Ok((Self { shared, stopped, threads: vec![writer, keeper] }, handle))
    }

    /// Waits until the volume stops.
    ///
    /// # Errors
    /// It failed, and why. After [`VolumeHandle::close`] it is `Ok`.
    pub async fn run(self) -> Result<(), Error> {
        let is_orderly = self.stopped.await.is_ok();
        for thread in self.threads {
            // The keeper has told its end, and the writer's came before; a join does not block.
            if thread.join().is_err() {
                return Err(self.shared.failure("a thread of the volume panicked"));
            }
        }
        let reason = self.shared.failed.borrow().clone();
        match reason {
            None if is_orderly => Ok(()),
            None => Err(self.shared.failure("a thread of the volume ended early")),
            Some(reason) => Err(self.shared.failure(&reason)),
        }
    }
}

impl Shared {
    fn failure(&self, reason: &str) -> Error {
        Error::Failed { path: self.layout.root.clone(), reason: Arc::from(reason) }
    }
}

fn new_shared(
    options: VolumeOptions,
    layout: Layout,
    volume: Uuid,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Shared {
    Shared {
        options,
        layout,
        volume,
        disk,
        clock,
        open: RwLock::default(),
        known: RwLock::default(),
        watermarks: RwLock::default(),
        catalogue: RwLock::default(),
        is_catalogue_suspect: false.into(),
        caches: Caches::default(),
        counters: Counters::default(),
        io_mode: Mutex::default(),
        failed: watch::Sender::new(None),
        published: watch::Sender::new(0),
    }
}

fn spawn(name: &str, shared: &Shared, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map_err(Error::io("start a thread for", &shared.layout.root))
}

fn run_writer<D: WriterHost>(disk: &D, start: Start, keeper: &std::sync::mpsc::Sender<Job>) {
    let (shared, budget) = (Arc::clone(&start.shared), Arc::clone(&start.budget));
    let mode = Arc::clone(&shared);
    let body: Box<dyn FnOnce(D::Batch) -> LocalFuture<()>> = Box::new(move |batch_disk| {
        *lock(&mode.io_mode) = Some(batch_disk.mode());
        tracing::info!(volume = %mode.layout.root.display(), io = %batch_disk.mode(), "the volume is open");
        Box::pin(Writer::new(batch_disk, start).run())
    });
    let problem = match catch_unwind(AssertUnwindSafe(|| disk.run_writer(body))) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("the writer cannot start: {error}")),
        Err(_panic) => Some("the writer panicked: this is a bug".to_owned()),
    };
    if let Some(problem) = problem {
        let reason: Arc<str> = Arc::from(problem);
        budget.failure.get_or_init(|| Arc::clone(&reason));
        shared.failed.send_replace(Some(reason));
    }
    // The keeper ends by itself where it has no more to do.
    keeper.send(Job::Stop).ok();
}

/// Makes the directory if it is missing, and finds out early whether it can be used.
fn prepare_root(path: &Path) -> Result<(), Error> {
    match std::fs::create_dir_all(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            Err(Error::NotADirectory { path: path.to_owned() })
        }
        other => other.map_err(Error::io("create", path)),
    }
}

/// Every segment file, whatever its class; files with other names are not ours.
fn find_segments(disk: &dyn Disk, layout: &Layout) -> Result<Vec<Found>, Error> {
    let root = layout.segments();
    let mut found = Vec::new();
    for class in disk.list(&root).map_err(Error::io("list", &root))?.into_iter().filter(|entry| entry.is_dir) {
        let path = layout.class(&class.name);
        let name: Arc<str> = Arc::from(class.name);
        let files = disk.list(&path).map_err(Error::io("list", &path))?;
        let segments = files.into_iter().filter_map(|file| Some((parse_file_name(&file.name)?, file.bytes)));
        found.extend(segments.map(|(id, bytes)| Found { id, class: Arc::clone(&name), bytes }));
    }
    Ok(found)
}

fn identity_of_segments(disk: &dyn Disk, layout: &Layout, found: &[Found]) -> Option<(Uuid, Uuid)> {
    let mut newest_first: Vec<&Found> = found.iter().collect();
    newest_first.sort_by_key(|found| std::cmp::Reverse(found.id));
    newest_first.into_iter().find_map(|found| {
        let file = disk.open_read(&layout.segment(&found.class, found.id)).ok()?;
        let mut block = vec![0; BLOCK_BYTES];
        file.read_exact_at(&mut block, 0).ok()?;
        let header = SegmentHeader::decode(&block).ok()?;
        Some((header.volume, header.cluster))
    })
}
