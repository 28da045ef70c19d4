//! Where recorders' records go: the camera's volume, while there is room for a camera of its priority (DESIGN rule 10).

use super::volumes::{Moved, Opened, Volumes};
use crate::recorder::sink::{RecordSink, SinkError};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::AppendError;
use holdfast_storage::chunk::Record;
use holdfast_storage::ids::CameraId;
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) struct VolumeSink {
    pub(crate) volumes: Volumes,
    /// Tells each camera's priority.
    pub(crate) state: watch::Receiver<Arc<ClusterState>>,
}

impl VolumeSink {
    /// A camera that was deleted meanwhile is the least important.
    fn priority(&self, camera: CameraId) -> u8 {
        self.state.borrow().cameras.get(camera).map_or(0, |camera| camera.spec.priority)
    }
}

impl RecordSink for VolumeSink {
    fn append(&self, retention_class: &str, record: Record) -> Result<(), SinkError> {
        let (camera, can_be_shed) = match &record {
            Record::Chunk(chunk) => (chunk.meta.camera, true),
            Record::Init(init) => (init.camera, false),
            Record::Gap(gap) => (gap.camera, false),
        };
        let volume = self.volumes.enter(camera).map_err(|Moved { lost }| SinkError::Moved { lost })?;
        let Opened { handle, default_class, .. } = volume;
        let (queued_bytes, bytes_max) = (handle.queued_bytes(), handle.options().buffer_bytes_max);
        if can_be_shed && !has_room(self.priority(camera), queued_bytes, bytes_max) {
            return Err(if handle.has_no_space() { SinkError::NoSpace } else { SinkError::Full });
        }
        let class = handle.class(retention_class).unwrap_or(*default_class);
        let meta = if let Record::Chunk(chunk) = &record { Some(chunk.meta) } else { None };
        handle.append(class, record).map_err(|error| match error {
            AppendError::NoSpace => SinkError::NoSpace,
            AppendError::Full { .. } | AppendError::TooLong { .. } => SinkError::Full,
            AppendError::Failed(reason) => SinkError::Failed(reason.to_string()),
            AppendError::Closed => SinkError::Failed("the volume is closed".to_owned()),
        })?;
        if let Some(meta) = meta {
            self.volumes.took(volume, &meta);
        }
        Ok(())
    }
}

/// Whether a chunk of a camera of this priority goes into a buffer that is filled so far: priority 0 may use half of it, 255 all of it. So a disk
/// that falls behind costs the least important cameras first, and the others only when that was not enough.
fn has_room(priority: u8, queued_bytes: u64, bytes_max: u64) -> bool {
    let usable = u128::from(bytes_max) * (255 + u128::from(priority)) / 510;
    u128::from(queued_bytes) < usable
}

#[cfg(test)]
mod tests {
    use super::has_room;

    #[test]
    fn the_least_important_is_shed_first() {
        assert!(has_room(0, 49, 100) && !has_room(0, 50, 100));
        assert!(has_room(100, 50, 100) && !has_room(100, 70, 100));
        assert!(has_room(255, 99, 100) && !has_room(255, 100, 100));
        assert!(has_room(255, u64::MAX - 1, u64::MAX));
    }
}
