//! Known bugs put back into the simulator's wiring: the simulation has to find each of them, or it
//! proves nothing.

use super::volume::Volume;
use holdfast_consensus::model::Treatment;
use holdfast_consensus::observe::heartbeat::Progress;
use holdfast_node::capture::recorder::status::Status;
use holdfast_storage::ids::CameraId;
use std::collections::BTreeMap;

/// The bug that a run puts into the wiring of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Twist {
    #[default]
    None,
    /// Heartbeats report what was handed to the volume, not what is durable.
    ReceivedCountsAsDurable,
    /// A starting process finds neither its vote nor the log entries since the last snapshot.
    VotesAreNotSynced,
    /// The wall clock decides what is old, even if it is contradicted.
    ClocksAreBelieved,
    /// A directory that was put back takes part as any other.
    DirectoriesAreBelieved,
    /// Cameras that ended processes are recorded as any other.
    SuspectsAreNotHeldBack,
    /// A start ignores the footage on a volume that is away.
    AwayVolumesAreForgotten,
    /// No node requests a new epoch when recorded time has run ahead.
    NothingIsRenewed,
}

impl Twist {
    pub(super) fn are_all_read(self, are_they: bool) -> bool {
        are_they || self == Self::AwayVolumesAreForgotten
    }

    pub(super) fn treatments(
        self,
        treatments: &BTreeMap<CameraId, Treatment>,
    ) -> &BTreeMap<CameraId, Treatment> {
        static NONE: BTreeMap<CameraId, Treatment> = BTreeMap::new();
        if self == Self::SuspectsAreNotHeldBack {
            &NONE
        } else {
            treatments
        }
    }

    pub(super) fn report(self, volume: &Volume, status: Status) -> Progress {
        let (received_until, first_keyframe) = (status.received_until, status.first_keyframe);
        let progress = volume.progress(status);
        match self {
            Self::ReceivedCountsAsDurable => Progress {
                watermark: received_until,
                first_keyframe,
                ..progress
            },
            _ => progress,
        }
    }
}
