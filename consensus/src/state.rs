//! The replicated state and how commands change it. Deterministic: no clock, no randomness, no I/O;
//! the same log gives the same state on every node.

mod assign;
mod cameras;
mod drills;
mod exports;
mod former;
mod invites;
mod nodes;
mod recover;
mod suspects;

pub(crate) use cameras::CAMERA_NUMBER_MAX;
pub use recover::{EPOCHS_LEAP, NODES_LEAP, NUMBERS_LEAP};

use crate::codec::first_version;
use crate::command::{Command, LogEntry, Rejection, Response};
use crate::generation::ClusterGeneration;
use crate::model::{
    Assignment, Camera, Drills, Export, FormerCamera, HOLDS_MAX, Hold, HoldSpec, Invalid, Invite,
    KeyHash, Node, NodeSpec, Pause, Settings, SettingsChange, Suspicion, Tenure,
};
use crate::table::Table;
use holdfast_storage::ids::{CameraId, Epoch, ExportId, HoldId, InviteId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many owners of a camera are remembered, newest last. Enough for 64 moves; older footage is
/// found by asking every node.
pub const TENURES_MAX: usize = 64;

/// How many deletions of a camera are remembered after it is restored.
const PAUSES_MAX: usize = 16;

/// Everything that the cluster agrees on. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// `None` before the first entry of the log.
    pub cluster: Option<Uuid>,
    pub nodes: Table<NodeId, Node>,
    pub cameras: Table<CameraId, Camera>,
    /// One row for each camera.
    pub assignments: Table<CameraId, Assignment>,
    histories: Table<CameraId, History>,
    pub holds: Table<HoldId, Hold>,
    pub drills: Drills,
    pub settings: Settings,
    /// The newest version of the cluster's commands that may be used: members can be downgraded to
    /// it, but no further.
    pub version: u16,
    /// When the rebalance in progress was requested.
    pub rebalancing_since: Option<Timestamp>,
    node_last: NodeId,
    camera_last: CameraId,
    hold_last: HoldId,
    /// Suspicions of cameras.
    pub suspicions: Table<CameraId, Suspicion>,
    /// The newest process of each node whose end was recorded, identified by its start.
    noted_ends: Table<NodeId, u64>,
    /// The generation that a recovery began; `None`: the cluster's first.
    recovery: Option<ClusterGeneration>,
    /// Cameras that are no longer recorded but may still have footage.
    pub former: Table<CameraId, FormerCamera>,
    /// Including those that have expired since the last one was created.
    pub exports: Table<ExportId, Export>,
    export_last: ExportId,
    /// Including those that were used or have expired since the last one was created.
    pub invites: Table<InviteId, Invite>,
    invite_last: InviteId,
}

first_version!(ClusterState => "the cluster's state");

/// History of a camera's assignments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    /// The highest epoch ever assigned, including those of cancelled handoffs.
    epoch_last: Epoch,
    tenures: Vec<Tenure>,
    /// The newest [`PAUSES_MAX`] times that it was deleted and restored.
    pauses: Vec<Pause>,
}

impl ClusterState {
    /// The owners of `camera`, oldest first; at most [`TENURES_MAX`].
    #[must_use]
    pub fn tenures(&self, camera: CameraId) -> &[Tenure] {
        self.histories
            .get(camera)
            .map_or(&[], |history| &history.tenures)
    }

    /// When `camera` was deleted, and until when; the last interval has no end while the camera is
    /// deleted.
    #[must_use]
    pub fn pauses(&self, camera: CameraId) -> Vec<Pause> {
        let over = self
            .histories
            .get(camera)
            .map_or(&[][..], |history| &history.pauses);
        let now = self.former.get(camera).map(|former| Pause {
            from: former.since,
            to: Timestamp::MAX,
        });
        over.iter().copied().chain(now).collect()
    }

    /// Cameras that `node` owns.
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = CameraId> {
        self.assignments
            .iter()
            .filter(move |(_, assignment)| assignment.owner == Some(node))
            .map(|(camera, _)| camera)
    }

    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes
            .values()
            .find(|node| node.spec.name.as_str() == name)
    }

    /// The newest id that was given to a node.
    #[must_use]
    pub fn newest_node(&self) -> NodeId {
        self.node_last
    }

    /// Whether `node` was a member and no longer is; ids are never reused.
    #[must_use]
    pub fn has_left(&self, node: NodeId) -> bool {
        node <= self.node_last && !self.nodes.contains(node)
    }

    /// Applies one entry of the log.
    ///
    /// # Errors
    /// The command is rejected and the state is unchanged.
    pub fn apply(&mut self, entry: LogEntry) -> Result<Response, Rejection> {
        let LogEntry { at, actor, command } = entry;
        if self.cluster.is_none() && !matches!(command, Command::Initialize { .. }) {
            return Err(Rejection::NotInitialized);
        }
        self.check_usable(&command)?;
        match command {
            Command::Initialize { cluster, node, key } => self.initialize(cluster, node, key),
            Command::JoinNode { spec, key, invite } => self.join(spec, key, invite, at),
            Command::ReportForDuty { node, spec } => self.report_for_duty(node, spec),
            Command::SetDuty { node, duty } => self.set_duty(node, duty),
            Command::RemoveNode { node, force } => self.remove_node(node, force, at),
            Command::CreateCamera { spec, only_after } => self.create_camera(spec, only_after),
            Command::UpdateCamera {
                camera,
                spec,
                expect_revision,
            } => self.update_camera(camera, spec, expect_revision),
            Command::DeleteCamera { camera } => self.delete_camera(camera, at, actor),
            Command::FinalizeVersion { version } => self.finalize_version(version),
            Command::ChangeSettings(change) => self.change_settings(change),
            Command::Assign { changes } => Ok(self.assign(at, changes)),
            Command::CreateHold { spec } => self.create_hold(spec, at),
            Command::DeleteHold { hold } => self.delete_hold(hold),
            Command::BeginRebalance => Ok(self.begin_rebalance(at)),
            Command::EndRebalance { since } => Ok(self.end_rebalance(since)),
            Command::BeginDrill {
                node,
                is_scheduled,
                starts,
            } => self.begin_drill(node, is_scheduled, at, starts),
            Command::StepDrills { steps } => Ok(self.step_drills(at, steps)),
            Command::NoteEnd(end) => self.note_end(at, end),
            Command::ClearCameras { cameras } => self.clear(&cameras),
            Command::ReserveCameras { upto } => self.reserve_cameras(upto),
            Command::ReinstateCamera { camera, spec } => self.reinstate_camera(camera, spec, at),
            Command::RestoreCamera {
                camera,
                name,
                only_after,
            } => self.restore_camera(camera, name, only_after, at),
            Command::AdoptCameras { cluster, cameras } => {
                self.adopt_cameras(cluster, cameras, at, &actor)
            }
            Command::ForgetCameras { cameras } => Ok(self.forget_cameras(&cameras)),
            Command::CreateExport { spec } => self.create_export(spec, at),
            Command::DeleteExport { export } => self.delete_export(export),
            Command::CreateInvite { spec } => self.create_invite(spec, at),
            Command::DeleteInvite { invite } => self.delete_invite(invite),
        }
    }

    fn initialize(
        &mut self,
        cluster: Uuid,
        spec: NodeSpec,
        key: KeyHash,
    ) -> Result<Response, Rejection> {
        if self.cluster.is_some() {
            return Err(Rejection::AlreadyInitialized);
        }
        spec.check()?;
        self.cluster = Some(cluster);
        self.version = spec.version;
        Ok(Response::Node(self.add_node(spec, key, true)))
    }

    fn create_hold(&mut self, spec: HoldSpec, at: Timestamp) -> Result<Response, Rejection> {
        spec.check()?;
        if spec.camera == CameraId(0) || spec.camera > self.camera_last {
            return Err(Rejection::UnknownCamera(spec.camera));
        }
        if self.holds.len() >= HOLDS_MAX {
            return Err(Rejection::too_many("holds", HOLDS_MAX));
        }
        self.hold_last = HoldId(self.hold_last.0 + 1);
        let id = self.hold_last;
        self.holds.insert(
            id,
            Hold {
                id,
                spec,
                created_at: at,
            },
        );
        Ok(Response::Hold(id))
    }

    fn delete_hold(&mut self, id: HoldId) -> Result<Response, Rejection> {
        if !self.holds.contains(id) {
            return Err(Rejection::UnknownHold(id));
        }
        self.holds.remove(id);
        Ok(Response::Done)
    }

    /// Rejects a command that a member may not understand, or that would prevent a downgrade before
    /// the upgrade is finalised. The leader checks this before it writes the command to the log,
    /// because a member that does not know the command could not read it.
    ///
    /// # Errors
    /// [`Rejection::NotFinalized`].
    pub fn check_usable(&self, command: &Command) -> Result<(), Rejection> {
        let needs = command.since();
        let is_first = matches!(command, Command::Initialize { .. });
        if needs > self.version && !is_first {
            return Err(Rejection::NotFinalized {
                needs,
                finalized: self.version,
            });
        }
        Ok(())
    }

    fn finalize_version(&mut self, version: u16) -> Result<Response, Rejection> {
        if version < self.version {
            let why = format!(
                "is {version}, and version {} is finalised already; there is no way back",
                self.version
            );
            return Err(Invalid::new("version", why).into());
        }
        if let Some(node) = self.nodes.values().find(|node| node.spec.version < version) {
            return Err(Rejection::NotUpgraded {
                node: node.id,
                speaks: node.spec.version,
                version,
            });
        }
        self.version = version;
        Ok(Response::Done)
    }

    fn change_settings(&mut self, change: SettingsChange) -> Result<Response, Rejection> {
        let settings = self.settings.changed(change);
        settings.check()?;
        let is_kept = |camera: &&Camera| {
            settings
                .retention_classes
                .get(&camera.spec.retention_class)
                .is_some()
        };
        if let Some(camera) = self.cameras.values().find(|camera| !is_kept(camera)) {
            let class = &camera.spec.retention_class;
            let why = format!(
                "has no \"{class}\", which cameras use; move them to another class before removing \
                 it"
            );
            return Err(Invalid::new("retention_classes", why).into());
        }
        self.settings = settings;
        Ok(Response::Done)
    }

    fn begin_rebalance(&mut self, at: Timestamp) -> Response {
        self.rebalancing_since = Some(at);
        Response::Done
    }

    fn end_rebalance(&mut self, since: Timestamp) -> Response {
        self.rebalancing_since = self.rebalancing_since.filter(|begun| *begun != since);
        Response::Done
    }
}
