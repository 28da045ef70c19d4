//! The latest reports of all recorders, stored so that publishing them is cheap.

use crate::observe::heartbeat::{Exposure, Progress, RecorderState};
use holdfast_storage::ids::{CameraId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The latest report of each recorder. A clone costs one reference count per node; a later report
/// of a node copies that node's reports, never the others'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports(BTreeMap<NodeId, Arc<BTreeMap<CameraId, Progress>>>);

impl Reports {
    /// Replaces `node`'s reports of its recorders. A recorder that it no longer reports keeps its
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

    /// Replaces the report of one recorder of `node`.
    pub fn insert(&mut self, node: NodeId, progress: Progress) {
        Arc::make_mut(self.0.entry(node).or_default()).insert(progress.camera, progress);
    }

    #[must_use]
    pub fn get(&self, (node, camera): &(NodeId, CameraId)) -> Option<&Progress> {
        self.0.get(node)?.get(camera)
    }

    /// `node`'s reports of its recorders, and its last ones of earlier recorders.
    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = &Progress> {
        self.0
            .get(&node)
            .into_iter()
            .flat_map(|of_node| of_node.values())
    }

    /// By node and camera.
    pub fn iter(&self) -> impl Iterator<Item = ((NodeId, CameraId), &Progress)> {
        self.0.iter().flat_map(|(node, of_node)| {
            of_node
                .iter()
                .map(|(camera, report)| ((*node, *camera), report))
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
    fn extend<I: IntoIterator<Item = ((NodeId, CameraId), Progress)>>(&mut self, reports: I) {
        reports
            .into_iter()
            .for_each(|((node, _), progress)| self.insert(node, progress));
    }
}

impl FromIterator<((NodeId, CameraId), Progress)> for Reports {
    fn from_iter<I: IntoIterator<Item = ((NodeId, CameraId), Progress)>>(items: I) -> Self {
        let mut reports = Self::default();
        reports.extend(items);
        reports
    }
}
