//! Commands that change the replicated state, and their answers. Types only; `state` applies them.

use crate::model::{
    Actor, CameraName, CameraSpec, DrillStart, DrillStep, Duty, HoldSpec, Invalid, NodeName,
    NodeSpec,
};
use crate::model::{
    ExportSpec, INVITE_VALID, InviteSpec, KeyHash, ProcessEnd, RetentionClassName, Role,
    SettingsChange,
};
use holdfast_storage::ids::{CameraId, DrillId, Epoch, ExportId, HoldId, InviteId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The most steps of drills that a log line shows.
const STEPS_SHOWN_MAX: usize = 8;

/// The most cameras that a log line names.
const CAMERAS_SHOWN_MAX: usize = 8;

/// One entry of the Raft log: the command, who requested it, and when by the wall clock of the
/// requesting node. Every replica applies the same entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    pub at: Timestamp,
    pub actor: Actor,
    pub command: Command,
}

impl fmt::Display for LogEntry {
    /// Formats like the command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}

/// The commands that admit a node without a network, for simulations and tests: an invitation and
/// its use, with keys that are made of the name.
#[must_use]
pub fn admission(spec: NodeSpec, at: Timestamp) -> [Command; 2] {
    let key = |purpose: u8| {
        let mut key = KeyHash([purpose; 32]);
        let name = spec.name.as_str().bytes().take(31);
        key.0[1..]
            .iter_mut()
            .zip(name)
            .for_each(|(own, byte)| *own = byte);
        key
    };
    let (invite, key) = (key(1), key(2));
    let invited = InviteSpec {
        name: spec.name.clone(),
        role: spec.role,
        may_vote: true,
        key: invite,
        expires: at.plus(INVITE_VALID),
    };
    let join = Command::JoinNode { spec, key, invite };
    [Command::CreateInvite { spec: invited }, join]
}

impl LogEntry {
    /// The only member that may send this; `None`: any member, on behalf of a user or the cluster.
    #[must_use]
    pub fn spoken_by(&self) -> Option<NodeId> {
        match (&self.command, &self.actor) {
            (Command::ReportForDuty { node, .. }, _)
            | (
                Command::SetDuty {
                    node,
                    duty: Duty::Stopping,
                },
                _,
            )
            | (_, Actor::Node(node)) => Some(*node),
            _ => None,
        }
    }
}

impl Command {
    /// The version of the cluster ([`crate::codec::CLUSTER_VERSION`]) that introduced this command
    /// with its present contents. A command that gets a new field or kind of value returns a newer
    /// version when it uses it.
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
            | Self::DeleteExport { .. }
            | Self::CreateInvite { .. }
            | Self::DeleteInvite { .. } => 1,
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

/// A command that changes the replicated state. New kinds are added at the end: logs contain the
/// number of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// First entry of a new cluster: names it and creates its first member.
    Initialize {
        cluster: Uuid,
        node: NodeSpec,
        /// Of that node's key.
        key: KeyHash,
    },
    /// A new member, with the invitation of this key. The same `key` of the node always gets the
    /// same id, so a lost answer can be requested again.
    JoinNode {
        spec: NodeSpec,
        key: KeyHash,
        invite: KeyHash,
    },
    /// A member started: updates its addresses and capacity; ends `Duty::Stopping`.
    ReportForDuty {
        node: NodeId,
        spec: NodeSpec,
    },
    /// `Stopping` changes nothing for a draining node: an operator's drain survives restarts.
    SetDuty {
        node: NodeId,
        duty: Duty,
    },
    /// Rejected while the node holds cameras, unless `force`: then a camera's mirror, or the target
    /// of its handoff, becomes its owner immediately, and cameras that only this node recorded have
    /// no owner until they are placed again.
    RemoveNode {
        node: NodeId,
        force: bool,
    },
    /// With `only_after`: rejected if a camera was added after this one, because the headroom check
    /// did not include it. Without it: rejected if headroom must be checked.
    CreateCamera {
        spec: CameraSpec,
        only_after: Option<CameraId>,
    },
    /// Rejected unless the camera is still at this revision.
    UpdateCamera {
        camera: CameraId,
        spec: CameraSpec,
        expect_revision: u64,
    },
    DeleteCamera {
        camera: CameraId,
    },
    ChangeSettings(SettingsChange),
    /// Finalises the upgrade to this version: its features may be used from now on, and there is no
    /// way back. Rejected until every member runs it.
    FinalizeVersion {
        version: u16,
    },
    /// Changes of who records what. They are independent: a stale one is skipped and reported, the
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
    /// Starts spreading cameras evenly over the nodes again; a second request restarts it.
    BeginRebalance,
    /// The rebalance that began at `since` has ended.
    EndRebalance {
        since: Timestamp,
    },
    /// Starts a drill: the successors record alongside the owners, as if the owners had died. A
    /// drill that a user requests for one camera (no `node`) is rejected if it cannot run; for a
    /// node's cameras and for scheduled drills the reason is recorded in the results.
    BeginDrill {
        node: Option<NodeId>,
        /// The cluster's schedule requested it.
        is_scheduled: bool,
        starts: Vec<DrillStart>,
    },
    /// Advances running drills. Each step is independent, as with `Assign`.
    StepDrills {
        steps: Vec<DrillStep>,
    },
    /// A process ended, possibly because of what cameras sent. A repeated report counts once.
    NoteEnd(ProcessEnd),
    /// Clears all suspicion of these cameras: a session of theirs lasted, or an operator requested
    /// it.
    ClearCameras {
        cameras: Vec<CameraId>,
    },
    /// Reserves camera numbers up to this one: some node has footage of them.
    ReserveCameras {
        upto: CameraId,
    },
    /// Restores a camera from a backup, without checking the headroom: it was accepted once. Under
    /// its number, or (`None`) under a new one.
    ReinstateCamera {
        camera: Option<CameraId>,
        spec: CameraSpec,
    },
    /// Records a deleted camera again, under its number and, unless another is given, its name.
    /// `only_after` as in `CreateCamera`.
    RestoreCamera {
        camera: CameraId,
        name: Option<CameraName>,
        only_after: Option<CameraId>,
    },
    /// Adopts the footage of another cluster's cameras: each gets a number here, the same one for
    /// every request.
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
    CreateInvite {
        spec: InviteSpec,
    },
    DeleteInvite {
        invite: InviteId,
    },
}

/// A camera as another cluster knew it.
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
    /// The first owner of a camera without one.
    Place {
        owner: NodeId,
        mirror: Option<NodeId>,
        successor: Option<NodeId>,
    },
    /// The owner is dead. `watermark`: its last known durable watermark.
    TakeOver {
        owner: NodeId,
        mirror: Option<NodeId>,
        successor: Option<NodeId>,
        watermark: Option<Timestamp>,
    },
    /// Reserves the next epoch for `to`, which records alongside the owner until it has proved
    /// itself.
    BeginHandoff {
        to: NodeId,
    },
    /// `to` (the handoff of epoch `epoch`) proved itself, or its owner died: it becomes the owner.
    CompleteHandoff {
        epoch: Epoch,
        mirror: Option<NodeId>,
        successor: Option<NodeId>,
        watermark: Option<Timestamp>,
    },
    /// Cancels the handoff of epoch `epoch`; that epoch is never used again.
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
    /// The same recorders in a new epoch: recordings of the previous epoch have timestamps in the
    /// future.
    Renew,
}

/// The result of a command that was applied.
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
    /// In the order of the request.
    Cameras(Vec<CameraId>),
    Export(ExportId),
    Invite(InviteId),
}

/// A stale assignment change, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub camera: CameraId,
    pub why: Rejection,
}

/// The cluster rejected a command. Every replica comes to the same result: it depends on the state
/// and the command alone.
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
    #[error("there is no invitation {0}; list the invitations to see their ids")]
    UnknownInvite(InviteId),
    #[error(
        "no invitation has this token's key: it was revoked, or has expired; make another with \
         `holdfast node invite`"
    )]
    NotInvited,
    #[error(
        "node {0} has joined with this token already; each node needs one of its own, from \
         `holdfast node invite`"
    )]
    InviteUsed(NodeId),
    #[error(
        "the token is for a {} named \"{name}\"; set name and role of this node accordingly, or \
         invite it as it is",
        role_name(*role)
    )]
    InvitedAs { name: NodeName, role: Role },
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
        "no other node than node {0} may vote; invite one with `--voter` first, or remove others"
    )]
    LastVoter(NodeId),
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
            Self::LastVoter(_) => "last-voter",
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
            Self::UnknownInvite(_) => "unknown-invite",
            Self::NotInvited => "not-invited",
            Self::InviteUsed(_) => "invite-used",
            Self::InvitedAs { .. } => "invited-as",
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
    /// For logs: the subject of the command, never a source's address or password.
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
            Self::CreateInvite { spec } => write!(f, "invite node \"{}\"", spec.name),
            Self::DeleteInvite { invite } => write!(f, "revoke invitation {invite}"),
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
            Self::NoteEnd(end) => write!(f, "note that {}", ended(end)),
            Self::ClearCameras { cameras } => {
                write!(f, "clear of suspicion: {}", listed(cameras))
            }
            Self::StepDrills { steps, .. } => write!(f, "drills:{}", steps_listed(steps)),
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

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Recorder => "recorder",
        Role::Witness => "witness",
    }
}

/// The first few of them, and how many more there are.
fn listed(cameras: &[CameraId]) -> String {
    let first: Vec<String> = cameras
        .iter()
        .take(CAMERAS_SHOWN_MAX)
        .map(|camera| format!("camera {camera}"))
        .collect();
    first.join(", ") + &beyond(cameras.len(), CAMERAS_SHOWN_MAX)
}

/// The process that ended, and who is blamed for it.
fn ended(end: &ProcessEnd) -> String {
    let who = if end.on_trial {
        "the suspect that had its turn"
    } else {
        "those with fresh sessions"
    };
    format!(
        "the process of node {} ended; cameras blamed: {} ({who})",
        end.node,
        end.blamed.len()
    )
}

/// Like [`listed`], each step after a space.
fn steps_listed(steps: &[DrillStep]) -> String {
    let first: String = steps
        .iter()
        .take(STEPS_SHOWN_MAX)
        .map(|step| format!(" {step}"))
        .collect();
    first + &beyond(steps.len(), STEPS_SHOWN_MAX)
}

/// How many of `count` are not shown; empty if all are.
fn beyond(count: usize, shown_max: usize) -> String {
    match count.saturating_sub(shown_max) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}
