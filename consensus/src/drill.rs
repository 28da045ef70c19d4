//! Drills: failover of cameras whose owners are well, to know that it works before it must. Types, and which cameras can be drilled now. Pure.
//!
//! A drill is the failover itself: the successor records provisionally ([`crate::desired`]), takes the camera over once it has a durable keyframe, and hands it back by a handoff
//! like any other ([`crate::steward`]). Only the owner does not die, so no frame is lost.

mod schedule;

pub use schedule::{QUIET_BEFORE, due};

use crate::bitrate::Bitrates;
use crate::heartbeat::RecorderState;
use crate::model::{Assignment, Protection};
use crate::placement::Planner;
use crate::reports::Reports;
use crate::state::ClusterState;
use crate::table::Table;
use holdfast_storage::ids::{CameraId, DrillId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A successor must have a durable keyframe within this time, or failover of the camera has failed.
pub const TAKE_OVER_MAX: Duration = Duration::from_secs(30);
/// As the camera's owner it must have one within this time. The first owner records on until then, and for long enough to begin the way back.
pub const PROVE_MAX: Duration = Duration::from_secs(12);
const _: () = assert!(PROVE_MAX.as_secs() < crate::steward::HANDOFF_MAX.as_secs());
/// Drills that are remembered, the newest; and of how many cameras in all, unless one drill alone has more. The last result of each camera is kept besides.
pub const DRILLS_MAX: usize = 200;
pub const RESULTS_MAX: usize = 2_000;
/// Bytes of a reason: what a camera answered may be long.
const REASON_BYTES_MAX: usize = 300;

/// What is replicated about drills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drills {
    /// Seconds within which each camera is drilled once; 0: none is drilled by itself.
    pub every_s: u32,
    pub(crate) last: DrillId,
    /// The newest [`DRILLS_MAX`].
    pub log: Table<DrillId, Drill>,
    pub running: Table<CameraId, RunningDrill>,
    /// The last of each camera that passed or failed.
    pub results: Table<CameraId, DrillResult>,
}

impl Drills {
    /// The cameras of `drill` that are under way.
    pub fn running_of(&self, drill: DrillId) -> impl Iterator<Item = (CameraId, &RunningDrill)> {
        self.running.iter().filter(move |(_, running)| running.drill == drill)
    }
}

/// A drill of one camera, or of all that one node owned at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub id: DrillId,
    pub node: Option<NodeId>,
    pub is_scheduled: bool,
    pub began_at: Timestamp,
    /// Of cameras that have ended, in that order.
    pub results: Vec<DrillResult>,
}

/// One camera's drill that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDrill {
    pub drill: DrillId,
    pub owner: NodeId,
    /// The owner's.
    pub epoch: Epoch,
    pub successor: NodeId,
    /// By the successor's clock.
    pub began_at: Timestamp,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The successor records provisionally, beside the owner.
    TakingOver,
    /// The successor owns the camera in `epoch`.
    TakenOver { epoch: Epoch, gap_us: u64 },
    /// A handoff to the first owner was begun. `failure`: why the drill has failed nevertheless.
    HandingBack { epoch: Epoch, gap_us: u64, failure: Option<String> },
}

impl Phase {
    /// How long nobody would have recorded the camera, where that was measured.
    #[must_use]
    pub fn gap_us(&self) -> Option<u64> {
        match self {
            Self::TakingOver => None,
            Self::TakenOver { gap_us, .. } | Self::HandingBack { gap_us, .. } => Some(*gap_us),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The successor took the camera over and recorded it, and its owner has it again.
    Passed,
    /// Some of that did not happen.
    Failed,
    /// Something else happened to the camera meanwhile. It tells nothing about failover.
    Aborted,
}

/// How one camera's drill ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillResult {
    pub camera: CameraId,
    pub drill: DrillId,
    pub owner: Option<NodeId>,
    pub successor: Option<NodeId>,
    pub began_at: Timestamp,
    pub ended_at: Timestamp,
    pub outcome: Outcome,
    /// From the drill's beginning to the successor's first durable keyframe, in microseconds; `None` where there was none.
    pub gap_us: Option<u64>,
    pub is_handed_back: bool,
    /// Why it did not pass.
    pub reason: Option<String>,
}

/// Why a camera's drill does not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub why: String,
    /// Failover would not work either.
    pub is_failure: bool,
}

impl Refusal {
    pub(crate) fn failure(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_failure: true }
    }

    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_failure: false }
    }
}

/// What a camera's drill begins with, by whoever knows who lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStart {
    pub camera: CameraId,
    /// The assignment that was looked at.
    pub expect: Epoch,
    pub successor: Option<NodeId>,
    /// Now, by the successor's clock, so that its keyframe's time can be compared.
    pub began_at: Timestamp,
    pub refusal: Option<Refusal>,
}

/// A step of one camera's drill, applied only while that drill runs and the assignment is what it made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStep {
    pub camera: CameraId,
    pub drill: DrillId,
    pub op: DrillOp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrillOp {
    /// The successor has a durable keyframe: it is the owner now, as after a failover, and the owner its successor. `watermark`: of the old owner.
    TakeOver {
        gap_us: u64,
        watermark: Option<Timestamp>,
    },
    /// The handoff to the first owner begins.
    HandBack {
        failure: Option<String>,
    },
    End {
        outcome: Outcome,
        reason: Option<String>,
        is_handed_back: bool,
    },
}

impl DrillOp {
    pub(crate) fn failed(reason: String, is_handed_back: bool) -> Self {
        Self::End { outcome: Outcome::Failed, reason: Some(bounded(reason)), is_handed_back }
    }

    pub(crate) fn aborted(reason: String) -> Self {
        Self::End { outcome: Outcome::Aborted, reason: Some(bounded(reason)), is_handed_back: false }
    }
}

impl fmt::Display for DrillStep {
    /// For logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { camera, drill, op } = self;
        match op {
            DrillOp::TakeOver { gap_us, .. } => {
                write!(f, "[{drill}: camera {camera} is taken over after {} ms]", gap_us / 1000)
            }
            DrillOp::HandBack { failure: None } => write!(f, "[{drill}: camera {camera} is handed back]"),
            DrillOp::HandBack { failure: Some(why) } => {
                write!(f, "[{drill}: camera {camera} is handed back, because {why}]")
            }
            DrillOp::End { outcome, reason: None, .. } => write!(f, "[{drill}: camera {camera} {outcome:?}]"),
            DrillOp::End { outcome, reason: Some(why), .. } => {
                write!(f, "[{drill}: camera {camera} {outcome:?}: {why}]")
            }
        }
    }
}

/// What is seen of the site by whoever begins drills.
pub struct Look<'a> {
    pub state: &'a ClusterState,
    pub progress: &'a Reports,
    /// Lives, and can write.
    pub can_record: &'a dyn Fn(NodeId) -> bool,
    /// The present moment by a node's clock.
    pub now_at: &'a dyn Fn(NodeId) -> Timestamp,
}

/// The start of a drill of `camera`, with why it cannot begin, where it cannot.
#[must_use]
pub fn start(look: &Look<'_>, camera: CameraId) -> DrillStart {
    let bitrates = Bitrates::of_reports(look.progress);
    let mut planner = Planner::new(look.state, &bitrates, look.can_record);
    start_one(look, &mut planner, camera)
}

/// The starts of a drill of `node`: of all cameras that it owns, together, as its death would be. Gapless ones are left out: their mirrors record them all the time.
#[must_use]
pub fn starts_of_node(look: &Look<'_>, node: NodeId) -> Vec<DrillStart> {
    let bitrates = Bitrates::of_reports(look.progress);
    let mut planner = Planner::new(look.state, &bitrates, look.can_record);
    let owned = look.state.owned_by(node).filter(|camera| !is_gapless(look.state, *camera));
    owned.map(|camera| start_one(look, &mut planner, camera)).collect()
}

fn start_one(look: &Look<'_>, planner: &mut Planner<'_>, camera: CameraId) -> DrillStart {
    let now = look.state.assignments.get(camera).cloned().unwrap_or_default();
    let began_at = (look.now_at)(now.successor.or(now.owner).unwrap_or_default());
    let refusal = refusal(look, planner, camera, &now);
    if refusal.is_none() {
        // Those that follow find what is left.
        planner.add(camera, &Assignment { owner: now.successor, ..Assignment::default() });
    }
    DrillStart { camera, expect: now.epoch, successor: now.successor, began_at, refusal }
}

fn refusal(look: &Look<'_>, planner: &Planner<'_>, camera: CameraId, now: &Assignment) -> Option<Refusal> {
    let state = look.state;
    if let Some(refusal) = standing_refusal(state, camera, now) {
        return Some(refusal);
    }
    let (owner, successor) = (now.owner?, now.successor?);
    let reported = |node: NodeId| look.progress.get(&(node, camera));
    let records = reported(owner).is_some_and(|told| told.state == RecorderState::Recording && told.epoch == now.epoch);
    if !planner.is_fit(owner) || !records {
        let error = reported(owner).and_then(|told| told.error.as_deref());
        return Some(Refusal::passing(because(
            format!("its owner {} does not record it, or is leaving", name(state, owner)),
            error,
        )));
    }
    if !planner.is_fit(successor) {
        let why = format!("its successor {} is dead, is leaving, or cannot write", name(state, successor));
        return Some(Refusal::failure(why));
    }
    if reported(successor).is_some_and(|told| told.state != RecorderState::Starting) {
        let why = format!("its successor {} has a recorder for it still; try again", name(state, successor));
        return Some(Refusal::passing(why));
    }
    let full = || Refusal::failure(format!("its successor {} has no room for it", name(state, successor)));
    (!planner.takes(successor, camera)).then(full)
}

/// What the replicated state alone tells against a drill of `camera`.
pub(crate) fn standing_refusal(state: &ClusterState, camera: CameraId, now: &Assignment) -> Option<Refusal> {
    if now.owner.is_none() {
        return Some(Refusal::failure("nobody owns it"));
    }
    if is_gapless(state, camera) || now.mirror.is_some() {
        return Some(Refusal::passing("a gapless camera's mirror records it all the time, and needs no failover"));
    }
    if let Some(running) = state.drills.running.get(camera) {
        return Some(Refusal::passing(format!("drill {} runs", running.drill)));
    }
    if now.handoff.is_some() {
        return Some(Refusal::passing("it is being handed over; try again"));
    }
    now.successor.is_none().then(|| Refusal::failure("it has no successor: no other node can record it"))
}

fn is_gapless(state: &ClusterState, camera: CameraId) -> bool {
    state.cameras.get(camera).is_some_and(|camera| camera.spec.protection == Protection::Gapless)
}

/// For people.
pub(crate) fn name(state: &ClusterState, node: NodeId) -> String {
    state.nodes.get(node).map_or_else(|| format!("node {node}"), |node| node.spec.name.clone())
}

pub(crate) fn because(what: String, error: Option<&str>) -> String {
    bounded(error.map_or(what.clone(), |error| format!("{what}: {error}")))
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}
