//! Below a watermark that a node told, nothing is missing in the end, unless the gap ledger says that it never arrived.

use super::{CameraEvidence, Evidence, Outcome, broken};
use crate::history::{Event, What};
use holdfast_storage::chunk::GapCause;
use std::collections::BTreeMap;

/// A recording's wall time runs behind the capture by what the way takes: frames captured so long before a watermark were below it for certain.
const SLACK_US: i64 = 500_000;

/// Two looks that are further apart say nothing of what lies between them: the node may have been down.
const APART_US_MAX: i64 = 3_000_000;

/// Between two looks a watermark that moved by more jumped over a hole.
const MOVED_US_MAX: i64 = 4_000_000;

/// Why frames that a node recorded past never came to it.
const NEVER_ARRIVED: [GapCause; 3] = [GapCause::CameraUnreachable, GapCause::CameraStalled, GapCause::PacketsLost];

/// From, to: what one node told to be durable between two looks, without a hole.
type Promise = (i64, i64, String);

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence.is_clock_stepped() {
        return Outcome::NotJudged("a wall clock was stepped: watermarks cannot be compared with capture times".into());
    }
    let promises = promises(&evidence.events);
    let mut offences = Vec::new();
    let mut count = 0;
    for camera in &evidence.cameras {
        let Some(promises) = promises.get(camera.name.as_str()) else { continue };
        count += promises.len();
        offences.extend(broken_promises(camera, promises));
    }
    if count == 0 {
        return Outcome::NotJudged("no watermark was told".to_owned());
    }
    broken(offences, || format!("{count} times a watermark moved on, and every frame below is there"))
}

fn broken_promises(camera: &CameraEvidence, promises: &[Promise]) -> Vec<(String, Option<i64>)> {
    let mut offences = Vec::new();
    for gap in &camera.loss.gaps {
        for sequence in gap.from..gap.to {
            let at_us = camera.captured_us(sequence);
            let promise = promises.iter().find(|(from, to, _)| *from <= at_us && at_us <= *to);
            let Some((_, _, teller)) = promise.filter(|_| !never_arrived(camera, at_us)) else { continue };
            let what = format!("{}: frame {sequence} is missing, which {teller}", camera.name);
            offences.push((what, Some(at_us)));
            break;
        }
    }
    offences
}

fn never_arrived(camera: &CameraEvidence, at_us: i64) -> bool {
    let told = camera.timeline.gaps.iter().filter(|gap| NEVER_ARRIVED.contains(&gap.cause));
    told.into_iter().any(|gap| gap.start.micros() - SLACK_US <= at_us && at_us <= gap.end.micros() + SLACK_US)
}

/// By camera.
fn promises(events: &[Event]) -> BTreeMap<&str, Vec<Promise>> {
    let mut last: BTreeMap<(&str, &str), (&str, i64, i64)> = BTreeMap::new();
    let mut promises: BTreeMap<&str, Vec<Promise>> = BTreeMap::new();
    for event in events {
        let What::Watermarks { told_by, marks } = &event.what else { continue };
        for (camera, (node, mark)) in marks {
            let before = last.insert((told_by, camera), (node, *mark, event.at_us));
            let Some((of, from, seen_us)) = before else { continue };
            let follows = of == node && event.at_us - seen_us <= APART_US_MAX;
            if follows && *mark > from && mark - from <= MOVED_US_MAX {
                let teller = format!("{told_by} told to be durable on {node} (watermark {mark})");
                promises.entry(camera).or_default().push((from - SLACK_US, mark - SLACK_US, teller));
            }
        }
    }
    promises
}
