//! One volume as this node uses it while it is open.

use super::names::Keeping;
use super::place::{Looked, Refusal, is_on_system_disk, lock, look};
use super::register::Register;
use crate::config::{DEFAULT_RETENTION_CLASS, Io, RetentionClass as ConfiguredClass, Storage};
use holdfast_storage::chunk::Record;
use holdfast_storage::disk::{IoChoice, Root};
use holdfast_storage::ids::{NodeId, StreamId};
use holdfast_storage::retention::Caution;
use holdfast_storage::time::Timestamp;
use holdfast_storage::{
    AppendError, ClassId, Error, RetentionClass, ScrubOptions, Volume, VolumeHandle, VolumeOptions,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

const SECONDS_PER_HOUR: u64 = 3600;
const SECONDS_PER_DAY: u64 = 24 * SECONDS_PER_HOUR;
/// Reads of one volume at once; more wait, so that playback cannot take every spindle from
/// recording, and a hanging volume cannot take the others' threads.
const READS_MAX: usize = 8;

/// What opening a volume needs in addition to its path.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) node: NodeId,
    pub(super) cluster: Uuid,
    pub(super) data_dir: PathBuf,
    pub(super) storage: Storage,
    pub(super) retention: Vec<ConfiguredClass>,
}

pub(crate) struct Opened {
    pub(crate) handle: VolumeHandle,
    failed: watch::Receiver<Option<Arc<str>>>,
    /// For classes that this node's configuration does not have.
    pub(crate) default_class: ClassId,
    /// Both threads of the volume have ended: nothing writes there any more.
    has_ended: Arc<AtomicBool>,
    pub(super) reads: Arc<Semaphore>,
    /// What its cameras record together, in bytes per second, as counted last.
    pub(super) load_bps: AtomicU64,
    /// Free space and the volume's own segments, as counted last.
    pub(super) room_bytes: AtomicU64,
    /// The newest record of video that it has taken and that was not examined yet.
    newest: Mutex<Option<(StreamId, Timestamp)>>,
    /// A [`HandOver`] is on its way.
    hands_over: AtomicBool,
    pub(super) names: Keeping,
}

/// When dropped, has the volume hand over what it took.
struct HandOver(Arc<Opened>);

impl Drop for HandOver {
    fn drop(&mut self) {
        // Before the hand-over: a task that finds the flag still set has appended in time.
        self.0.hands_over.swap(false, AcqRel);
        self.0.handle.hand_over();
    }
}

impl Opened {
    pub(crate) fn index(&self) -> u16 {
        self.handle.options().index
    }

    pub(super) fn path(&self) -> &Path {
        &self.handle.options().path
    }

    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.failed.borrow().clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    /// Whether the volume is only read.
    pub(super) fn is_reading(&self) -> bool {
        self.handle.is_reading()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }

    /// Takes a record, in its retention class or, if the volume does not have that class, in the
    /// default one. It goes to the disk together with what the tasks that are ready now append: a
    /// tick of ingest is one write, and wakes the writer once.
    ///
    /// # Errors
    /// Those of [`VolumeHandle::append`].
    pub(crate) fn append(self: &Arc<Self>, class: &str, record: Record) -> Result<(), AppendError> {
        self.handle.append_quietly(
            self.handle.class(class).unwrap_or(self.default_class),
            record,
        )?;
        if !self.hands_over.swap(true, AcqRel) {
            let hand_over = HandOver(Arc::clone(self));
            if let Ok(runtime) = Handle::try_current() {
                // Behind the tasks that are ready; if the runtime ends before its turn, the drop
                // hands over all the same.
                runtime.spawn(async move { drop(hand_over) });
            }
        }
        Ok(())
    }

    pub(super) fn durable_until(&self, stream: StreamId) -> Option<Timestamp> {
        self.handle.durable_until(stream)
    }

    pub(super) fn note_newest(&self, stream: StreamId, end: Timestamp) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((stream, end));
    }

    pub(super) fn take_newest(&self) -> Option<(StreamId, Timestamp)> {
        self.newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Sets the room that the volume can use: free space and its own segments, as far as they are
    /// counted.
    pub(super) fn count_room(&self, free_bytes: u64, own_bytes: u64) {
        self.room_bytes
            .store(free_bytes.saturating_add(own_bytes), Relaxed);
    }
}

/// Opens the volume at `path`, read-only if it cannot be written. `open` are the volumes that are
/// open at other paths. Blocks as long as its disk does.
///
/// # Errors
/// What is there may not be used, or those of [`Volume::open`].
pub(super) fn open_blocking(
    settings: &Settings,
    path: &Path,
    register: &Mutex<Register>,
    open: &[(PathBuf, Uuid)],
) -> Result<(Volume, VolumeHandle), Refusal> {
    let Looked {
        root,
        index,
        volume: known,
    } = look(path, register, open)?;
    if known.is_none() {
        warn_of_system_disk(settings, &root);
    }
    let options = options(settings, path, index);
    let (volume, handle) = match Volume::open_in(options.clone(), Arc::clone(&root)) {
        Err(error) if error.is_of_the_disk() && known.is_some() => {
            let why = Arc::from(format!(
                "volume {} cannot be written: {error}",
                path.display()
            ));
            let opened = Volume::open_reading(options, root, &why).map_err(|reading| {
                tracing::error!(volume = index, %reading, "nor can what it holds be read");
                error
            })?;
            tracing::error!(volume = index, %why, "what it holds is served");
            opened
        }
        opened => opened?,
    };
    if !handle.is_reading()
        && let Err(error) = handle.unmark_new()
    {
        tracing::error!(
            volume = index, %error,
            "the mark for a new volume stays: remove volume.new by hand"
        );
    }
    let mut register = lock(register);
    register.name(index, handle.id());
    if let Err(error) = register.save(&settings.data_dir) {
        tracing::error!(
            %error,
            "the number of a volume was not kept; it may get another one at the next start"
        );
    }
    Ok((volume, handle))
}

/// At the first use of a folder.
fn warn_of_system_disk(settings: &Settings, root: &Root) {
    let device = |path: &Path| Root::open(path).ok().map(|root| root.id().device);
    let others = settings
        .storage
        .volumes
        .iter()
        .filter(|volume| volume.path != root.path());
    let others: Vec<u64> = others.filter_map(|volume| device(&volume.path)).collect();
    if device(Path::new("/"))
        .is_some_and(|system| is_on_system_disk(root.id().device, system, &others))
    {
        tracing::warn!(
            path = %root.path().display(),
            "a new volume is begun on the system's disk, while others have disks of their own: is \
             its disk mounted?"
        );
    }
}

/// Watches over a volume that was opened. To be called within the runtime.
///
/// # Errors
/// The configuration has no class for cameras that name none.
pub(super) fn watch_over(volume: Volume, handle: VolumeHandle) -> Result<Arc<Opened>, Error> {
    let default_class = handle
        .class(DEFAULT_RETENTION_CLASS)
        .ok_or_else(no_default_class)?;
    let opened = Arc::new(Opened {
        failed: handle.failed(),
        handle,
        default_class,
        has_ended: Arc::default(),
        reads: Arc::new(Semaphore::new(READS_MAX)),
        load_bps: 0.into(),
        room_bytes: 0.into(),
        newest: Mutex::default(),
        hands_over: AtomicBool::new(false),
        names: Keeping::default(),
    });
    let (has_ended, path, is_reading) = (
        Arc::clone(&opened.has_ended),
        opened.path().to_owned(),
        opened.is_reading(),
    );
    // Ends with the volume's threads; a disk that hangs keeps it as long as it hangs.
    tokio::spawn(async move {
        match volume.run().await {
            Ok(()) => tracing::info!(path = %path.display(), "volume closed"),
            // Reported already.
            Err(_) if is_reading => {}
            Err(error) => tracing::error!(%error, "volume failed; its cameras go elsewhere"),
        }
        has_ended.store(true, Relaxed);
    });
    Ok(opened)
}

fn no_default_class() -> Error {
    let problem =
        format!("a class \"{DEFAULT_RETENTION_CLASS}\" is needed, for cameras that name none");
    Error::Options {
        option: "retention",
        problem,
    }
}

fn options(settings: &Settings, path: &Path, index: u16) -> VolumeOptions {
    let storage = &settings.storage;
    VolumeOptions {
        index,
        io: match storage.io {
            Io::Auto => IoChoice::Auto,
            Io::IoUring => IoChoice::Uring,
            Io::Plain => IoChoice::Plain,
        },
        flush_interval: Duration::from_millis(storage.flush_interval_ms),
        segment_time_max: Duration::from_secs(storage.segment_seconds),
        segment_bytes_max: storage.segment_bytes_max.0,
        buffer_bytes_max: storage.buffer_bytes_max.0,
        free_bytes_min: storage.free_bytes_min.0,
        caution: Caution {
            wait: Duration::from_secs(u64::from(storage.deletion_wait_hours) * SECONDS_PER_HOUR),
            ..Caution::DEFAULT
        },
        scrub: ScrubOptions {
            bytes_per_second_max: storage.scrub_bytes_per_second_max.0,
            pass_interval: Duration::from_secs(u64::from(storage.scrub_days) * SECONDS_PER_DAY),
        },
        // They come from the replicated state: nothing is deleted before that.
        holds: None,
        spare_dir: Some(spare_dir(&settings.data_dir)),
        retention: settings.retention.iter().map(class).collect(),
        ..VolumeOptions::new(path, settings.node, settings.cluster)
    }
}

/// Holds the catalogues that cannot be written on their volumes.
pub(super) fn spare_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("spare-catalogues")
}

fn class(class: &ConfiguredClass) -> RetentionClass {
    RetentionClass {
        name: class.class.clone(),
        age_max: class
            .age_days
            .map(|days| Duration::from_secs(u64::from(days) * SECONDS_PER_DAY)),
        bytes_max: class.bytes_max.map(|bytes| bytes.0),
    }
}
