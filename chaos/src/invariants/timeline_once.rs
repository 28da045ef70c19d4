//! A timeline covers every instant exactly once: with a span or with a gap.

use super::{Outcome, broken};
use crate::coverage;
use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut offences = Vec::new();
    for camera in &evidence.cameras {
        if camera.timeline.spans.is_empty() {
            offences.push((format!("{}: its timeline has no span", camera.name), None));
        }
        let faults = coverage::faults(&camera.timeline);
        offences.extend(
            faults
                .into_iter()
                .map(|fault| (format!("{}: {fault}", camera.name), None)),
        );
    }
    broken(offences, || {
        format!("the timelines of {} cameras", evidence.cameras.len())
    })
}
