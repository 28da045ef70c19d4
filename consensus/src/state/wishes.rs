//! What was said beside cameras and nodes: where a camera may and should be recorded, what a node is like, what the owner of the cluster wants.

use super::ClusterState;
use crate::command::{Rejection, Response};
use crate::model::{CameraSpec, NodeTraits, PlacementRules};
use crate::policy::{HeadroomRule, PolicyChange};
use crate::validate;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

static NO_RULES: PlacementRules = PlacementRules { node_labels: BTreeMap::new(), preferred_node: None };
static NO_TRAITS: NodeTraits = NodeTraits { labels: BTreeMap::new(), bitrate_capacity_bps: None };

impl ClusterState {
    #[must_use]
    pub fn rules(&self, camera: CameraId) -> &PlacementRules {
        self.rules.get(camera).unwrap_or(&NO_RULES)
    }

    #[must_use]
    pub fn traits(&self, node: NodeId) -> &NodeTraits {
        self.traits.get(node).unwrap_or(&NO_TRAITS)
    }

    /// Whether `node` has every label that `camera` asks for.
    #[must_use]
    pub fn reaches(&self, node: NodeId, camera: CameraId) -> bool {
        let (asked, labels) = (&self.rules(camera).node_labels, &self.traits(node).labels);
        asked.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The camera that was added last, deleted ones included.
    #[must_use]
    pub fn camera_last(&self) -> CameraId {
        self.camera_last
    }

    pub(super) fn add_camera(
        &mut self,
        spec: CameraSpec,
        rules: PlacementRules,
        only_after: Option<CameraId>,
    ) -> Result<Response, Rejection> {
        self.check_rules(&rules)?;
        match only_after {
            Some(last) if last != self.camera_last => return Err(Rejection::CamerasChanged(last)),
            // The node that asked had not heard of the rule yet.
            None if self.policy.headroom == HeadroomRule::Strict => return Err(Rejection::HeadroomUnchecked),
            Some(_) | None => {}
        }
        let added = self.create_camera(spec)?;
        self.set_rules(self.camera_last, rules);
        Ok(added)
    }

    pub(super) fn change_camera(
        &mut self,
        camera: CameraId,
        (spec, rules): (CameraSpec, PlacementRules),
        expect_revision: u64,
        expect_rules: &PlacementRules,
    ) -> Result<Response, Rejection> {
        if self.cameras.contains(camera) && self.rules(camera) != expect_rules {
            return Err(Rejection::StaleRules(camera));
        }
        if rules != *expect_rules {
            self.check_rules(&rules)?;
        }
        let changed = self.update_camera(camera, spec, Some(expect_revision))?;
        self.set_rules(camera, rules);
        Ok(changed)
    }

    fn check_rules(&self, rules: &PlacementRules) -> Result<(), Rejection> {
        validate::placement_rules(rules)?;
        match rules.preferred_node {
            Some(node) if !self.nodes.contains(node) => Err(Rejection::UnknownNode(node)),
            _ => Ok(()),
        }
    }

    fn set_rules(&mut self, camera: CameraId, rules: PlacementRules) {
        if rules == NO_RULES {
            self.rules.remove(camera);
        } else {
            self.rules.insert(camera, rules);
        }
    }

    pub(super) fn report_traits(&mut self, node: NodeId, traits: NodeTraits) -> Result<Response, Rejection> {
        if !self.nodes.contains(node) {
            return Err(Rejection::UnknownNode(node));
        }
        validate::node_traits(&traits)?;
        self.traits.insert(node, traits);
        Ok(Response::Done)
    }

    pub(super) fn forget_camera(&mut self, camera: CameraId) {
        self.rules.remove(camera);
        self.forget_drills_of(camera);
    }

    /// Nobody prefers a node that left; whatever has its name later has another id.
    pub(super) fn forget_node(&mut self, node: NodeId) {
        self.traits.remove(node);
        let preferring = self.rules.iter().filter(|(_, rules)| rules.preferred_node == Some(node));
        let preferring: Vec<(CameraId, PlacementRules)> = preferring
            .map(|(camera, rules)| (camera, PlacementRules { preferred_node: None, ..rules.clone() }))
            .collect();
        preferring.into_iter().for_each(|(camera, rules)| self.set_rules(camera, rules));
    }

    pub(super) fn change_policy(&mut self, changes: Vec<PolicyChange>) -> Result<Response, Rejection> {
        changes.iter().try_for_each(validate::policy_change)?;
        for change in changes {
            match change {
                PolicyChange::DrillEveryS(seconds) => self.drills.every_s = seconds,
                of_policy => self.policy.change(of_policy),
            }
        }
        Ok(Response::Done)
    }

    pub(super) fn begin_rebalance(&mut self, at: Timestamp) -> Response {
        self.rebalancing_since = Some(at);
        Response::Done
    }

    pub(super) fn end_rebalance(&mut self, since: Timestamp) -> Response {
        self.rebalancing_since = self.rebalancing_since.filter(|begun| *begun != since);
        Response::Done
    }
}
