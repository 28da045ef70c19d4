//! In one epoch a camera has one owner, according to every node.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use crate::history::What;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut owners: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    let mut offences = Vec::new();
    for event in &evidence.events {
        let What::Assignment {
            reported_by,
            camera,
            epoch,
            owner: Some(owner),
            ..
        } = &event.what
        else {
            continue;
        };
        let known = *owners.entry((camera, *epoch)).or_insert(owner);
        if known != owner {
            let what = format!(
                "{camera}: {reported_by} reports {owner} as the owner in epoch {epoch}, after a \
                 report of {known}"
            );
            offences.push((what, Some(event.at_us)));
        }
    }
    broken(offences, || {
        format!("{} epochs of all cameras", owners.len())
    })
}
