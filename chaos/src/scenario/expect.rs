//! Thresholds on gaps, losses and answers that must hold in addition to the invariants.

use serde::{Deserialize, Serialize};

/// Within this time a hostile camera's sockets are closed on any machine.
const CLOSED_AT_ALL_MS: u64 = 30_000;

/// Each threshold is judged only if it is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// The longest interruption of any camera, from the capture of the last frame before it to
    /// that of the first after it.
    pub gap_worst_ms: Option<u64>,
    /// The same, over cameras that no fault hit directly.
    pub gap_worst_others_ms: Option<u64>,
    /// Median of the cameras' longest interruptions, over the cameras that had one.
    pub gap_median_ms: Option<u64>,
    /// Frames lost by all standard cameras together.
    pub lost_frames_standard_max: Option<u64>,
    /// Frames lost by all gapless cameras together.
    pub lost_frames_gapless_max: Option<u64>,
    /// Frames lost by cameras that no faulty node recorded when its fault began.
    pub lost_frames_unaffected_max: Option<u64>,
    /// How far any camera may be behind durable, as its own recorder reports.
    pub behind_ms_max: Option<u64>,
    /// How often a node that no fault holds may be reported silent, or not answer.
    pub suspicions_max: Option<u64>,
    /// How much more memory a node may hold for each hostile camera.
    pub hostile_memory_mib_max: Option<u64>,
    /// How much more memory a node may hold at the end than before the first hostile camera.
    pub hostile_memory_left_mib_max: Option<u64>,
    /// How long a hostile camera's sockets may stay open after its deletion.
    pub hostile_closed_within_ms: Option<u64>,
    /// How many nodes deadly cameras may kill.
    pub deadly_kills_max: Option<u64>,
    /// How many changes of owner there may be, over all cameras.
    pub moves_max: Option<u64>,
    /// Whether a change of owner is left out of `moves_max` if the old owner was seconds behind
    /// durable: on a machine with one slow disk, the leader rightly moves cameras.
    pub moves_if_behind: bool,
    /// Time from the end of the scenario until each camera has exactly its recorders again.
    pub settled_within_s: Option<f64>,
    /// Share of API requests, to nodes that no fault held, that must be answered.
    pub api_answered_percent_min: Option<f64>,
    /// Share of the players' requests, to nodes that no fault held, that must be answered.
    pub playback_answered_percent_min: Option<f64>,
}

impl Expect {
    /// The same without the thresholds that depend on the speed of the machine. Sockets must be
    /// closed all the same.
    #[must_use]
    pub fn without_timing(self) -> Self {
        Self {
            gap_worst_ms: None,
            gap_worst_others_ms: None,
            gap_median_ms: None,
            settled_within_s: None,
            behind_ms_max: None,
            moves_if_behind: true,
            hostile_closed_within_ms: self.hostile_closed_within_ms.map(|_| CLOSED_AT_ALL_MS),
            ..self
        }
    }
}
