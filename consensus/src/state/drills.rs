//! Drills in the replicated state: begun, advanced one step at a time, ended with a result.

use super::ClusterState;
use crate::command::{AssignmentChange, AssignmentOp, Rejection, Response, Skipped};
use crate::model::{
    Assignment, CAMERAS_MAX, DRILLS_MAX, Drill, DrillOp, DrillResult, DrillStart, DrillStep,
    Outcome, Phase, Protection, RESULTS_MAX, Refusal, RunningDrill,
};
use holdfast_storage::ids::{CameraId, DrillId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;

/// Owner and successor, or why the camera is not drilled.
type Checked = (DrillStart, Result<(NodeId, NodeId), Refusal>);

impl ClusterState {
    pub(super) fn begin_drill(
        &mut self,
        node: Option<NodeId>,
        is_scheduled: bool,
        at: Timestamp,
        starts: Vec<DrillStart>,
    ) -> Result<Response, Rejection> {
        if starts.len() > CAMERAS_MAX {
            return Err(Rejection::too_many("cameras", CAMERAS_MAX));
        }
        if let Some(node) = node.filter(|_| starts.is_empty()) {
            return Err(Rejection::NothingToDrill(node));
        }
        let starts: Vec<Checked> = starts
            .into_iter()
            .map(|start| self.check_start(start))
            .collect::<Result<_, _>>()?;
        if let Some((start, Err(refusal))) =
            starts.first().filter(|_| node.is_none() && !is_scheduled)
        {
            return Err(Rejection::CannotDrill {
                camera: start.camera,
                why: refusal.why.clone(),
            });
        }
        let id = DrillId(self.drills.last.0 + 1);
        self.drills.last = id;
        self.drills.log.insert(
            id,
            Drill {
                id,
                node,
                is_scheduled,
                began_at: at,
                results: Vec::new(),
            },
        );
        for (start, checked) in starts {
            match checked {
                Ok((owner, successor)) => {
                    let (epoch, began_at, phase) =
                        (start.expect, start.began_at, Phase::TakingOver);
                    let running = RunningDrill {
                        drill: id,
                        owner,
                        epoch,
                        successor,
                        began_at,
                        phase,
                    };
                    self.drills.running.insert(start.camera, running);
                }
                Err(refusal) => self.note(self.refused(id, at, &start, refusal)),
            }
        }
        self.forget_old_drills(id);
        Ok(Response::Drill(id))
    }

    /// Reasons against a drill of `camera` that follow from the replicated state alone.
    pub(crate) fn drill_refusal(&self, camera: CameraId, now: &Assignment) -> Option<Refusal> {
        if now.owner.is_none() {
            return Some(Refusal::failure("it has no owner"));
        }
        if self.is_gapless(camera) || now.mirror.is_some() {
            return Some(Refusal::passing(
                "a gapless camera's mirror records it all the time, and needs no failover",
            ));
        }
        if let Some(running) = self.drills.running.get(camera) {
            return Some(Refusal::passing(format!("drill {} runs", running.drill)));
        }
        if now.handoff.is_some() {
            return Some(Refusal::passing("it is being handed over; try again"));
        }
        now.successor
            .is_none()
            .then(|| Refusal::failure("it has no successor: no other node can record it"))
    }

    pub(crate) fn is_gapless(&self, camera: CameraId) -> bool {
        self.cameras
            .get(camera)
            .is_some_and(|camera| camera.spec.protection == Protection::Gapless)
    }

    fn check_start(&self, start: DrillStart) -> Result<Checked, Rejection> {
        let now = self
            .assignments
            .get(start.camera)
            .ok_or(Rejection::UnknownCamera(start.camera))?;
        let changed = || Refusal::passing("its assignment has changed since; try again");
        let checked = match (start.refusal.clone(), now.owner, now.successor) {
            (Some(refusal), ..) => Err(refusal),
            _ if now.epoch != start.expect || now.successor != start.successor => Err(changed()),
            (None, Some(owner), Some(successor)) => self
                .drill_refusal(start.camera, now)
                .map_or(Ok((owner, successor)), Err),
            _ => Err(self
                .drill_refusal(start.camera, now)
                .unwrap_or_else(changed)),
        };
        Ok((start, checked))
    }

    fn refused(
        &self,
        drill: DrillId,
        at: Timestamp,
        start: &DrillStart,
        refusal: Refusal,
    ) -> DrillResult {
        let now = self.assignments.get(start.camera);
        DrillResult {
            camera: start.camera,
            drill,
            owner: now.and_then(|now| now.owner),
            successor: now.and_then(|now| now.successor),
            began_at: at,
            ended_at: at,
            outcome: if refusal.is_failure {
                Outcome::Failed
            } else {
                Outcome::Aborted
            },
            gap_us: None,
            is_handed_back: false,
            reason: Some(refusal.why),
        }
    }

    pub(super) fn step_drills(&mut self, at: Timestamp, steps: Vec<DrillStep>) -> Response {
        let (mut applied, mut skipped) = (0, Vec::new());
        for step in steps {
            let camera = step.camera;
            match self.step_drill(at, step) {
                Ok(()) => applied += 1,
                Err(why) => skipped.push(Skipped { camera, why }),
            }
        }
        Response::Assigned { applied, skipped }
    }

    fn step_drill(
        &mut self,
        at: Timestamp,
        DrillStep { camera, drill, op }: DrillStep,
    ) -> Result<(), Rejection> {
        let running = self.running_drill(camera, drill)?;
        match (op, running.phase.clone()) {
            (DrillOp::TakeOver { gap_us, watermark }, Phase::TakingOver) => {
                let epoch = self.give_to_successor(at, camera, &running, watermark)?;
                self.enter_phase(camera, running, Phase::TakenOver { epoch, gap_us });
            }
            (DrillOp::HandBack { failure }, Phase::TakenOver { epoch, gap_us }) => {
                let change = AssignmentChange {
                    camera,
                    expect: epoch,
                    op: AssignmentOp::BeginHandoff { to: running.owner },
                };
                self.assign_one(at, change)?;
                let phase = Phase::HandingBack {
                    epoch,
                    gap_us,
                    failure,
                };
                self.enter_phase(camera, running, phase);
            }
            (
                DrillOp::End {
                    outcome,
                    reason,
                    is_handed_back,
                },
                phase,
            ) => {
                self.drills.running.remove(camera);
                let RunningDrill {
                    owner,
                    successor,
                    began_at,
                    ..
                } = running;
                self.note(DrillResult {
                    camera,
                    drill,
                    owner: Some(owner),
                    successor: Some(successor),
                    began_at,
                    ended_at: at,
                    outcome,
                    gap_us: phase.gap_us(),
                    is_handed_back,
                    reason,
                });
            }
            _ => return Err(wrong_step(camera, "its drill is further already")),
        }
        Ok(())
    }

    fn running_drill(&self, camera: CameraId, drill: DrillId) -> Result<RunningDrill, Rejection> {
        self.drills
            .running
            .get(camera)
            .filter(|running| running.drill == drill)
            .cloned()
            .ok_or_else(|| wrong_step(camera, "its drill has ended"))
    }

    /// The successor takes over as if the owner had died. Returns the successor's epoch.
    fn give_to_successor(
        &mut self,
        at: Timestamp,
        camera: CameraId,
        running: &RunningDrill,
        watermark: Option<Timestamp>,
    ) -> Result<Epoch, Rejection> {
        let change = AssignmentChange {
            camera,
            expect: running.epoch,
            op: AssignmentOp::TakeOver {
                owner: running.successor,
                mirror: None,
                successor: Some(running.owner),
                watermark,
            },
        };
        self.assign_one(at, change)?;
        let now = self.assignments.get(camera);
        Ok(now.map_or(running.epoch, |now| now.epoch))
    }

    fn enter_phase(&mut self, camera: CameraId, running: RunningDrill, phase: Phase) {
        self.drills
            .running
            .insert(camera, RunningDrill { phase, ..running });
    }

    fn note(&mut self, result: DrillResult) {
        if let Some(drill) = self.drills.log.get_mut(result.drill) {
            drill.results.push(result.clone());
        }
        if result.outcome != Outcome::Aborted {
            self.drills.results.insert(result.camera, result);
        }
    }

    /// `newest` and all running drills stay.
    fn forget_old_drills(&mut self, newest: DrillId) {
        let log = &self.drills.log;
        let (mut drills, mut results) = (
            log.len(),
            log.values().map(|drill| drill.results.len()).sum::<usize>(),
        );
        let running: Vec<DrillId> = self
            .drills
            .running
            .values()
            .map(|running| running.drill)
            .collect();
        let mut old = Vec::new();
        for drill in log
            .values()
            .filter(|drill| drill.id != newest && !running.contains(&drill.id))
        {
            if drills <= DRILLS_MAX && results <= RESULTS_MAX {
                break;
            }
            drills -= 1;
            results -= drill.results.len();
            old.push(drill.id);
        }
        old.into_iter()
            .for_each(|drill| self.drills.log.remove(drill));
    }

    pub(super) fn forget_drills_of(&mut self, camera: CameraId) {
        self.drills.running.remove(camera);
        self.drills.results.remove(camera);
    }
}

fn wrong_step(camera: CameraId, why: &str) -> Rejection {
    Rejection::WrongAssignment {
        camera,
        why: why.to_owned(),
    }
}
