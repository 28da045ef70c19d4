//! Every run of lost frames is in the gap ledger, as the timeline reports it.

use super::{Outcome, broken};
use crate::evidence::{CameraEvidence, Evidence};
use holdfast_storage::timeline::HOLE_US_MIN;

/// Recorded times differ from capture times by the transit time; a run shorter than a hole does not
/// count.
const SLACK_US: i64 = 1_000_000;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence.is_clock_stepped() {
        return Outcome::NotJudged(
            "a wall clock was stepped: gaps cannot be compared with capture times".to_owned(),
        );
    }
    let mut offences = Vec::new();
    let mut runs = 0;
    for camera in &evidence.cameras {
        for gap in &camera.loss.gaps {
            let (from, to) = camera.captured(gap);
            runs += 1;
            if to - from > HOLE_US_MIN && !is_reported(camera, from, to) {
                let frames = gap.to - gap.from;
                let what = format!(
                    "{}: {frames} frames from {} on are lost, and no gap is reported",
                    camera.name, gap.from
                );
                offences.push((what, Some(from)));
            }
        }
    }
    broken(offences, || {
        format!("{runs} runs of lost frames, all reported as gaps")
    })
}

fn is_reported(camera: &CameraEvidence, from: i64, to: i64) -> bool {
    let mut gaps = camera.timeline.gaps.iter();
    gaps.any(|gap| gap.start.micros() - SLACK_US <= from && to <= gap.end.micros() + SLACK_US)
        // Reported in pieces with different causes.
        || covered(camera, from, to)
}

fn covered(camera: &CameraEvidence, from: i64, to: i64) -> bool {
    let mut until = from;
    for gap in &camera.timeline.gaps {
        if gap.start.micros() - SLACK_US <= until {
            until = until.max(gap.end.micros());
        }
    }
    until + SLACK_US >= to && until > from
}
