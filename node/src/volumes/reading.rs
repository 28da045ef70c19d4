//! What the volumes hold, as one answer. Each volume is queried on its own threads and with a
//! deadline: a volume that hangs is left out, and delays no answer.

use super::choice::Standing;
use super::slots::Slot;
use super::{Opened, Volumes};
use crate::volumes::report::Recorded;
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use holdfast_control_api::ports::{Lost, Payload};
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
        let is_away = matches!(
            self,
            Self::Away { .. } | Self::Store(holdfast_storage::Error::Io { .. })
        );
        is_away || self.is_late()
    }

    /// The data is expected in a moment.
    pub(crate) fn is_late(&self) -> bool {
        matches!(
            self,
            Self::Store(holdfast_storage::Error::Catalogue { .. }) | Self::Hangs { .. }
        )
    }
}

/// The chunks of a range, and the first volume that may list more of them in a moment.
pub(crate) type Entries = (Vec<ChunkEntry>, Option<u16>);

/// The answers of the volumes, each with its number.
struct Answers<T> {
    of: Vec<(u16, T)>,
    /// How many volumes there are, open or not.
    volumes: usize,
    /// The first one that was not asked, and may answer in a moment.
    awaited: Option<u16>,
    failed: Vec<(u16, ReadError)>,
}

impl<T> Answers<T> {
    /// # Errors
    /// No volume has an answer, and one could not be read.
    fn some(self) -> Result<Vec<T>, ReadError> {
        match self.failed.into_iter().next() {
            Some((_, error)) if self.of.is_empty() => Err(error),
            _ => Ok(self.of.into_iter().map(|(_, answer)| answer).collect()),
        }
    }
}

impl<T> Answers<(bool, T)> {
    /// The first volume that may list more in a moment: its disk is slow, it has been away for only
    /// a moment, or it reports that not all of it is listed yet.
    fn late(&self) -> Option<u16> {
        let slow = self.failed.iter().filter(|(_, error)| error.is_late());
        let unlisted = self.of.iter().filter(|(_, (is_listed, _))| !is_listed);
        let slow = slow.map(|(volume, _)| *volume);
        let unlisted = unlisted.map(|(volume, _)| *volume);
        slow.chain(self.awaited).chain(unlisted).next()
    }
}

impl Answers<(bool, Vec<ChunkEntry>)> {
    /// # Errors
    /// No volume has an answer, and none is expected in a moment.
    fn entries(self) -> Result<Entries, ReadError> {
        let late = self.late();
        if self.of.is_empty() && late.is_some() {
            return Ok((Vec::new(), late));
        }
        let listed = self.some()?.into_iter().map(|(_, entries)| entries);
        Ok((listed.flatten().collect(), late))
    }
}

impl Volumes {
    /// What the node holds of a range, and whether that is all of it.
    pub(crate) async fn recorded(&self, range: Range) -> Result<Recorded, ReadError> {
        let answers = self.of_each(move |handle| recorded(handle, range)).await;
        let mut all = Recorded {
            complete: answers.of.len() == answers.volumes,
            ..Recorded::default()
        };
        for (is_recovered, spans, gaps) in answers.some()? {
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

    pub(crate) async fn entries(&self, range: Range) -> Result<Entries, ReadError> {
        let read = move |handle: &VolumeHandle| {
            // Asked first: what is listed in the meantime may be in the answer.
            let is_recovered = handle.stats().is_recovered();
            Ok((is_recovered, handle.entries(range)?))
        };
        self.of_each(read).await.entries()
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

    /// A volume that cannot be read does not hide what the others hold.
    async fn of_each<T: Send + 'static>(
        &self,
        read: impl Fn(&VolumeHandle) -> Result<T, holdfast_storage::Error> + Clone + Send + 'static,
    ) -> Answers<T> {
        let now = self.inner.clock.elapsed();
        let (asked, volumes, awaited) = {
            let slots = self.slots();
            let mut awaited = slots.iter().filter(|slot| slot.may_answer_soon(now));
            let answers = |slot: &&Slot| slot.standing() != Standing::Hung;
            let asked: Vec<_> = slots
                .iter()
                .filter(answers)
                .filter_map(Slot::open)
                .cloned()
                .collect();
            (asked, slots.len(), awaited.next().map(|slot| slot.index))
        };
        let reads = asked
            .iter()
            .map(|volume| read_disk(volume, LIST_MAX, read.clone()));
        let mut answers = Answers {
            of: Vec::new(),
            volumes,
            awaited,
            failed: Vec::new(),
        };
        for (volume, answer) in asked.iter().zip(join_all(reads).await) {
            match answer {
                Ok(answer) => answers.of.push((volume.index(), answer)),
                Err(error) => {
                    tracing::warn!(%error, "a volume is left out of an answer");
                    answers.failed.push((volume.index(), error));
                }
            }
        }
        answers
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_or_not_all_listed_may_list_more_in_a_moment() {
        let answers = |is_listed: &[bool], failed: Vec<(u16, ReadError)>| Answers {
            of: (0..)
                .zip(is_listed.iter().map(|is_listed| (*is_listed, ())))
                .collect(),
            volumes: 9,
            awaited: None,
            failed,
        };
        let hangs = || ReadError::Hangs {
            index: 7,
            wait_max: LIST_MAX,
        };
        let gone = || ReadError::NoVolume(8);
        assert_eq!(answers(&[true, true], vec![]).late(), None);
        assert_eq!(answers(&[true, false], vec![]).late(), Some(1));
        assert_eq!(answers(&[true], vec![(7, hangs())]).late(), Some(7));
        assert_eq!(answers(&[true], vec![(8, gone())]).late(), None);
        let both = vec![(8, gone()), (7, hangs())];
        assert_eq!(answers(&[true], both).late(), Some(7), "one hides no other");
        let awaited = Answers {
            awaited: Some(3),
            ..answers(&[true], vec![])
        };
        assert_eq!(awaited.late(), Some(3));
        let only = |failed| Answers::<(bool, Vec<ChunkEntry>)> {
            of: Vec::new(),
            volumes: 1,
            awaited: None,
            failed: vec![failed],
        };
        assert_eq!(
            only((7, hangs())).entries().unwrap(),
            (vec![], Some(7)),
            "a node's only volume is late as any other"
        );
        assert!(only((8, gone())).entries().is_err());
    }
}
