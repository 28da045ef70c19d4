//! Volumes that are not as they should be.

use super::Known;
use super::{Finding, Severity};
use holdfast_consensus::model::{Node, Role};
use holdfast_consensus::observe::volume::VolumeReport;
use holdfast_storage::ids::NodeId;

/// States in which nothing is wrong.
const SOUND: [&str; 4] = ["active", "retiring", "retired", "opening"];

pub(super) fn bad(known: &Known<'_>) -> Vec<Finding> {
    let volumes = known
        .volumes
        .iter()
        .flat_map(|(node, volumes)| volumes.iter().map(|volume| (*node, volume)));
    let bad = volumes.filter(|(_, volume)| !SOUND.contains(&volume.state.as_str()));
    bad.map(|(node, volume)| finding(known, node, volume))
        .collect()
}

fn finding(known: &Known<'_>, node: NodeId, volume: &VolumeReport) -> Finding {
    let name = known.node_name(node);
    let why = volume
        .error
        .as_ref()
        .map(|error| format!(": {error}"))
        .unwrap_or_default();
    Finding {
        severity: Severity::Degraded,
        code: format!("volume-{}", volume.state),
        subject: format!("{name} {}", volume.path),
        since: None,
        what: format!("the volume is {}{why}", volume.state),
        mend: Some(format!(
            "holdfast nodes volumes {name}; docs/hazards.md says what to do"
        )),
        camera: None,
        node: Some(node),
    }
}

/// Nodes that are alive and record, but did not report the state of their volumes.
pub(super) fn unknown(known: &Known<'_>) -> Vec<Finding> {
    let recorders = known
        .state
        .nodes
        .values()
        .filter(|node| node.spec.role == Role::Recorder);
    let silent = recorders
        .filter(|node| known.sight.is_alive(node.id) && !known.volumes.contains_key(&node.id));
    let finding = |node: &Node| Finding {
        severity: Severity::Degraded,
        code: "volumes-unknown".to_owned(),
        subject: node.spec.name.to_string(),
        since: None,
        what: "it did not say in time how its volumes stand".to_owned(),
        mend: Some(format!("holdfast nodes volumes {}", node.spec.name)),
        camera: None,
        node: Some(node.id),
    };
    silent.map(finding).collect()
}
