//! Running drills: the successor takes over the camera once it has shown a durable keyframe, and
//! hands it back once it has shown one as its owner. Any other event of the camera ends the drill,
//! and is handled as usual.

use super::{HANDOFF_MAX, HANDOFFS_PER_NODE_MAX, Health, Round};
use crate::decide::drill::{PROVE_MAX, TAKE_OVER_MAX, because, name};
use crate::model::{Assignment, DrillOp, DrillStep, Outcome, Phase, RunningDrill};
use crate::observe::heartbeat::Progress;
use holdfast_storage::ids::{CameraId, Epoch, NodeId, Rank};
use holdfast_storage::time::Timestamp;
use std::time::Duration;

impl<'a> Round<'a> {
    pub(super) fn drill(&self, camera: CameraId) -> Option<&'a RunningDrill> {
        self.input.state.drills.running.get(camera)
    }

    /// Handles a drilled camera whose owner is alive and that is not being handed over.
    pub(super) fn tend_drill(
        &mut self,
        camera: CameraId,
        now: &Assignment,
        drill: &RunningDrill,
        health: Health,
    ) {
        let op = match &drill.phase {
            Phase::TakingOver => self.take_over(camera, now, drill, health),
            Phase::TakenOver { epoch, .. } => self.hand_back(camera, now, drill, (*epoch, health)),
            Phase::HandingBack { epoch, failure, .. } => {
                Some(self.end(camera, now, drill, *epoch, failure.clone()))
            }
        };
        let Some(op) = op else { return };
        match op {
            DrillOp::TakeOver { .. } => {
                self.planner.remove(camera, now);
                let (owner, successor) = (Some(drill.successor), Some(drill.owner));
                self.planner.add(
                    camera,
                    &Assignment {
                        owner,
                        successor,
                        ..Assignment::default()
                    },
                );
            }
            DrillOp::HandBack { .. } => {
                self.memory.begun(camera, false);
                self.count_handoff(camera, now, drill.successor, drill.owner);
            }
            DrillOp::End { .. } => {}
        }
        self.step(camera, drill, op);
    }

    /// The owner of a drilled camera is dead, or it has none any more.
    pub(super) fn abort_drill(&mut self, camera: CameraId, now: &Assignment) {
        let Some(drill) = self.drill(camera) else {
            return;
        };
        let why = match now.owner {
            Some(owner) => format!("{} has died since", name(self.input.state, owner)),
            None => "the camera has no owner any more".to_owned(),
        };
        self.step(camera, drill, DrillOp::aborted(why));
    }

    fn step(&mut self, camera: CameraId, drill: &RunningDrill, op: DrillOp) {
        self.touched.insert(camera);
        self.steps.push(DrillStep {
            camera,
            drill: drill.drill,
            op,
        });
    }

    fn take_over(
        &self,
        camera: CameraId,
        now: &Assignment,
        drill: &RunningDrill,
        health: Health,
    ) -> Option<DrillOp> {
        if (now.epoch, now.owner, now.successor)
            != (drill.epoch, Some(drill.owner), Some(drill.successor))
        {
            return Some(DrillOp::aborted(
                "its assignment has changed since".to_owned(),
            ));
        }
        let (owner, successor) = (self.named(drill.owner), self.named(drill.successor));
        // A newly elected leader may not have received the report yet.
        let is_known = self
            .progress(drill.owner, camera)
            .is_some_and(|report| report.epoch == drill.epoch);
        if !self.planner.is_fit(drill.owner) || (is_known && !health.is_well()) {
            let error = self.error(drill.owner, camera);
            let why = because(
                format!("{owner} has stopped recording it since, or is leaving"),
                error,
            );
            return Some(DrillOp::aborted(why));
        }
        if !self.planner.is_fit(drill.successor) {
            return Some(DrillOp::aborted(format!(
                "{successor} has died since, is leaving, or cannot write"
            )));
        }
        let report = self.progress(drill.successor, camera);
        let report =
            report.filter(|report| (report.epoch, report.rank) == (drill.epoch, Rank::Successor));
        if let Some(gap_us) = report.and_then(|report| gap_us(report, drill)) {
            if !self.planner.takes(drill.successor, camera) {
                return Some(DrillOp::failed(
                    format!("{successor} has no room for it any more"),
                    false,
                ));
            }
            return Some(DrillOp::TakeOver {
                gap_us,
                watermark: self.watermark(Some(drill.owner), camera),
            });
        }
        self.is_over(drill.began_at, TAKE_OVER_MAX).then(|| {
            let error = self.error(drill.successor, camera);
            let what = format!(
                "{successor} recorded nothing within {} s",
                TAKE_OVER_MAX.as_secs()
            );
            DrillOp::failed(because(what, error), false)
        })
    }

    fn hand_back(
        &self,
        camera: CameraId,
        now: &Assignment,
        drill: &RunningDrill,
        (epoch, health): (Epoch, Health),
    ) -> Option<DrillOp> {
        let (owner, successor) = (self.named(drill.owner), self.named(drill.successor));
        if (now.epoch, now.owner) != (epoch, Some(drill.successor)) {
            return Some(DrillOp::aborted(
                "its assignment has changed since".to_owned(),
            ));
        }
        if !self.planner.is_fit(drill.owner) || !self.input.state.reaches(drill.owner, camera) {
            let why = format!(
                "{owner} has died since, is leaving, or cannot write; {successor} keeps the camera"
            );
            return Some(DrillOp::aborted(why));
        }
        let report = self
            .progress(drill.successor, camera)
            .filter(|report| report.epoch == epoch);
        let has_proved = report.is_some_and(|report| report.first_keyframe.is_some());
        let is_late =
            !has_proved && self.is_over(now.moved_at.unwrap_or(drill.began_at), PROVE_MAX);
        // In that case it does not wait for its turn.
        if is_late || health.is_over(false) || self.is_failing(drill.successor, camera, epoch) {
            let error = self.error(drill.successor, camera);
            let failure = because(
                format!("{successor} took it over and did not continue to record it"),
                error,
            );
            return Some(DrillOp::HandBack {
                failure: Some(failure),
            });
        }
        let under_way = self
            .handoffs_from
            .get(&drill.successor)
            .copied()
            .unwrap_or(0);
        (has_proved && under_way < HANDOFFS_PER_NODE_MAX)
            .then_some(DrillOp::HandBack { failure: None })
    }

    /// Ends a drill after the handoff back.
    fn end(
        &self,
        camera: CameraId,
        now: &Assignment,
        drill: &RunningDrill,
        epoch: Epoch,
        failure: Option<String>,
    ) -> DrillOp {
        let (owner, successor) = (self.named(drill.owner), self.named(drill.successor));
        if now.owner == Some(drill.owner) && now.epoch > epoch {
            return match failure {
                Some(why) => DrillOp::failed(why, true),
                None => DrillOp::End {
                    outcome: Outcome::Passed,
                    reason: None,
                    is_handed_back: true,
                },
            };
        }
        if (now.owner, now.epoch) != (Some(drill.successor), epoch) {
            return DrillOp::aborted("its assignment has changed since".to_owned());
        }
        if !self.planner.is_fit(drill.owner) {
            let why = format!(
                "{owner} has died since, is leaving, or cannot write; {successor} keeps the camera"
            );
            return DrillOp::aborted(why);
        }
        let error = self.error(drill.owner, camera);
        let within = HANDOFF_MAX.as_secs();
        let what =
            format!("{owner} did not record it again within {within} s, and {successor} keeps it");
        DrillOp::failed(because(what, error), false)
    }

    fn named(&self, node: NodeId) -> String {
        name(self.input.state, node)
    }

    fn error(&self, node: NodeId, camera: CameraId) -> Option<&'a str> {
        self.progress(node, camera)?.error.as_deref()
    }

    /// As with handoffs, if a wall clock was stepped back, the time counts as passed.
    fn is_over(&self, since: Timestamp, max: Duration) -> bool {
        self.input.now.micros_since(since).unsigned_abs() > max.as_micros() as u64
    }
}

/// From the drill's beginning to the successor's first keyframe, once that is durable; `None`
/// before. Results of an earlier stint of the successor do not count.
fn gap_us(report: &Progress, drill: &RunningDrill) -> Option<u64> {
    let is_of_now = report
        .watermark
        .is_some_and(|watermark| watermark > drill.began_at);
    let keyframe = report.first_keyframe.filter(|_| is_of_now)?;
    Some(u64::try_from(keyframe.micros_since(drill.began_at)).unwrap_or(0))
}
