//! Voluntary moves: back to a preferred node, and to spread cameras evenly again at an operator's
//! request. Each is an ordinary handoff; few are in progress at a time, and a camera that moved
//! within the last minute stays.

use super::{HANDOFFS_PER_NODE_MAX, MOVE_INTERVAL, Round};
use crate::decide::placement::Planner;
use crate::model::{Assignment, Failback};
use crate::observe::heartbeat::RecorderState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// A rebalance that has not finished by then is ended: some camera keeps failing.
pub const REBALANCE_MAX: Duration = Duration::from_secs(3600);

impl<'a> Round<'a> {
    /// Begins the voluntary moves of `cameras`, which have live owners, that may begin now. Returns
    /// whether a rebalance has nothing left to do.
    pub(super) fn move_freely(&mut self, cameras: &[CameraId]) -> bool {
        let settings = &self.input.state.settings;
        let Some(since) = self.input.state.rebalancing_since else {
            if settings.failback == Failback::Prefer {
                self.return_home(
                    cameras,
                    Duration::from_secs(settings.failback_after_s.into()),
                );
            }
            return false;
        };
        if self.input.now.micros_since(since).unsigned_abs() > REBALANCE_MAX.as_micros() as u64 {
            return true;
        }
        let some_wait = self.return_home(cameras, Duration::ZERO);
        // One after the other: the second does not know the first one's moves in its loads.
        let is_home = self.changes.is_empty() && !some_wait;
        is_home && !self.spread(cameras) && self.changes.is_empty() && self.handoffs_from.is_empty()
    }

    /// Moves cameras to their preferred node once that has been able to record for `patience`.
    /// Returns whether some must wait for their turn.
    fn return_home(&mut self, cameras: &[CameraId], patience: Duration) -> bool {
        let mut some_wait = false;
        for camera in cameras.iter().copied() {
            let Some((now, owner)) = self.at_rest(camera) else {
                continue;
            };
            let home = self
                .input
                .state
                .preferred_node(camera)
                .filter(|home| *home != owner);
            let is_open = |home: &NodeId| {
                let has_room = now.mirror == Some(*home) || self.planner.takes(*home, camera);
                let is_refused = self
                    .memory
                    .refused(self.input.uptime, camera)
                    .contains(home);
                has_room
                    && !is_refused
                    && self
                        .memory
                        .has_been_fit_for(self.input.uptime, *home, patience)
            };
            if let Some(home) = home.filter(is_open) {
                some_wait |= !self.move_in_turn(camera, now, owner, home);
            }
        }
        some_wait
    }

    /// Moves cameras, the least important first, from the fullest nodes to nodes that stay emptier
    /// than they are. Returns whether some must wait for their turn.
    fn spread(&mut self, cameras: &[CameraId]) -> bool {
        let mut after = self.after_handoffs();
        let mut movable = self.movable(cameras);
        let mut some_wait = false;
        while let Some((camera, from, to)) = self.relief(&after, &movable) {
            movable
                .entry(from)
                .or_default()
                .retain(|other| *other != camera);
            let Some(now) = self.assignment(camera) else {
                continue;
            };
            if self.planner.takes(to, camera) && self.move_in_turn(camera, now, from, to) {
                after.remove(camera, now);
                after.add(
                    camera,
                    &Assignment {
                        owner: Some(to),
                        mirror: now.mirror,
                        ..Assignment::default()
                    },
                );
            } else {
                some_wait = true;
            }
        }
        some_wait
    }

    /// The loads after every handoff in progress is done.
    fn after_handoffs(&self) -> Planner<'a> {
        let mut after = self.planner.clone();
        for (camera, now) in self.input.state.assignments.iter() {
            if let Some(handoff) = now.handoff {
                after.remove(camera, now);
                let mirror = now.mirror.filter(|mirror| *mirror != handoff.to);
                after.add(
                    camera,
                    &Assignment {
                        owner: Some(handoff.to),
                        mirror,
                        ..Assignment::default()
                    },
                );
            }
        }
        after
    }

    /// The cameras that each node could give away, the least important last. Cameras on their
    /// preferred node stay, and so do those that already moved in this rebalance.
    fn movable(&self, cameras: &[CameraId]) -> BTreeMap<NodeId, Vec<CameraId>> {
        let state = self.input.state;
        let mut movable: BTreeMap<NodeId, Vec<CameraId>> = BTreeMap::new();
        for camera in cameras
            .iter()
            .copied()
            .filter(|camera| !self.touched.contains(camera))
        {
            let Some((now, owner)) = self.at_rest(camera) else {
                continue;
            };
            let is_home = state.preferred_node(camera) == Some(owner);
            if !is_home && now.moved_at <= state.rebalancing_since {
                movable.entry(owner).or_default().push(camera);
            }
        }
        movable
    }

    fn relief(
        &self,
        after: &Planner<'_>,
        movable: &BTreeMap<NodeId, Vec<CameraId>>,
    ) -> Option<(CameraId, NodeId, NodeId)> {
        let emptiest = after.fit().map(|node| after.share(node)).min()?;
        let mut fullest: Vec<NodeId> = movable
            .keys()
            .copied()
            .filter(|node| after.share(*node) > emptiest)
            .collect();
        fullest.sort_by_key(|node| (Reverse(after.share(*node)), *node));
        let offers = fullest.into_iter().flat_map(|from| {
            let cameras = movable.get(&from).into_iter().flatten().rev();
            cameras.map(move |camera| (*camera, from))
        });
        let mut improving = offers.filter_map(|(camera, from)| {
            let mirror = self.assignment(camera)?.mirror;
            let mut avoid = self.memory.refused(self.input.uptime, camera);
            avoid.extend([from].into_iter().chain(mirror));
            let to = after.owner(camera, &avoid)?;
            (after.share_and(to, camera) < after.share(from)).then_some((camera, from, to))
        });
        improving.next()
    }

    /// A camera that its owner records properly, and that is neither being handed over nor drilled.
    fn at_rest(&self, camera: CameraId) -> Option<(&'a Assignment, NodeId)> {
        let now = self
            .assignment(camera)
            .filter(|now| now.handoff.is_none() && self.drill(camera).is_none())?;
        let owner = now.owner.filter(|owner| self.planner.is_fit(*owner))?;
        let report = self
            .progress(owner, camera)
            .filter(|report| report.epoch == now.epoch)?;
        (report.state == RecorderState::Recording).then_some((now, owner))
    }

    /// Begins a move unless the camera moved recently, or enough moves are in progress. Returns
    /// whether it did.
    fn move_in_turn(
        &mut self,
        camera: CameraId,
        now: &'a Assignment,
        owner: NodeId,
        to: NodeId,
    ) -> bool {
        let moved_us = now
            .moved_at
            .map(|at| self.input.now.micros_since(at).unsigned_abs());
        let moved_lately = moved_us.is_some_and(|ago| ago < MOVE_INTERVAL.as_micros() as u64);
        let count =
            |handoffs: &BTreeMap<NodeId, usize>, node| handoffs.get(node).copied().unwrap_or(0);
        let under_way = count(&self.handoffs_from, &owner).max(count(&self.handoffs_to, &to));
        let may = !moved_lately
            && self.memory.may_move(self.input.uptime, camera)
            && under_way < HANDOFFS_PER_NODE_MAX
            && !self.touched.contains(&camera);
        if may {
            self.memory.begun(camera, false);
            self.hand_over(camera, now, owner, to);
        }
        may
    }
}
