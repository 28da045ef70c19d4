//! This node's volumes as one store. A camera's recordings of one node go to one volume while that volume works.

use super::reads::{Range, Recorded};
use crate::config::{Config, DEFAULT_RETENTION_CLASS, Io};
use crate::recorder::status::{Identity, Status};
use bytes::Bytes;
use holdfast_consensus::heartbeat::{Progress, RecorderState};
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, InitId};
use holdfast_storage::disk::IoChoice;
use holdfast_storage::ids::{CameraId, NodeId, StreamKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{ClassId, RetentionClass, Stats, Volume, VolumeHandle, VolumeOptions, Watermark};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Disk reads at once; more wait, so that playback cannot take every thread and spindle from recording.
const READS_MAX: usize = 16;
/// How often to look whether the catalogue is open.
const CATALOGUE_LOOK: Duration = Duration::from_millis(10);
const SECONDS_PER_DAY: u64 = 24 * 3600;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Store(#[from] holdfast_storage::Error),
    #[error("volume {0} is not configured on this node any more")]
    NoVolume(u16),
    #[error("reading was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl ReadError {
    /// The data is there and damaged; asking again gives the same.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Store(holdfast_storage::Error::Damaged { .. }))
    }

    /// It will be there soon: the catalogue is being rebuilt.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Store(holdfast_storage::Error::Catalogue { .. }))
    }
}

/// One volume as this node uses it.
pub(super) struct Attached {
    pub(super) handle: VolumeHandle,
    failed: watch::Receiver<Option<Arc<str>>>,
    /// For classes that this node's configuration does not have.
    pub(super) default_class: ClassId,
}

impl Attached {
    fn failure(&self) -> Option<Arc<str>> {
        self.failed.borrow().clone()
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Volumes {
    attached: Arc<[Attached]>,
    reads: Arc<Semaphore>,
}

impl Volumes {
    /// Opens every configured volume; recording can begin when this returns. Blocks for some milliseconds per volume.
    ///
    /// # Errors
    /// The first volume that cannot be opened.
    pub(crate) fn open(config: &Config, node: NodeId, cluster: Uuid) -> Result<Self, holdfast_storage::Error> {
        let paths = config.volume_paths();
        let attached = paths.into_iter().zip(0..).map(|(path, index)| {
            attach(options(config, VolumeOptions { index, ..VolumeOptions::new(path, node, cluster) }))
        });
        let attached = attached.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { attached: attached.into(), reads: Arc::new(Semaphore::new(READS_MAX)) })
    }

    fn handles(&self) -> Vec<VolumeHandle> {
        self.attached.iter().map(|attached| attached.handle.clone()).collect()
    }

    /// The volume that records `camera`: the same one as long as it works, else the next that does.
    pub(super) fn volume_of(&self, camera: CameraId) -> &Attached {
        let count = self.attached.len();
        let first = camera.0 as usize % count;
        let mut candidates = (0..count).map(|step| &self.attached[(first + step) % count]);
        candidates.find(|attached| attached.failure().is_none()).unwrap_or(&self.attached[first])
    }

    pub(crate) async fn recorded(&self, range: Range) -> Result<Recorded, ReadError> {
        let handles = self.handles();
        self.read_disk(move || {
            let mut recorded = Recorded::default();
            for handle in &handles {
                recorded.spans.extend(handle.spans(range.camera, range.stream, range.from, range.to)?);
                recorded.gaps.extend(handle.gaps(range.camera, range.stream, range.from, range.to)?);
            }
            Ok(recorded)
        })
        .await
    }

    pub(crate) async fn entries(&self, range: Range) -> Result<Vec<ChunkEntry>, ReadError> {
        let handles = self.handles();
        self.read_disk(move || {
            let mut entries = Vec::new();
            for handle in &handles {
                entries.extend(handle.entries(range.camera, range.stream, range.from, range.to)?);
            }
            Ok(entries)
        })
        .await
    }

    pub(crate) async fn init(&self, camera: CameraId, init: InitId) -> Result<Bytes, ReadError> {
        let handles = self.handles();
        self.read_disk(move || {
            let mut missing = Err(ReadError::NoVolume(0));
            for handle in &handles {
                match handle.init(camera, init) {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => missing = Err(error.into()),
                }
            }
            missing
        })
        .await
    }

    pub(crate) async fn read(&self, location: ChunkLocation) -> Result<Bytes, ReadError> {
        let attached = self.attached.get(usize::from(location.volume)).ok_or(ReadError::NoVolume(location.volume))?;
        let handle = attached.handle.clone();
        self.read_disk(move || Ok(handle.read(&location)?)).await
    }

    async fn read_disk<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        // Never closed, so a permit always comes; the wait is bounded by the callers' deadlines.
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        spawn_blocking(move || {
            let _permit = permit;
            read()
        })
        .await?
    }

    /// Waits until it is known what former processes recorded, as far as that is quick.
    pub(crate) async fn wait_for_catalogue(&self, wait_max: Duration) {
        let opened = async {
            while !self.attached.iter().all(|attached| attached.handle.stats().is_catalogue_open) {
                sleep(CATALOGUE_LOOK).await;
            }
        };
        if timeout(wait_max, opened).await.is_err() {
            tracing::warn!(
                "a catalogue is not open yet; recording begins without knowing how far the last process came"
            );
        }
    }

    /// How far the camera was recorded on this node, by any process.
    pub(crate) fn recorded_until(&self, camera: CameraId) -> Option<Timestamp> {
        let marks = self.attached.iter().filter_map(|attached| attached.handle.watermark(camera, StreamKind::Main));
        marks.map(|mark| mark.durable_end).max()
    }

    /// How far this identity's recording of the camera is durable.
    fn watermark(&self, camera: CameraId, identity: Identity) -> Option<Watermark> {
        let Identity { epoch, rank } = identity;
        let marks = self.attached.iter().map(|attached| &attached.handle);
        let marks = marks.filter_map(|handle| handle.watermark_of(camera, StreamKind::Main, epoch, rank));
        marks.max_by_key(|mark| mark.durable_end)
    }

    /// What the heartbeat tells of one recorder: only what is durable counts.
    pub(crate) fn progress(&self, status: Status) -> Progress {
        let mark = self.watermark(status.camera, status.identity);
        let failed = self.volume_of(status.camera).failure();
        let state = match (&failed, status.state) {
            (Some(_), _) => RecorderState::Failing,
            (None, RecorderState::Recording) if mark.is_none() => RecorderState::Starting,
            (None, state) => state,
        };
        Progress {
            camera: status.camera,
            epoch: status.identity.epoch,
            rank: status.identity.rank,
            state,
            watermark: mark.map(|mark| mark.durable_end),
            first_keyframe: mark.and_then(|mark| mark.first_keyframe),
            error: failed.map(|reason| reason.to_string()).or(status.error),
        }
    }

    pub(crate) fn stats(&self) -> Vec<Stats> {
        self.attached.iter().map(|attached| attached.handle.stats()).collect()
    }

    /// Whether at least one volume takes records; else why not.
    pub(crate) fn writable(&self) -> Result<(), String> {
        let failures: Vec<_> = self.attached.iter().filter_map(Attached::failure).collect();
        if failures.len() < self.attached.len() {
            return Ok(());
        }
        Err(failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// Makes everything durable that was appended, and ends the writers.
    ///
    /// # Errors
    /// The first volume that failed; the others are closed all the same.
    pub(crate) async fn close(&self) -> Result<(), holdfast_storage::Error> {
        let closed = futures::future::join_all(self.attached.iter().map(|attached| attached.handle.close())).await;
        closed.into_iter().collect()
    }
}

/// Opens a volume and watches over it.
fn attach(options: VolumeOptions) -> Result<Attached, holdfast_storage::Error> {
    let path = options.path.clone();
    let (volume, handle) = Volume::open(options)?;
    tokio::spawn(async move {
        match volume.run().await {
            Ok(()) => tracing::info!(path = %path.display(), "volume closed"),
            Err(error) => tracing::error!(%error, "volume failed; its cameras go elsewhere"),
        }
    });
    let default_class = handle.class(DEFAULT_RETENTION_CLASS).ok_or_else(no_default_class)?;
    Ok(Attached { failed: handle.failed(), handle, default_class })
}

fn no_default_class() -> holdfast_storage::Error {
    let problem = format!("a class \"{DEFAULT_RETENTION_CLASS}\" is needed, for cameras that name none");
    holdfast_storage::Error::Options { option: "retention", problem }
}

fn options(config: &Config, base: VolumeOptions) -> VolumeOptions {
    let storage = &config.storage;
    VolumeOptions {
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
        retention: config.retention.iter().map(class).collect(),
        ..base
    }
}

fn class(class: &crate::config::RetentionClass) -> RetentionClass {
    RetentionClass {
        name: class.class.clone(),
        age_max: class.age_days.map(|days| Duration::from_secs(u64::from(days) * SECONDS_PER_DAY)),
        bytes_max: class.bytes_max.map(|bytes| bytes.0),
    }
}
