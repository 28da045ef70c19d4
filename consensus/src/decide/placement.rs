//! Which node should record which camera: by reachability, capacity, failure domains, priority,
//! even spread and least movement. Pure: nothing here reads a clock.

mod seats;

pub use seats::{Seat, Seats};

use crate::model::{Assignment, Camera, Duty, Node, Role};
use crate::observe::bitrate::Bitrates;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The recorders of one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub owner: NodeId,
    pub mirror: Option<NodeId>,
    pub successor: Option<NodeId>,
}

/// Nodes that fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain<'a> {
    /// A node without a named failure domain fails alone.
    Alone(NodeId),
    Named(&'a str),
}

/// The failure domain of `node`.
#[must_use]
pub fn domain(state: &ClusterState, node: NodeId) -> Domain<'_> {
    let named = state
        .nodes
        .get(node)
        .map_or("", |node| node.spec.failure_domain.as_str());
    if named.is_empty() {
        Domain::Alone(node)
    } else {
        Domain::Named(named)
    }
}

/// What a camera without a recorder waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Every node that could record it is full, with cameras that are at least as important.
    Capacity,
    /// No node that can reach it can record now.
    Node,
}

/// The load of a node's cameras.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    cameras: u32,
    bps: u64,
}

impl Load {
    fn and(self, bps: u64) -> Self {
        Self {
            cameras: self.cameras + 1,
            bps: self.bps.saturating_add(bps),
        }
    }

    fn without(self, bps: u64) -> Self {
        Self {
            cameras: self.cameras.saturating_sub(1),
            bps: self.bps.saturating_sub(bps),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            cameras: self.cameras + other.cameras,
            bps: self.bps.saturating_add(other.bps),
        }
    }

    fn fits(self, capacity: Self) -> bool {
        self.cameras <= capacity.cameras && self.bps <= capacity.bps
    }

    /// This load's share of `capacity` in millionths: of cameras or of bits, whichever is scarcer.
    fn share(self, capacity: Self) -> u64 {
        let of =
            |load: u64, capacity: u64| u128::from(load) * 1_000_000 / u128::from(capacity.max(1));
        let share =
            of(self.cameras.into(), capacity.cameras.into()).max(of(self.bps, capacity.bps));
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// Chooses nodes one camera at a time and tracks their load, so that many choices together spread
/// evenly.
#[derive(Clone, Debug)]
pub struct Planner<'a> {
    state: &'a ClusterState,
    bitrates: &'a Bitrates,
    fit: BTreeMap<NodeId, &'a Node>,
    /// Load of the cameras that a node records, as owner, mirror or target of a handoff.
    load: BTreeMap<NodeId, Load>,
    /// Load of the first node's cameras for which the second is the successor.
    succession: BTreeMap<(NodeId, NodeId), Load>,
}

impl<'a> Planner<'a> {
    /// Loads as they are in `state`; chooses only recorders that are on duty and `can_record`
    /// (alive, and able to write).
    pub fn new(
        state: &'a ClusterState,
        bitrates: &'a Bitrates,
        can_record: impl Fn(NodeId) -> bool,
    ) -> Self {
        let fit = state
            .nodes
            .iter()
            .filter(|(id, node)| {
                can_record(*id) && node.duty == Duty::Active && node.spec.role == Role::Recorder
            })
            .collect();
        let mut planner = Self {
            state,
            bitrates,
            fit,
            load: BTreeMap::new(),
            succession: BTreeMap::new(),
        };
        state
            .assignments
            .iter()
            .for_each(|(camera, assignment)| planner.add(camera, assignment));
        planner
    }

    /// The same loads, but nodes in `gone` are no longer chosen.
    #[must_use]
    pub fn without(&self, gone: &[NodeId]) -> Self {
        let mut left = self.clone();
        left.fit.retain(|node, _| !gone.contains(node));
        left
    }

    #[must_use]
    pub fn is_fit(&self, node: NodeId) -> bool {
        self.fit.contains_key(&node)
    }

    /// Whether `node` can record `camera`: fit, able to reach it, and with capacity left.
    #[must_use]
    pub fn takes(&self, node: NodeId, camera: CameraId) -> bool {
        self.takes_with(node, camera, Load::default())
    }

    fn takes_with(&self, node: NodeId, camera: CameraId, reserved: Load) -> bool {
        let load = self
            .load_of(node)
            .plus(reserved)
            .and(self.bitrates.of(camera));
        self.is_fit(node) && load.fits(self.capacity(node)) && self.state.reaches(node, camera)
    }

    /// How many cameras of unknown bitrate `node` can still record.
    #[must_use]
    pub fn spare_cameras(&self, node: NodeId) -> u32 {
        if !self.is_fit(node) {
            return 0;
        }
        let (load, capacity) = (self.load_of(node), self.capacity(node));
        let by_bits =
            capacity.bps.saturating_sub(load.bps) / crate::observe::bitrate::BITRATE_UNKNOWN_BPS;
        capacity
            .cameras
            .saturating_sub(load.cameras)
            .min(u32::try_from(by_bits).unwrap_or(u32::MAX))
    }

    /// The nodes that are fit.
    pub fn fit(&self) -> impl Iterator<Item = NodeId> {
        self.fit.keys().copied()
    }

    /// The least loaded node that can record `camera` and is not in `avoid`.
    #[must_use]
    pub fn owner(&self, camera: CameraId, avoid: &[NodeId]) -> Option<NodeId> {
        self.best(avoid, |node| {
            self.takes(node, camera)
                .then(|| self.share_with(node, camera, Load::default()))
        })
    }

    /// The new owner of `camera` if its owner is lost and no node is known to record it: its
    /// successor, else any node with capacity.
    #[must_use]
    pub fn heir(&self, camera: CameraId, now: &Assignment, avoid: &[NodeId]) -> Option<NodeId> {
        let successor = now
            .successor
            .filter(|successor| self.takes(*successor, camera));
        let preferred = self
            .state
            .preferred_node(camera)
            .filter(|_| now.owner.is_none());
        let preferred = preferred.filter(|node| !avoid.contains(node) && self.takes(*node, camera));
        successor
            .or(preferred)
            .or_else(|| self.owner(camera, avoid))
            .or_else(|| self.owner(camera, &[]))
    }

    /// The successor for `owner`'s camera: another node, preferably in another failure domain; the
    /// cameras of one node are spread over many successors.
    #[must_use]
    pub fn successor(
        &self,
        camera: CameraId,
        owner: NodeId,
        avoid: &[NodeId],
        domains: &BTreeSet<Domain<'_>>,
    ) -> Option<NodeId> {
        self.best(avoid, |node| {
            let inherited = self
                .succession
                .get(&(owner, node))
                .copied()
                .unwrap_or_default();
            (node != owner && self.takes_with(node, camera, inherited)).then(|| {
                let same_domain = domains.contains(&self.domain(node));
                (same_domain, self.share_with(node, camera, inherited))
            })
        })
    }

    /// A second recorder in a failure domain other than the owner's; `None` if there is no such
    /// domain.
    #[must_use]
    pub fn mirror(
        &self,
        camera: CameraId,
        owner_domain: Domain<'_>,
        avoid: &[NodeId],
    ) -> Option<NodeId> {
        self.best(avoid, |node| {
            let may = self.may_mirror(node, camera, owner_domain);
            may.then(|| self.share_with(node, camera, Load::default()))
        })
    }

    #[must_use]
    pub fn may_mirror(&self, node: NodeId, camera: CameraId, owner_domain: Domain<'_>) -> bool {
        self.domain(node) != owner_domain && self.takes(node, camera)
    }

    /// Completes a placement whose owner is chosen; the camera itself must not be counted in the
    /// loads. `mirror`, the previous one, stays if it can. A new mirror is named later, once every
    /// camera has an owner: a mirror never takes the place of a camera's only recorder.
    #[must_use]
    pub fn around(
        &self,
        camera: CameraId,
        owner: NodeId,
        mirror: Option<NodeId>,
        avoid: &[NodeId],
    ) -> Placement {
        let domain = self.domain(owner);
        let mirror = mirror.filter(|node| *node != owner && self.may_mirror(*node, camera, domain));
        let taken: Vec<NodeId> = avoid.iter().copied().chain([owner]).chain(mirror).collect();
        let domains = [owner]
            .into_iter()
            .chain(mirror)
            .map(|node| self.domain(node))
            .collect();
        Placement {
            owner,
            mirror,
            successor: self.successor(camera, owner, &taken, &domains),
        }
    }

    #[must_use]
    pub fn domain(&self, node: NodeId) -> Domain<'a> {
        domain(self.state, node)
    }

    /// What a camera without a recorder waits for; `None` if a node can record it.
    #[must_use]
    pub fn lack(&self, camera: CameraId) -> Option<Lack> {
        if self.owner(camera, &[]).is_some() {
            return None;
        }
        let reached = self.fit().any(|node| self.state.reaches(node, camera));
        Some(if reached { Lack::Capacity } else { Lack::Node })
    }

    /// Adds the assignment of `camera` to the loads.
    pub fn add(&mut self, camera: CameraId, assignment: &Assignment) {
        let bps = self.bitrates.of(camera);
        for node in recorders(assignment) {
            let load = self.load.entry(node).or_default();
            *load = load.and(bps);
        }
        if let (Some(owner), Some(successor)) = (assignment.owner, assignment.successor) {
            let load = self.succession.entry((owner, successor)).or_default();
            *load = load.and(bps);
        }
    }

    /// Removes the assignment of `camera` from the loads, before its replacement is added.
    pub fn remove(&mut self, camera: CameraId, assignment: &Assignment) {
        let bps = self.bitrates.of(camera);
        for node in recorders(assignment) {
            self.load
                .entry(node)
                .and_modify(|load| *load = load.without(bps));
        }
        if let (Some(owner), Some(successor)) = (assignment.owner, assignment.successor) {
            self.succession
                .entry((owner, successor))
                .and_modify(|load| *load = load.without(bps));
        }
    }

    fn load_of(&self, node: NodeId) -> Load {
        self.load.get(&node).copied().unwrap_or_default()
    }

    fn capacity(&self, node: NodeId) -> Load {
        let spec = self.state.nodes.get(node).map(|node| &node.spec);
        let bps = spec
            .and_then(|spec| spec.bitrate_capacity_bps)
            .unwrap_or(u64::MAX);
        Load {
            cameras: spec.map_or(0, |spec| spec.camera_capacity),
            bps,
        }
    }

    /// How full `node` is, in millionths of its capacity.
    pub(crate) fn share(&self, node: NodeId) -> u64 {
        self.load_of(node).share(self.capacity(node))
    }

    /// How full `node` would be with `camera` and the load `reserved`.
    fn share_with(&self, node: NodeId, camera: CameraId, reserved: Load) -> u64 {
        self.load_of(node)
            .plus(reserved)
            .and(self.bitrates.of(camera))
            .share(self.capacity(node))
    }

    /// How full `node` would be with `camera`.
    pub(crate) fn share_and(&self, node: NodeId, camera: CameraId) -> u64 {
        self.share_with(node, camera, Load::default())
    }

    /// The fit node with the lowest score, the lowest id among equals.
    fn best<S: Ord>(
        &self,
        avoid: &[NodeId],
        score: impl Fn(NodeId) -> Option<S>,
    ) -> Option<NodeId> {
        let scored = self.fit().filter(|node| !avoid.contains(node));
        scored
            .filter_map(|node| Some((score(node)?, node)))
            .min()
            .map(|(_, id)| id)
    }
}

fn recorders(assignment: &Assignment) -> impl Iterator<Item = NodeId> {
    let target = assignment
        .handoff
        .map(|handoff| handoff.to)
        .filter(|to| Some(*to) != assignment.mirror);
    [assignment.owner, assignment.mirror, target]
        .into_iter()
        .flatten()
}

/// The order in which cameras are served when capacity is short: the highest priority first, the
/// oldest among equals.
#[must_use]
pub fn by_priority(state: &ClusterState, mut cameras: Vec<CameraId>) -> Vec<CameraId> {
    cameras.sort_by_cached_key(|id| (Reverse(priority(state, *id)), *id));
    cameras
}

pub(crate) fn priority(state: &ClusterState, camera: CameraId) -> u8 {
    state
        .cameras
        .get(camera)
        .map_or(0, |camera: &Camera| camera.spec.priority)
}
