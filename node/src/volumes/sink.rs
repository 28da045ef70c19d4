//! The destination of recorders' records: the stream's volume, while it has room for a camera of
//! this priority. An overloaded volume sheds the lowest priority first.

use crate::capture::recorder::sink::{RecordSink, SinkError};
use crate::volumes::{Opened, Volumes};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::AppendError;
use holdfast_storage::chunk::{Chunk, Gap, GapCause, Record};
use holdfast_storage::ids::CameraId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::watch;

/// How long this node's recorders did not record, by cause, as they wrote into the gap ledger since
/// the node started.
#[derive(Debug, Default)]
pub(crate) struct GapTotals {
    /// Indexed by the stored number of the cause, in microseconds.
    micros: [AtomicU64; GapCause::Quarantined as usize + 1],
}

impl GapTotals {
    fn add(&self, gap: &Gap) {
        let micros = u64::try_from(gap.end.micros_since(gap.start)).unwrap_or(0);
        self.micros[gap.cause as usize].fetch_add(micros, Relaxed);
    }

    pub(crate) fn seconds(&self, cause: GapCause) -> f64 {
        self.micros[cause as usize].load(Relaxed) as f64 / 1e6
    }
}

pub(crate) struct VolumeSink {
    pub(crate) volumes: Volumes,
    pub(crate) gaps: Arc<GapTotals>,
    /// The source of each camera's priority.
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
}

impl VolumeSink {
    /// A camera that was deleted in the meantime has the lowest priority.
    fn priority(&self, camera: CameraId) -> u8 {
        self.state
            .borrow()
            .cameras
            .get(camera)
            .map_or(0, |camera| camera.spec.priority)
    }
}

impl RecordSink for VolumeSink {
    fn append(&self, retention_class: &str, record: Record) -> Result<(), SinkError> {
        let volume = self.volumes.enter(retention_class, &record)?;
        match record {
            Record::Chunk(chunk) => self.append_chunk(retention_class, volume, chunk),
            Record::Init(init) => {
                volume
                    .append(retention_class, Record::Init(init.clone()))
                    .map_err(refusal)?;
                self.volumes.took_init(&init);
                Ok(())
            }
            Record::Gap(gap) => {
                volume
                    .append(retention_class, Record::Gap(gap))
                    .map_err(refusal)?;
                self.volumes.took_gap(&gap);
                self.gaps.add(&gap);
                Ok(())
            }
        }
    }
}

impl VolumeSink {
    /// If the camera's volume would shed the chunk because it hangs or is too slow, another volume
    /// takes it, if there is one.
    fn append_chunk(
        &self,
        class: &str,
        mut volume: Arc<Opened>,
        chunk: Chunk,
    ) -> Result<(), SinkError> {
        let (meta, bytes) = (chunk.meta, chunk.payload_bytes() as u64);
        let priority = self.priority(meta.camera);
        let (queued_bytes, bytes_max) = (
            volume.handle.queued_bytes(),
            volume.handle.options().buffer_bytes_max,
        );
        if !has_room(priority, queued_bytes, bytes_max) {
            let other = self.volumes.leave_at_once(class, meta.stream_id());
            volume = other.ok_or_else(|| self.volumes.shed(meta.stream_id()))?;
        }
        volume
            .append(class, Record::Chunk(chunk))
            .map_err(refusal)?;
        self.volumes.took(class, &volume, &meta, bytes, priority);
        Ok(())
    }
}

fn refusal(error: AppendError) -> SinkError {
    match error {
        AppendError::NoSpace => SinkError::NoSpace,
        AppendError::Full { .. } | AppendError::TooLong { .. } => SinkError::Full,
        AppendError::Failed(reason) => SinkError::Failed(reason.to_string()),
        AppendError::Closed => SinkError::Failed("the volume is closed".to_owned()),
    }
}

/// Whether a chunk of a camera of this priority fits a buffer that is this full: priority 0 may use
/// half of the buffer, 255 all of it. So a disk that falls behind costs the least important cameras
/// first, and the others only if that was not enough.
fn has_room(priority: u8, queued_bytes: u64, bytes_max: u64) -> bool {
    let usable = u128::from(bytes_max) * (255 + u128::from(priority)) / 510;
    u128::from(queued_bytes) < usable
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{Epoch, NodeId, StreamKind};
    use holdfast_storage::time::Timestamp;

    #[test]
    fn gaps_add_up_by_cause() {
        let totals = GapTotals::default();
        let (camera, stream, node, epoch) = (CameraId(1), StreamKind::Main, NodeId(1), Epoch(1));
        for (end, cause) in [
            (1_000_000, GapCause::Unknown),
            (500_000, GapCause::NodeDown),
            (250_000, GapCause::Unknown),
        ] {
            totals.add(&Gap {
                camera,
                stream,
                node,
                epoch,
                start: Timestamp(0),
                end: Timestamp(end),
                cause,
                frames_missing: None,
            });
        }
        let seconds = [GapCause::Unknown, GapCause::NodeDown, GapCause::Overload]
            .map(|cause| totals.seconds(cause));
        assert_eq!(seconds, [1.25, 0.5, 0.0]);
    }

    #[test]
    fn the_least_important_is_shed_first() {
        assert!(has_room(0, 49, 100) && !has_room(0, 50, 100));
        assert!(has_room(100, 50, 100) && !has_room(100, 70, 100));
        assert!(has_room(255, 99, 100) && !has_room(255, 100, 100));
        assert!(has_room(255, u64::MAX - 1, u64::MAX));
    }
}
