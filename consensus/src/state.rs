//! The replicated state and how commands change it. Deterministic: no clock, no randomness, no I/O; the same log gives the same state on every node.

mod assign;
mod decode;
mod drills;
mod wishes;

use crate::command::{Command, Rejection, Response, Settings};
use crate::drill::Drills;
use crate::model::{
    Assignment, Camera, CameraSpec, Duty, Hold, HoldSpec, Node, NodeSpec, NodeTraits, PlacementRules, Tenure,
};
use crate::policy::Policy;
use crate::table::Table;
use crate::validate::{self, CAMERAS_MAX, HOLDS_MAX, NODES_MAX};
use holdfast_storage::ids::{CameraId, Epoch, HoldId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Owners of a camera that are remembered, newest last. Enough for 64 moves; older footage is found by asking every node.
pub const TENURES_MAX: usize = 64;

/// Everything that the cluster agrees on. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// `None` before the first entry of the log.
    pub cluster: Option<Uuid>,
    pub nodes: Table<NodeId, Node>,
    pub cameras: Table<CameraId, Camera>,
    /// One row for each camera.
    pub assignments: Table<CameraId, Assignment>,
    pub settings: Settings,
    node_last: NodeId,
    camera_last: CameraId,
    histories: Table<CameraId, History>,
    /// Which attempt to join made which member.
    attempts: Table<Uuid, NodeId>,
    pub holds: Table<HoldId, Hold>,
    hold_last: HoldId,
    /// Of cameras that have any.
    rules: Table<CameraId, PlacementRules>,
    /// Of nodes that have reported them.
    traits: Table<NodeId, NodeTraits>,
    pub policy: Policy,
    /// When the rebalance that is under way was asked for.
    pub rebalancing_since: Option<Timestamp>,
    pub drills: Drills,
}

/// What is remembered of a camera's assignments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    /// The highest epoch ever given out, also to handoffs that were cancelled.
    epoch_last: Epoch,
    tenures: Vec<Tenure>,
}

impl ClusterState {
    /// Who owned `camera`, oldest first; at most [`TENURES_MAX`].
    #[must_use]
    pub fn tenures(&self, camera: CameraId) -> &[Tenure] {
        self.histories.get(camera).map_or(&[], |history| &history.tenures)
    }

    /// Cameras that `node` owns.
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = CameraId> {
        self.assignments.iter().filter(move |(_, assignment)| assignment.owner == Some(node)).map(|(camera, _)| camera)
    }

    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes.values().find(|node| node.spec.name == name)
    }

    /// Applies one entry of the log.
    ///
    /// # Errors
    /// The command is refused and the state is as it was.
    pub fn apply(&mut self, command: Command) -> Result<Response, Rejection> {
        if self.cluster.is_none() && !matches!(command, Command::Initialize { .. }) {
            return Err(Rejection::NotInitialized);
        }
        match command {
            Command::Initialize { cluster, node } => self.initialize(cluster, node),
            Command::JoinNode { spec, attempt } => self.join(spec, attempt),
            Command::ReportForDuty { node, spec } => self.report_for_duty(node, spec),
            Command::SetDuty { node, duty } => self.set_duty(node, duty),
            Command::RemoveNode { node, force, at } => self.remove_node(node, force, at),
            Command::CreateCamera(spec) => self.create_camera(spec),
            Command::UpdateCamera { camera, spec, expect_revision } => {
                self.update_camera(camera, spec, expect_revision)
            }
            Command::DeleteCamera { camera } => self.delete_camera(camera),
            Command::SetSettings(settings) => self.set_settings(settings),
            Command::Assign { at, changes } => Ok(self.assign(at, changes)),
            Command::CreateHold { spec, at } => self.create_hold(spec, at),
            Command::DeleteHold { hold } => self.delete_hold(hold),
            Command::AddCamera { spec, rules, only_after } => self.add_camera(spec, rules, only_after),
            Command::ChangeCamera { camera, spec, rules, expect_revision, expect_rules } => {
                self.change_camera(camera, (spec, rules), expect_revision, &expect_rules)
            }
            Command::ReportTraits { node, traits } => self.report_traits(node, traits),
            Command::ChangePolicy(changes) => self.change_policy(changes),
            Command::BeginRebalance { at } => Ok(self.begin_rebalance(at)),
            Command::EndRebalance { since } => Ok(self.end_rebalance(since)),
            Command::BeginDrill { node, is_scheduled, at, starts } => self.begin_drill(node, is_scheduled, at, starts),
            Command::StepDrills { at, steps } => Ok(self.step_drills(at, steps)),
        }
    }

    fn initialize(&mut self, cluster: Uuid, spec: NodeSpec) -> Result<Response, Rejection> {
        if self.cluster.is_some() {
            return Err(Rejection::AlreadyInitialized);
        }
        validate::node_spec(&spec)?;
        self.cluster = Some(cluster);
        Ok(Response::Node(self.add_node(spec)))
    }

    fn join(&mut self, spec: NodeSpec, attempt: Uuid) -> Result<Response, Rejection> {
        if let Some(node) = self.attempts.get(attempt) {
            return Ok(Response::Node(*node));
        }
        validate::node_spec(&spec)?;
        self.check_node_name(&spec.name, None)?;
        if self.nodes.len() >= NODES_MAX {
            return Err(Rejection::too_many("nodes", NODES_MAX));
        }
        let node = self.add_node(spec);
        self.attempts.insert(attempt, node);
        Ok(Response::Node(node))
    }

    fn add_node(&mut self, spec: NodeSpec) -> NodeId {
        self.node_last = NodeId(self.node_last.0 + 1);
        let id = self.node_last;
        self.nodes.insert(id, Node { id, spec, duty: Duty::Active });
        id
    }

    fn check_node_name(&self, name: &str, but: Option<NodeId>) -> Result<(), Rejection> {
        match self.node_named(name) {
            Some(other) if Some(other.id) != but => Err(Rejection::DuplicateNodeName(name.to_owned())),
            _ => Ok(()),
        }
    }

    fn report_for_duty(&mut self, id: NodeId, spec: NodeSpec) -> Result<Response, Rejection> {
        validate::node_spec(&spec)?;
        self.check_node_name(&spec.name, Some(id))?;
        let node = self.node_mut(id)?;
        node.spec = spec;
        if node.duty == Duty::Stopping {
            node.duty = Duty::Active;
        }
        Ok(Response::Done)
    }

    fn set_duty(&mut self, id: NodeId, duty: Duty) -> Result<Response, Rejection> {
        let node = self.node_mut(id)?;
        match (node.duty, duty) {
            // Whoever drains has nothing to hand over by stopping, and `Stopping` would end with the restart.
            (Duty::Draining, Duty::Stopping) => {}
            // Only its next process may say that it takes cameras again: one that hands them over must not be given more.
            (Duty::Stopping, Duty::Active) => {}
            _ => node.duty = duty,
        }
        Ok(Response::Done)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, Rejection> {
        if !self.nodes.contains(id) {
            return Err(Rejection::UnknownNode(id));
        }
        self.nodes.get_mut(id).ok_or(Rejection::UnknownNode(id))
    }

    fn remove_node(&mut self, node: NodeId, force: bool, at: Timestamp) -> Result<Response, Rejection> {
        if !self.nodes.contains(node) {
            return Err(Rejection::UnknownNode(node));
        }
        if self.nodes.len() == 1 {
            return Err(Rejection::LastNode(node));
        }
        let cameras = self.assignments.values().filter(|assignment| assign::records(assignment, node)).count();
        if cameras > 0 && !force {
            return Err(Rejection::NodeHoldsCameras { node, cameras });
        }
        self.release_all(node, at);
        self.nodes.remove(node);
        self.forget_node(node);
        let attempts: Vec<Uuid> =
            self.attempts.iter().filter(|(_, id)| **id == node).map(|(attempt, _)| attempt).collect();
        attempts.into_iter().for_each(|attempt| self.attempts.remove(attempt));
        Ok(Response::Done)
    }

    fn create_camera(&mut self, spec: CameraSpec) -> Result<Response, Rejection> {
        self.check_camera(&spec, None)?;
        if self.cameras.len() >= CAMERAS_MAX {
            return Err(Rejection::too_many("cameras", CAMERAS_MAX));
        }
        self.camera_last = CameraId(self.camera_last.0 + 1);
        let id = self.camera_last;
        self.cameras.insert(id, Camera { id, spec, revision: 1 });
        self.assignments.insert(id, Assignment::default());
        self.histories.insert(id, History::default());
        Ok(Response::Camera { camera: id, revision: 1 })
    }

    fn check_camera(&self, spec: &CameraSpec, but: Option<CameraId>) -> Result<(), Rejection> {
        validate::camera_spec(spec)?;
        if self.cameras.values().any(|other| other.spec.name == spec.name && Some(other.id) != but) {
            return Err(Rejection::DuplicateCameraName(spec.name.clone()));
        }
        if !self.settings.retention_classes.iter().any(|class| class.name == spec.retention_class) {
            return Err(Rejection::UnknownRetentionClass(spec.retention_class.clone()));
        }
        Ok(())
    }

    fn update_camera(&mut self, id: CameraId, spec: CameraSpec, expect: Option<u64>) -> Result<Response, Rejection> {
        let camera = self.cameras.get(id).ok_or(Rejection::UnknownCamera(id))?;
        let revision = camera.revision;
        if let Some(expected) = expect.filter(|expected| *expected != revision) {
            return Err(Rejection::StaleRevision { camera: id, expected, actual: revision });
        }
        if camera.spec == spec {
            return Ok(Response::Camera { camera: id, revision });
        }
        self.check_camera(&spec, Some(id))?;
        self.cameras.insert(id, Camera { id, spec, revision: revision + 1 });
        Ok(Response::Camera { camera: id, revision: revision + 1 })
    }

    fn delete_camera(&mut self, id: CameraId) -> Result<Response, Rejection> {
        if !self.cameras.contains(id) {
            return Err(Rejection::UnknownCamera(id));
        }
        self.cameras.remove(id);
        self.assignments.remove(id);
        self.histories.remove(id);
        self.forget_camera(id);
        Ok(Response::Done)
    }

    fn create_hold(&mut self, spec: HoldSpec, at: Timestamp) -> Result<Response, Rejection> {
        validate::hold_spec(&spec)?;
        if spec.camera == CameraId(0) || spec.camera > self.camera_last {
            return Err(Rejection::UnknownCamera(spec.camera));
        }
        if self.holds.len() >= HOLDS_MAX {
            return Err(Rejection::too_many("holds", HOLDS_MAX));
        }
        self.hold_last = HoldId(self.hold_last.0 + 1);
        let id = self.hold_last;
        self.holds.insert(id, Hold { id, spec, created_at: at });
        Ok(Response::Hold(id))
    }

    fn delete_hold(&mut self, id: HoldId) -> Result<Response, Rejection> {
        if !self.holds.contains(id) {
            return Err(Rejection::UnknownHold(id));
        }
        self.holds.remove(id);
        Ok(Response::Done)
    }

    fn set_settings(&mut self, settings: Settings) -> Result<Response, Rejection> {
        validate::settings(&settings)?;
        let missing = self
            .cameras
            .values()
            .map(|camera| &camera.spec.retention_class)
            .find(|class| !settings.retention_classes.iter().any(|kept| kept.name == **class));
        if let Some(class) = missing {
            let why = format!("cameras use \"{class}\"; move them to another class before removing it");
            return Err(Rejection::invalid("retention_classes", why));
        }
        self.settings = settings;
        Ok(Response::Done)
    }
}
