//! A recorded cause is final: a cause shown for a gap while all nodes answered is still shown at
//! the end. Only a cause that was guessed for a node that did not answer may change, to the one
//! that this node recorded.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use crate::history::{LedgerGap, What};
use holdfast_control_api::wire::Gap;
use holdfast_storage::chunk::GapCause;

/// The boundary between two causes is not known more exactly.
const SEAM_US: i64 = 250_000;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence.is_clock_stepped() {
        return Outcome::NotJudged(
            "a wall clock was stepped: intervals of one node mean nothing on another".to_owned(),
        );
    }
    if !evidence.wiped().is_empty() {
        return Outcome::NotJudged("a node lost all that it had recorded".to_owned());
    }
    let mut offences = Vec::new();
    let mut shown = 0;
    for event in &evidence.events {
        let What::Gaps { reported_by, gaps } = &event.what else {
            continue;
        };
        for before in gaps.iter().filter(|gap| is_recorded(gap.cause)) {
            shown += 1;
            if let Some(now) = shown_otherwise(evidence, before) {
                let what = format!(
                    "{}: {reported_by} showed {} s of {}, which are shown as {} in the end",
                    before.camera,
                    (before.end_us - before.start_us) as f64 / 1e6,
                    before.cause.name(),
                    now.cause.name()
                );
                offences.push((what, Some(event.at_us)));
            }
        }
    }
    broken(offences, || {
        format!("{shown} causes that were shown in the run")
    })
}

/// Damage is reported when it is found, at any time.
fn is_recorded(cause: GapCause) -> bool {
    !matches!(
        cause,
        GapCause::NodeDown | GapCause::Unknown | GapCause::Damaged
    )
}

fn shown_otherwise<'a>(evidence: &'a Evidence, before: &LedgerGap) -> Option<&'a Gap> {
    let camera = evidence
        .cameras
        .iter()
        .find(|camera| camera.name == before.camera)?;
    let (start, end) = (before.start_us + SEAM_US, before.end_us - SEAM_US);
    let overlaps = |gap: &&Gap| gap.start.micros() < end && gap.end.micros() > start;
    camera
        .timeline
        .gaps
        .iter()
        .filter(overlaps)
        .find(|gap| gap.cause != before.cause)
}
