//! What all recorders told last, kept so that it is cheap to publish.

use crate::observe::heartbeat::{Exposure, Progress, RecorderState};
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The latest of each recorder. A clone costs one reference count for each node; what a node tells
/// after it copies that node's reports, never the others'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports(BTreeMap<NodeId, Arc<BTreeMap<CameraId, Progress>>>);

impl Reports {
    /// Takes in all that `node` tells of its recorders. One that it reports no longer keeps its
    /// watermark: its footage ends there.
    pub fn report(&mut self, node: NodeId, recorders: Vec<Progress>) {
        let of_node = Arc::make_mut(self.0.entry(node).or_default());
        of_node.values_mut().for_each(|progress| {
            (progress.state, progress.exposure) = (RecorderState::Starting, Some(Exposure::Gone));
        });
        of_node.extend(
            recorders
                .into_iter()
                .map(|progress| (progress.camera, progress)),
        );
    }

    /// Takes in one recorder of `node`.
    pub fn insert(&mut self, node: NodeId, progress: Progress) {
        Arc::make_mut(self.0.entry(node).or_default()).insert(progress.camera, progress);
    }

    #[must_use]
    pub fn get(&self, (node, camera): &(NodeId, CameraId)) -> Option<&Progress> {
        self.0.get(node)?.get(camera)
    }

    /// What `node` reports of its recorders, and what it reported last of former ones.
    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = &Progress> {
        self.0
            .get(&node)
            .into_iter()
            .flat_map(|of_node| of_node.values())
    }

    /// In the order of nodes and cameras.
    pub fn iter(&self) -> impl Iterator<Item = ((NodeId, CameraId), &Progress)> {
        self.0.iter().flat_map(|(node, of_node)| {
            of_node
                .iter()
                .map(|(camera, told)| ((*node, *camera), told))
        })
    }

    pub fn retain(&mut self, is_known: impl Fn(NodeId, CameraId) -> bool) {
        for (node, of_node) in &mut self.0 {
            if of_node.keys().any(|camera| !is_known(*node, *camera)) {
                Arc::make_mut(of_node).retain(|camera, _| is_known(*node, *camera));
            }
        }
        self.0.retain(|_, of_node| !of_node.is_empty());
    }
}

impl Extend<((NodeId, CameraId), Progress)> for Reports {
    fn extend<I: IntoIterator<Item = ((NodeId, CameraId), Progress)>>(&mut self, told: I) {
        told.into_iter()
            .for_each(|((node, _), progress)| self.insert(node, progress));
    }
}

impl FromIterator<((NodeId, CameraId), Progress)> for Reports {
    fn from_iter<I: IntoIterator<Item = ((NodeId, CameraId), Progress)>>(told: I) -> Self {
        let mut reports = Self::default();
        reports.extend(told);
        reports
    }
}
