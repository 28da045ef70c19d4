//! A camera's epoch only grows, according to each node.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use crate::history::What;
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let mut highest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut offences = Vec::new();
    for event in &evidence.events {
        match &event.what {
            // A node that comes back replays its log: until it has caught up, it reports older
            // epochs.
            What::Answers {
                reported_by,
                yes: true,
            } => highest.retain(|(reporter, _), _| reporter != reported_by),
            What::Assignment {
                reported_by,
                camera,
                epoch,
                ..
            } => {
                let known = highest.entry((reported_by, camera)).or_insert(*epoch);
                if *epoch < *known {
                    let what =
                        format!("{camera}: {reported_by} reports epoch {epoch} after {known}");
                    offences.push((what, Some(event.at_us)));
                }
                *known = (*known).max(*epoch);
            }
            _ => {}
        }
    }
    broken(offences, || {
        format!(
            "the highest is {}",
            highest.values().max().copied().unwrap_or(0)
        )
    })
}
