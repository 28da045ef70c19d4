//! The runner's orders were carried out: nodes stopped in order when asked to, faults found their
//! targets, and the cluster accepted the operator's requests.

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
