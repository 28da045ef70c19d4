//! What the runner ordered happened: nodes stopped in order when told to, faults found whom to hit,
//! requests of the operator were taken.

use super::{Outcome, broken};
use crate::evidence::Evidence;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let offences = evidence
        .trouble
        .iter()
        .map(|what| (what.clone(), None))
        .collect();
    broken(offences, || format!("{} faults", evidence.faults.len()))
}
