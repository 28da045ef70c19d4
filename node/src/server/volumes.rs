//! This node's volumes as one store. A camera's recordings of one node go to one volume while that volume works.

mod attached;
mod homes;

use super::reads::{Range, Recorded};
use crate::config::Config;
use crate::recorder::status::{Identity, Status};
use attached::Attached;
pub(super) use attached::Opened;
use bytes::Bytes;
use holdfast_consensus::heartbeat::{Progress, RecorderState};
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, ChunkMeta, Gap, InitId};
use holdfast_storage::ids::{CameraId, NodeId, StreamKind};
use holdfast_storage::time::Timestamp;
use holdfast_storage::timeline::Span;
use holdfast_storage::{Holds, Stats, VolumeHandle, Watermark};
use homes::{Homes, Interval};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Disk reads at once; more wait, so that playback cannot take every thread and spindle from recording.
const READS_MAX: usize = 16;
/// How often to look whether the catalogue is open.
const CATALOGUE_LOOK: Duration = Duration::from_millis(10);
/// How long a closing volume may take to make its last records durable. A disk that hangs takes for ever.
const CLOSE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Store(#[from] holdfast_storage::Error),
    #[error("volume {0} is not configured on this node any more")]
    NoVolume(u16),
    #[error("volume {index} could not be opened when this node started: {reason}")]
    Away { index: u16, reason: Arc<str> },
    #[error("reading was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl ReadError {
    /// The data is there and damaged; asking again gives the same.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Store(holdfast_storage::Error::Damaged { .. }))
    }

    /// It may be there later: the catalogue is being rebuilt, or the volume's disk is away.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Store(holdfast_storage::Error::Catalogue { .. }) | Self::Away { .. })
    }
}

/// What could not be made durable when the node stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseError {
    #[error("{0}")]
    Store(#[from] holdfast_storage::Error),
    #[error(
        "volume {path} did not make its last records durable within {wait_max:?}: its disk hangs; what came after its last flush may be missing"
    )]
    Hangs { path: PathBuf, wait_max: Duration },
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Volumes {
    attached: Arc<Attached>,
    homes: Arc<Mutex<Homes>>,
    reads: Arc<Semaphore>,
}

impl Volumes {
    /// Opens every configured volume; recording can begin when this returns. Blocks for some milliseconds per volume. A volume that cannot be opened
    /// is logged, counts as failed, and holds nobody up.
    ///
    /// # Errors
    /// A volume is in use or another cluster's, an option is wrong, or no volume at all can be opened.
    pub(crate) fn open(config: &Config, node: NodeId, cluster: Uuid) -> Result<Self, holdfast_storage::Error> {
        let attached = Arc::new(Attached::open(config, node, cluster)?);
        Ok(Self { attached, homes: Arc::default(), reads: Arc::new(Semaphore::new(READS_MAX)) })
    }

    fn handles(&self) -> Vec<VolumeHandle> {
        self.attached.opened.iter().map(|volume| volume.handle.clone()).collect()
    }

    fn opened(&self, index: u16) -> Option<&Opened> {
        self.attached.opened.iter().find(|volume| volume.index() == index)
    }

    /// The volume that records `camera`: the same one as long as it works, else the next that does. Where none works, the last one.
    fn volume_of(&self, camera: CameraId) -> &Opened {
        let count = self.count();
        let candidates = (0..count).map(|step| (camera.0 as usize + step) % count);
        let mut candidates = candidates.filter_map(|index| self.opened(u16::try_from(index).ok()?));
        let works = candidates.find(|volume| volume.is_working());
        let last = || self.opened(self.homes().volume(camera)?);
        works.or_else(last).unwrap_or(&self.attached.opened[0])
    }

    /// The volume for the camera's next record.
    ///
    /// # Errors
    /// It is another one than before, which is told once: what the volume before took and has not made durable.
    pub(super) fn enter(&self, camera: CameraId) -> Result<&Opened, Moved> {
        let volume = self.volume_of(camera);
        let Some(before) = self.homes().enter(camera, volume.index()) else { return Ok(volume) };
        let durable = self.opened(before.volume).and_then(|before| durable_until(before, camera));
        let lost = before.lost(durable);
        tracing::warn!(%camera, from = before.volume, to = volume.index(), ?lost, "recording goes on on another volume");
        Err(Moved { lost })
    }

    /// `volume` has taken a chunk.
    pub(super) fn took(&self, volume: &Opened, meta: &ChunkMeta) {
        self.homes().took(meta, || durable_until(volume, meta.camera));
    }

    fn homes(&self) -> MutexGuard<'_, Homes> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of the configuration, those that could not be opened included.
    fn count(&self) -> usize {
        self.attached.opened.len() + self.attached.away.len()
    }

    /// What the node holds of a range, and whether that is all of it.
    pub(crate) async fn recorded(&self, range: Range) -> Result<Recorded, ReadError> {
        let complete = self.attached.away.is_empty();
        let answers = self.of_each(move |handle| recorded(handle, range)).await?;
        let mut all =
            Recorded { complete: complete && answers.len() == self.attached.opened.len(), ..Recorded::default() };
        for (is_recovered, spans, gaps) in answers {
            all.complete &= is_recovered;
            all.spans.extend(spans);
            all.gaps.extend(gaps);
        }
        Ok(all)
    }

    pub(crate) async fn entries(&self, range: Range) -> Result<Vec<ChunkEntry>, ReadError> {
        let read = move |handle: &VolumeHandle| handle.entries(range.camera, range.stream, range.from, range.to);
        Ok(self.of_each(read).await?.concat())
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
        let index = location.volume;
        let Some(volume) = self.opened(index) else {
            let away = self.attached.away.iter().find(|away| away.index == index);
            return Err(away.map_or(ReadError::NoVolume(index), |away| away.error()));
        };
        let handle = volume.handle.clone();
        self.read_disk(move || Ok(handle.read(&location)?)).await
    }

    /// The answers of all volumes that have one. One volume that cannot be read does not hide what the others hold.
    ///
    /// # Errors
    /// The first, where no volume has an answer.
    async fn of_each<T: Send + 'static>(
        &self,
        read: impl Fn(&VolumeHandle) -> Result<T, holdfast_storage::Error> + Send + 'static,
    ) -> Result<Vec<T>, ReadError> {
        let handles = self.handles();
        self.read_disk(move || {
            let (mut answers, mut failed) = (Vec::new(), None);
            for handle in &handles {
                match read(handle) {
                    Ok(answer) => answers.push(answer),
                    Err(error) => {
                        tracing::warn!(%error, "a volume is left out of an answer");
                        failed.get_or_insert(error);
                    }
                }
            }
            match failed {
                Some(error) if answers.is_empty() => Err(error.into()),
                _ => Ok(answers),
            }
        })
        .await
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
            while !self.attached.opened.iter().all(|volume| volume.handle.stats().is_catalogue_open) {
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
        let marks = self.attached.opened.iter().filter_map(|volume| volume.handle.watermark(camera, StreamKind::Main));
        marks.map(|mark| mark.durable_end).max()
    }

    /// How far this identity's recording of the camera is durable, on the volume that it goes to. Until something is durable there, the former one
    /// tells: what is missing between them is in the ledger of the new one before its first chunk.
    fn watermark(&self, camera: CameraId, identity: Identity) -> Option<Watermark> {
        let mark =
            |volume: &Opened| volume.handle.watermark_of(camera, StreamKind::Main, identity.epoch, identity.rank);
        let home = self.homes().volume(camera).and_then(|index| self.opened(index));
        let elsewhere = || self.attached.opened.iter().filter_map(mark).max_by_key(|mark| mark.durable_end);
        home.and_then(mark).or_else(elsewhere)
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

    /// By index; those that could not be opened have failed.
    pub(crate) fn stats(&self) -> Vec<Stats> {
        let away = self.attached.away.iter().map(|away| (away.index, Stats::of_unopened(&away.reason)));
        let opened = self.attached.opened.iter().map(|volume| (volume.index(), volume.handle.stats()));
        let mut stats: Vec<_> = opened.chain(away).collect();
        stats.sort_by_key(|(index, _)| *index);
        stats.into_iter().map(|(_, stats)| stats).collect()
    }

    /// Whether at least one volume takes records; else why not.
    pub(crate) fn writable(&self) -> Result<(), String> {
        if self.attached.opened.iter().any(Opened::is_working) {
            return Ok(());
        }
        let away = self.attached.away.iter().map(|away| Arc::clone(&away.reason));
        let failures = self.attached.opened.iter().filter_map(Opened::failure).chain(away);
        Err(failures.map(|reason| reason.to_string()).collect::<Vec<_>>().join("; "))
    }

    /// Whether every volume has room, or may make some; else which has not.
    pub(crate) fn room(&self) -> Result<(), String> {
        let stuck = self.attached.opened.iter().filter(|volume| volume.handle.stats().is_stuck);
        let problems: Vec<String> = stuck.map(|volume| no_room(&volume.handle.options().path)).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// What retention may not delete, on every volume.
    pub(super) fn set_holds(&self, holds: &Holds) {
        self.handles().iter().for_each(|handle| handle.set_holds(holds.clone()));
    }

    /// Makes everything durable that was appended, and ends the writers.
    ///
    /// # Errors
    /// The first volume that failed or hangs; the others are closed all the same.
    pub(crate) async fn close(&self) -> Result<(), CloseError> {
        let closings = self.attached.opened.iter().map(|volume| {
            let handle = &volume.handle;
            close_within(CLOSE_MAX, &handle.options().path, handle.close())
        });
        futures::future::join_all(closings).await.into_iter().collect()
    }
}

fn no_room(path: &Path) -> String {
    let path = path.display();
    format!(
        "volume {path} is full and nothing on it may be deleted: make room there, or remove holds; recording goes on by itself then"
    )
}

/// The camera's records go to another volume than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) lost: Option<Interval>,
}

fn durable_until(volume: &Opened, camera: CameraId) -> Option<Timestamp> {
    volume.handle.durable_until(camera, StreamKind::Main)
}

type RecordedThere = (bool, Vec<Span>, Vec<Gap>);

/// Whether all of it is listed is asked first: what is listed meanwhile is in the answer or not, but not said to be.
fn recorded(handle: &VolumeHandle, range: Range) -> Result<RecordedThere, holdfast_storage::Error> {
    let Range { camera, stream, from, to } = range;
    let is_recovered = handle.stats().is_recovered();
    Ok((is_recovered, handle.spans(camera, stream, from, to)?, handle.gaps(camera, stream, from, to)?))
}

async fn close_within(
    wait_max: Duration,
    path: &Path,
    closing: impl Future<Output = Result<(), holdfast_storage::Error>>,
) -> Result<(), CloseError> {
    match timeout(wait_max, closing).await {
        Ok(closed) => Ok(closed?),
        Err(_) => Err(CloseError::Hangs { path: path.to_owned(), wait_max }),
    }
}

#[cfg(test)]
mod tests;
