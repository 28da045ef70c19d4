//! The evidence of a run, and the outcome of each check.

use crate::history::Event;
use crate::player::Showing;
use crate::scenario::{Class, Expect};
use holdfast_camera::{Loss, Sent, Stamp};
use holdfast_control_api::wire::Timeline;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the history names the kill by a deadly camera.
pub(crate) const DEADLY_KILL: &str = "deadly-camera's kill";

/// Everything that was observed in a run.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Frames sent between these two instants count. Microseconds since the Unix epoch.
    pub from_us: i64,
    pub to_us: i64,
    pub events: Vec<Event>,
    pub faults: Vec<FaultSpan>,
    pub cameras: Vec<CameraEvidence>,
    /// What the run's own players received by HLS.
    pub showings: Vec<Showing>,
    pub nodes: Vec<NodeEvidence>,
    /// The cluster's ids of its nodes, each with the node's name.
    pub node_ids: Vec<(String, String)>,
    /// Time from the end of the scenario; `None` if the cluster did not recover in time.
    pub settled_after: Option<Duration>,
    /// Orders that were not carried out.
    pub trouble: Vec<String>,
    pub expect: Expect,
}

#[derive(Clone, Debug)]
pub struct CameraEvidence {
    pub name: String,
    pub number: u32,
    pub class: Class,
    pub sent: Vec<Sent>,
    /// The longest that the camera delays a frame after its capture.
    pub held_us: i64,
    /// The camera's clock, rhythm or packets are odd in some way.
    pub is_odd: bool,
    /// In the order in which the cluster serves them.
    pub found: Vec<Found>,
    /// Number of frames served without a stamp.
    pub unstamped: u64,
    pub loss: Loss,
    pub sound: SoundEvidence,
    pub timeline: Timeline,
    /// Why some or all of its footage could not be fetched.
    pub unplayable: Option<String>,
}

/// The sound of one camera, if it carries stamps.
#[derive(Clone, Debug, Default)]
pub struct SoundEvidence {
    pub sent: Vec<Sent>,
    /// In the order in which the cluster serves it.
    pub found: Vec<Found>,
    /// Number of frames served without a stamp, or different from those sent.
    pub unstamped: u64,
    pub loss: Loss,
}

#[derive(Clone, Debug)]
pub struct NodeEvidence {
    pub name: String,
    /// Lines of its log that report a panic.
    pub panics: Vec<String>,
}

/// A fault as it took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSpan {
    pub fault: usize,
    pub action: String,
    pub nodes: Vec<String>,
    pub cameras: Vec<String>,
    /// Cameras that the affected nodes recorded when the fault began, or that it hit directly.
    pub affected: Vec<String>,
    pub on_us: i64,
    /// `None` if it lasted until all faults were taken back.
    pub off_us: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Holds,
    Broken,
    /// Could not be judged in this run; the text has the reason.
    NotJudged,
}

/// Outcome of one invariant or threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub verdict: Verdict,
    pub text: String,
    /// Lines of the history around the first violation.
    pub around: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub stamp: Stamp,
    /// Wall time of the first frame of each chunk, from its `prft`; microseconds since the Unix
    /// epoch.
    pub wall_us: Option<i64>,
}
