//! The cost of the next failure: whether every camera would still be recorded if any one node, or
//! any one failure domain, died now. Pure.
//!
//! The death is simulated as the steward would handle it: cameras with a live recorder stay there.
//! The others move, the most important first, to their successor or to any node with capacity; if
//! there is none, less important cameras make room.

use crate::command::Command;
use crate::decide::placement::{Domain, Lack, Planner, Seats, by_priority, domain};
use crate::model::{Actor, Assignment, Role};
use crate::observe::bitrate::Bitrates;
use crate::observe::sight::Sight;
use crate::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The effect of the death of some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Cameras that no node would record.
    pub lost: Vec<CameraId>,
    /// How many cameras of unknown bitrate could be added and would be recorded, too.
    pub spare_cameras: u32,
}

/// The nodes that die.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    /// Only the nodes that are dead already.
    None,
    Node(NodeId),
    Domain(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    pub survives_any_node: bool,
    /// `None` if the cluster's policy does not require it.
    pub survives_any_domain: Option<bool>,
    /// The death that would cost the most cameras, and which; `None` if none would cost a camera.
    pub worst: Option<(Victim, Vec<CameraId>)>,
    /// How many cameras of unknown bitrate, reachable by every node, could be added so that
    /// everything still survives.
    pub spare_cameras: u32,
    /// Cameras that no node records although no further node has died, and why.
    pub waiting: BTreeMap<CameraId, Lack>,
    /// What the death of each node that can record would cost.
    pub costs: BTreeMap<NodeId, Cost>,
}

/// What one death would cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub cameras_lost: usize,
    /// The first of them.
    pub some: Vec<CameraId>,
}

/// The most cameras that a [`Cost`] names.
const COST_NAMES_MAX: usize = 8;

impl Headroom {
    /// How many cameras the worst death would cost.
    #[must_use]
    pub fn cameras_lost(&self) -> usize {
        self.worst.as_ref().map_or(0, |(_, lost)| lost.len())
    }
}

/// `can_record`: whether the node is alive and can write.
pub fn headroom(
    state: &ClusterState,
    bitrates: &Bitrates,
    can_record: impl Fn(NodeId) -> bool,
) -> Headroom {
    let planner = Planner::new(state, bitrates, &can_record);
    let recorders = state
        .nodes
        .values()
        .filter(|node| node.spec.role == Role::Recorder && can_record(node.id));
    let recorders: Vec<NodeId> = recorders.map(|node| node.id).collect();
    let death_of = |victim, dead: &[NodeId]| (victim, play(state, &planner, dead, &can_record));
    let mut played: Vec<(Victim, Survival)> = vec![death_of(Victim::None, &[])];
    played.extend(
        recorders
            .iter()
            .map(|node| death_of(Victim::Node(*node), &[*node])),
    );
    let survives =
        |played: &[(Victim, Survival)]| played.iter().all(|(_, survival)| survival.lost.is_empty());
    let survives_any_node = survives(&played);
    let waiting = played[0]
        .1
        .lost
        .iter()
        .map(|camera| (*camera, planner.lack(*camera).unwrap_or(Lack::Capacity)));
    let waiting = waiting.collect();
    let cost = |(victim, survival): &(Victim, Survival)| match victim {
        Victim::Node(node) => {
            let some = survival.lost.iter().take(COST_NAMES_MAX).copied().collect();
            Some((
                *node,
                Cost {
                    cameras_lost: survival.lost.len(),
                    some,
                },
            ))
        }
        Victim::None | Victim::Domain(_) => None,
    };
    let costs = played.iter().filter_map(cost).collect();
    let mut survives_any_domain = None;
    if state.settings.headroom_over_domains {
        let domains = domains(state, &recorders).into_iter();
        played
            .extend(domains.map(|(name, nodes)| death_of(Victim::Domain(name.to_owned()), &nodes)));
        survives_any_domain = Some(survives(&played));
    }
    let spare_cameras = played
        .iter()
        .map(|(_, survival)| survival.spare_cameras)
        .min()
        .unwrap_or(0);
    // The first of equals: actual losses come before hypothetical ones.
    let worst = played
        .into_iter()
        .rev()
        .max_by_key(|(_, survival)| survival.lost.len());
    let worst = worst
        .filter(|(_, survival)| !survival.lost.is_empty())
        .map(|(victim, survival)| (victim, survival.lost));
    Headroom {
        survives_any_node,
        survives_any_domain,
        worst,
        spare_cameras,
        waiting,
        costs,
    }
}

/// The same as a node sees the site.
#[must_use]
pub fn of_sight(state: &ClusterState, sight: &Sight) -> Headroom {
    headroom(state, &Bitrates::of_reports(&sight.progress), |node| {
        sight.can_record(node)
    })
}

/// What `command` would cost in a failure, beyond what a failure would cost already; `None` if
/// nothing, or if the command is refused.
#[must_use]
pub fn cost_of(
    state: &ClusterState,
    sight: &Sight,
    command: Command,
    now: Timestamp,
) -> Option<String> {
    let mut changed = state.clone();
    changed.apply(command.by(Actor::System, now)).ok()?;
    let (before, after) = (of_sight(state, sight), of_sight(&changed, sight));
    (after.cameras_lost() > before.cameras_lost()).then(|| describe(state, &after))
}

/// What the worst loss would cost.
fn describe(state: &ClusterState, headroom: &Headroom) -> String {
    let Some((victim, lost)) = &headroom.worst else {
        return "every camera would be recorded".to_owned();
    };
    let name = |node: &NodeId| {
        state
            .nodes
            .get(*node)
            .map_or_else(|| node.to_string(), |node| node.spec.name.to_string())
    };
    let cameras = if lost.len() == 1 {
        "1 camera".to_owned()
    } else {
        format!("{} cameras", lost.len())
    };
    match victim {
        Victim::None => {
            format!("{cameras} of the cluster cannot be recorded: no node that may has room")
        }
        Victim::Node(node) => format!(
            "if node {} died now, {cameras} would not be recorded",
            name(node)
        ),
        Victim::Domain(domain) => {
            format!("if failure domain {domain} failed now, {cameras} would not be recorded")
        }
    }
}

/// The effect of the death of `dead`, all at once, now.
pub fn survives_loss_of(
    state: &ClusterState,
    bitrates: &Bitrates,
    dead: &[NodeId],
    can_record: impl Fn(NodeId) -> bool,
) -> Survival {
    play(
        state,
        &Planner::new(state, bitrates, &can_record),
        dead,
        can_record,
    )
}

/// Named failure domains and the recorders in them.
fn domains<'a>(state: &'a ClusterState, recorders: &[NodeId]) -> BTreeMap<&'a str, Vec<NodeId>> {
    let mut named: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    for node in recorders {
        if let Domain::Named(name) = domain(state, *node) {
            named.entry(name).or_default().push(*node);
        }
    }
    named
}

fn play(
    state: &ClusterState,
    planner: &Planner<'_>,
    dead: &[NodeId],
    can_record: impl Fn(NodeId) -> bool,
) -> Survival {
    let mut planner = planner.without(dead);
    let is_alive = |node: NodeId| !dead.contains(&node) && can_record(node);
    let orphans = state
        .assignments
        .iter()
        .filter(|(_, now)| !is_recorded(now, &planner, is_alive));
    let orphans = by_priority(state, orphans.map(|(camera, _)| camera).collect());
    let mut seats = None;
    let mut lost = BTreeSet::new();
    for camera in orphans {
        let Some(now) = state.assignments.get(camera) else {
            continue;
        };
        planner.remove(camera, now);
        let mut owner = planner.heir(camera, now, &[]);
        if owner.is_none() {
            let seats = seats.get_or_insert_with(|| Seats::new(state, &planner));
            owner = make_room(state, &mut planner, seats, camera, &mut lost);
        }
        match owner {
            Some(_) => planner.add(
                camera,
                &Assignment {
                    owner,
                    ..Assignment::default()
                },
            ),
            None => _ = lost.insert(camera),
        }
    }
    let spare_cameras = if lost.is_empty() {
        planner.fit().map(|node| planner.spare_cameras(node)).sum()
    } else {
        0
    };
    Survival {
        lost: lost.into_iter().collect(),
        spare_cameras,
    }
}

fn is_recorded(now: &Assignment, planner: &Planner<'_>, is_alive: impl Fn(NodeId) -> bool) -> bool {
    let handed = now.handoff.map(|handoff| handoff.to);
    now.owner.is_some_and(is_alive)
        || now
            .mirror
            .into_iter()
            .chain(handed)
            .any(|node| planner.is_fit(node))
}

fn make_room(
    state: &ClusterState,
    planner: &mut Planner<'_>,
    seats: &mut Seats,
    camera: CameraId,
    lost: &mut BTreeSet<CameraId>,
) -> Option<NodeId> {
    let (node, leaving) = seats.cheapest(camera, planner)?;
    for seat in leaving {
        let Some(now) = state.assignments.get(seat.camera) else {
            continue;
        };
        planner.remove(seat.camera, &seats.left_of(seat.camera, now));
        seats.vacate(seat);
        if seat.is_mirror {
            planner.add(seat.camera, &seats.left_of(seat.camera, now));
        } else {
            lost.insert(seat.camera);
        }
    }
    Some(node)
}
