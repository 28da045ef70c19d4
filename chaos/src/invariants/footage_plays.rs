//! In the end, everything that was recorded can be fetched, and its boxes can be parsed.

use super::{Outcome, broken};
use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let bad = evidence
        .cameras
        .iter()
        .filter_map(|camera| Some((camera, camera.unplayable.as_ref()?)));
    let offences = bad
        .map(|(camera, why)| (format!("{}: {why}", camera.name), None))
        .collect();
    broken(offences, || {
        format!("the footage of {} cameras", evidence.cameras.len())
    })
}
