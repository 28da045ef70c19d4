//! Which volume each camera is recorded to, and what a move to another one loses. Pure.

use holdfast_storage::chunk::ChunkMeta;
use holdfast_storage::ids::{CameraId, TrackKind};
use holdfast_storage::time::Timestamp;
use std::collections::HashMap;

/// An interval of footage.
pub(super) type Interval = (Timestamp, Timestamp);

/// As many as cameras that this process ever recorded.
#[derive(Debug, Default)]
pub(super) struct Homes {
    of: HashMap<CameraId, Home>,
}

/// What one volume has taken of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) volume: u16,
    /// From the first chunk of video that may not be durable yet to the end of the last.
    taken: Option<Interval>,
}

impl Homes {
    /// The camera's next record goes to `volume`. Returns where it was recorded before, if that was another volume.
    pub(super) fn enter(&mut self, camera: CameraId, volume: u16) -> Option<Home> {
        let home = Home { volume, taken: None };
        match self.of.get_mut(&camera) {
            Some(at) if at.volume == volume => None,
            Some(at) => Some(std::mem::replace(at, home)),
            None => {
                self.of.insert(camera, home);
                None
            }
        }
    }

    /// The camera's volume has taken a chunk. `durable_until` tells how far that volume has the camera's video durable.
    pub(super) fn took(&mut self, meta: &ChunkMeta, durable_until: impl FnOnce() -> Option<Timestamp>) {
        let Some(home) = self.of.get_mut(&meta.camera).filter(|_| meta.track == TrackKind::Video) else { return };
        let begins = || (meta.start, meta.end());
        home.taken = Some(match home.taken {
            // Between sessions nothing may have been recorded for long: that is not for this volume to lose.
            Some((_, until)) if meta.sequence == 0 && durable_until().is_some_and(|durable| durable >= until) => {
                begins()
            }
            Some((from, until)) => (from, until.max(meta.end())),
            None => begins(),
        });
    }

    pub(super) fn volume(&self, camera: CameraId) -> Option<u16> {
        self.of.get(&camera).map(|home| home.volume)
    }
}

impl Home {
    /// What the volume took and does not have durable.
    pub(super) fn lost(&self, durable_until: Option<Timestamp>) -> Option<Interval> {
        let (from, until) = self.taken?;
        let from = durable_until.map_or(from, |durable| durable.max(from));
        (from < until).then_some((from, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::chunk::InitId;
    use holdfast_storage::ids::{Epoch, NodeId, Rank, SessionId, StreamKind};

    const CAMERA: CameraId = CameraId(1);

    fn chunk(track: TrackKind, sequence: u32, start: i64) -> ChunkMeta {
        ChunkMeta {
            camera: CAMERA,
            stream: StreamKind::Main,
            track,
            node: NodeId(1),
            epoch: Epoch(1),
            rank: Rank::Owner,
            session: SessionId(1),
            sequence,
            init: InitId(1),
            start: Timestamp(start),
            duration_us: 10,
            frames: 1,
            keyframe_crc: None,
            after_loss: false,
        }
    }

    fn at(from: i64, until: i64) -> Interval {
        (Timestamp(from), Timestamp(until))
    }

    #[test]
    fn what_was_taken_and_is_not_durable_is_lost_with_the_volume() {
        let mut homes = Homes::default();
        assert_eq!(homes.enter(CAMERA, 0), None);
        (0..4).for_each(|n| homes.took(&chunk(TrackKind::Video, n, i64::from(n) * 10), || None));
        homes.took(&chunk(TrackKind::Audio, 0, 90), || None);
        assert_eq!(homes.enter(CAMERA, 0), None, "the same volume is no move");
        let before = homes.enter(CAMERA, 1).unwrap();
        assert_eq!((before.volume, homes.volume(CAMERA)), (0, Some(1)));
        assert_eq!(before.lost(None), Some(at(0, 40)));
        assert_eq!(before.lost(Some(Timestamp(20))), Some(at(20, 40)));
        assert_eq!(before.lost(Some(Timestamp(40))), None);
        assert_eq!(homes.enter(CAMERA, 2).unwrap().lost(None), None, "nothing was taken there");
    }

    #[test]
    fn time_without_recording_is_not_lost_with_the_volume() {
        let mut homes = Homes::default();
        homes.enter(CAMERA, 0);
        homes.took(&chunk(TrackKind::Video, 0, 0), || None);
        homes.took(&chunk(TrackKind::Video, 0, 5000), || Some(Timestamp(10)));
        assert_eq!(homes.enter(CAMERA, 1).unwrap().lost(Some(Timestamp(10))), Some(at(5000, 5010)));
    }
}
