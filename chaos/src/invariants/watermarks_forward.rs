//! Within an epoch a recorder's watermark never goes back in the reports of any one node.

use super::{Outcome, broken};
use crate::evidence::Evidence;
use crate::history::{Mark, What};
use std::collections::BTreeMap;

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence.is_clock_stepped() {
        return Outcome::NotJudged("a wall clock was stepped".to_owned());
    }
    let wiped = evidence.wiped();
    let mut highest: BTreeMap<(&str, &str, &str, u64), i64> = BTreeMap::new();
    let mut offences = Vec::new();
    for event in &evidence.events {
        let What::Watermarks { reported_by, marks } = &event.what else {
            continue;
        };
        // A recorder that is only starting reports how far earlier recorders came.
        for (
            camera,
            Mark {
                node,
                epoch,
                watermark_us: mark,
                ..
            },
        ) in marks.iter().filter(|(_, mark)| mark.is_recording)
        {
            if wiped.contains(&node.as_str()) {
                continue;
            }
            let known = highest
                .entry((reported_by, camera, node, *epoch))
                .or_insert(*mark);
            if *mark < *known {
                let back_ms = (*known - mark) / 1000;
                let what = format!(
                    "{camera}: {reported_by} reports a watermark of {node} that is {back_ms} ms \
                     before an earlier one"
                );
                offences.push((what, Some(event.at_us)));
            }
            *known = (*known).max(*mark);
        }
    }
    broken(offences, || {
        format!(
            "of {} recorders of a camera, each in one epoch",
            highest.len()
        )
    })
}
