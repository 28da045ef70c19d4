//! No node ends by itself, and none panics.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use crate::history::What;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    let ended = evidence
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::EndedByItself { node } => {
                Some((format!("{node} ended by itself"), Some(event.at_us)))
            }
            _ => None,
        });
    let panicked = evidence.nodes.iter().filter_map(|node| {
        let line = node.panics.first()?;
        Some((format!("{} panicked: {line}", node.name), None))
    });
    broken(ended.chain(panicked).collect(), || {
        format!("{} nodes", evidence.nodes.len())
    })
}
