//! The cost of a run: gaps, failovers, frames lost by class and by cause. Pure.

pub(crate) mod recovery_time;

use crate::evidence::{CameraEvidence, Evidence, FaultSpan};
use crate::scenario::Class;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A gap belongs to the fault that began last before the gap ended, if the gap began at most this
/// long after the end of the fault.
const AFTER_US_MAX: i64 = 30_000_000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub frames_sent: u64,
    pub frames_lost_standard: u64,
    pub frames_lost_gapless: u64,
    /// The longest interruption of any camera.
    pub gap_worst_ms: u64,
    /// Median of the cameras' longest interruptions, over the cameras that had one.
    pub gap_median_ms: u64,
    /// Number of cameras that lost a frame.
    pub cameras_interrupted: u64,
    /// For each fault, the cameras of the affected nodes and how long each was not recorded; 0 if
    /// nothing was lost.
    pub failovers: Vec<Failover>,
    pub lost_by_cause: BTreeMap<String, Lost>,
    /// From the scenario's end until each camera had its recorders again; `None` if that did not
    /// happen.
    pub settled_after_ms: Option<u64>,
    /// The longest time from the end of a fault until every node answered and every camera's owner
    /// recorded it again; `None` if that was never observed.
    #[serde(default)]
    pub whole_after_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    pub fault: usize,
    pub camera: String,
    pub gap_ms: u64,
    pub frames_lost: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub runs: u64,
    pub frames: u64,
    pub ms: u64,
}

/// A run of lost frames and its circumstances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRow {
    pub camera: String,
    pub from_sequence: u64,
    pub frames: u64,
    pub from_us: i64,
    pub to_us: i64,
    pub gap_ms: u64,
    /// The cause in the timeline.
    pub cause: String,
    pub node: Option<String>,
    /// Index of the fault in the scenario, from 0.
    pub fault: Option<usize>,
}

/// The longest interruption among cameras that no fault hit directly.
#[must_use]
pub fn gap_worst_of_others(evidence: &Evidence) -> u64 {
    let others = gap_rows(evidence)
        .into_iter()
        .filter(|row| !evidence.is_camera_hit(&row.camera));
    others.map(|row| row.gap_ms).max().unwrap_or(0)
}

#[must_use]
pub fn of(evidence: &Evidence) -> Figures {
    let rows = gap_rows(evidence);
    let mut worst: BTreeMap<&str, u64> = BTreeMap::new();
    let mut lost_by_cause: BTreeMap<String, Lost> = BTreeMap::new();
    for row in &rows {
        let known = worst.entry(&row.camera).or_default();
        *known = (*known).max(row.gap_ms);
        let lost = lost_by_cause.entry(row.cause.clone()).or_default();
        *lost = Lost {
            runs: lost.runs + 1,
            frames: lost.frames + row.frames,
            ms: lost.ms + row.gap_ms,
        };
    }
    let lost = |class| {
        evidence
            .cameras
            .iter()
            .filter(|camera| camera.class == class)
            .map(|camera| camera.loss.lost)
            .sum()
    };
    Figures {
        frames_sent: evidence.cameras.iter().map(|camera| camera.loss.sent).sum(),
        frames_lost_standard: lost(Class::Standard),
        frames_lost_gapless: lost(Class::Gapless),
        gap_worst_ms: worst.values().max().copied().unwrap_or(0),
        gap_median_ms: median(worst.values().copied().collect()).unwrap_or(0),
        cameras_interrupted: worst.len() as u64,
        failovers: failovers(evidence, &rows),
        lost_by_cause,
        whole_after_ms: recovery_time::after_ms(&evidence.events),
        settled_after_ms: evidence
            .settled_after
            .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// All runs of lost frames, by camera.
#[must_use]
pub fn gap_rows(evidence: &Evidence) -> Vec<GapRow> {
    let of_camera = |camera: &CameraEvidence| -> Vec<GapRow> {
        let row = |gap: &holdfast_camera::Gap| {
            let (from_us, to_us) = camera.captured(gap);
            let (cause, node) = reported(camera, from_us, to_us);
            GapRow {
                camera: camera.name.clone(),
                from_sequence: gap.from,
                frames: gap.to - gap.from,
                from_us,
                to_us,
                gap_ms: gap.gap_ms,
                cause,
                node,
                fault: fault_of(&evidence.faults, from_us, to_us),
            }
        };
        camera.loss.gaps.iter().map(row).collect()
    };
    evidence.cameras.iter().flat_map(of_camera).collect()
}

/// Cause and node of the reported gap that covers most of the run. The run is only an instant if
/// one frame is lost.
fn reported(camera: &CameraEvidence, from_us: i64, to_us: i64) -> (String, Option<String>) {
    let common = |gap: &holdfast_control_api::wire::Gap| {
        gap.end.micros().min(to_us) - gap.start.micros().max(from_us)
    };
    let covers = |gap: &&holdfast_control_api::wire::Gap| {
        common(gap) > 0 || (common(gap) == 0 && from_us == to_us)
    };
    let most = camera
        .timeline
        .gaps
        .iter()
        .filter(covers)
        .max_by_key(|gap| common(gap));
    let cause = |cause| {
        serde_json::to_value(cause)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
    };
    match most {
        Some(gap) => (
            cause(gap.cause).unwrap_or_default(),
            gap.node.map(|node| node.to_string()),
        ),
        None => ("not reported".to_owned(), None),
    }
}

fn fault_of(faults: &[FaultSpan], from_us: i64, to_us: i64) -> Option<usize> {
    let is_near = |fault: &&FaultSpan| {
        fault.on_us <= to_us && fault.off_us.is_none_or(|off| from_us <= off + AFTER_US_MAX)
    };
    faults
        .iter()
        .filter(is_near)
        .max_by_key(|fault| fault.on_us)
        .map(|fault| fault.fault)
}

fn failovers(evidence: &Evidence, rows: &[GapRow]) -> Vec<Failover> {
    let of_fault = |fault: &FaultSpan| -> Vec<Failover> {
        let one = |camera: &String| {
            let own = rows
                .iter()
                .filter(|row| row.camera == *camera && row.fault == Some(fault.fault));
            let (gap_ms, frames_lost) = own.fold((0, 0), |(gap, frames), row| {
                (row.gap_ms.max(gap), frames + row.frames)
            });
            Failover {
                fault: fault.fault,
                camera: camera.clone(),
                gap_ms,
                frames_lost,
            }
        };
        fault.affected.iter().map(one).collect()
    };
    evidence.faults.iter().flat_map(of_fault).collect()
}

/// The mean of the two middle values if their number is even.
#[must_use]
pub fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(u64::midpoint(values[middle - 1], values[middle])),
    }
}
