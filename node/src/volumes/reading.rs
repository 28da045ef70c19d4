//! What the volumes hold, as one answer. Each volume is queried on its own threads and with a
//! deadline: a volume that hangs is left out, and delays no answer.

use super::choice::Standing;
use super::slots::Slot;
use super::{Opened, Volumes};
use crate::volumes::report::Recorded;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use holdfast_control_api::backend::{Lost, Payload};
use holdfast_storage::chunk::{ChunkEntry, ChunkLocation, Gap, InitId};
use holdfast_storage::ids::CameraId;
use holdfast_storage::timeline::Span;
use holdfast_storage::{Range, VolumeHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A volume that does not answer within this time is left out; peers wait little longer.
const LIST_MAX: Duration = Duration::from_millis(1500);
/// A run of chunks must be read within this time.
const RUN_MAX: Duration = Duration::from_secs(8);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Store(#[from] holdfast_storage::Error),
    #[error("volume {0} is not configured on this node any more")]
    NoVolume(u16),
    #[error("volume {index} is not open: {reason}")]
    Away { index: u16, reason: Arc<str> },
    #[error("volume {index} did not answer within {wait_max:?}: its disk hangs, or is too slow")]
    Hangs { index: u16, wait_max: Duration },
    #[error("reading was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl ReadError {
    /// The data is there and damaged; another request gives the same.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Store(holdfast_storage::Error::Damaged { .. }))
    }

    /// The data may be available later: the catalogue is being rebuilt, or the volume's disk is
    /// away.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Store(holdfast_storage::Error::Catalogue { .. })
                | Self::Away { .. }
                | Self::Hangs { .. }
        )
    }
}

impl Volumes {
    /// What the node holds of a range, and whether that is all of it.
    pub(crate) async fn recorded(&self, range: Range) -> Result<Recorded, ReadError> {
        let (answers, is_complete) = self.of_each(move |handle| recorded(handle, range)).await?;
        let mut all = Recorded {
            complete: is_complete,
            ..Recorded::default()
        };
        for (is_recovered, spans, gaps) in answers {
            all.complete &= is_recovered;
            all.spans.extend(spans);
            all.gaps.extend(gaps);
        }
        Ok(all)
    }

    /// As [`Self::recorded`], of each range.
    pub(crate) async fn recorded_of(&self, ranges: &[Range]) -> Result<Vec<Recorded>, ReadError> {
        try_join_all(ranges.iter().map(|range| self.recorded(*range))).await
    }

    pub(crate) async fn entries(&self, range: Range) -> Result<Vec<ChunkEntry>, ReadError> {
        let read = move |handle: &VolumeHandle| handle.entries(range);
        Ok(self.of_each(read).await?.0.concat())
    }

    pub(crate) async fn init(&self, camera: CameraId, init: InitId) -> Result<Bytes, ReadError> {
        let volumes = self.opened();
        let asked = volumes
            .iter()
            .map(|volume| read_disk(volume, LIST_MAX, move |handle| handle.init(camera, init)));
        let mut missing = Err(ReadError::NoVolume(0));
        for answer in join_all(asked).await {
            match answer {
                Ok(bytes) => return Ok(bytes),
                Err(error) => missing = Err(error),
            }
        }
        missing
    }

    /// The payloads of chunks of one volume, in their order. One thread reads them all.
    pub(crate) async fn read(
        &self,
        index: u16,
        run: Vec<ChunkLocation>,
    ) -> Result<Vec<Payload>, ReadError> {
        let volume = self.open_volume(index)?;
        let payloads = read_disk(&volume, RUN_MAX, move |handle| Ok(handle.read_all(&run))).await?;
        payloads
            .into_iter()
            .map(|payload| payload_of(&volume, payload))
            .collect()
    }

    fn open_volume(&self, index: u16) -> Result<Arc<Opened>, ReadError> {
        let slots = self.slots();
        let slot = slots
            .iter()
            .find(|slot| slot.index == index)
            .ok_or(ReadError::NoVolume(index))?;
        let away = || ReadError::Away {
            index,
            reason: slot.trouble().unwrap_or_default().into(),
        };
        slot.open().cloned().ok_or_else(away)
    }

    /// The answers of all volumes that have one, and whether those are all. A volume that cannot be
    /// read does not hide what the others hold.
    ///
    /// # Errors
    /// The first one, if no volume has an answer.
    async fn of_each<T: Send + 'static>(
        &self,
        read: impl Fn(&VolumeHandle) -> Result<T, holdfast_storage::Error> + Clone + Send + 'static,
    ) -> Result<(Vec<T>, bool), ReadError> {
        let (asked, count) = {
            let slots = self.slots();
            let answers = |slot: &&Slot| slot.standing() != Standing::Hung;
            let asked: Vec<_> = slots
                .iter()
                .filter(answers)
                .filter_map(Slot::open)
                .cloned()
                .collect();
            (asked, slots.len())
        };
        let reads = asked
            .iter()
            .map(|volume| read_disk(volume, LIST_MAX, read.clone()));
        let (mut answers, mut failed) = (Vec::new(), None);
        for answer in join_all(reads).await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    tracing::warn!(%error, "a volume is left out of an answer");
                    failed.get_or_insert(error);
                }
            }
        }
        let is_complete = answers.len() == count;
        match failed {
            Some(error) if answers.is_empty() => Err(error),
            _ => Ok((answers, is_complete)),
        }
    }
}

/// # Errors
/// Another read of the chunk may succeed.
fn payload_of(
    volume: &Opened,
    payload: Result<Bytes, holdfast_storage::Error>,
) -> Result<Payload, ReadError> {
    match payload {
        Err(error @ holdfast_storage::Error::Damaged { .. }) => {
            Ok(Err(Lost::Damaged(error.to_string())))
        }
        // While segments of former processes are not listed yet, it may be in one of them.
        Err(holdfast_storage::Error::NoSegment { .. }) if volume.handle.stats().is_recovered() => {
            Ok(Err(Lost::Deleted))
        }
        other => Ok(Ok(other?)),
    }
}

/// The deadline includes the wait for a permit: a volume that hangs keeps those that it was given.
async fn read_disk<T: Send + 'static>(
    volume: &Arc<Opened>,
    wait_max: Duration,
    read: impl FnOnce(&VolumeHandle) -> Result<T, holdfast_storage::Error> + Send + 'static,
) -> Result<T, ReadError> {
    let (reads, handle) = (Arc::clone(&volume.reads), volume.handle.clone());
    let reading = async {
        // Never closed, so either a permit comes or the deadline passes.
        let permit = reads.acquire_owned().await;
        let read = spawn_blocking(move || {
            let _permit = permit;
            read(&handle)
        });
        Ok(read.await??)
    };
    let hangs = |_| ReadError::Hangs {
        index: volume.index(),
        wait_max,
    };
    timeout(wait_max, reading).await.map_err(hangs)?
}

type RecordedThere = (bool, Vec<Span>, Vec<Gap>);

/// First asks whether everything is listed: what is listed in the meantime may be in the answer,
/// but completeness is not claimed for it.
fn recorded(handle: &VolumeHandle, range: Range) -> Result<RecordedThere, holdfast_storage::Error> {
    let is_recovered = handle.stats().is_recovered();
    let (spans, gaps) = handle.recorded(range)?;
    Ok((is_recovered, spans, gaps))
}
