//! Which node should record which camera: capacity, failure domains, priority, even spread, least movement. Pure: nothing here reads a clock.

use crate::model::{Assignment, Camera, Duty, Node, Role};
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The recorders of one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub owner: NodeId,
    pub mirror: Option<NodeId>,
    pub successor: Option<NodeId>,
}

/// What fails together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain<'a> {
    /// A node that names no failure domain fails alone.
    Alone(NodeId),
    Named(&'a str),
}

/// What `node` fails together with.
#[must_use]
pub fn domain(state: &ClusterState, node: NodeId) -> Domain<'_> {
    let named = state.nodes.get(node).map_or("", |node| node.spec.failure_domain.as_str());
    if named.is_empty() { Domain::Alone(node) } else { Domain::Named(named) }
}

/// Chooses nodes one camera at a time and keeps the books, so that many choices made together spread evenly.
#[derive(Clone, Debug)]
pub struct Planner<'a> {
    state: &'a ClusterState,
    fit: BTreeMap<NodeId, &'a Node>,
    /// Cameras that a node records, as owner, mirror or target of a handoff.
    load: BTreeMap<NodeId, u32>,
    /// Cameras of the first node for which the second is the successor.
    succession: BTreeMap<(NodeId, NodeId), u32>,
}

impl<'a> Planner<'a> {
    /// Books as they are in `state`; only recorders that are on duty and `can_record` (live, and can write) are chosen.
    pub fn new(state: &'a ClusterState, can_record: impl Fn(NodeId) -> bool) -> Self {
        let fit = state
            .nodes
            .iter()
            .filter(|(id, node)| can_record(*id) && node.duty == Duty::Active && node.spec.role == Role::Recorder)
            .collect();
        let mut planner = Self { state, fit, load: BTreeMap::new(), succession: BTreeMap::new() };
        state.assignments.values().for_each(|assignment| planner.add(assignment));
        planner
    }

    #[must_use]
    pub fn is_fit(&self, node: NodeId) -> bool {
        self.fit.contains_key(&node)
    }

    /// Cameras that `node` may still take on.
    #[must_use]
    pub fn room(&self, node: NodeId) -> u32 {
        self.fit.get(&node).map_or(0, |fit| fit.spec.camera_capacity.saturating_sub(self.load_of(node)))
    }

    /// The least loaded node with room that is not in `avoid`.
    #[must_use]
    pub fn owner(&self, avoid: &[NodeId]) -> Option<NodeId> {
        self.best(avoid, |node| (self.room(node.id) > 0).then(|| share(self.load_of(node.id), node)))
    }

    /// Where `owner`'s camera goes if `owner` dies: elsewhere, preferably in another failure domain, spreading one node's cameras over many.
    #[must_use]
    pub fn successor(&self, owner: NodeId, avoid: &[NodeId], domains: &BTreeSet<Domain<'_>>) -> Option<NodeId> {
        self.best(avoid, |node| {
            let inherited = self.succession.get(&(owner, node.id)).copied().unwrap_or(0);
            (node.id != owner && self.room(node.id) > inherited).then(|| {
                let same_domain = domains.contains(&self.domain(node.id));
                (same_domain, share(self.load_of(node.id) + inherited, node))
            })
        })
    }

    /// A second recorder in a failure domain other than the owner's; none where there is no such domain.
    #[must_use]
    pub fn mirror(&self, owner_domain: Domain<'_>, avoid: &[NodeId]) -> Option<NodeId> {
        self.best(avoid, |node| {
            let elsewhere = self.domain(node.id) != owner_domain;
            (elsewhere && self.room(node.id) > 0).then(|| share(self.load_of(node.id), node))
        })
    }

    /// Completes a placement whose owner is chosen; the camera itself is out of the books. `mirror`, the one of before, stays if it can; a
    /// new one is named later, once every camera has an owner: a mirror never takes the place of a camera's only recorder.
    #[must_use]
    pub fn around(&self, owner: NodeId, mirror: Option<NodeId>, avoid: &[NodeId]) -> Placement {
        let domain = self.domain(owner);
        let mirror = mirror.filter(|node| *node != owner && self.room(*node) > 0 && self.domain(*node) != domain);
        let taken: Vec<NodeId> = avoid.iter().copied().chain([owner]).chain(mirror).collect();
        let domains = [owner].into_iter().chain(mirror).map(|node| self.domain(node)).collect();
        Placement { owner, mirror, successor: self.successor(owner, &taken, &domains) }
    }

    #[must_use]
    pub fn domain(&self, node: NodeId) -> Domain<'a> {
        domain(self.state, node)
    }

    /// Enters `assignment` into the books.
    pub fn add(&mut self, assignment: &Assignment) {
        for node in recorders(assignment) {
            *self.load.entry(node).or_default() += 1;
        }
        if let (Some(owner), Some(successor)) = (assignment.owner, assignment.successor) {
            *self.succession.entry((owner, successor)).or_default() += 1;
        }
    }

    /// Takes `assignment` out of the books, before its replacement is added.
    pub fn remove(&mut self, assignment: &Assignment) {
        for node in recorders(assignment) {
            decrement(self.load.get_mut(&node));
        }
        if let (Some(owner), Some(successor)) = (assignment.owner, assignment.successor) {
            decrement(self.succession.get_mut(&(owner, successor)));
        }
    }

    fn load_of(&self, node: NodeId) -> u32 {
        self.load.get(&node).copied().unwrap_or(0)
    }

    /// The fit node with the lowest score, the lowest id among equals.
    fn best<S: Ord>(&self, avoid: &[NodeId], score: impl Fn(&Node) -> Option<S>) -> Option<NodeId> {
        let scored = self.fit.values().filter(|node| !avoid.contains(&node.id));
        scored.filter_map(|node| Some((score(node)?, node.id))).min().map(|(_, id)| id)
    }
}

fn recorders(assignment: &Assignment) -> impl Iterator<Item = NodeId> {
    let target = assignment.handoff.map(|handoff| handoff.to).filter(|to| Some(*to) != assignment.mirror);
    [assignment.owner, assignment.mirror, target].into_iter().flatten()
}

fn decrement(count: Option<&mut u32>) {
    if let Some(count) = count {
        *count = count.saturating_sub(1);
    }
}

/// How full `node` would be, in millionths of its capacity.
fn share(load: u32, node: &Node) -> u64 {
    (u64::from(load) + 1) * 1_000_000 / u64::from(node.spec.camera_capacity.max(1))
}

/// The order in which cameras are served when not all can be: the highest priority first, the oldest among equals.
#[must_use]
pub fn by_priority(state: &ClusterState, mut cameras: Vec<CameraId>) -> Vec<CameraId> {
    cameras.sort_by_key(|id| (Reverse(state.cameras.get(*id).map_or(0, |camera: &Camera| camera.spec.priority)), *id));
    cameras
}

/// What the death of one node would mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Cameras that nobody would have room for.
    pub lost: Vec<CameraId>,
}

/// Whether every camera would still be recorded if `node` died now: those that no able node would own must fit on the others.
/// `can_record`: lives, and can write.
pub fn survives_loss_of(state: &ClusterState, node: NodeId, can_record: impl Fn(NodeId) -> bool) -> Survival {
    let lives = |id| id != node && can_record(id);
    let mut planner = Planner::new(state, lives);
    let orphans = state.assignments.iter().filter(|(_, assignment)| {
        let mirrored = assignment.mirror.is_some_and(|mirror| planner.is_fit(mirror));
        !assignment.owner.is_some_and(lives) && !mirrored
    });
    let orphans = by_priority(state, orphans.map(|(camera, _)| camera).collect());
    let lost = orphans.into_iter().filter(|_| {
        let home = planner.owner(&[]);
        planner.add(&Assignment { owner: home, ..Assignment::default() });
        home.is_none()
    });
    Survival { lost: lost.collect() }
}
