//! What one node knows of all nodes and recorders: what it shows to others, and decides by.

use crate::model::{Assignment, Treatment};
use crate::observe::clocks::Offset;
use crate::observe::heartbeat::Progress;
use crate::observe::liveness::Verdict;
use crate::observe::reports::Reports;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a node knows of the others now.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    pub verdicts: BTreeMap<NodeId, Verdict>,
    pub progress: Reports,
    /// How far the others' clocks are off.
    pub clocks: BTreeMap<NodeId, Offset>,
    /// Nodes that report that they cannot write.
    pub unfit: BTreeSet<NodeId>,
    /// Nodes whose clocks agree with what they knew before they started.
    pub vouching: BTreeSet<NodeId>,
    /// Cameras that are not recorded as usual, because processes that recorded them ended.
    pub treatments: BTreeMap<CameraId, Treatment>,
}

impl Sight {
    /// Whether the node is alive and can write.
    pub fn can_record(&self, node: NodeId) -> bool {
        self.is_alive(node) && !self.unfit.contains(&node)
    }

    /// Since when nodes do not answer, seen at `now` on the wall clock and `uptime` on the
    /// monotonic one.
    #[must_use]
    pub fn down_since(&self, now: Timestamp, uptime: Duration) -> BTreeMap<NodeId, Timestamp> {
        let down = self
            .verdicts
            .iter()
            .filter_map(|(node, verdict)| match verdict {
                Verdict::Suspect { since, .. } => Some((*node, uptime.saturating_sub(*since))),
                Verdict::Alive | Verdict::Unknown => None,
            });
        let micros = |ago: Duration| i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        down.map(|(node, ago)| (node, now.plus_micros(-micros(ago))))
            .collect()
    }

    pub fn is_alive(&self, node: NodeId) -> bool {
        self.verdicts
            .get(&node)
            .is_some_and(|verdict| verdict.is_alive())
    }

    /// The node that records the camera now, the most entitled first, and its report of the main
    /// stream; dead nodes do not count.
    #[must_use]
    pub fn recorder(
        &self,
        camera: CameraId,
        assignment: &Assignment,
    ) -> Option<(NodeId, &Progress)> {
        let handoff = assignment.handoff.map(|handoff| handoff.to);
        let entitled = [
            assignment.owner,
            assignment.mirror,
            handoff,
            assignment.successor,
        ];
        let living = entitled
            .into_iter()
            .flatten()
            .filter(|node| self.is_alive(*node));
        living
            .filter_map(|node| Some((node, self.progress.main(node, camera)?)))
            .find(|(_, report)| report.epoch >= assignment.epoch)
    }
}
