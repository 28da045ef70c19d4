//! A drill: a failover that is tried out while the owner is well.

use crate::table::Table;
use holdfast_storage::ids::{CameraId, DrillId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most drills that are remembered, the newest ones; and the most cameras in all, unless one
/// drill alone has more. The last result of each camera is kept as well.
pub const DRILLS_MAX: usize = 200;
pub const RESULTS_MAX: usize = 2_000;
/// Maximum length of a reason in bytes: a camera's answer may be long.
const REASON_BYTES_MAX: usize = 300;

/// The replicated state of drills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drills {
    pub(crate) last: DrillId,
    /// The newest [`DRILLS_MAX`].
    pub log: Table<DrillId, Drill>,
    pub running: Table<CameraId, RunningDrill>,
    /// The last result of each camera that passed or failed.
    pub results: Table<CameraId, DrillResult>,
}

impl Drills {
    /// The cameras of `drill` that are still being drilled.
    pub fn running_of(&self, drill: DrillId) -> impl Iterator<Item = (CameraId, &RunningDrill)> {
        self.running
            .iter()
            .filter(move |(_, running)| running.drill == drill)
    }
}

/// A drill of one camera, or of all cameras that one node owned at the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub id: DrillId,
    pub node: Option<NodeId>,
    pub is_scheduled: bool,
    pub began_at: Timestamp,
    /// The results of cameras that have finished, in that order.
    pub results: Vec<DrillResult>,
}

/// A running drill of one camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDrill {
    pub drill: DrillId,
    pub owner: NodeId,
    /// The owner's epoch.
    pub epoch: Epoch,
    pub successor: NodeId,
    /// By the successor's clock.
    pub began_at: Timestamp,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The successor records provisionally, alongside the owner.
    TakingOver,
    /// The successor owns the camera in `epoch`.
    TakenOver { epoch: Epoch, gap_us: u64 },
    /// A handoff to the first owner was begun. `failure`: why the drill has failed nevertheless.
    HandingBack {
        epoch: Epoch,
        gap_us: u64,
        failure: Option<String>,
    },
}

impl Phase {
    /// How long the camera would not have been recorded, if that was measured.
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
    /// The successor took over the camera and recorded it, and the owner has it again.
    Passed,
    /// One of these steps did not happen.
    Failed,
    /// Another event affected the camera during the drill. The result says nothing about failover.
    Aborted,
}

/// The result of one camera's drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillResult {
    pub camera: CameraId,
    pub drill: DrillId,
    pub owner: Option<NodeId>,
    pub successor: Option<NodeId>,
    pub began_at: Timestamp,
    pub ended_at: Timestamp,
    pub outcome: Outcome,
    /// From the drill's beginning to the successor's first durable keyframe, in microseconds;
    /// `None` if there was none.
    pub gap_us: Option<u64>,
    pub is_handed_back: bool,
    /// Why it did not pass.
    pub reason: Option<String>,
}

/// Why a camera's drill does not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub why: String,
    /// A failover would fail for the same reason.
    pub is_failure: bool,
}

impl Refusal {
    pub(crate) fn failure(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_failure: true,
        }
    }

    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_failure: false,
        }
    }
}

/// The start of one camera's drill, from a node that knows which others are alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStart {
    pub camera: CameraId,
    /// The epoch of the assignment that was checked.
    pub expect: Epoch,
    pub successor: Option<NodeId>,
    /// The present time by the successor's clock, for comparison with its keyframe's time.
    pub began_at: Timestamp,
    pub refusal: Option<Refusal>,
}

/// A step of one camera's drill, applied only while that drill runs and the assignment is as the
/// drill left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStep {
    pub camera: CameraId,
    pub drill: DrillId,
    pub op: DrillOp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrillOp {
    /// The successor has a durable keyframe: it becomes the owner, as after a failover, and the
    /// owner its successor. `watermark`: the old owner's.
    TakeOver {
        gap_us: u64,
        watermark: Option<Timestamp>,
    },
    /// The handoff to the first owner begins.
    HandBack { failure: Option<String> },
    End {
        outcome: Outcome,
        reason: Option<String>,
        is_handed_back: bool,
    },
}

impl DrillOp {
    pub(crate) fn failed(reason: String, is_handed_back: bool) -> Self {
        Self::End {
            outcome: Outcome::Failed,
            reason: Some(bounded(reason)),
            is_handed_back,
        }
    }

    pub(crate) fn aborted(reason: String) -> Self {
        Self::End {
            outcome: Outcome::Aborted,
            reason: Some(bounded(reason)),
            is_handed_back: false,
        }
    }
}

impl fmt::Display for DrillStep {
    /// For logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { camera, drill, op } = self;
        match op {
            DrillOp::TakeOver { gap_us, .. } => {
                write!(
                    f,
                    "[{drill}: camera {camera} is taken over after {} ms]",
                    gap_us / 1000
                )
            }
            DrillOp::HandBack { failure: None } => {
                write!(f, "[{drill}: camera {camera} is handed back]")
            }
            DrillOp::HandBack { failure: Some(why) } => {
                write!(
                    f,
                    "[{drill}: camera {camera} is handed back, because {why}]"
                )
            }
            DrillOp::End {
                outcome,
                reason: None,
                ..
            } => write!(f, "[{drill}: camera {camera} {outcome:?}]"),
            DrillOp::End {
                outcome,
                reason: Some(why),
                ..
            } => {
                write!(f, "[{drill}: camera {camera} {outcome:?}: {why}]")
            }
        }
    }
}

/// A reason, shortened to the maximum length.
pub(crate) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}
