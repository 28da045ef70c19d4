//! What was seen of a run, and what a judge says of it.

use crate::history::Event;
use crate::player::Showing;
use crate::scenario::{Class, Expect};
use holdfast_camera::{Loss, Sent, Stamp};
use holdfast_control_api::wire::Timeline;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The action of a deadly camera, in the history.
pub(crate) const DEADLY_KILL: &str = "deadly-camera's kill";

/// Everything that was seen of a run.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What was sent in between is counted. Microseconds since the Unix epoch.
    pub from_us: i64,
    pub to_us: i64,
    pub events: Vec<Event>,
    pub faults: Vec<FaultSpan>,
    pub cameras: Vec<CameraEvidence>,
    /// What players of the run's own got by HLS.
    pub showings: Vec<Showing>,
    pub nodes: Vec<NodeEvidence>,
    /// The cluster's ids of its nodes, each with the name.
    pub node_ids: Vec<(String, String)>,
    /// From the end of the scenario; `None` where the cluster did not become whole again in time.
    pub settled_after: Option<Duration>,
    /// What did not go as it was ordered.
    pub trouble: Vec<String>,
    pub expect: Expect,
}

#[derive(Clone, Debug)]
pub struct CameraEvidence {
    pub name: String,
    pub number: u32,
    pub class: Class,
    pub sent: Vec<Sent>,
    /// By how much later than their capture the camera sends frames, at most.
    pub held_us: i64,
    /// Its clock, rhythm or packets may be anything.
    pub is_odd: bool,
    /// In the order in which they are served.
    pub found: Vec<Found>,
    /// Frames served without a stamp.
    pub unstamped: u64,
    pub loss: Loss,
    pub sound: SoundEvidence,
    pub timeline: Timeline,
    /// Why its footage could not be fetched, or not all of it.
    pub unplayable: Option<String>,
}

/// The sound of one camera, where that carries stamps.
#[derive(Clone, Debug, Default)]
pub struct SoundEvidence {
    pub sent: Vec<Sent>,
    /// In the order in which it is served.
    pub found: Vec<Found>,
    /// Frames served without a stamp, or that are not as they were sent.
    pub unstamped: u64,
    pub loss: Loss,
}

#[derive(Clone, Debug)]
pub struct NodeEvidence {
    pub name: String,
    /// Lines of its log that tell of a panic.
    pub panics: Vec<String>,
}

/// A fault as it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSpan {
    pub fault: usize,
    pub action: String,
    pub nodes: Vec<String>,
    pub cameras: Vec<String>,
    /// Cameras that the nodes recorded when it began, or that it hit themselves.
    pub affected: Vec<String>,
    pub on_us: i64,
    /// `None` where it lasted until everything was healed.
    pub off_us: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Holds,
    Broken,
    /// It could not be judged in this run; the text says why.
    NotJudged,
}

/// One invariant's or threshold's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub verdict: Verdict,
    pub text: String,
    /// Lines of the history around the first offence.
    pub around: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub stamp: Stamp,
    /// Of the first frame of each chunk, as its `prft` says; microseconds since the Unix epoch.
    pub wall_us: Option<i64>,
}
