//! Which node records which camera, as the cluster reports it, and what changed since the last
//! answer. Pure.

use holdfast_consensus::observe::heartbeat::RecorderState;
use holdfast_control_api::wire::{Camera, Cluster};
use holdfast_storage::ids::NodeId;
use holdfast_storage::time::Timestamp;
use std::collections::BTreeMap;

/// One answer of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) leader: Option<String>,
    /// By name: whether the node is alive.
    pub(super) nodes: BTreeMap<String, bool>,
    /// By name.
    pub(super) cameras: BTreeMap<String, CameraView>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CameraView {
    pub(super) owner: Option<String>,
    /// The node that is known to record it, and whether its watermark moves.
    pub(super) recorder: Option<String>,
    pub(super) recording: bool,
    pub(super) watermark: Option<Timestamp>,
}

impl View {
    #[must_use]
    pub(super) fn of(cluster: &Cluster, cameras: &[Camera]) -> Self {
        let names: BTreeMap<NodeId, &str> = cluster
            .nodes
            .iter()
            .map(|node| (node.id, node.name.as_str()))
            .collect();
        let name = |id: Option<NodeId>| {
            id.and_then(|id| names.get(&id))
                .map(|&name| name.to_owned())
        };
        let camera = |camera: &Camera| CameraView {
            owner: name(camera.assignment.owner),
            recorder: name(camera.recording.node),
            recording: camera.recording.state == Some(RecorderState::Recording),
            watermark: camera.recording.watermark,
        };
        Self {
            leader: name(cluster.leader),
            nodes: cluster
                .nodes
                .iter()
                .map(|node| (node.name.clone(), node.alive))
                .collect(),
            cameras: cameras
                .iter()
                .map(|entry| (entry.name.clone(), camera(entry)))
                .collect(),
        }
    }

    /// Whether every camera is durable beyond `instant`.
    #[must_use]
    pub(super) fn all_durable_beyond(&self, instant: Timestamp) -> bool {
        self.cameras
            .values()
            .all(|camera| camera.is_durable_beyond(instant))
    }

    /// Names of the cameras that the node owns.
    #[must_use]
    pub(super) fn owned_by(&self, node: &str) -> Vec<String> {
        let owned = self
            .cameras
            .iter()
            .filter(|(_, camera)| camera.owner.as_deref() == Some(node));
        owned.map(|(name, _)| name.clone()).collect()
    }

    /// The owner of every camera that has one.
    #[must_use]
    pub(super) fn owners(&self) -> BTreeMap<String, String> {
        self.cameras
            .iter()
            .filter_map(|(name, camera)| Some((name.clone(), camera.owner.clone()?)))
            .collect()
    }

    /// Whether nodes other than `victim` record all of `cameras`, durably beyond `instant`.
    #[must_use]
    pub(super) fn taken_over(&self, cameras: &[String], victim: &str, instant: Timestamp) -> bool {
        let elsewhere = |camera: &CameraView| {
            camera
                .recorder
                .as_deref()
                .is_some_and(|node| node != victim)
        };
        cameras.iter().all(|name| {
            self.cameras
                .get(name)
                .is_some_and(|camera| elsewhere(camera) && camera.is_durable_beyond(instant))
        })
    }

    /// The node that `--kill follower` means: not the leader, and the one with most cameras.
    #[must_use]
    pub(super) fn busiest_follower(&self) -> Option<String> {
        let followers = self
            .nodes
            .iter()
            .filter(|(name, alive)| **alive && Some(*name) != self.leader.as_ref());
        followers
            .map(|(name, _)| name)
            .max_by_key(|name| self.owned_by(name).len())
            .cloned()
    }

    /// One line a node: its role, and the cameras that it records.
    #[must_use]
    pub(super) fn lines(&self) -> Vec<String> {
        let width = self.nodes.keys().map(String::len).max().unwrap_or(0);
        let line = |(name, alive): (&String, &bool)| {
            let part = match (alive, self.leader.as_ref() == Some(name)) {
                (false, _) => "DOWN",
                (true, true) => "leader",
                (true, false) => "",
            };
            format!(
                "{name:<width$}  {part:<6}  {}",
                self.recorded_by(name).join(" ")
            )
        };
        self.nodes.iter().map(line).collect()
    }

    fn recorded_by(&self, node: &str) -> Vec<&str> {
        let by_node = self
            .cameras
            .iter()
            .filter(|(_, camera)| camera.recorder.as_deref() == Some(node) && camera.recording);
        by_node.map(|(name, _)| name.as_str()).collect()
    }
}

impl CameraView {
    fn is_durable_beyond(&self, instant: Timestamp) -> bool {
        self.watermark.is_some_and(|watermark| watermark > instant)
    }
}

/// The changes that a watcher should see.
#[must_use]
pub(super) fn changes(before: &View, after: &View) -> Vec<String> {
    let mut said = Vec::new();
    if before.leader != after.leader {
        said.push(match &after.leader {
            Some(leader) => format!("{leader} leads"),
            None => "no leader: recording continues".to_owned(),
        });
    }
    for (name, alive) in &after.nodes {
        if before.nodes.get(name).is_some_and(|was| was != alive) {
            said.push(format!(
                "{name} is {}",
                if *alive { "back" } else { "dead" }
            ));
        }
    }
    said.extend(
        moves(before, after)
            .into_iter()
            .map(|((from, to), cameras)| format!("{from} -> {to}: {}", cameras.join(" "))),
    );
    said
}

/// Cameras whose owner changed, by (from, to).
fn moves<'a>(before: &'a View, after: &'a View) -> BTreeMap<(&'a str, &'a str), Vec<&'a str>> {
    let mut moves: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (name, camera) in &after.cameras {
        let was = before
            .cameras
            .get(name)
            .and_then(|camera| camera.owner.as_deref());
        if was != camera.owner.as_deref() {
            let key = (
                was.unwrap_or("no node"),
                camera.owner.as_deref().unwrap_or("no node"),
            );
            moves.entry(key).or_default().push(name);
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(leader: &str, nodes: &[(&str, bool)], cameras: &[(&str, &str, i64)]) -> View {
        let camera = |node: &str, watermark| CameraView {
            owner: Some(node.to_owned()),
            recorder: Some(node.to_owned()),
            recording: true,
            watermark: Some(Timestamp(watermark)),
        };
        View {
            leader: Some(leader.to_owned()),
            nodes: nodes
                .iter()
                .map(|(name, alive)| ((*name).to_owned(), *alive))
                .collect(),
            cameras: cameras
                .iter()
                .map(|(name, node, mark)| ((*name).to_owned(), camera(node, *mark)))
                .collect(),
        }
    }

    #[test]
    fn only_changes_are_said_and_moves_are_grouped() {
        let before = view(
            "a",
            &[("a", true), ("b", true)],
            &[("c1", "a", 1), ("c2", "a", 1), ("c3", "b", 1)],
        );
        let after = view(
            "b",
            &[("a", false), ("b", true)],
            &[("c1", "b", 9), ("c2", "b", 9), ("c3", "b", 9)],
        );
        assert!(changes(&before, &before).is_empty());
        assert_eq!(
            changes(&before, &after),
            ["b leads", "a is dead", "a -> b: c1 c2"]
        );
    }

    #[test]
    fn taken_over_means_recorded_durably_by_another() {
        let cameras = ["c1".to_owned(), "c2".to_owned()];
        let half = view("b", &[], &[("c1", "b", 9), ("c2", "a", 9)]);
        let late = view("b", &[], &[("c1", "b", 9), ("c2", "b", 5)]);
        let done = view("b", &[], &[("c1", "b", 9), ("c2", "b", 6)]);
        let taken = |view: &View| view.taken_over(&cameras, "a", Timestamp(5));
        assert_eq!(
            [taken(&half), taken(&late), taken(&done)],
            [false, false, true]
        );
    }

    #[test]
    fn the_busiest_living_follower_is_chosen() {
        let nodes = [("a", true), ("b", true), ("c", true), ("d", false)];
        let view = view(
            "a",
            &nodes,
            &[("1", "a", 1), ("2", "c", 1), ("3", "d", 1), ("4", "d", 1)],
        );
        assert_eq!(view.busiest_follower().as_deref(), Some("c"));
    }

    #[test]
    fn each_node_has_its_line() {
        let view = view(
            "a",
            &[("a", true), ("bb", false)],
            &[("c1", "a", 1), ("c2", "a", 1)],
        );
        assert_eq!(view.lines(), ["a   leader  c1 c2", "bb  DOWN    "]);
    }
}
