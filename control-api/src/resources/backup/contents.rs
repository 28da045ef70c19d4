//! What a backup holds: the users' decisions for the cluster. What nodes determine (assignments,
//! drills) is not in it.

use holdfast_consensus::model::{
    CameraSpec, Duty, FailureDomain, Hold, Labels, NodeName, Role, Settings,
};
use holdfast_consensus::state::ClusterState;
use holdfast_storage::ids::{CameraId, NodeId};
use holdfast_storage::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// As JSON. A field that a later release adds has a default, so that backups of this release stay
/// readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contents {
    pub(crate) made_at: Timestamp,
    pub(crate) cluster: Uuid,
    pub(crate) generation: u64,
    pub(crate) settings: Settings,
    pub(crate) nodes: Vec<StoredNode>,
    pub(crate) cameras: Vec<StoredCamera>,
    pub(crate) holds: Vec<Hold>,
}

/// What placement knows of a node. Everything except its drain is in its own configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredNode {
    pub(crate) name: NodeName,
    pub(crate) role: Role,
    pub(crate) failure_domain: FailureDomain,
    pub(crate) camera_capacity: u32,
    pub(crate) bitrate_capacity_bps: Option<u64>,
    pub(crate) labels: Labels,
    pub(crate) is_draining: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredCamera {
    pub(crate) id: CameraId,
    /// Without its preferred node, whose number means nothing elsewhere.
    pub(crate) spec: CameraSpec,
    pub(crate) preferred_node: Option<NodeName>,
}

impl Contents {
    /// `None` while the state belongs to no cluster yet.
    pub(crate) fn of(state: &ClusterState, made_at: Timestamp) -> Option<Self> {
        let name_of = |node: NodeId| state.nodes.get(node).map(|node| node.spec.name.clone());
        let cameras = state.cameras.values().map(|camera| StoredCamera {
            id: camera.id,
            spec: CameraSpec {
                preferred_node: None,
                ..camera.spec.clone()
            },
            preferred_node: camera.spec.preferred_node.and_then(name_of),
        });
        let nodes = state.nodes.values().map(|node| StoredNode {
            name: node.spec.name.clone(),
            role: node.spec.role,
            failure_domain: node.spec.failure_domain.clone(),
            camera_capacity: node.spec.camera_capacity,
            bitrate_capacity_bps: node.spec.bitrate_capacity_bps,
            labels: node.spec.labels.clone(),
            is_draining: node.duty == Duty::Draining,
        });
        Some(Self {
            made_at,
            cluster: state.cluster?,
            generation: state.generation()?.number,
            settings: state.settings.clone(),
            nodes: nodes.collect(),
            cameras: cameras.collect(),
            holds: state.holds.values().cloned().collect(),
        })
    }
}
