//! A volume on a simulated disk, driven on one thread in simulated time. One seed is one run. Only
//! with the feature `simulation`.
//!
//! [`SimulatedVolume::open`] puts writer, keeper and scrub on the current
//! [`tokio::task::LocalSet`], in a runtime whose clock is paused. The writer runs as on its own
//! thread; keeper and scrub do one turn after the other, interleaved with the writer's steps.
//! Nothing here reads a real clock, and only the catalogue (sled, in the directory that the options
//! name) touches a real disk.

#![expect(
    clippy::disallowed_methods,
    reason = "an edge: it gives the keeper the runtime's paused time"
)]

pub use crate::disk::simulated::{End, Faults, Geometry, Lie, Loss, OneIn, Random, SimulatedDisk};

use crate::clock::Clock;
use crate::disk::{Disk, DiskFile, FileId};
use crate::format::FormatError;
use crate::ids::SegmentId;
use crate::keeper::Keeper;
use crate::scrub::Scrub;
use crate::state::Job;
use crate::state::Shared;
use crate::time::Timestamp;
use crate::volume::{Parts, StopKeeper, StopScrub};
use crate::writer::Writer;
use crate::{Error, Scan, VolumeHandle, VolumeOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

/// How often the keeper looks for work while it has some, and otherwise.
const BUSY_PACE: Duration = Duration::from_millis(1);
const IDLE_PACE: Duration = Duration::from_millis(20);
/// How often the scrub reads a segment.
const SCRUB_PACE: Duration = Duration::from_millis(5);

/// A volume whose writer, keeper and scrub are tasks of the current thread. Dropping it does not
/// end them; dropping their runtime does, like a crash.
pub struct SimulatedVolume {
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
    /// `None` if it is off.
    scrub: Option<JoinHandle<()>>,
}

impl SimulatedVolume {
    /// Like [`crate::Volume::open_on`], without the lock. Has to be called within a `LocalSet`.
    ///
    /// # Errors
    /// As [`crate::Volume::open_on`].
    pub fn open(
        options: VolumeOptions,
        disk: &SimulatedDisk,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, VolumeHandle), Error> {
        options.check()?;
        let parts = Parts::new(
            options,
            &Arc::new(disk.clone()),
            clock,
            Instant::now().into_std(),
        )?;
        let stop = (
            StopKeeper(parts.start.keeper.clone()),
            StopScrub(Arc::clone(&parts.shared)),
        );
        let writer = Writer::new(disk.batch(), parts.start);
        let writer = spawn_local(async move {
            let _stop = stop;
            writer.run().await;
        });
        let keeper = spawn_local(keep(parts.keeper, parts.jobs));
        let is_scrubbed = parts.shared.options.scrub.bytes_per_second_max > 0;
        let scrub = is_scrubbed.then(|| {
            let (shared, budget) = (Arc::clone(&parts.shared), Arc::clone(&parts.intake.budget));
            let scrub = Scrub::at_once(
                Arc::clone(&shared),
                budget,
                &parts.remembered,
                Instant::now().into_std(),
            );
            spawn_local(scrub_on(scrub, shared))
        });
        Ok((
            Self {
                writer,
                keeper,
                scrub,
            },
            VolumeHandle::new(parts.shared, parts.intake),
        ))
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        let is_scrubbing = self
            .scrub
            .as_ref()
            .is_some_and(|scrub| !scrub.is_finished());
        self.writer.is_finished() && self.keeper.is_finished() && !is_scrubbing
    }

    /// Waits until all have ended: forever, if the machine has stopped.
    ///
    /// # Errors
    /// One of them panicked.
    pub async fn run(self) -> Result<(), JoinError> {
        self.writer.await?;
        self.keeper.await?;
        if let Some(scrub) = self.scrub {
            scrub.await
        } else {
            Ok(())
        }
    }
}

/// The loop of the keeper's thread, in the runtime's time.
async fn keep(mut keeper: Keeper, jobs: Receiver<Job>) {
    let mut due_at = Instant::now();
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => Some(job),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Job::Stop),
        };
        let now = Instant::now();
        if job.is_some() || due_at <= now {
            match keeper.turn(job, now.into_std()) {
                Some(wait) => due_at = now + wait,
                None => return,
            }
        }
        sleep(
            due_at
                .saturating_duration_since(now)
                .clamp(BUSY_PACE, IDLE_PACE),
        )
        .await;
    }
}

/// The loop of the scrub's thread, in the runtime's time.
async fn scrub_on(mut scrub: Scrub, shared: Arc<Shared>) {
    while !shared.scrub.is_stopped() {
        let has_worked = scrub.turn(Instant::now().into_std());
        sleep(if has_worked { SCRUB_PACE } else { IDLE_PACE }).await;
    }
    scrub.save_if_changed();
}

/// A wall clock that follows the runtime's paused time and can be made to jump.
pub struct SimulatedClock {
    base_us: AtomicI64,
    started: Instant,
}

impl SimulatedClock {
    /// Shows `start` now. Has to be created within the runtime.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            base_us: AtomicI64::new(start.0),
            started: Instant::now(),
        }
    }

    pub fn jump(&self, micros: i64) {
        self.base_us.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.base_us.load(Ordering::Relaxed)).plus(self.started.elapsed())
    }
}

/// The result of scanning the bytes of a segment file, whatever its footer says.
///
/// # Errors
/// It holds a batch of a newer version.
pub fn scan(bytes: Vec<u8>, segment: SegmentId) -> Result<Scan, FormatError> {
    match crate::scan::scan(&Bytes(bytes), segment) {
        Ok(scan) => scan,
        // A scan reads no further than the file's length.
        Err(_) => Err(FormatError::Short { what: "segment" }),
    }
}

/// The id in a segment file's name.
#[must_use]
pub fn segment_of(path: &Path) -> Option<SegmentId> {
    crate::layout::parse_path(path).map(|(id, _)| id)
}

/// The directory of a volume's catalogue.
#[must_use]
pub fn catalogue_of(root: &Path) -> PathBuf {
    crate::layout::Layout {
        root: root.to_owned(),
    }
    .catalogue()
}

/// Whether sled still has the catalogue's files open: it does for a moment after the catalogue is
/// closed.
#[must_use]
pub fn is_catalogue_held(root: &Path) -> bool {
    crate::catalogue::is_held(&catalogue_of(root))
}

/// Gives an empty disk a volume's identity, so that the identity does not come from the system's
/// randomness.
///
/// # Errors
/// The disk fails.
pub fn identify(
    disk: &SimulatedDisk,
    options: &VolumeOptions,
    volume: uuid::Uuid,
) -> io::Result<()> {
    disk.create_dir(&options.path)?;
    let path = crate::layout::Layout {
        root: options.path.clone(),
    }
    .identity();
    disk.replace(
        &path,
        &crate::identity::Identity::new(volume, options.cluster).encode(),
    )
}

struct Bytes(Vec<u8>);

impl DiskFile for Bytes {
    fn id(&self) -> io::Result<FileId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self
            .0
            .get(from..from.saturating_add(buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_bytes(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
