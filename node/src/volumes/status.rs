//! What the node reports of its volumes: to heartbeats, metrics, the API and its own readiness.

use super::choice::Standing;
use super::homes::Home;
use super::slots::{Counts, Place, Role, Slot};
use super::{Opened, Volumes, lock, standing_of, troubles};
use crate::capture::recorder::status::{Identity, Status};
use holdfast_consensus::observe::heartbeat::{Progress, RecorderState};
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_storage::ids::{CameraId, StreamId};
use holdfast_storage::time::Timestamp;
use holdfast_storage::{Stats, Watermark};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// How often to look whether the catalogue is open.
const CATALOGUE_LOOK: Duration = Duration::from_millis(10);

/// One volume, as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct VolumeStatus {
    pub(crate) index: u16,
    pub(crate) path: String,
    /// A name of [`VolumeStatus::STATES`].
    pub(crate) state: String,
    /// What is wrong.
    pub(crate) trouble: Option<String>,
    /// Cameras that are recorded to it now.
    pub(crate) cameras: u64,
    /// How long its records wait until they are durable, in seconds.
    pub(crate) lag_seconds: f64,
    pub(crate) failures: u64,
    pub(crate) reattachments: u64,
    pub(crate) moved_cameras: u64,
    /// The volume's own id, while it is open.
    pub(crate) id: Option<Uuid>,
    pub(crate) stats: Stats,
}

impl VolumeStatus {
    /// Every state that a volume can be in.
    pub(crate) const STATES: [&'static str; 10] = [
        "active", "slow", "retiring", "retired", "full", "hung", "failed", "away", "opening",
        "adopted",
    ];

    fn of(slot: &Slot, cameras: u64, register: Option<&str>) -> Self {
        let trouble = slot.trouble();
        let unopened = || Stats::of_unopened(trouble.as_deref().unwrap_or("it is not open"));
        let stats = slot
            .open()
            .map_or_else(unopened, |opened| opened.handle.stats());
        let names = slot.open().and_then(|opened| opened.names.problem());
        let troubles: Vec<String> = [
            trouble,
            partly_listed(&stats),
            register.map(str::to_owned),
            names,
        ]
        .into_iter()
        .flatten()
        .collect();
        let Counts {
            failures,
            reattachments,
        } = slot.counts;
        Self {
            index: slot.index,
            path: slot.path.display().to_string(),
            state: state(slot, cameras).to_owned(),
            cameras,
            lag_seconds: slot.lag.as_secs_f64(),
            failures,
            reattachments,
            moved_cameras: slot.moved_cameras.load(Relaxed),
            id: slot.open().map(|opened| opened.handle.id()),
            trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
            stats,
        }
    }
}

impl Volumes {
    /// By index.
    pub(crate) fn statuses(&self) -> Vec<VolumeStatus> {
        let register = lock(&self.inner.register).problem();
        let slots = self.slots();
        let count = |opened: &Arc<Opened>| {
            let homes = lock(&self.inner.homes);
            let cameras = homes.tenants(opened).map(|(stream, _)| stream.camera);
            cameras.collect::<BTreeSet<CameraId>>().len() as u64
        };
        let mut statuses: Vec<_> = slots
            .iter()
            .map(|slot| VolumeStatus::of(slot, slot.open().map_or(0, count), register.as_deref()))
            .collect();
        statuses.sort_by_key(|status| status.index);
        statuses
    }

    /// For peers and the API.
    pub(crate) fn reports(&self) -> Vec<VolumeReport> {
        let volumes = self.statuses().into_iter().map(|volume| VolumeReport {
            index: volume.index,
            path: volume.path,
            state: volume.state,
            error: volume.trouble,
            cameras: volume.cameras,
            lag_seconds: volume.lag_seconds,
            free_bytes: volume.stats.free_bytes,
            size_bytes: volume.stats.total_bytes,
            failures: volume.failures,
            reattachments: volume.reattachments,
            full_in_s: volume.stats.full_in_s,
            id: volume.id,
        });
        volumes.collect()
    }

    /// Whether at least one volume stores what it is given; if not, why.
    pub(crate) fn writable(&self) -> Result<(), String> {
        let slots = self.slots();
        let takes = |slot: &Slot| matches!(slot.standing(), Standing::Takes | Standing::Slow);
        if slots.iter().any(takes) {
            Ok(())
        } else {
            Err(troubles(&slots))
        }
    }

    /// What the heartbeat reports of one recorder: only durable footage counts.
    pub(crate) fn progress(&self, status: Status) -> Progress {
        let mark = self.watermark(status.stream, status.identity);
        let trouble = self.trouble(status.stream);
        let state = match (&trouble, status.state) {
            (Some(_), _) => RecorderState::Failing,
            (None, RecorderState::Recording) if mark.is_none() => RecorderState::Starting,
            (None, state) => state,
        };
        Progress {
            stream: status.stream,
            epoch: status.identity.epoch,
            rank: status.identity.rank,
            state,
            watermark: mark.map(|mark| mark.durable_end),
            first_keyframe: mark.and_then(|mark| first_keyframe(mark, status.first_keyframe)),
            error: trouble.or(status.error),
            bitrate_bps: lock(&self.inner.homes)
                .get(status.stream)
                .and_then(Home::measured_bitrate_bps),
            patience_ms: status
                .patience
                .map(|patience| u32::try_from(patience.as_millis()).unwrap_or(u32::MAX)),
            exposure: status.exposure,
        }
    }

    /// Why the stream is not recorded as it should be and this node cannot help it: another node
    /// should.
    fn trouble(&self, stream: StreamId) -> Option<String> {
        let slots = self.slots();
        let homes = lock(&self.inner.homes);
        let Some(home) = homes.get(stream) else {
            return slots
                .iter()
                .all(|slot| !slot.standing().stores())
                .then(|| troubles(&slots));
        };
        let standing = standing_of(&slots, &home.volume);
        let suffers = home.leaves || !standing.stores();
        if !suffers
            || self
                .choose(&slots, home.rate_bps(), None)
                .is_some_and(|volume| volume != home.volume)
        {
            return None;
        }
        let slot = slots.iter().find(|slot| slot.open() == Some(&home.volume));
        Some(
            slot.and_then(Slot::trouble)
                .unwrap_or_else(|| troubles(&slots)),
        )
    }

    /// How far this identity's recording of the stream is durable, on whatever volume. Records that
    /// a former volume took and has not made durable hold it back, until they are durable or in the
    /// ledger.
    pub(super) fn watermark(&self, stream: StreamId, identity: Identity) -> Option<Watermark> {
        let mark = |volume: &Arc<Opened>| {
            volume
                .handle
                .watermark_of(stream, identity.epoch, identity.rank)
        };
        let slots = self.slots();
        let homes = lock(&self.inner.homes);
        let home = homes.get(stream);
        let durable = |former: &Arc<Opened>| former.durable_until(stream);
        let undone: Vec<_> = home
            .into_iter()
            .flat_map(|home| home.waits_for(identity.epoch, durable))
            .collect();
        if !undone.is_empty() {
            let marks = undone.into_iter().map(mark);
            let held: Option<Vec<_>> = marks.collect();
            let held = held.and_then(|held| held.into_iter().min_by_key(|mark| mark.durable_end));
            return self.at_least_as_reported(stream, held, identity);
        }
        let open = slots.iter().filter_map(Slot::open);
        // A volume that failed and was reopened knows nothing of earlier records.
        let all = open.chain(home.map(|home| &home.volume)).filter_map(mark);
        let (first, last) = all.fold(
            (None, None),
            |(first, last): (Option<_>, Option<Watermark>), mark| {
                let first = [first, mark.first_keyframe].into_iter().flatten().min();
                let last = last
                    .filter(|last| last.durable_end >= mark.durable_end)
                    .or(Some(mark));
                (first, last)
            },
        );
        let newest = last.map(|last| Watermark {
            first_keyframe: first,
            ..last
        });
        self.at_least_as_reported(stream, newest, identity)
    }

    /// Within one epoch and rank a watermark never goes back.
    fn at_least_as_reported(
        &self,
        stream: StreamId,
        mark: Option<Watermark>,
        identity: Identity,
    ) -> Option<Watermark> {
        let mut reported = lock(&self.inner.reported);
        let before = reported
            .get(&stream)
            .filter(|last| (last.epoch, last.rank) == (identity.epoch, identity.rank))
            .copied();
        let mark = [before, mark]
            .into_iter()
            .flatten()
            .max_by_key(|mark| mark.durable_end)?;
        reported.insert(stream, mark);
        Some(mark)
    }

    /// Waits until it is known what former processes recorded, if that is quick.
    pub(crate) async fn wait_for_catalogue(&self, wait_max: Duration) {
        let all = async {
            while !self
                .opened()
                .iter()
                .all(|volume| volume.handle.stats().is_catalogue_open)
            {
                sleep(CATALOGUE_LOOK).await;
            }
        };
        if timeout(wait_max, all).await.is_err() {
            tracing::warn!(
                "a catalogue is not open yet; recording begins without knowing how far the last \
                 process came"
            );
        }
    }
}

/// Segments that cannot be read, or are of a newer version, are neither shown nor touched.
fn partly_listed(stats: &Stats) -> Option<String> {
    let first = stats.first_refusal.as_ref()?;
    let count = stats.segments_refused;
    Some(format!(
        "{count} of its segments are not listed, so what they hold is not shown; the first: {first}"
    ))
}

/// A recorder that started again in its epoch (a successor that is needed again) reports its own
/// first keyframe as soon as that is durable.
fn first_keyframe(mark: Watermark, own: Option<Timestamp>) -> Option<Timestamp> {
    let is_durable = |own: &Timestamp| mark.durable_end > *own;
    mark.first_keyframe.max(
        own.filter(is_durable)
            .filter(|_| mark.first_keyframe.is_some()),
    )
}

fn state(slot: &Slot, cameras: u64) -> &'static str {
    match (slot.standing(), &slot.place) {
        (_, Place::Opening) => "opening",
        (Standing::Retiring, _) if slot.role == Role::Retire && cameras == 0 => "retired",
        (standing, _) => standing.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{Epoch, Rank};

    #[test]
    fn every_state_has_its_name_among_those_of_the_metrics() {
        for standing in Standing::ALL {
            assert!(
                VolumeStatus::STATES.contains(&standing.name()),
                "{standing:?}"
            );
        }
    }

    #[test]
    fn a_recorder_that_runs_again_in_its_epoch_reports_its_own_keyframe_once_that_is_durable() {
        let reported = |first: Option<i64>, durable: i64, own: Option<i64>| {
            let (epoch, rank) = (Epoch(1), Rank::Successor);
            let first_keyframe = first.map(Timestamp);
            let mark = Watermark {
                epoch,
                rank,
                durable_end: Timestamp(durable),
                first_keyframe,
            };
            super::first_keyframe(mark, own.map(Timestamp)).map(|first| first.0)
        };
        assert_eq!(
            reported(Some(1), 5, Some(7)),
            Some(1),
            "its own is not durable"
        );
        assert_eq!(reported(Some(1), 8, Some(7)), Some(7));
        assert_eq!(reported(Some(1), 8, None), Some(1), "it has none yet");
        assert_eq!(
            reported(None, 8, Some(7)),
            None,
            "nothing durable has a keyframe"
        );
    }
}
