//! The steps of a restore, against the state as it is now. Pure.
//!
//! Things are identified as their users identify them: a camera by its number if the backup is of
//! this very cluster, else by its name; a hold by camera, interval and reason; a node by its name.

use super::contents::{Contents, StoredCamera, StoredNode};
use super::{RestoreOutcome, RestoredItem, RestoredKind};
use holdfast_consensus::command::Command;
use holdfast_consensus::model::{
    Camera, CameraSpec, Duty, HoldSpec, NodeSpec, RetentionClass, RetentionClasses, Settings,
    SettingsChange,
};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What to do about one thing, and what to report of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) item: RestoredItem,
    /// `None`: nothing is done.
    pub(crate) command: Option<Command>,
}

/// A restore, thing by thing: each is planned once those before it are done.
pub(crate) struct Plan {
    contents: Contents,
    overwrite: bool,
    /// The highest number of a camera with footage anywhere.
    footage_upto: CameraId,
    todo: VecDeque<Thing>,
    /// For each camera of the backup that is in the cluster by now: its number there.
    numbers: BTreeMap<CameraId, CameraId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Class(usize),
    Settings,
    Camera(usize),
    Hold(usize),
    Node(usize),
}

impl Plan {
    pub(crate) fn new(contents: Contents, overwrite: bool, footage_upto: CameraId) -> Self {
        let classes = contents.settings.retention_classes.iter().count();
        let todo = (0..classes)
            .map(Thing::Class)
            .chain([Thing::Settings])
            .chain((0..contents.cameras.len()).map(Thing::Camera))
            .chain((0..contents.holds.len()).map(Thing::Hold))
            .chain((0..contents.nodes.len()).map(Thing::Node))
            .collect();
        Self {
            contents,
            overwrite,
            footage_upto,
            todo,
            numbers: BTreeMap::new(),
        }
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// How many things have not been planned yet.
    pub(crate) fn left(&self) -> usize {
        self.todo.len()
    }

    /// The next step, for `state` as it is now.
    pub(crate) fn next(&mut self, state: &ClusterState) -> Option<Work> {
        let work = match self.todo.pop_front()? {
            Thing::Class(at) => self.class(at, state),
            Thing::Settings => Some(self.settings(state)),
            Thing::Camera(at) => self.camera(at, state),
            Thing::Hold(at) => self.hold(at, state),
            Thing::Node(at) => self
                .contents
                .nodes
                .get(at)
                .map(|stored| self.node(stored, state)),
        };
        work.or_else(|| self.next(state))
    }

    fn class(&self, at: usize, state: &ClusterState) -> Option<Work> {
        let stored = self
            .contents
            .settings
            .retention_classes
            .iter()
            .nth(at)?
            .clone();
        let known = &state.settings.retention_classes;
        let outcome = match known.get(&stored.name) {
            None => RestoreOutcome::Added,
            Some(class) if *class == stored => RestoreOutcome::Same,
            Some(_) => self.differs(),
        };
        let others = known
            .iter()
            .filter(|class| class.name != stored.name)
            .cloned();
        let classes: Vec<RetentionClass> = others.chain([stored.clone()]).collect();
        let item = item(
            RestoredKind::RetentionClass,
            stored.name.to_string(),
            outcome,
        );
        Some(match RetentionClasses::try_from(classes) {
            Ok(classes) => {
                let change = SettingsChange {
                    retention_classes: Some(classes),
                    ..SettingsChange::default()
                };
                work(item, Command::ChangeSettings(change))
            }
            Err(invalid) => refused(item, invalid.to_string()),
        })
    }

    fn settings(&self, state: &ClusterState) -> Work {
        let Settings {
            headroom,
            headroom_over_domains,
            failback,
            failback_after_s,
            drill_every_s,
            ..
        } = self.contents.settings.clone();
        let change = SettingsChange {
            headroom: Some(headroom),
            headroom_over_domains: Some(headroom_over_domains),
            failback: Some(failback),
            failback_after_s: Some(failback_after_s),
            drill_every_s: Some(drill_every_s),
            retention_classes: None,
        };
        let is_same = state.settings.changed(change.clone()) == state.settings;
        let outcome = if is_same {
            RestoreOutcome::Same
        } else {
            self.differs()
        };
        work(
            item(RestoredKind::Settings, "settings".to_owned(), outcome),
            Command::ChangeSettings(change),
        )
    }

    fn is_same_cluster(&self, state: &ClusterState) -> bool {
        state.cluster == Some(self.contents.cluster)
    }

    /// The camera in the cluster that the stored one corresponds to.
    fn known<'a>(&self, stored: &StoredCamera, state: &'a ClusterState) -> Option<&'a Camera> {
        let by_number = self
            .is_same_cluster(state)
            .then(|| state.cameras.get(stored.id))
            .flatten();
        by_number.or_else(|| {
            state
                .cameras
                .values()
                .find(|camera| camera.spec.name == stored.spec.name)
        })
    }

    fn camera(&mut self, at: usize, state: &ClusterState) -> Option<Work> {
        let stored = self.contents.cameras.get(at)?.clone();
        let preferred_node = stored
            .preferred_node
            .as_ref()
            .and_then(|name| state.node_named(name.as_str()));
        let mut details = Vec::new();
        if let (Some(name), None) = (&stored.preferred_node, preferred_node) {
            details.push(format!("it preferred {name}, which is no member"));
        }
        let spec = CameraSpec {
            preferred_node: preferred_node.map(|node| node.id),
            ..stored.spec.clone()
        };
        let (outcome, command) = match self.known(&stored, state) {
            Some(camera) => self.update(camera, &stored, spec, &mut details),
            None => self.reinstate(&stored, spec, state, &mut details),
        };
        let item = RestoredItem {
            detail: details.join("; "),
            ..item(RestoredKind::Camera, stored.spec.name.to_string(), outcome)
        };
        Some(work(item, command))
    }

    /// `spec`: as stored; its preferred node is the member that has the stored name.
    fn update(
        &mut self,
        camera: &Camera,
        stored: &StoredCamera,
        spec: CameraSpec,
        details: &mut Vec<String>,
    ) -> (RestoreOutcome, Command) {
        self.numbers.insert(stored.id, camera.id);
        let (id, revision) = (camera.id, camera.revision);
        details
            .extend((id != stored.id).then(|| format!("number {id}, in the backup {}", stored.id)));
        // If the preferred node is no member, that does not count as a difference.
        let is_lost = stored.preferred_node.is_some() && spec.preferred_node.is_none();
        let kept = if is_lost {
            camera.spec.preferred_node
        } else {
            spec.preferred_node
        };
        let spec = CameraSpec {
            preferred_node: kept,
            ..spec
        };
        let outcome = if camera.spec == spec {
            RestoreOutcome::Same
        } else {
            self.differs()
        };
        if outcome == RestoreOutcome::Differs {
            details.push(format!(
                "it differs in {}",
                differences(&camera.spec, &spec).join(", ")
            ));
        }
        let update = Command::UpdateCamera {
            camera: id,
            spec,
            expect_revision: revision,
        };
        (outcome, update)
    }

    fn reinstate(
        &mut self,
        stored: &StoredCamera,
        spec: CameraSpec,
        state: &ClusterState,
        details: &mut Vec<String>,
    ) -> (RestoreOutcome, Command) {
        let number = self.is_free(stored.id, state).then_some(stored.id);
        let id =
            number.unwrap_or_else(|| CameraId(state.camera_last().max(self.footage_upto).0 + 1));
        self.numbers.insert(stored.id, id);
        details.push(match number {
            Some(id) => format!("number {id}, as before"),
            None => format!(
                "it gets a new number: {} was given to another camera here",
                stored.id
            ),
        });
        let reinstate = Command::ReinstateCamera {
            camera: number,
            spec,
        };
        (RestoreOutcome::Added, reinstate)
    }

    /// Whether the number means the stored camera, or none. In the cluster of the backup it never
    /// meant another one.
    fn is_free(&self, id: CameraId, state: &ClusterState) -> bool {
        let was_given = id <= state.camera_last() || id <= self.footage_upto;
        !state.cameras.contains(id) && (self.is_same_cluster(state) || !was_given)
    }

    /// Takes the outcome of the step that was planned last. A camera that was added gets the number
    /// that the cluster gave it, and one that was refused has none.
    pub(crate) fn done(&mut self, work: &Work, camera: Option<CameraId>) {
        let name = work.item.name.as_str();
        if work.item.kind != RestoredKind::Camera
            || !matches!(work.command, Some(Command::ReinstateCamera { .. }))
        {
            return;
        }
        let Some(stored) = self
            .contents
            .cameras
            .iter()
            .find(|stored| stored.spec.name.as_str() == name)
        else {
            return;
        };
        match camera {
            Some(camera) => _ = self.numbers.insert(stored.id, camera),
            None => _ = self.numbers.remove(&stored.id),
        }
    }

    fn hold(&self, at: usize, state: &ClusterState) -> Option<Work> {
        let stored = self.contents.holds.get(at)?;
        // In the backup's own cluster a number means the same footage for good, even if another
        // camera has the name now.
        let number = match self.is_same_cluster(state) {
            true => Some(stored.spec.camera),
            false => self.numbers.get(&stored.spec.camera).copied(),
        };
        let name = format!(
            "{} (camera {}, from {})",
            stored.spec.reason, stored.spec.camera, stored.spec.from
        );
        let item = item(RestoredKind::Hold, name, RestoreOutcome::Added);
        let Some(camera) = number else {
            let why = "its camera is not in the backup, and its number may mean another one here"
                .to_owned();
            return Some(refused(item, why));
        };
        let spec = HoldSpec {
            camera,
            ..stored.spec.clone()
        };
        let is_there = state.holds.values().any(|hold| hold.spec == spec);
        let outcome = if is_there {
            RestoreOutcome::Same
        } else {
            RestoreOutcome::Added
        };
        Some(work(
            RestoredItem { outcome, ..item },
            Command::CreateHold { spec },
        ))
    }

    fn node(&self, stored: &StoredNode, state: &ClusterState) -> Work {
        let item = item(
            RestoredKind::Node,
            stored.name.to_string(),
            RestoreOutcome::Same,
        );
        let Some(node) = state.node_named(stored.name.as_str()) else {
            return differing(item, "it is no member; have it join");
        };
        if !is_configured_like(&node.spec, stored) {
            return differing(
                item,
                "role, failure domain, capacity or labels differ; they are set in its \
                 configuration file",
            );
        }
        let is_draining = node.duty == Duty::Draining;
        if is_draining == stored.is_draining {
            return Work {
                item,
                command: None,
            };
        }
        let (duty, does) = if stored.is_draining {
            (Duty::Draining, "drains")
        } else {
            (Duty::Active, "does not drain")
        };
        work(
            RestoredItem {
                outcome: self.differs(),
                detail: format!("in the backup it {does}"),
                ..item
            },
            duty_of(node.id, duty),
        )
    }

    /// The outcome for a thing that differs.
    fn differs(&self) -> RestoreOutcome {
        if self.overwrite {
            RestoreOutcome::Changed
        } else {
            RestoreOutcome::Differs
        }
    }
}

/// Whether what a node's configuration file sets is as it was stored.
fn is_configured_like(spec: &NodeSpec, stored: &StoredNode) -> bool {
    spec.role == stored.role
        && spec.failure_domain == stored.failure_domain
        && spec.camera_capacity == stored.camera_capacity
        && spec.labels == stored.labels
        && spec.bitrate_capacity_bps == stored.bitrate_capacity_bps
}

fn duty_of(node: NodeId, duty: Duty) -> Command {
    Command::SetDuty { node, duty }
}

fn item(kind: RestoredKind, name: String, outcome: RestoreOutcome) -> RestoredItem {
    RestoredItem {
        kind,
        name,
        outcome,
        detail: String::new(),
    }
}

/// The command counts only if something is added or changed.
fn work(item: RestoredItem, command: Command) -> Work {
    let is_done = matches!(
        item.outcome,
        RestoreOutcome::Added | RestoreOutcome::Changed
    );
    Work {
        item,
        command: is_done.then_some(command),
    }
}

/// A difference that no command can remove.
fn differing(item: RestoredItem, detail: &str) -> Work {
    Work {
        item: RestoredItem {
            outcome: RestoreOutcome::Differs,
            detail: detail.to_owned(),
            ..item
        },
        command: None,
    }
}

pub(super) fn refused(item: RestoredItem, why: String) -> Work {
    Work {
        item: RestoredItem {
            outcome: RestoreOutcome::Refused,
            detail: why,
            ..item
        },
        command: None,
    }
}

/// The fields in which a camera differs, by name: values may be secret.
fn differences(now: &CameraSpec, stored: &CameraSpec) -> Vec<String> {
    let (now, stored) = (fields(now), fields(stored));
    let names: BTreeSet<&String> = now.keys().chain(stored.keys()).collect();
    names
        .into_iter()
        .filter(|name| now.get(*name) != stored.get(*name))
        .map(|name| match name.as_str() {
            "source.credentials" => "username or password".to_owned(),
            name => name.trim_start_matches("source.").to_owned(),
        })
        .collect()
}

/// All fields of a camera and of its source, by name.
fn fields(spec: &CameraSpec) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let Ok(Value::Object(all)) = serde_json::to_value(spec) else {
        return fields;
    };
    for (name, value) in all {
        match value {
            Value::Object(source) if name == "source" => fields.extend(
                source
                    .into_iter()
                    .map(|(name, value)| (format!("source.{name}"), value)),
            ),
            value => _ = fields.insert(name, value),
        }
    }
    fields
}

#[cfg(test)]
mod tests;
