//! After the last fault the cluster recovers by itself: every camera has its recorders and no
//! others.

use super::Outcome;
use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    match evidence.settled_after {
        Some(took) => Outcome::Holds(format!(
            "{:.1} s after the scenario's end",
            took.as_secs_f64()
        )),
        None => Outcome::Broken {
            what: "it did not become whole again in time".to_owned(),
            at_us: Some(evidence.to_us),
        },
    }
}
