//! What can be asked of the replicated state, and what it answers. Types only; `state` applies
//! them.

use crate::model::{
    Actor, CameraName, CameraSpec, DrillStart, DrillStep, Duty, HoldSpec, Invalid, NodeName,
    NodeSpec,
};
use crate::model::{ExportSpec, ProcessEnd, RetentionClassName, SettingsChange};
use holdfast_storage::ids::{CameraId, DrillId, Epoch, ExportId, HoldId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Steps of drills that a log line tells.
const STEPS_TOLD_MAX: usize = 8;

/// Cameras that a log line names.
const CAMERAS_TOLD_MAX: usize = 8;

/// One entry of the Raft log: who wanted what, and when by the wall clock of the node that asked.
/// Every replica applies the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    pub at: Timestamp,
    pub actor: Actor,
    pub command: Command,
}

impl fmt::Display for LogEntry {
    /// As of the command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}

impl Command {
    /// The version of the cluster ([`crate::codec::CLUSTER_VERSION`]) that brought this command, as
    /// it is filled in. A command that gets a new field or kind of value says here since when.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::Initialize { .. }
            | Self::JoinNode { .. }
            | Self::ReportForDuty { .. }
            | Self::SetDuty { .. }
            | Self::RemoveNode { .. }
            | Self::CreateCamera { .. }
            | Self::UpdateCamera { .. }
            | Self::DeleteCamera { .. }
            | Self::ChangeSettings(_)
            | Self::FinalizeVersion { .. }
            | Self::Assign { .. }
            | Self::CreateHold { .. }
            | Self::DeleteHold { .. }
            | Self::BeginRebalance
            | Self::EndRebalance { .. }
            | Self::BeginDrill { .. }
            | Self::StepDrills { .. }
            | Self::NoteEnd(_)
            | Self::ClearCameras { .. }
            | Self::ReserveCameras { .. }
            | Self::ReinstateCamera { .. }
            | Self::RestoreCamera { .. }
            | Self::AdoptCameras { .. }
            | Self::ForgetCameras { .. }
            | Self::CreateExport { .. }
            | Self::DeleteExport { .. } => 1,
        }
    }

    #[must_use]
    pub fn by(self, actor: Actor, at: Timestamp) -> LogEntry {
        LogEntry {
            at,
            actor,
            command: self,
        }
    }
}

/// What is asked of the replicated state. New kinds come last: logs hold the number of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// First entry of a new cluster: names it and makes its first member.
    Initialize {
        cluster: Uuid,
        node: NodeSpec,
    },
    /// A new member. The same `attempt` asked twice is answered with the same id, so that a lost
    /// answer can be asked for again.
    JoinNode {
        spec: NodeSpec,
        attempt: Uuid,
    },
    /// A member started: its addresses and capacity as they are now; ends `Duty::Stopping`.
    ReportForDuty {
        node: NodeId,
        spec: NodeSpec,
    },
    /// `Stopping` asked of a node that drains changes nothing: an operator's drain outlives
    /// restarts.
    SetDuty {
        node: NodeId,
        duty: Duty,
    },
    /// Refused while the node holds cameras, unless `force`: then a camera's mirror, or the target
    /// of its handoff, owns it at once, and cameras that only this node recorded are left without
    /// owner until they are placed again.
    RemoveNode {
        node: NodeId,
        force: bool,
    },
    /// `only_after`: refuse where a camera was added after this one, because room was looked for
    /// without it; without it, refuse where room must be looked for.
    CreateCamera {
        spec: CameraSpec,
        only_after: Option<CameraId>,
    },
    /// Refuse unless the camera is still at this revision.
    UpdateCamera {
        camera: CameraId,
        spec: CameraSpec,
        expect_revision: u64,
    },
    DeleteCamera {
        camera: CameraId,
    },
    ChangeSettings(SettingsChange),
    /// The upgrade to this version is done: what it brings may be used, and there is no way back.
    /// Refused until every member runs it.
    FinalizeVersion {
        version: u16,
    },
    /// Changes of who records what. Each stands alone: a stale one is skipped and reported, the
    /// others apply.
    Assign {
        changes: Vec<AssignmentChange>,
    },
    CreateHold {
        spec: HoldSpec,
    },
    DeleteHold {
        hold: HoldId,
    },
    /// Cameras are to spread evenly over the nodes again; asked twice, it begins anew.
    BeginRebalance,
    /// The rebalance that began at `since` is over.
    EndRebalance {
        since: Timestamp,
    },
    /// The successors of these cameras record beside their owners from now on, as if those had
    /// died. A user's, of one camera (no `node`), is refused where that cannot be tried; of a
    /// node's cameras and of the schedule's that is told among the results.
    BeginDrill {
        node: Option<NodeId>,
        /// The cluster's schedule asked for it.
        is_scheduled: bool,
        starts: Vec<DrillStart>,
    },
    /// What becomes of running drills. Each step stands alone, as with `Assign`.
    StepDrills {
        steps: Vec<DrillStep>,
    },
    /// A process ended, maybe because of what cameras sent. Asked twice, it counts once.
    NoteEnd(ProcessEnd),
    /// Nothing is held against these cameras any more: a session of theirs lasted, or an operator
    /// says so.
    ClearCameras {
        cameras: Vec<CameraId>,
    },
    /// Numbers of cameras up to this one are taken: somewhere is footage of them.
    ReserveCameras {
        upto: CameraId,
    },
    /// A camera as a backup has it, whatever room there is: it was taken once. Under its number, or
    /// (`None`) under a new one.
    ReinstateCamera {
        camera: Option<CameraId>,
        spec: CameraSpec,
    },
    /// A deleted camera is recorded again, under its number and, unless another is given, its name.
    /// `only_after` as in `CreateCamera`.
    RestoreCamera {
        camera: CameraId,
        name: Option<CameraName>,
        only_after: Option<CameraId>,
    },
    /// Footage of another cluster's cameras is taken over: each gets a number here, the same
    /// whenever it is asked for.
    AdoptCameras {
        cluster: Uuid,
        cameras: Vec<AdoptedCamera>,
    },
    /// No node has footage of these cameras, deleted at these times, any more.
    ForgetCameras {
        cameras: Vec<(CameraId, Timestamp)>,
    },
    CreateExport {
        spec: ExportSpec,
    },
    DeleteExport {
        export: ExportId,
    },
}

/// A camera as another cluster had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedCamera {
    /// Its number there.
    pub camera: CameraId,
    pub name: CameraName,
}

/// A change of one camera's assignment, applied only while its epoch is still `expect` (compare and
/// set).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignmentChange {
    pub camera: CameraId,
    pub expect: Epoch,
    pub op: AssignmentOp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignmentOp {
    /// First owner of a camera that nobody owns.
    Place {
        owner: NodeId,
        mirror: Option<NodeId>,
        successor: Option<NodeId>,
    },
    /// The owner is dead. `watermark`: the last that is known of what it made durable.
    TakeOver {
        owner: NodeId,
        mirror: Option<NodeId>,
        successor: Option<NodeId>,
        watermark: Option<Timestamp>,
    },
    /// Reserves the next epoch for `to`, which records beside the owner until it has proved itself.
    BeginHandoff {
        to: NodeId,
    },
    /// `to` (the handoff of epoch `epoch`) proved itself, or its owner died: it is the owner now.
    CompleteHandoff {
        epoch: Epoch,
        mirror: Option<NodeId>,
        successor: Option<NodeId>,
        watermark: Option<Timestamp>,
    },
    /// The handoff of epoch `epoch` is off; its epoch is never used again.
    CancelHandoff {
        epoch: Epoch,
    },
    SetSuccessor {
        successor: Option<NodeId>,
    },
    SetMirror {
        mirror: Option<NodeId>,
    },
    /// Capacity is short: a camera of higher priority takes the place. `watermark` as in
    /// `TakeOver`.
    Shed {
        watermark: Option<Timestamp>,
    },
    /// The same recorders in a new epoch: what they recorded in the one before is stamped with
    /// times that have yet to come.
    Renew,
}

/// What became of a command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    Done,
    Node(NodeId),
    Camera {
        camera: CameraId,
        revision: u64,
    },
    Assigned {
        applied: usize,
        skipped: Vec<Skipped>,
    },
    Hold(HoldId),
    Drill(DrillId),
    /// In the order in which they were asked for.
    Cameras(Vec<CameraId>),
    Export(ExportId),
}

/// An assignment change that came too late, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub camera: CameraId,
    pub why: Rejection,
}

/// A command that the cluster refused. The same on every replica: it follows from the state and the
/// command alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    #[error("there is no node {0}; list the nodes to see their ids")]
    UnknownNode(NodeId),
    #[error("there is no camera {0}; list the cameras to see their ids")]
    UnknownCamera(CameraId),
    #[error(
        "a node named \"{0}\" is a member already; choose another name, or remove that node first"
    )]
    DuplicateNodeName(NodeName),
    #[error("a camera named \"{0}\" exists already; choose another name")]
    DuplicateCameraName(CameraName),
    #[error("the cluster is initialized already; join it instead")]
    AlreadyInitialized,
    #[error("the cluster is not initialized; run `holdfast cluster init` on its first node")]
    NotInitialized,
    #[error(
        "node {node} still records {cameras} cameras; drain it and try again, or force its removal"
    )]
    NodeHoldsCameras { node: NodeId, cameras: usize },
    #[error("node {0} is the last one; a cluster keeps at least one node")]
    LastNode(NodeId),
    #[error(
        "camera {camera} is at revision {actual}, not {expected}; read it again and repeat the \
         change"
    )]
    StaleRevision {
        camera: CameraId,
        expected: u64,
        actual: u64,
    },
    #[error(
        "camera {camera} is at epoch {actual}, not {expected}: its assignment has changed since"
    )]
    StaleEpoch {
        camera: CameraId,
        expected: Epoch,
        actual: Epoch,
    },
    #[error("camera {camera}: {why}")]
    WrongAssignment { camera: CameraId, why: String },
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("there is no retention class \"{0}\"; add it to the settings first, or use another")]
    UnknownRetentionClass(RetentionClassName),
    #[error("at most {max} {what} are supported; remove one first")]
    TooMany { what: String, max: usize },
    #[error(
        "this needs version {needs} of the cluster, and {finalized} is finalised; upgrade every \
         node, then finalise with `holdfast cluster finalize`"
    )]
    NotFinalized { needs: u16, finalized: u16 },
    #[error("node {node} speaks version {speaks}; upgrade it to finalise version {version}")]
    NotUpgraded {
        node: NodeId,
        speaks: u16,
        version: u16,
    },
    #[error(
        "this node speaks version {speaks}, and the cluster's upgrade to version {finalized} is \
         finalised; upgrade this node"
    )]
    TooOld { speaks: u16, finalized: u16 },
    #[error("there is no hold {0}; list the holds to see their ids")]
    UnknownHold(HoldId),
    #[error("another camera was added in the same moment, after camera {0}; try again")]
    CamerasChanged(CameraId),
    #[error(
        "headroom checking was switched to `strict` while this request was in flight; try again"
    )]
    HeadroomUnchecked,
    #[error("camera {camera} cannot be drilled now: {why}")]
    CannotDrill { camera: CameraId, why: String },
    #[error("node {0} owns no camera that could be drilled")]
    NothingToDrill(NodeId),
    #[error(
        "there is no deleted camera {0}, or it was forgotten; `holdfast camera list --deleted` \
         shows those that there are"
    )]
    NotDeleted(CameraId),
    #[error(
        "camera {0} was recorded by another cluster, and its address did not come with its \
         footage; add it as a new camera"
    )]
    NotRestorable(CameraId),
    #[error("there is no export {0}, or it has expired; list the exports to see their ids")]
    UnknownExport(ExportId),
}

impl Rejection {
    /// Stable across versions; programs may depend on it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownNode(_) => "unknown-node",
            Self::UnknownCamera(_) => "unknown-camera",
            Self::DuplicateNodeName(_) => "duplicate-node-name",
            Self::DuplicateCameraName(_) => "duplicate-camera-name",
            Self::AlreadyInitialized => "already-initialized",
            Self::NotInitialized => "not-initialized",
            Self::NodeHoldsCameras { .. } => "node-holds-cameras",
            Self::LastNode(_) => "last-node",
            Self::StaleRevision { .. } => "stale-revision",
            Self::StaleEpoch { .. } => "stale-epoch",
            Self::WrongAssignment { .. } => "wrong-assignment",
            Self::Invalid(_) => "invalid",
            Self::UnknownRetentionClass(_) => "unknown-retention-class",
            Self::TooMany { .. } => "too-many",
            Self::NotFinalized { .. } => "not-finalized",
            Self::NotUpgraded { .. } => "not-upgraded",
            Self::TooOld { .. } => "too-old",
            Self::UnknownHold(_) => "unknown-hold",
            Self::CamerasChanged(_) => "cameras-changed",
            Self::HeadroomUnchecked => "headroom-unchecked",
            Self::CannotDrill { .. } => "cannot-drill",
            Self::NothingToDrill(_) => "nothing-to-drill",
            Self::NotDeleted(_) => "not-deleted",
            Self::NotRestorable(_) => "not-restorable",
            Self::UnknownExport(_) => "unknown-export",
        }
    }

    pub(crate) fn too_many(what: &str, max: usize) -> Self {
        Self::TooMany {
            what: what.to_owned(),
            max,
        }
    }
}

impl fmt::Display for Command {
    /// For logs: what it is about, never a source's address or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initialize { cluster, .. } => write!(f, "initialize cluster {cluster}"),
            Self::JoinNode { spec, .. } => write!(f, "join node \"{}\"", spec.name),
            Self::ReportForDuty { node, .. } => write!(f, "node {node} reports for duty"),
            Self::SetDuty { node, duty } => write!(f, "set node {node} {duty:?}"),
            Self::RemoveNode { node, force, .. } => {
                write!(f, "remove node {node} (force: {force})")
            }
            Self::CreateCamera { spec, .. } => write!(f, "create camera \"{}\"", spec.name),
            Self::UpdateCamera { camera, .. } => write!(f, "update camera {camera}"),
            Self::DeleteCamera { camera } => write!(f, "delete camera {camera}"),
            Self::FinalizeVersion { version } => write!(f, "finalize version {version}"),
            Self::ChangeSettings(change) => write!(f, "change settings {change:?}"),
            Self::Assign { changes, .. } => write!(f, "assign {} cameras", changes.len()),
            Self::CreateHold { spec, .. } => write!(f, "hold footage of camera {}", spec.camera),
            Self::DeleteHold { hold } => write!(f, "delete hold {hold}"),
            Self::CreateExport { spec } => write!(f, "export footage of {}", listed(&spec.cameras)),
            Self::DeleteExport { export } => write!(f, "delete export {export}"),
            Self::BeginRebalance => write!(f, "begin rebalance"),
            Self::EndRebalance { .. } => write!(f, "end rebalance"),
            Self::BeginDrill {
                node: Some(node),
                starts,
                ..
            } => {
                write!(f, "drill node {node} ({} cameras)", starts.len())
            }
            Self::BeginDrill {
                node: None, starts, ..
            } => starts
                .iter()
                .try_for_each(|start| write!(f, "drill camera {}", start.camera)),
            Self::NoteEnd(ProcessEnd {
                node,
                blamed,
                on_trial,
                ..
            }) => {
                let who = if *on_trial {
                    "the suspect that had its turn"
                } else {
                    "those with fresh sessions"
                };
                write!(
                    f,
                    "note that the process of node {node} ended; cameras blamed: {} ({who})",
                    blamed.len()
                )
            }
            Self::ClearCameras { cameras } => {
                write!(f, "clear of suspicion: {}", listed(cameras))
            }
            Self::StepDrills { steps, .. } => {
                write!(f, "drills:")?;
                steps
                    .iter()
                    .take(STEPS_TOLD_MAX)
                    .try_for_each(|step| write!(f, " {step}"))?;
                if steps.len() > STEPS_TOLD_MAX {
                    write!(f, " and {} more", steps.len() - STEPS_TOLD_MAX)
                } else {
                    Ok(())
                }
            }
            Self::ReserveCameras { upto } => write!(f, "reserve the cameras' numbers up to {upto}"),
            Self::ReinstateCamera {
                camera: Some(camera),
                spec,
            } => {
                write!(f, "reinstate camera \"{}\" as {camera}", spec.name)
            }
            Self::ReinstateCamera { camera: None, spec } => {
                write!(f, "reinstate camera \"{}\"", spec.name)
            }
            Self::RestoreCamera { camera, .. } => write!(f, "restore camera {camera}"),
            Self::AdoptCameras { cluster, cameras } => {
                write!(
                    f,
                    "take over footage of {} cameras of cluster {cluster}",
                    cameras.len()
                )
            }
            Self::ForgetCameras { cameras } => {
                let numbers: Vec<CameraId> = cameras.iter().map(|(camera, _)| *camera).collect();
                write!(f, "forget deleted cameras: {}", listed(&numbers))
            }
        }
    }
}

/// The first few of them, and how many more there are.
fn listed(cameras: &[CameraId]) -> String {
    let first: Vec<String> = cameras
        .iter()
        .take(CAMERAS_TOLD_MAX)
        .map(|camera| format!("camera {camera}"))
        .collect();
    let more = cameras.len().saturating_sub(CAMERAS_TOLD_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    first.join(", ") + &more
}
