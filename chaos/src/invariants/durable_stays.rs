//! Below a watermark that a node reported, nothing is missing at the end, unless the gap ledger
//! says that it never arrived.

use super::{Outcome, broken};
use crate::evidence::{CameraEvidence, Evidence};
use crate::history::{Event, Mark, What};
use holdfast_storage::chunk::GapCause;
use std::collections::BTreeMap;

/// A recording's wall time lags the capture by the transit time: frames captured this long before a
/// watermark were certainly below it.
const SLACK_US: i64 = 500_000;

/// Two polls that are further apart prove nothing about the time in between: the node may have been
/// down.
const APART_US_MAX: i64 = 3_000_000;

/// A watermark that advanced by this much more than the time did has skipped something.
const AHEAD_US_MAX: i64 = 1_000_000;

/// Causes of gaps in which frames never reached the node, while its watermark moved past them.
const NEVER_ARRIVED: [GapCause; 6] = [
    GapCause::CameraUnreachable,
    GapCause::CameraProtocol,
    GapCause::CameraStalled,
    GapCause::PacketsLost,
    GapCause::OverBudget,
    GapCause::Quarantined,
];

/// Capture times (from, to) of frames, without a hole, that one node reported as durable on
/// another.
type Promise = (i64, i64, String);

pub(super) fn check(evidence: &Evidence) -> Outcome {
    if evidence.is_clock_stepped() {
        return Outcome::NotJudged(
            "a wall clock was stepped: watermarks cannot be compared with capture times".into(),
        );
    }
    if evidence
        .faults
        .iter()
        .any(|fault| fault.action == "disk-full")
    {
        return Outcome::NotJudged(
            "a disk was full: retention deletes the oldest, durable or not".to_owned(),
        );
    }
    let promises = promises(&evidence.events, &evidence.wiped());
    let mut offences = Vec::new();
    let mut promised_us = 0;
    for camera in &evidence.cameras {
        let Some(promises) = promises.get(camera.name.as_str()) else {
            continue;
        };
        promised_us += promises
            .iter()
            .map(|(from, to, _)| (to - from).max(0))
            .sum::<i64>();
        offences.extend(broken_promises(camera, promises));
    }
    if promised_us == 0 {
        return Outcome::NotJudged("no watermark moved on".to_owned());
    }
    broken(offences, || {
        format!(
            "{} s of footage, counted once for each report, and every frame is there",
            promised_us / 1_000_000
        )
    })
}

fn broken_promises(camera: &CameraEvidence, promises: &[Promise]) -> Vec<(String, Option<i64>)> {
    let mut offences = Vec::new();
    for gap in &camera.loss.gaps {
        for sequence in gap.from..gap.to {
            let at_us = camera.captured_us(sequence);
            let promise = promises
                .iter()
                .find(|(from, to, _)| *from <= at_us && at_us <= *to);
            let Some((_, _, report)) = promise.filter(|_| !never_arrived(camera, at_us)) else {
                continue;
            };
            let what = format!(
                "{}: frame {sequence} is missing, which {report}",
                camera.name
            );
            offences.push((what, Some(at_us)));
            break;
        }
    }
    offences
}

fn never_arrived(camera: &CameraEvidence, at_us: i64) -> bool {
    let never_arrived = camera
        .timeline
        .gaps
        .iter()
        .filter(|gap| NEVER_ARRIVED.contains(&gap.cause));
    never_arrived
        .into_iter()
        .any(|gap| gap.start.micros() - SLACK_US <= at_us && at_us <= gap.end.micros() + SLACK_US)
}

/// By camera: each promise is a chain of polls in which one recorder's watermark advanced.
fn promises<'a>(events: &'a [Event], wiped: &[&str]) -> BTreeMap<&'a str, Vec<Promise>> {
    let mut chains: BTreeMap<(&str, &str), Chain> = BTreeMap::new();
    let mut promises: BTreeMap<&str, Vec<Promise>> = BTreeMap::new();
    for event in events {
        let (reported_by, marks) = match &event.what {
            What::Watermarks { reported_by, marks } => (reported_by, marks),
            // A recorder that starts again promises nothing about the time in between, however
            // short that is.
            What::Recorder {
                reported_by,
                camera,
                state,
                ..
            } if state.as_deref() != Some("recording") => {
                if let Some(ended) = chains.remove(&(reported_by, camera)) {
                    promises
                        .entry(camera)
                        .or_default()
                        .push(ended.promise(reported_by));
                }
                continue;
            }
            _ => continue,
        };
        // The promises of a node that the run wiped are void.
        for (camera, mark) in marks
            .iter()
            .filter(|(_, mark)| !wiped.contains(&mark.node.as_str()))
        {
            let chain = chains
                .get_mut(&(reported_by, camera))
                .filter(|chain| chain.continues_with(mark, event.at_us));
            if let Some(chain) = chain {
                chain.extend(mark, event.at_us);
                continue;
            }
            let began = Chain {
                from_us: None,
                last: mark,
                seen_us: event.at_us,
            };
            if let Some(ended) = chains.insert((reported_by, camera), began) {
                promises
                    .entry(camera)
                    .or_default()
                    .push(ended.promise(reported_by));
            }
        }
    }
    for ((reported_by, camera), chain) in chains {
        promises
            .entry(camera)
            .or_default()
            .push(chain.promise(reported_by));
    }
    promises
}

struct Chain<'a> {
    from_us: Option<i64>,
    last: &'a Mark,
    seen_us: i64,
}

impl<'a> Chain<'a> {
    /// The first watermark may be an earlier process's: the promise begins with the second.
    fn extend(&mut self, mark: &'a Mark, at_us: i64) {
        self.from_us.get_or_insert(mark.watermark_us);
        (self.last, self.seen_us) = (mark, at_us);
    }

    fn continues_with(&self, mark: &Mark, at_us: i64) -> bool {
        let moved_us = mark.watermark_us - self.last.watermark_us;
        self.last.node == mark.node
            && self.last.epoch == mark.epoch
            && self.last.is_recording
            && mark.is_recording
            && at_us - self.seen_us <= APART_US_MAX
            && (0..=at_us - self.seen_us + AHEAD_US_MAX).contains(&moved_us)
    }

    fn promise(&self, reported_by: &str) -> Promise {
        let (node, mark) = (&self.last.node, self.last.watermark_us);
        (
            self.from_us.unwrap_or(mark),
            mark - SLACK_US,
            format!("{reported_by} reported as durable on {node} (watermark {mark})"),
        )
    }
}
