//! The data of the picture of a run: each camera's recorder over time, losses, and the state of
//! each node. Pure.

use crate::evidence::{CameraEvidence, Evidence};
use crate::history::What;
use holdfast_storage::ids::Rank;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most cameras that get a lane: those with the most losses.
const CAMERAS_MAX: usize = 60;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lanes {
    pub nodes: Vec<NodeLane>,
    pub cameras: Vec<CameraLane>,
    /// Number of cameras without a lane.
    pub cameras_left_out: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLane {
    pub name: String,
    /// When its API answered.
    pub answered: Vec<Stretch>,
    /// When it led, according to itself.
    pub led: Vec<Stretch>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraLane {
    pub name: String,
    pub recorded: Vec<Stretch>,
    pub lost: Vec<Stretch>,
}

/// Microseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub from_us: i64,
    pub to_us: i64,
    /// The node that recorded; empty for losses and in a node's own lane.
    pub node: String,
    pub is_provisional: bool,
}

impl Lanes {
    #[must_use]
    pub(super) fn of(evidence: &Evidence) -> Self {
        let names = node_names(evidence);
        let mut cameras: Vec<&CameraEvidence> = evidence.cameras.iter().collect();
        if cameras.len() > CAMERAS_MAX {
            cameras.sort_by_key(|camera| std::cmp::Reverse(camera.loss.lost));
        }
        let cameras_left_out = cameras.len().saturating_sub(CAMERAS_MAX);
        cameras.truncate(CAMERAS_MAX);
        cameras.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            nodes: evidence
                .nodes
                .iter()
                .map(|node| node_lane(evidence, &node.name))
                .collect(),
            cameras: cameras
                .into_iter()
                .map(|camera| camera_lane(camera, &names))
                .collect(),
            cameras_left_out,
        }
    }
}

fn camera_lane(camera: &CameraEvidence, names: &BTreeMap<String, String>) -> CameraLane {
    let recorded = camera.timeline.spans.iter().map(|span| Stretch {
        from_us: span.start.micros(),
        to_us: span.end.micros(),
        node: names
            .get(&span.node.to_string())
            .cloned()
            .unwrap_or_else(|| format!("node {}", span.node)),
        is_provisional: span.rank == Rank::Successor,
    });
    let lost = camera.loss.gaps.iter().map(|gap| {
        let (from_us, to_us) = camera.captured(gap);
        Stretch {
            from_us,
            to_us,
            ..Stretch::default()
        }
    });
    CameraLane {
        name: camera.name.clone(),
        recorded: recorded.collect(),
        lost: lost.collect(),
    }
}

/// Names of nodes by their ids.
fn node_names(evidence: &Evidence) -> BTreeMap<String, String> {
    evidence
        .node_ids
        .iter()
        .map(|(id, name)| (id.clone(), name.clone()))
        .collect()
}

fn node_lane(evidence: &Evidence, name: &str) -> NodeLane {
    let own = |event: &crate::history::Event| match &event.what {
        What::Answers { reported_by, yes } if reported_by == name => Some((event.at_us, *yes)),
        _ => None,
    };
    let led = |event: &crate::history::Event| match &event.what {
        What::Answers {
            reported_by,
            yes: false,
        } if reported_by == name => Some((event.at_us, false)),
        What::Leader {
            reported_by,
            leader,
            ..
        } if reported_by == name => Some((event.at_us, leader.as_deref() == Some(name))),
        _ => None,
    };
    let end_us = evidence
        .events
        .last()
        .map_or(evidence.to_us, |event| event.at_us);
    NodeLane {
        name: name.to_owned(),
        answered: stretches(evidence.events.iter().filter_map(own), end_us),
        led: stretches(evidence.events.iter().filter_map(led), end_us),
    }
}

/// Turns changes of a condition into the stretches in which it held.
fn stretches(changes: impl Iterator<Item = (i64, bool)>, end_us: i64) -> Vec<Stretch> {
    let mut found = Vec::new();
    let mut since = None;
    for (at_us, yes) in changes.chain([(end_us, false)]) {
        match (since, yes) {
            (None, true) => since = Some(at_us),
            (Some(from_us), false) => {
                found.push(Stretch {
                    from_us,
                    to_us: at_us,
                    ..Stretch::default()
                });
                since = None;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_end_where_it_is_no_longer_so() {
        let found = stretches(
            [(1, true), (2, true), (5, false), (6, false), (8, true)].into_iter(),
            10,
        );
        assert_eq!(
            found
                .iter()
                .map(|s| (s.from_us, s.to_us))
                .collect::<Vec<_>>(),
            [(1, 5), (8, 10)]
        );
    }
}
