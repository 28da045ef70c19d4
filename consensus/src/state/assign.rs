//! Changes of who records what: compare and set by epoch, epochs that only grow, tenures kept.

use super::{ClusterState, TENURES_MAX};
use crate::command::{AssignmentChange, AssignmentOp, Rejection, Response, Skipped};
use crate::model::{Assignment, Handoff, Role, Tenure};
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;

/// A new owner with its mirror and successor, and what is known of the previous owner's footage.
struct Succession {
    epoch: Epoch,
    owner: NodeId,
    mirror: Option<NodeId>,
    successor: Option<NodeId>,
    watermark: Option<Timestamp>,
}

/// Whether `node` records by this assignment (a successor does not, until its owner is suspect).
pub(super) fn records(assignment: &Assignment, node: NodeId) -> bool {
    assignment.owner == Some(node)
        || assignment.mirror == Some(node)
        || assignment.handoff.is_some_and(|handoff| handoff.to == node)
}

impl ClusterState {
    pub(super) fn assign(&mut self, at: Timestamp, changes: Vec<AssignmentChange>) -> Response {
        let mut applied = 0;
        let mut skipped = Vec::new();
        for change in changes {
            match self.assign_one(at, change) {
                Ok(()) => applied += 1,
                Err(why) => skipped.push(Skipped {
                    camera: change.camera,
                    why,
                }),
            }
        }
        Response::Assigned { applied, skipped }
    }

    pub(super) fn assign_one(
        &mut self,
        at: Timestamp,
        change: AssignmentChange,
    ) -> Result<(), Rejection> {
        let camera = change.camera;
        let now = self.assignment_at(camera, change.expect)?;
        match change.op {
            AssignmentOp::Place {
                owner,
                mirror,
                successor,
            } => {
                require(now.owner.is_none(), camera, "it has an owner already")?;
                let epoch = self.next_epoch(camera);
                let next = Succession {
                    epoch,
                    owner,
                    mirror,
                    successor,
                    watermark: None,
                };
                self.succeed(camera, at, next)
            }
            AssignmentOp::TakeOver {
                owner,
                mirror,
                successor,
                watermark,
            } => {
                check_takeover(camera, &now, owner)?;
                let epoch = self.next_epoch(camera);
                let next = Succession {
                    epoch,
                    owner,
                    mirror,
                    successor,
                    watermark,
                };
                self.succeed(camera, at, next)
            }
            AssignmentOp::BeginHandoff { to } => self.begin_handoff(camera, at, &now, to),
            AssignmentOp::CompleteHandoff {
                epoch,
                mirror,
                successor,
                watermark,
            } => {
                let owner = handoff_of(camera, &now, epoch)?.to;
                let next = Succession {
                    epoch,
                    owner,
                    mirror,
                    successor,
                    watermark,
                };
                self.succeed(camera, at, next)
            }
            AssignmentOp::CancelHandoff { epoch } => self.cancel_handoff(camera, &now, epoch),
            AssignmentOp::SetSuccessor { successor } => self.set_successor(camera, &now, successor),
            AssignmentOp::SetMirror { mirror } => self.set_mirror(camera, &now, mirror),
            AssignmentOp::Shed { watermark } => self.shed(camera, at, &now, watermark),
            AssignmentOp::Renew => self.renew(camera, at, &now),
        }
    }

    /// The assignment of `camera`, if it is still the one that a change was decided for.
    fn assignment_at(&self, camera: CameraId, expected: Epoch) -> Result<Assignment, Rejection> {
        let now = self
            .assignments
            .get(camera)
            .ok_or(Rejection::UnknownCamera(camera))?;
        if now.epoch != expected {
            return Err(Rejection::StaleEpoch {
                camera,
                expected,
                actual: now.epoch,
            });
        }
        Ok(now.clone())
    }

    fn begin_handoff(
        &mut self,
        camera: CameraId,
        at: Timestamp,
        now: &Assignment,
        to: NodeId,
    ) -> Result<(), Rejection> {
        require(
            now.owner.is_some(),
            camera,
            "it has no owner; place it instead",
        )?;
        require(now.owner != Some(to), camera, "the node owns it already")?;
        require(
            now.handoff.is_none(),
            camera,
            "another handoff is under way",
        )?;
        self.check_recorder(camera, to)?;
        let epoch = self.next_epoch(camera);
        self.reserve(camera, epoch);
        self.change(camera, |assignment| {
            assignment.handoff = Some(Handoff {
                to,
                epoch,
                since: at,
            })
        });
        Ok(())
    }

    fn cancel_handoff(
        &mut self,
        camera: CameraId,
        now: &Assignment,
        epoch: Epoch,
    ) -> Result<(), Rejection> {
        handoff_of(camera, now, epoch)?;
        self.change(camera, |assignment| assignment.handoff = None);
        Ok(())
    }

    fn shed(
        &mut self,
        camera: CameraId,
        at: Timestamp,
        now: &Assignment,
        watermark: Option<Timestamp>,
    ) -> Result<(), Rejection> {
        require(now.owner.is_some(), camera, "it has no owner")?;
        self.release(camera, at, watermark);
        Ok(())
    }

    fn renew(
        &mut self,
        camera: CameraId,
        at: Timestamp,
        now: &Assignment,
    ) -> Result<(), Rejection> {
        require(
            now.handoff.is_none(),
            camera,
            "a handoff is under way, which brings a new epoch",
        )?;
        let Some(owner) = now.owner else {
            return require(false, camera, "it has no owner");
        };
        let (mirror, successor) = (now.mirror, now.successor);
        let epoch = self.next_epoch(camera);
        self.succeed(
            camera,
            at,
            Succession {
                epoch,
                owner,
                mirror,
                successor,
                watermark: None,
            },
        )
    }

    /// Gives every owned camera a new epoch, with the same owner.
    pub(super) fn renew_all(&mut self, at: Timestamp) {
        let owned: Vec<(CameraId, Assignment)> = self
            .assignments
            .iter()
            .map(|(camera, assignment)| (camera, assignment.clone()))
            .collect();
        for (camera, assignment) in owned {
            // A camera without an owner has nothing to renew.
            drop(self.renew(camera, at, &assignment));
        }
    }

    fn set_successor(
        &mut self,
        camera: CameraId,
        now: &Assignment,
        successor: Option<NodeId>,
    ) -> Result<(), Rejection> {
        self.check_standby(camera, now, successor)?;
        self.change(camera, |assignment| assignment.successor = successor);
        Ok(())
    }

    fn set_mirror(
        &mut self,
        camera: CameraId,
        now: &Assignment,
        mirror: Option<NodeId>,
    ) -> Result<(), Rejection> {
        self.check_standby(camera, now, mirror)?;
        self.change(camera, |assignment| {
            assignment.mirror = mirror;
            if assignment.successor == mirror {
                assignment.successor = None;
            }
        });
        Ok(())
    }

    /// A mirror or successor is a recorder other than the owner.
    fn check_standby(
        &self,
        camera: CameraId,
        now: &Assignment,
        standby: Option<NodeId>,
    ) -> Result<(), Rejection> {
        require(
            now.owner.is_some(),
            camera,
            "it has no owner; place it first",
        )?;
        let Some(node) = standby else { return Ok(()) };
        require(
            now.owner != Some(node),
            camera,
            "mirror and successor are other nodes than the owner",
        )?;
        self.check_recorder(camera, node)
    }

    fn check_recorder(&self, camera: CameraId, node: NodeId) -> Result<(), Rejection> {
        let role = self
            .nodes
            .get(node)
            .ok_or(Rejection::UnknownNode(node))?
            .spec
            .role;
        require(role == Role::Recorder, camera, "a witness records nothing")
    }

    fn succeed(
        &mut self,
        camera: CameraId,
        at: Timestamp,
        next: Succession,
    ) -> Result<(), Rejection> {
        self.check_recorder(camera, next.owner)?;
        for standby in [next.mirror, next.successor].into_iter().flatten() {
            self.check_recorder(camera, standby)?;
            require(
                standby != next.owner,
                camera,
                "mirror and successor are other nodes than the owner",
            )?;
        }
        self.close_tenure(camera, at, next.watermark);
        self.open_tenure(
            camera,
            Tenure {
                epoch: next.epoch,
                node: next.owner,
                from: at,
                until: None,
            },
        );
        self.change(camera, |assignment| {
            *assignment = Assignment {
                epoch: next.epoch,
                owner: Some(next.owner),
                mirror: next.mirror,
                successor: next
                    .successor
                    .filter(|successor| Some(*successor) != next.mirror),
                handoff: None,
                moved_at: Some(at),
            };
        });
        Ok(())
    }

    /// Leaves `camera` without recorders. Its epoch stays: the next owner's is higher.
    fn release(&mut self, camera: CameraId, at: Timestamp, watermark: Option<Timestamp>) {
        self.close_tenure(camera, at, watermark);
        self.change(camera, |assignment| {
            *assignment = Assignment {
                epoch: assignment.epoch,
                moved_at: Some(at),
                ..Assignment::default()
            };
        });
    }

    /// Removes `node` from every assignment.
    pub(super) fn release_all(&mut self, node: NodeId, at: Timestamp) {
        let named: Vec<CameraId> = self
            .assignments
            .iter()
            .filter(|(_, assignment)| {
                records(assignment, node) || assignment.successor == Some(node)
            })
            .map(|(camera, _)| camera)
            .collect();
        for camera in named {
            if self
                .assignments
                .get(camera)
                .is_some_and(|assignment| assignment.owner == Some(node))
            {
                self.bereave(camera, at, node);
                continue;
            }
            self.change(camera, |assignment| {
                assignment.mirror = assignment.mirror.filter(|mirror| *mirror != node);
                assignment.successor = assignment.successor.filter(|successor| *successor != node);
                assignment.handoff = assignment.handoff.filter(|handoff| handoff.to != node);
            });
        }
    }

    /// `lost`, the owner of `camera`, leaves: a node that records alongside it becomes the owner
    /// now, so that its recording does not end before another begins.
    fn bereave(&mut self, camera: CameraId, at: Timestamp, lost: NodeId) {
        let now = self.assignments.get(camera).cloned().unwrap_or_default();
        let successor = now.successor.filter(|successor| *successor != lost);
        let heir = match (now.mirror, now.handoff) {
            (Some(mirror), _) => Some((mirror, self.next_epoch(camera))),
            (None, Some(handoff)) => Some((handoff.to, handoff.epoch)),
            (None, None) => None,
        };
        let inherited = heir.map(|(owner, epoch)| {
            let successor = successor.filter(|successor| *successor != owner);
            self.succeed(
                camera,
                at,
                Succession {
                    epoch,
                    owner,
                    mirror: None,
                    successor,
                    watermark: None,
                },
            )
        });
        if !matches!(inherited, Some(Ok(()))) {
            self.release(camera, at, None);
        }
    }

    fn change(&mut self, camera: CameraId, change: impl FnOnce(&mut Assignment)) {
        if let Some(assignment) = self.assignments.get_mut(camera) {
            change(assignment);
        }
    }

    fn next_epoch(&self, camera: CameraId) -> Epoch {
        self.histories
            .get(camera)
            .map_or(Epoch(1), |history| history.epoch_last.next())
    }

    fn reserve(&mut self, camera: CameraId, epoch: Epoch) {
        if let Some(history) = self.histories.get_mut(camera) {
            history.epoch_last = history.epoch_last.max(epoch);
        }
    }

    pub(super) fn close_tenure(
        &mut self,
        camera: CameraId,
        at: Timestamp,
        watermark: Option<Timestamp>,
    ) {
        let Some(history) = self.histories.get_mut(camera) else {
            return;
        };
        if let Some(last) = history
            .tenures
            .last_mut()
            .filter(|tenure| tenure.until.is_none())
        {
            last.until = Some(watermark.unwrap_or(at));
        }
    }

    fn open_tenure(&mut self, camera: CameraId, tenure: Tenure) {
        self.reserve(camera, tenure.epoch);
        let Some(history) = self.histories.get_mut(camera) else {
            return;
        };
        history.tenures.push(tenure);
        let surplus = history.tenures.len().saturating_sub(TENURES_MAX);
        history.tenures.drain(..surplus);
    }
}

fn check_takeover(camera: CameraId, now: &Assignment, heir: NodeId) -> Result<(), Rejection> {
    require(
        now.owner.is_some(),
        camera,
        "it has no owner; place it instead",
    )?;
    require(
        now.owner != Some(heir),
        camera,
        "the new owner is the old one",
    )
}

fn handoff_of(camera: CameraId, now: &Assignment, epoch: Epoch) -> Result<Handoff, Rejection> {
    match now.handoff {
        Some(handoff) if handoff.epoch == epoch => Ok(handoff),
        _ => Err(Rejection::WrongAssignment {
            camera,
            why: format!("no handoff of epoch {epoch} is under way"),
        }),
    }
}

fn require(holds: bool, camera: CameraId, why: &str) -> Result<(), Rejection> {
    if holds {
        Ok(())
    } else {
        Err(Rejection::WrongAssignment {
            camera,
            why: why.to_owned(),
        })
    }
}
