//! The leader's control loop: from the replicated state and the nodes' reports it decides which
//! changes to propose. Pure; runs a few times a second, and proposes nothing if nothing must
//! change.
//!
//! Order within a round: first the cameras that no live node records, by priority; then handoffs,
//! drains and failing recorders; then successors and mirrors of cameras that are well. A dead
//! node's cameras are moved in one log entry. Voluntary moves (back to a preferred node, or to
//! spread evenly again) wait until nothing else is to be done. A camera under drill is left to its
//! drill while its owner is alive.
//!
//! A live owner that fails loses a camera at once if the camera answered another node's probe, and
//! only after `AWAY_MAX` if it answers no node: a camera that is rebooting is not moved. An owner
//! that recovers before its heir has proved itself keeps the camera too. Cameras that a draining or
//! stopping owner does not record move to another node immediately, without a handoff.
//!
//! A leader that cannot hear a majority must assume that it is the one partitioned off, and moves
//! no camera. Once it hears a majority again it waits for one suspect interval; otherwise the first
//! peer to reconnect would make all the others look dead.
//!
//! While neither the state nor the nodes change, a round examines only those cameras that may need
//! something (`steward/rest.rs`).

mod drills;
mod memory;
mod rest;
mod suspects;
mod voluntary;

pub use memory::{
    AWAY_MAX, FAILING_MAX, FAILING_SURE, MOVE_INTERVAL, QUIET_MAX, QUIET_SURE, STALLED_MAX,
    STARTING_MAX, TARGET_BACKOFF,
};
pub use voluntary::REBALANCE_MAX;

use crate::command::{AssignmentChange, AssignmentOp, Command};
use crate::decide::placement::{Placement, Planner, Seat, Seats, by_priority};
use crate::decide::suspects::Ends;
use crate::model::{Assignment, DrillStep, Duty, Handoff, Protection, Treatment};
use crate::observe::bitrate::Bitrates;
use crate::observe::heartbeat::{Progress, RecorderState};
use crate::observe::liveness::{Verdict, Why};
use crate::observe::reports::Reports;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, Epoch, NodeId};
use holdfast_storage::time::Timestamp;
use memory::{Health, Memory};
use rest::Rest;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A node that fell silent gets this long to be heard after all, if a mirror or successor records
/// in its place: the network may be slow.
pub const SILENCE_CONFIRMED: Duration = Duration::from_secs(1);
/// A handoff's target must show a durable keyframe within this time.
pub const HANDOFF_MAX: Duration = Duration::from_secs(15);
/// Handoffs away from one node at a time, and voluntary ones to one node: each opens a second
/// connection to a camera. Cameras that the node fails to record do not wait.
pub const HANDOFFS_PER_NODE_MAX: usize = 16;
/// Changes in one log entry.
pub const CHANGES_PER_COMMAND_MAX: usize = 4_096;

/// The leader's view in one round.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The leader's wall clock, for the timestamps of commands.
    pub now: Timestamp,
    /// The leader's monotonic clock, for timeouts.
    pub uptime: Duration,
    pub state: &'a ClusterState,
    /// A missing node counts as [`Verdict::Unknown`].
    pub verdicts: &'a BTreeMap<NodeId, Verdict>,
    /// Raft's voters, including the leader (alive in `verdicts`). Without a live majority of them
    /// nothing is decided.
    pub voters: &'a [NodeId],
    /// Nodes that report that they cannot write
    /// ([`crate::observe::heartbeat::Heartbeat::writable`]): they lose their cameras and get none.
    pub unfit: &'a BTreeSet<NodeId>,
    /// Whether a camera that its owner fails to record answered another node.
    pub probes: &'a BTreeMap<(NodeId, CameraId), bool>,
    /// The latest report of each recorder; of dead nodes too, for their last watermark.
    pub progress: &'a Reports,
    /// The ends of processes that this node saw.
    pub ends: &'a Ends,
}

/// Keeps only timeouts between rounds. Created again each time this node becomes leader, and called
/// only while it leads. A round over 10,000 cameras takes some milliseconds, so it must not run on
/// the threads that serve I/O.
#[derive(Clone, Debug, Default)]
pub struct Steward {
    memory: Memory,
    /// From the last round that examined all cameras.
    rest: Option<Rest>,
}

impl Steward {
    /// The commands to propose now, in order. The next round must see their effect (or their
    /// failure) in the state.
    pub fn decide(&mut self, input: &Input<'_>) -> Vec<Command> {
        self.memory.expire(input.uptime);
        if !self.memory.hears(input.uptime, hears_majority(input)) {
            return Vec::new();
        }
        let mut commands = suspects::commands(input);
        commands.extend(self.decide_assignments(input));
        commands
    }

    fn decide_assignments(&mut self, input: &Input<'_>) -> Vec<Command> {
        let at_rest = self.rest.as_ref().filter(|rest| rest.holds(input));
        let Some(rest) = at_rest else {
            return self.go_over_all(input);
        };
        let mut restless = self
            .memory
            .watch_again(input.uptime, input.progress, &rest.unsettled);
        restless.extend(&rest.unsettled);
        if restless.is_empty() {
            Vec::new()
        } else {
            self.go_over(input, restless).0
        }
    }

    fn go_over_all(&mut self, input: &Input<'_>) -> Vec<Command> {
        self.memory
            .forget(|camera| input.state.cameras.contains(camera));
        let (commands, unsettled) = self.go_over(input, input.state.cameras.keys().collect());
        self.rest = Some(Rest::of(input, unsettled));
        commands
    }

    /// The commands to propose for `cameras`, and which of the cameras are not settled.
    fn go_over(
        &mut self,
        input: &Input<'_>,
        cameras: Vec<CameraId>,
    ) -> (Vec<Command>, BTreeSet<CameraId>) {
        let cameras = by_priority(input.state, cameras);
        let bitrates = Bitrates::of_reports(input.progress);
        let mut round = Round::new(input, &bitrates, &mut self.memory);
        let (orphans, others): (Vec<_>, Vec<_>) = cameras
            .into_iter()
            .partition(|camera| round.is_orphan(*camera));
        round.unsettled.extend(&orphans);
        let bridged = orphans
            .iter()
            .filter(|camera| round.rescue(**camera) == Rescue::Bridged)
            .count();
        others.iter().for_each(|camera| round.tend(*camera));
        let is_quiet = bridged == 0 && round.changes.is_empty() && round.steps.is_empty();
        let is_over = is_quiet && round.move_freely(&others);
        let steps = round.steps.chunks(CHANGES_PER_COMMAND_MAX);
        let steps = steps.map(|steps| Command::StepDrills {
            steps: steps.to_vec(),
        });
        let assign = round.changes.chunks(CHANGES_PER_COMMAND_MAX);
        let assign = assign.map(|changes| Command::Assign {
            changes: changes.to_vec(),
        });
        let end = input
            .state
            .rebalancing_since
            .filter(|_| is_over)
            .map(|since| Command::EndRebalance { since });
        (assign.chain(steps).chain(end).collect(), round.unsettled)
    }
}

/// What was done about a camera without a live owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rescue {
    /// Everything possible was proposed.
    Decided,
    /// It waits a moment for its owner, while another node records it.
    Bridged,
}

fn hears_majority(input: &Input<'_>) -> bool {
    let is_alive = |node: &&NodeId| {
        input
            .verdicts
            .get(node)
            .is_some_and(|verdict| verdict.is_alive())
    };
    input.voters.iter().filter(is_alive).count() * 2 > input.voters.len()
}

struct Round<'a> {
    input: &'a Input<'a>,
    memory: &'a mut Memory,
    planner: Planner<'a>,
    /// In progress.
    handoffs_from: BTreeMap<NodeId, usize>,
    handoffs_to: BTreeMap<NodeId, usize>,
    /// Seats that could be given up; filled when first needed.
    seats: Option<Seats>,
    /// Cameras with a proposed change.
    touched: BTreeSet<CameraId>,
    /// Cameras to be examined again in the next round.
    unsettled: BTreeSet<CameraId>,
    changes: Vec<AssignmentChange>,
    steps: Vec<DrillStep>,
}

impl<'a> Round<'a> {
    fn new(input: &'a Input<'a>, bitrates: &'a Bitrates, memory: &'a mut Memory) -> Self {
        let can_record = |node| {
            let is_alive = input
                .verdicts
                .get(&node)
                .is_some_and(|verdict| verdict.is_alive());
            is_alive && !input.unfit.contains(&node)
        };
        let planner = Planner::new(input.state, bitrates, can_record);
        memory.note_fit(input.uptime, planner.fit());
        let (mut handoffs_from, mut handoffs_to) = (BTreeMap::new(), BTreeMap::new());
        for assignment in input.state.assignments.values() {
            let Some(handoff) = assignment.handoff else {
                continue;
            };
            assignment
                .owner
                .into_iter()
                .for_each(|owner| *handoffs_from.entry(owner).or_default() += 1);
            *handoffs_to.entry(handoff.to).or_default() += 1;
        }
        let (seats, touched, unsettled) = (None, BTreeSet::new(), BTreeSet::new());
        let (changes, steps) = (Vec::new(), Vec::new());
        Self {
            input,
            memory,
            planner,
            handoffs_from,
            handoffs_to,
            seats,
            touched,
            unsettled,
            changes,
            steps,
        }
    }

    fn verdict(&self, node: NodeId) -> Verdict {
        self.input
            .verdicts
            .get(&node)
            .copied()
            .unwrap_or(Verdict::Unknown)
    }

    /// The node is dead as far as the leader knows, or no member.
    fn is_lost(&self, node: NodeId) -> bool {
        self.verdict(node).is_suspect() || !self.input.state.nodes.contains(node)
    }

    fn is_orphan(&self, camera: CameraId) -> bool {
        self.assignment(camera)
            .is_some_and(|assignment| assignment.owner.is_none_or(|owner| self.is_lost(owner)))
    }

    fn assignment(&self, camera: CameraId) -> Option<&'a Assignment> {
        self.input.state.assignments.get(camera)
    }

    fn protection(&self, camera: CameraId) -> Protection {
        self.input
            .state
            .cameras
            .get(camera)
            .map_or(Protection::Standard, |camera| camera.spec.protection)
    }

    fn progress(&self, node: NodeId, camera: CameraId) -> Option<&'a Progress> {
        self.input.progress.main(node, camera)
    }

    fn watermark(&self, node: Option<NodeId>, camera: CameraId) -> Option<Timestamp> {
        self.progress(node?, camera)?.watermark
    }

    fn propose(&mut self, camera: CameraId, now: &Assignment, op: AssignmentOp) {
        self.touched.insert(camera);
        self.changes.push(AssignmentChange {
            camera,
            expect: now.epoch,
            op,
        });
    }

    /// Handles a camera without a live owner.
    fn rescue(&mut self, camera: CameraId) -> Rescue {
        let Some(now) = self.assignment(camera) else {
            return Rescue::Decided;
        };
        if let Some(stand_in) = self.stand_in(camera, now) {
            // Other cameras must not take its seat in the meantime.
            self.planner.remove(camera, now);
            let mirror = now.mirror.filter(|mirror| *mirror != stand_in);
            self.enter(
                camera,
                Placement {
                    owner: stand_in,
                    mirror,
                    successor: None,
                },
            );
            return Rescue::Bridged;
        }
        self.inherit(camera, now);
        Rescue::Decided
    }

    fn inherit(&mut self, camera: CameraId, now: &Assignment) {
        self.abort_drill(camera, now);
        if let Some(handoff) = now
            .handoff
            .filter(|handoff| self.can_inherit(camera, now, handoff))
        {
            return self.complete(camera, now, handoff);
        }
        self.planner.remove(camera, now);
        let Some(owner) = self.heir(camera, now).or_else(|| self.make_room(camera)) else {
            return self.planner.add(camera, now);
        };
        let placed = self.around(camera, now, owner);
        let Placement {
            owner,
            mirror,
            successor,
        } = placed;
        let op = match now.owner {
            None => AssignmentOp::Place {
                owner,
                mirror,
                successor,
            },
            Some(lost) => AssignmentOp::TakeOver {
                owner,
                mirror,
                successor,
                watermark: self.watermark(Some(lost), camera),
            },
        };
        self.enter(camera, placed);
        self.propose(camera, now, op);
    }

    /// If the owner fell silent a moment ago: the node that records on its own evidence until the
    /// owner is heard again or given up. Waiting loses nothing, unless that node still hears the
    /// owner or waits for it longer than this one.
    fn stand_in(&self, camera: CameraId, now: &Assignment) -> Option<NodeId> {
        now.owner
            .filter(|owner| self.fell_silent(*owner))
            .and_then(|_| self.standbys(camera, now).next())
    }

    fn fell_silent(&self, node: NodeId) -> bool {
        let Verdict::Suspect {
            since,
            why: Why::Silence,
        } = self.verdict(node)
        else {
            return false;
        };
        self.input.uptime.saturating_sub(since) < SILENCE_CONFIRMED
    }

    /// A live target of a handoff inherits from a dead owner without further proof, because it is
    /// already connecting; unless another node already records.
    fn can_inherit(&self, camera: CameraId, now: &Assignment, handoff: &Handoff) -> bool {
        let report = self
            .progress(handoff.to, camera)
            .filter(|progress| progress.epoch == handoff.epoch);
        let proved = report.is_some_and(|progress| progress.first_keyframe.is_some());
        let may = self.planner.is_fit(handoff.to) && !self.fails(camera, handoff);
        may && (proved
            || !self
                .standbys(camera, now)
                .any(|node| self.records(camera, now, node)))
    }

    /// The mirror and the successor, if they can take over an orphan.
    fn standbys(&self, camera: CameraId, now: &Assignment) -> impl Iterator<Item = NodeId> {
        let mirror = now.mirror.filter(|mirror| self.planner.is_fit(*mirror));
        let successor = now
            .successor
            .filter(|successor| self.planner.takes(*successor, camera));
        mirror.into_iter().chain(successor)
    }

    /// Whether `node`, the mirror or successor, records an orphan now. A successor's report may be
    /// from an earlier stint: then the owner's watermark is later.
    fn records(&self, camera: CameraId, now: &Assignment, node: NodeId) -> bool {
        let report = self
            .progress(node, camera)
            .filter(|progress| progress.epoch == now.epoch);
        report.is_some_and(|progress| {
            let is_of_now =
                now.mirror == Some(node) || progress.watermark > self.watermark(now.owner, camera);
            progress.state == RecorderState::Recording
                && progress.first_keyframe.is_some()
                && is_of_now
        })
    }

    fn fails(&self, camera: CameraId, handoff: &Handoff) -> bool {
        self.is_failing(handoff.to, camera, handoff.epoch)
    }

    fn is_failing(&self, node: NodeId, camera: CameraId, epoch: Epoch) -> bool {
        let report = self
            .progress(node, camera)
            .filter(|progress| progress.epoch == epoch);
        report.is_some_and(|progress| progress.state == RecorderState::Failing)
    }

    /// The new owner of an orphan: a node that already records it, else its mirror or successor; if
    /// there is none or it is full, any node with capacity.
    fn heir(&self, camera: CameraId, now: &Assignment) -> Option<NodeId> {
        let recording = self
            .standbys(camera, now)
            .find(|node| self.records(camera, now, *node));
        let mirror = now.mirror.filter(|mirror| self.planner.is_fit(*mirror));
        let refused = self.memory.refused(self.input.uptime, camera);
        recording
            .or(mirror)
            .or_else(|| self.planner.heir(camera, now, &refused))
    }

    /// Makes room for `camera` at the expense of less important cameras or second recorders.
    /// Returns the node with the room.
    fn make_room(&mut self, camera: CameraId) -> Option<NodeId> {
        let (state, planner) = (self.input.state, &self.planner);
        let seats = self.seats.get_or_insert_with(|| Seats::new(state, planner));
        let (node, leaving) = seats.cheapest(camera, planner)?;
        leaving.into_iter().for_each(|seat| self.vacate(seat));
        Some(node)
    }

    fn vacate(&mut self, seat: Seat) {
        let (Some(now), Some(seats)) = (self.assignment(seat.camera), &mut self.seats) else {
            return;
        };
        self.planner
            .remove(seat.camera, &seats.left_of(seat.camera, now));
        seats.vacate(seat);
        if seat.is_mirror {
            self.planner
                .add(seat.camera, &seats.left_of(seat.camera, now));
            return self.propose(seat.camera, now, AssignmentOp::SetMirror { mirror: None });
        }
        let watermark = self.watermark(now.owner, seat.camera);
        self.propose(seat.camera, now, AssignmentOp::Shed { watermark });
    }

    /// The existing mirror, and a successor for `owner`, if possible not one that failed with this
    /// camera.
    fn around(&self, camera: CameraId, now: &Assignment, owner: NodeId) -> Placement {
        let mirror = now
            .mirror
            .filter(|_| self.protection(camera) == Protection::Gapless);
        let refused = self.memory.refused(self.input.uptime, camera);
        let careful = self.planner.around(camera, owner, mirror, &refused);
        if careful.successor.is_some() {
            careful
        } else {
            self.planner.around(camera, owner, mirror, &[])
        }
    }

    fn enter(&mut self, camera: CameraId, placed: Placement) {
        let Placement {
            owner,
            mirror,
            successor,
        } = placed;
        self.planner.add(
            camera,
            &Assignment {
                owner: Some(owner),
                mirror,
                successor,
                ..Assignment::default()
            },
        );
    }

    /// Handles a camera whose owner is not known to be dead.
    fn tend(&mut self, camera: CameraId) {
        let is_settled = self.is_settled(camera) && !self.touched.contains(&camera);
        if !is_settled {
            self.unsettled.insert(camera);
        }
        if self.touched.contains(&camera) {
            return;
        }
        let Some(now) = self.assignment(camera) else {
            return;
        };
        let Some(owner) = now.owner.filter(|owner| self.verdict(*owner).is_alive()) else {
            return;
        };
        let report = self.progress(owner, camera);
        let health = self
            .memory
            .watch(self.input.uptime, camera, (owner, now.epoch), report);
        if health.records_nothing() && self.is_leaving(owner) && self.reassign(camera, now, owner) {
            return;
        }
        if let Some(handoff) = now.handoff {
            return self.tend_handoff(camera, now, handoff, health);
        }
        if let Some(drill) = self.drill(camera) {
            return self.tend_drill(camera, now, drill, health);
        }
        let leaves = !is_settled
            && (!self.planner.is_fit(owner) || !self.input.state.reaches(owner, camera));
        let reached = self.probe_standbys(camera, now);
        let failed =
            health.is_over(reached == Some(false)) || (health.is_sure() && reached == Some(true));
        let fails = failed
            && self.memory.may_move(self.input.uptime, camera)
            && !self.is_quarantined(camera);
        if (leaves || fails) && self.begin_handoff(camera, now, owner, fails) {
            return;
        }
        if !is_settled {
            self.place_standbys(camera, now, owner);
        }
    }

    /// At its operator's request, or because its process is stopping.
    fn is_leaving(&self, node: NodeId) -> bool {
        self.input
            .state
            .nodes
            .get(node)
            .is_some_and(|node| node.duty != Duty::Active)
    }

    /// Gives a camera that its live owner does not record to another node immediately: there is no
    /// recording for a handoff to continue. Returns whether there is such a node.
    fn reassign(&mut self, camera: CameraId, now: &Assignment, owner: NodeId) -> bool {
        let is_open = |node: &NodeId| *node != owner && self.planner.is_fit(*node);
        let takes = |node: &NodeId| is_open(node) && self.planner.takes(*node, camera);
        if let Some(handoff) = now.handoff.filter(|handoff| is_open(&handoff.to)) {
            self.complete(camera, now, handoff);
            return true;
        }
        let mirror = now.mirror.filter(is_open);
        let preferred = self.input.state.preferred_node(camera).filter(takes);
        let successor = now.successor.filter(takes);
        let named = mirror.or(preferred).or(successor);
        let Some(to) = named.or_else(|| self.planner.owner(camera, &[owner])) else {
            return false;
        };
        self.abort_drill(camera, now);
        self.planner.remove(camera, now);
        let placed = self.around(camera, now, to);
        let (
            Placement {
                owner,
                mirror,
                successor,
            },
            lost,
        ) = (placed, owner);
        let watermark = self.watermark(Some(lost), camera);
        self.enter(camera, placed);
        self.propose(
            camera,
            now,
            AssignmentOp::TakeOver {
                owner,
                mirror,
                successor,
                watermark,
            },
        );
        true
    }

    /// No node records it: another one would fare no better.
    fn is_quarantined(&self, camera: CameraId) -> bool {
        let held = self.input.state.suspicions.get(camera);
        held.is_some_and(|held| {
            matches!(
                held.treatment(self.input.now),
                Treatment::Quarantined { .. }
            )
        })
    }

    /// Whether the camera, which its owner cannot reach, answers its mirror or successor.
    fn probe_standbys(&self, camera: CameraId, now: &Assignment) -> Option<bool> {
        self.standbys(camera, now)
            .filter_map(|node| self.probe(node, camera))
            .max()
    }

    fn probe(&self, node: NodeId, camera: CameraId) -> Option<bool> {
        self.input.probes.get(&(node, camera)).copied()
    }

    fn tend_handoff(
        &mut self,
        camera: CameraId,
        now: &Assignment,
        handoff: Handoff,
        health: Health,
    ) {
        let report = self
            .progress(handoff.to, camera)
            .filter(|progress| progress.epoch == handoff.epoch);
        let waited = self.input.now.micros_since(handoff.since);
        // Otherwise, after the wall clock was stepped back, a handoff could last forever.
        let expired = waited.unsigned_abs() > HANDOFF_MAX.as_micros() as u64;
        // While the owner still records, wait for a target that may be back in a moment.
        let may_be_back = self.fell_silent(handoff.to) && !self.memory.is_rescue(camera);
        if (self.verdict(handoff.to) == Verdict::Unknown || may_be_back) && !expired {
            return;
        }
        let reaches = |node| self.planner.is_fit(node) && self.input.state.reaches(node, camera);
        let stays = now.owner.is_some_and(reaches) && health.is_well();
        let may = reaches(handoff.to);
        if self.memory.is_rescue(camera) && stays {
            // The owner recovered: the camera was unreachable for every node, for instance.
            self.propose(
                camera,
                now,
                AssignmentOp::CancelHandoff {
                    epoch: handoff.epoch,
                },
            );
        } else if !may || self.fails(camera, &handoff) {
            self.cancel(camera, now, handoff);
        } else if report.is_some_and(|progress| progress.first_keyframe.is_some()) {
            // A camera that returns after an outage belongs to its owner, which retries every few
            // seconds; in the meantime both may record it. Once the owner records again, no node
            // probes the camera any more, and it may take a moment until the owner counts as well.
            let away = self
                .probe_standbys(camera, now)
                .map_or(health.has_session(), |reached| !reached);
            let waits = self.memory.is_rescue(camera) && away && !expired;
            if !waits {
                self.complete(camera, now, handoff);
            }
        } else if expired {
            self.cancel(camera, now, handoff);
        }
    }

    fn complete(&mut self, camera: CameraId, now: &Assignment, handoff: Handoff) {
        let watermark = self.watermark(now.owner, camera);
        self.planner.remove(camera, now);
        let placed = self.around(camera, now, handoff.to);
        self.enter(camera, placed);
        let Placement {
            mirror, successor, ..
        } = placed;
        let epoch = handoff.epoch;
        self.propose(
            camera,
            now,
            AssignmentOp::CompleteHandoff {
                epoch,
                mirror,
                successor,
                watermark,
            },
        );
    }

    fn cancel(&mut self, camera: CameraId, now: &Assignment, handoff: Handoff) {
        self.memory.refuse(self.input.uptime, camera, handoff.to);
        self.propose(
            camera,
            now,
            AssignmentOp::CancelHandoff {
                epoch: handoff.epoch,
            },
        );
    }

    /// Begins a handoff. Returns whether it was begun or waits for its turn; `false` if there is no
    /// target.
    fn begin_handoff(
        &mut self,
        camera: CameraId,
        now: &Assignment,
        owner: NodeId,
        fails: bool,
    ) -> bool {
        let Some(to) = self.target(camera, now, owner) else {
            return false;
        };
        let waits_turn = !self.is_failing(owner, camera, now.epoch);
        let under_way = self.handoffs_from.get(&owner).copied().unwrap_or(0);
        if waits_turn && under_way >= HANDOFFS_PER_NODE_MAX {
            return true;
        }
        self.memory.begun(camera, fails);
        if fails {
            self.memory.moved(self.input.uptime, camera);
            self.memory.refuse(self.input.uptime, camera, owner);
        }
        self.hand_over(camera, now, owner, to);
        true
    }

    fn hand_over(&mut self, camera: CameraId, now: &Assignment, owner: NodeId, to: NodeId) {
        self.count_handoff(camera, now, owner, to);
        self.propose(camera, now, AssignmentOp::BeginHandoff { to });
    }

    fn count_handoff(&mut self, camera: CameraId, now: &Assignment, owner: NodeId, to: NodeId) {
        *self.handoffs_from.entry(owner).or_default() += 1;
        *self.handoffs_to.entry(to).or_default() += 1;
        if now.mirror != Some(to) {
            self.planner.add(
                camera,
                &Assignment {
                    owner: Some(to),
                    ..Assignment::default()
                },
            );
        }
    }

    /// The target of a move: the preferred node, else the successor, else the least loaded other
    /// node, else the mirror; never a node that the camera did not answer.
    fn target(&self, camera: CameraId, now: &Assignment, owner: NodeId) -> Option<NodeId> {
        let mut avoid = self.memory.refused(self.input.uptime, camera);
        avoid.push(owner);
        avoid.extend(
            self.standbys(camera, now)
                .filter(|node| self.probe(*node, camera) == Some(false)),
        );
        let is_open = |node: &NodeId| self.planner.is_fit(*node) && !avoid.contains(node);
        let takes = |node: &NodeId| is_open(node) && self.planner.takes(*node, camera);
        let preferred = self.input.state.preferred_node(camera).filter(takes);
        let successor = now.successor.filter(takes);
        let mirror = now
            .mirror
            .filter(|node| is_open(node) && self.input.state.reaches(*node, camera));
        let others: Vec<NodeId> = avoid.iter().copied().chain(now.mirror).collect();
        preferred
            .or(successor)
            .or_else(|| self.planner.owner(camera, &others))
            .or(mirror)
    }

    /// Names a mirror and a successor if there is no live one and some node can be it.
    fn place_standbys(&mut self, camera: CameraId, now: &Assignment, owner: NodeId) {
        let mirror = self.wanted_mirror(camera, now, owner);
        if mirror != now.mirror {
            self.propose(camera, now, AssignmentOp::SetMirror { mirror });
        }
        let successor = self.wanted_successor(camera, now, owner, mirror);
        let left = now.successor.filter(|successor| Some(*successor) != mirror);
        if successor != left {
            self.propose(camera, now, AssignmentOp::SetSuccessor { successor });
        }
        if (mirror, successor) != (now.mirror, now.successor) {
            self.planner.remove(camera, now);
            self.enter(
                camera,
                Placement {
                    owner,
                    mirror,
                    successor,
                },
            );
        }
    }

    fn wanted_mirror(&self, camera: CameraId, now: &Assignment, owner: NodeId) -> Option<NodeId> {
        if self.protection(camera) != Protection::Gapless {
            return None;
        }
        if now
            .mirror
            .is_some_and(|mirror| self.may_stay(mirror, camera))
        {
            return now.mirror;
        }
        let domain = self.planner.domain(owner);
        let promoted = now
            .successor
            .filter(|node| self.planner.may_mirror(*node, camera, domain));
        let left = now
            .mirror
            .filter(|mirror| self.input.state.reaches(*mirror, camera));
        promoted
            .or_else(|| self.planner.mirror(camera, domain, &[owner]))
            .or(left)
    }

    fn wanted_successor(
        &self,
        camera: CameraId,
        now: &Assignment,
        owner: NodeId,
        mirror: Option<NodeId>,
    ) -> Option<NodeId> {
        let left = now.successor.filter(|successor| Some(*successor) != mirror);
        let stays = |successor: NodeId| {
            self.may_stay(successor, camera)
                || (self.fell_silent(successor) && self.input.state.reaches(successor, camera))
        };
        if left.is_some_and(stays) {
            return left;
        }
        let taken: Vec<NodeId> = [owner].into_iter().chain(mirror).collect();
        let domains = taken
            .iter()
            .map(|node| self.planner.domain(*node))
            .collect();
        let found = self.planner.successor(camera, owner, &taken, &domains);
        found.or(left.filter(|successor| self.input.state.reaches(*successor, camera)))
    }

    fn may_stay(&self, node: NodeId, camera: CameraId) -> bool {
        let may = self.planner.is_fit(node) || self.verdict(node) == Verdict::Unknown;
        may && self.input.state.reaches(node, camera)
    }
}
