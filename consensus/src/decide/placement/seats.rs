//! Which cameras make room when capacity is short: the least important ones, and second recorders
//! before only ones. Pure.

use super::{Load, Planner, priority};
use crate::model::Assignment;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A camera that a node records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub camera: CameraId,
    /// The node is the camera's mirror, else its owner.
    pub is_mirror: bool,
    priority: u8,
}

/// The seats of every fit node.
#[derive(Clone, Debug)]
pub struct Seats {
    /// The first to be given up is last: mirrors, then the least important, the newest among
    /// equals.
    taken: BTreeMap<NodeId, Vec<Seat>>,
    /// Cameras whose mirror was given up.
    without_mirror: BTreeSet<CameraId>,
}

impl Seats {
    #[must_use]
    pub fn new(state: &ClusterState, planner: &Planner<'_>) -> Self {
        let mut seats: BTreeMap<NodeId, Vec<Seat>> = BTreeMap::new();
        // If the owner is not fit, the other recorders may be needed.
        let is_well = |owner: Option<NodeId>| owner.is_some_and(|owner| planner.is_fit(owner));
        for (camera, now) in state
            .assignments
            .iter()
            .filter(|(_, now)| is_well(now.owner))
        {
            let priority = priority(state, camera);
            for (node, is_mirror) in [(now.owner, false), (now.mirror, true)] {
                // A node that becomes the owner keeps its seat anyway.
                let node = node.filter(|node| {
                    planner.is_fit(*node) && now.handoff.is_none_or(|to| to.to != *node)
                });
                node.into_iter().for_each(|node| {
                    seats.entry(node).or_default().push(Seat {
                        camera,
                        is_mirror,
                        priority,
                    })
                });
            }
        }
        let order = |seat: &Seat| (seat.is_mirror, Reverse(seat.priority), seat.camera);
        seats
            .values_mut()
            .for_each(|seats| seats.sort_by_key(order));
        Self {
            taken: seats,
            without_mirror: BTreeSet::new(),
        }
    }

    /// The node on which `camera` costs least, and the seats to give up there: each of a less
    /// important camera, or a mirror's of one that is not more important. `None` if that helps on
    /// no node.
    #[must_use]
    pub fn cheapest(&self, camera: CameraId, planner: &Planner<'_>) -> Option<(NodeId, Vec<Seat>)> {
        let offers = self
            .taken
            .iter()
            .filter(|(node, _)| planner.state.reaches(**node, camera))
            .filter_map(|(node, seats)| {
                let leaving = leaving(*node, seats, camera, planner)?;
                let dearest = leaving
                    .iter()
                    .map(|seat| (!seat.is_mirror, seat.priority))
                    .max();
                Some(((dearest, leaving.len(), *node), leaving))
            });
        offers
            .min_by_key(|(cost, _)| *cost)
            .map(|((.., node), leaving)| (node, leaving))
    }

    /// `camera` is no longer recorded, or has no mirror any more.
    pub fn vacate(&mut self, seat: Seat) {
        let goes =
            |other: &Seat| other.camera == seat.camera && (other.is_mirror || !seat.is_mirror);
        self.taken
            .values_mut()
            .for_each(|seats| seats.retain(|other| !goes(other)));
        if seat.is_mirror {
            self.without_mirror.insert(seat.camera);
        }
    }

    /// `now` without the seats that were given up.
    #[must_use]
    pub fn left_of(&self, camera: CameraId, now: &Assignment) -> Assignment {
        let mirror = now
            .mirror
            .filter(|_| !self.without_mirror.contains(&camera));
        Assignment {
            mirror,
            ..now.clone()
        }
    }
}

fn leaving(
    node: NodeId,
    seats: &[Seat],
    camera: CameraId,
    planner: &Planner<'_>,
) -> Option<Vec<Seat>> {
    let wanted = priority(planner.state, camera);
    let gives_way = |seat: &Seat| {
        seat.priority < wanted
            || (seat.is_mirror && seat.priority == wanted && seat.camera != camera)
    };
    let (capacity, rate) = (planner.capacity(node), planner.bitrates.of(camera));
    let mut load: Load = planner.load_of(node);
    let mut leaving = Vec::new();
    for seat in seats.iter().rev() {
        // The owners after this one are at least as important.
        if load.and(rate).fits(capacity) || !(seat.is_mirror || gives_way(seat)) {
            break;
        }
        if !gives_way(seat) {
            continue;
        }
        load = load.without(planner.bitrates.of(seat.camera));
        leaving.push(*seat);
    }
    load.and(rate).fits(capacity).then_some(leaving)
}
