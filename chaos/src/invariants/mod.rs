//! The invariants, one file each, which must hold under any faults, and the thresholds of a
//! scenario. Pure: everything is judged from the recorded history.
//!
//! An invariant that does not hold names the first frame or event that breaks it; the lines of the
//! history around it come with it.

mod causes_final;
mod containment;
mod durable_stays;
mod epochs_grow;
mod footage_plays;
mod frames_in_order;
mod frames_on_time;
mod frames_once;
mod frames_own;
mod gaps_reported;
mod hls;
mod moves;
mod nodes_stay_up;
mod one_owner;
mod orders_obeyed;
mod settles;
mod sound_stored;
mod sound_with_video;
mod thresholds;
mod timeline_once;
mod watermarks_forward;

pub(crate) use hls::is_as_sent;

use crate::evidence::{CameraEvidence, Check, Evidence, FaultSpan, Verdict};
use crate::history::{Event, What};
use holdfast_camera::Gap;

/// Lines of the history before and after the first offence.
const AROUND: usize = 6;

/// A line that is longer is cut: some list every camera.
const LINE_CHARS_MAX: usize = 300;

/// The verdict of one invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Holds(String),
    Broken {
        what: String,
        /// When the first offence happened, where that is known.
        at_us: Option<i64>,
    },
    NotJudged(String),
}

type Invariant = fn(&Evidence) -> Outcome;

const INVARIANTS: [(&str, Invariant); 21] = [
    ("durable-stays", durable_stays::check),
    ("gaps-reported", gaps_reported::check),
    ("causes-final", causes_final::check),
    ("frames-once", frames_once::check),
    ("frames-in-order", frames_in_order::check),
    ("frames-own", frames_own::check),
    ("frames-on-time", frames_on_time::check),
    ("sound-stored", sound_stored::check),
    ("sound-with-video", sound_with_video::check),
    ("footage-plays", footage_plays::check),
    ("hls-answers", hls::answers),
    ("hls-frames", hls::frames),
    ("hls-sound", hls::sound),
    ("hls-times", hls::times),
    ("timeline-once", timeline_once::check),
    ("watermarks-forward", watermarks_forward::check),
    ("epochs-grow", epochs_grow::check),
    ("one-owner", one_owner::check),
    ("settles", settles::check),
    ("nodes-stay-up", nodes_stay_up::check),
    ("orders-obeyed", orders_obeyed::check),
];

/// Judges all invariants, then the thresholds that the scenario sets.
#[must_use]
pub fn check_all(evidence: &Evidence) -> Vec<Check> {
    let invariants = INVARIANTS
        .iter()
        .map(|(name, check)| ((*name).to_owned(), check(evidence)));
    let thresholds = thresholds::check(evidence)
        .into_iter()
        .chain(containment::check(evidence));
    invariants
        .chain(thresholds)
        .map(|(name, outcome)| finish(evidence, name, outcome))
        .collect()
}

fn finish(evidence: &Evidence, name: String, outcome: Outcome) -> Check {
    match outcome {
        Outcome::Holds(text) => Check {
            name,
            verdict: Verdict::Holds,
            text,
            around: Vec::new(),
        },
        Outcome::NotJudged(text) => Check {
            name,
            verdict: Verdict::NotJudged,
            text,
            around: Vec::new(),
        },
        Outcome::Broken { what, at_us } => {
            let around = at_us
                .map(|at_us| around(&evidence.events, at_us))
                .unwrap_or_default();
            Check {
                name,
                verdict: Verdict::Broken,
                text: what,
                around,
            }
        }
    }
}

fn around(events: &[Event], at_us: i64) -> Vec<String> {
    // Periodic observations do not help to explain a failure.
    let relevant: Vec<&Event> = events
        .iter()
        .filter(|event| {
            !matches!(
                event.what,
                What::Watermarks { .. } | What::Process { .. } | What::Gaps { .. }
            )
        })
        .collect();
    let at = relevant.partition_point(|event| event.at_us < at_us);
    let near = &relevant[at.saturating_sub(AROUND)..(at + AROUND).min(relevant.len())];
    near.iter()
        .map(|event| event.line().chars().take(LINE_CHARS_MAX).collect())
        .collect()
}

/// The faults of a history.
#[must_use]
pub fn faults_of(events: &[Event]) -> Vec<FaultSpan> {
    let mut faults: Vec<FaultSpan> = Vec::new();
    for event in events {
        match &event.what {
            What::FaultOn {
                fault,
                action,
                nodes,
                cameras,
                affected,
            } => faults.push(FaultSpan {
                fault: *fault,
                action: action.clone(),
                nodes: nodes.clone(),
                cameras: cameras.clone(),
                affected: affected.clone(),
                on_us: event.at_us,
                off_us: None,
            }),
            What::FaultOff { fault, .. } => {
                if let Some(open) = faults
                    .iter_mut()
                    .find(|open| open.fault == *fault && open.off_us.is_none())
                {
                    open.off_us = Some(event.at_us);
                }
            }
            _ => {}
        }
    }
    faults
}

impl Evidence {
    /// Whether a wall clock was stepped: recorded times may then be anything.
    pub(crate) fn is_clock_stepped(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.action.starts_with("clock-step"))
    }

    /// Nodes that lost everything on order, and came back as others under their names.
    pub(crate) fn wiped(&self) -> Vec<&str> {
        let wipes = self.faults.iter().filter(|fault| fault.action == "wipe");
        wipes
            .flat_map(|fault| fault.nodes.iter().map(String::as_str))
            .collect()
    }

    /// Whether a fault hit the camera itself.
    pub(crate) fn is_camera_hit(&self, name: &str) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.cameras.iter().any(|camera| camera == name))
    }

    /// Whether a fault hit the camera, or a node that recorded it.
    pub(crate) fn is_affected(&self, name: &str) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.affected.iter().any(|camera| camera == name))
    }
}

/// How far from a change of recorder its sound may change: at a frame that both have.
const SEAM_US: i64 = 2_500_000;

impl CameraEvidence {
    /// Captures around each change of recorder.
    pub(crate) fn seams(&self) -> Vec<(i64, i64)> {
        let spans = self
            .timeline
            .spans
            .windows(2)
            .filter(|pair| pair[0].node != pair[1].node);
        spans
            .map(|pair| {
                (
                    pair[0].end.micros() - SEAM_US,
                    pair[1].start.micros() + SEAM_US,
                )
            })
            .collect()
    }

    /// When the first and the last frame of a gap were captured, in microseconds.
    #[must_use]
    pub fn captured(&self, gap: &Gap) -> (i64, i64) {
        (
            self.captured_us(gap.from),
            self.captured_us(gap.to.saturating_sub(1)),
        )
    }

    pub(crate) fn captured_us(&self, sequence: u64) -> i64 {
        let at = self
            .sent
            .binary_search_by_key(&sequence, |sent| sent.sequence);
        at.map_or(0, |at| {
            i64::try_from(self.sent[at].captured_us).unwrap_or(0)
        })
    }
}

/// The first of many offences, and how many there are.
pub(crate) fn broken(
    offences: Vec<(String, Option<i64>)>,
    holds: impl FnOnce() -> String,
) -> Outcome {
    let count = offences.len();
    match offences.into_iter().next() {
        None => Outcome::Holds(holds()),
        Some((what, at_us)) if count == 1 => Outcome::Broken { what, at_us },
        Some((what, at_us)) => Outcome::Broken {
            what: format!("{what} (and {} more)", count - 1),
            at_us,
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
