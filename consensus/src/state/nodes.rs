//! Members: joining, reporting for duty, leaving.

use super::{ClusterState, assign};
use crate::command::{Rejection, Response};
use crate::model::{CameraSpec, Duty, KeyHash, NODES_MAX, Node, NodeName, NodeSpec};
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;

impl ClusterState {
    /// The same `key` with the same invitation always gets the same id, so a lost answer can be
    /// requested again.
    pub(super) fn join(
        &mut self,
        spec: NodeSpec,
        key: KeyHash,
        invite: KeyHash,
        at: Timestamp,
    ) -> Result<Response, Rejection> {
        if let Some(node) = self.nodes.values().find(|node| node.key == key) {
            let has_used = self.has_used(invite, node.id, at);
            return has_used
                .then_some(Response::Node(node.id))
                .ok_or(Rejection::NotInvited);
        }
        let invited = self.invited(invite, &spec, at)?;
        let (invite, may_vote) = (invited.id, invited.spec.may_vote);
        spec.check()?;
        self.check_version(&spec)?;
        self.check_node_name(&spec.name, None)?;
        if self.nodes.len() >= NODES_MAX {
            return Err(Rejection::too_many("nodes", NODES_MAX));
        }
        let node = self.add_node(spec, key, may_vote);
        self.use_invite(invite, node);
        Ok(Response::Node(node))
    }

    pub(super) fn add_node(&mut self, spec: NodeSpec, key: KeyHash, may_vote: bool) -> NodeId {
        self.node_last = NodeId(self.node_last.0 + 1);
        let id = self.node_last;
        self.nodes.insert(
            id,
            Node {
                id,
                spec,
                duty: Duty::Active,
                key,
                may_vote,
            },
        );
        id
    }

    /// A node older than the finalised version could not read the log.
    fn check_version(&self, spec: &NodeSpec) -> Result<(), Rejection> {
        if spec.version < self.version {
            return Err(Rejection::TooOld {
                speaks: spec.version,
                finalized: self.version,
            });
        }
        Ok(())
    }

    pub(super) fn check_node_name(
        &self,
        name: &NodeName,
        but: Option<NodeId>,
    ) -> Result<(), Rejection> {
        match self.node_named(name.as_str()) {
            Some(other) if Some(other.id) != but => Err(Rejection::DuplicateNodeName(name.clone())),
            _ => Ok(()),
        }
    }

    pub(super) fn report_for_duty(
        &mut self,
        id: NodeId,
        spec: NodeSpec,
    ) -> Result<Response, Rejection> {
        spec.check()?;
        self.check_version(&spec)?;
        self.check_node_name(&spec.name, Some(id))?;
        let node = self.node_mut(id)?;
        node.spec = spec;
        if node.duty == Duty::Stopping {
            node.duty = Duty::Active;
        }
        Ok(Response::Done)
    }

    pub(super) fn set_duty(&mut self, id: NodeId, duty: Duty) -> Result<Response, Rejection> {
        let node = self.node_mut(id)?;
        match (node.duty, duty) {
            // A draining node has nothing to hand over when it stops, and `Stopping` would end with
            // the restart.
            (Duty::Draining, Duty::Stopping) => {}
            // Only its next process may accept cameras again: a process that is handing them over
            // must not get more.
            (Duty::Stopping, Duty::Active) => {}
            _ => node.duty = duty,
        }
        if duty == Duty::Stopping {
            self.forgive_once(id);
        }
        Ok(Response::Done)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, Rejection> {
        if !self.nodes.contains(id) {
            return Err(Rejection::UnknownNode(id));
        }
        self.nodes.get_mut(id).ok_or(Rejection::UnknownNode(id))
    }

    pub(super) fn remove_node(
        &mut self,
        node: NodeId,
        force: bool,
        at: Timestamp,
    ) -> Result<Response, Rejection> {
        if !self.nodes.contains(node) {
            return Err(Rejection::UnknownNode(node));
        }
        if self.nodes.len() == 1 {
            return Err(Rejection::LastNode(node));
        }
        if !self
            .nodes
            .values()
            .any(|other| other.id != node && other.may_vote)
        {
            return Err(Rejection::LastVoter(node));
        }
        let cameras = self
            .assignments
            .values()
            .filter(|assignment| assign::records(assignment, node))
            .count();
        if cameras > 0 && !force {
            return Err(Rejection::NodeHoldsCameras { node, cameras });
        }
        self.release_all(node, at);
        self.nodes.remove(node);
        if self.noted_ends.contains(node) {
            self.noted_ends.remove(node);
        }
        self.forget_node(node);
        // It may still hold the token.
        self.forget_invites(|invite| invite.used_by == Some(node));
        Ok(Response::Done)
    }

    /// No camera prefers a node that left; a later node with its name has another id.
    fn forget_node(&mut self, node: NodeId) {
        let preferring = self
            .cameras
            .values()
            .filter(|camera| camera.spec.preferred_node == Some(node));
        let preferring: Vec<(CameraId, CameraSpec)> = preferring
            .map(|camera| {
                (
                    camera.id,
                    CameraSpec {
                        preferred_node: None,
                        ..camera.spec.clone()
                    },
                )
            })
            .collect();
        preferring
            .into_iter()
            .for_each(|(camera, spec)| self.set_spec(camera, spec));
    }
}
