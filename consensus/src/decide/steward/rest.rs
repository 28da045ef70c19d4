//! Fast path for an idle site: while only recorders' progress changes, a round checks every
//! watermark and examines few cameras.

use super::{Input, Round};
use crate::model::Protection;
use crate::observe::liveness::Verdict;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// The result of a round that examined all cameras, and its inputs.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    state: ClusterState,
    verdicts: BTreeMap<NodeId, Verdict>,
    unfit: BTreeSet<NodeId>,
    /// Cameras that each round must examine.
    pub(super) unsettled: BTreeSet<CameraId>,
}

impl Rest {
    pub(super) fn of(input: &Input<'_>, unsettled: BTreeSet<CameraId>) -> Self {
        let (state, verdicts, unfit) = (
            input.state.clone(),
            input.verdicts.clone(),
            input.unfit.clone(),
        );
        Self {
            state,
            verdicts,
            unfit,
            unsettled,
        }
    }

    /// Whether the result is still valid. A rebalance examines all cameras until it is over.
    pub(super) fn holds(&self, input: &Input<'_>) -> bool {
        let is_same = self.verdicts == *input.verdicts
            && self.unfit == *input.unfit
            && self.state == *input.state;
        is_same && input.state.rebalancing_since.is_none()
    }
}

impl Round<'_> {
    /// Whether nothing has to be done for `camera` while the state and the nodes do not change and
    /// its owner records it, whatever the bitrates, the probes and the time.
    pub(super) fn is_settled(&self, camera: CameraId) -> bool {
        if self.drill(camera).is_some() {
            return false;
        }
        let Some(now) = self.assignment(camera).filter(|now| now.handoff.is_none()) else {
            return false;
        };
        let (Some(owner), Some(successor)) = (now.owner, now.successor) else {
            return false;
        };
        let stays = |node| self.planner.is_fit(node) && self.input.state.reaches(node, camera);
        let mirror_stays = match self.protection(camera) {
            Protection::Standard => now.mirror.is_none(),
            Protection::Gapless => now
                .mirror
                .is_some_and(|mirror| mirror != successor && stays(mirror)),
        };
        let is_home = self
            .input
            .state
            .preferred_node(camera)
            .is_none_or(|home| home == owner);
        is_home && mirror_stays && stays(owner) && stays(successor)
    }
}
