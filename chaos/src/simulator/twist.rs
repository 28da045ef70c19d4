//! Known bugs put back into the simulator's wiring: the simulation has to find each of them, or it proves nothing.

use super::volume::Volume;
use holdfast_consensus::heartbeat::Progress;
use holdfast_node::recorder::status::Status;

/// What a run changes of how nodes are wired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Twist {
    #[default]
    None,
    /// Heartbeats tell what was handed to the volume, not what is durable.
    ReceivedCountsAsDurable,
    /// A process that starts finds neither its vote nor what came into the log since the last snapshot.
    VotesAreNotSynced,
}

impl Twist {
    pub(super) fn report(self, volume: &Volume, status: Status) -> Progress {
        let (received_until, first_keyframe) = (status.received_until, status.first_keyframe);
        let progress = volume.progress(status);
        match self {
            Self::ReceivedCountsAsDurable => Progress { watermark: received_until, first_keyframe, ..progress },
            _ => progress,
        }
    }
}
