//! The latest reports of all recorders, stored so that publishing them is cheap.

use crate::observe::heartbeat::{Exposure, Progress, RecorderState};
use holdfast_storage::ids::{CameraId, NodeId, StreamId, StreamKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The latest report of each recorder, of which there is one a stream. A clone costs one reference
/// count per node; a later report of a node copies that node's reports, never the others'.
///
/// A camera moves as a whole, by the evidence of its main stream ([`Self::main`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports(BTreeMap<NodeId, Arc<BTreeMap<StreamId, Progress>>>);

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
                .map(|progress| (progress.stream, progress)),
        );
    }

    /// Replaces the report of one recorder of `node`.
    pub fn insert(&mut self, node: NodeId, progress: Progress) {
        Arc::make_mut(self.0.entry(node).or_default()).insert(progress.stream, progress);
    }

    /// `node`'s report of one stream.
    #[must_use]
    pub fn get(&self, node: NodeId, stream: StreamId) -> Option<&Progress> {
        self.0.get(&node)?.get(&stream)
    }

    /// `node`'s report of the camera's main stream: whether the camera is recorded there.
    #[must_use]
    pub fn main(&self, node: NodeId, camera: CameraId) -> Option<&Progress> {
        self.get(node, StreamId::main(camera))
    }

    /// `node`'s reports of all streams of the camera, the main one first.
    pub fn of_camera(&self, node: NodeId, camera: CameraId) -> impl Iterator<Item = &Progress> {
        let streams = StreamKind::ALL.map(|kind| StreamId { camera, kind });
        streams
            .into_iter()
            .filter_map(move |stream| self.get(node, stream))
    }

    /// `node`'s reports of its recorders, and its last ones of earlier recorders.
    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = &Progress> {
        self.0
            .get(&node)
            .into_iter()
            .flat_map(|of_node| of_node.values())
    }

    /// By node and stream.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.0
            .iter()
            .flat_map(|(node, of_node)| of_node.values().map(|report| (*node, report)))
    }

    pub fn retain(&mut self, is_known: impl Fn(NodeId, CameraId) -> bool) {
        for (node, of_node) in &mut self.0 {
            if of_node.keys().any(|stream| !is_known(*node, stream.camera)) {
                Arc::make_mut(of_node).retain(|stream, _| is_known(*node, stream.camera));
            }
        }
        self.0.retain(|_, of_node| !of_node.is_empty());
    }
}

impl Extend<(NodeId, Progress)> for Reports {
    fn extend<I: IntoIterator<Item = (NodeId, Progress)>>(&mut self, reports: I) {
        reports
            .into_iter()
            .for_each(|(node, progress)| self.insert(node, progress));
    }
}

impl FromIterator<(NodeId, Progress)> for Reports {
    fn from_iter<I: IntoIterator<Item = (NodeId, Progress)>>(items: I) -> Self {
        let mut reports = Self::default();
        reports.extend(items);
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_storage::ids::{Epoch, Rank};
    use holdfast_storage::time::Timestamp;

    const NODE: NodeId = NodeId(1);
    const CAMERA: CameraId = CameraId(7);
    const SUB: StreamId = StreamId {
        camera: CAMERA,
        kind: StreamKind::Sub,
    };

    fn progress(stream: StreamId, state: RecorderState, watermark: i64) -> Progress {
        Progress {
            stream,
            epoch: Epoch(1),
            rank: Rank::Owner,
            state,
            watermark: Some(Timestamp(watermark)),
            first_keyframe: Some(Timestamp(0)),
            error: None,
            bitrate_bps: None,
            patience_ms: None,
            exposure: None,
        }
    }

    #[test]
    fn each_stream_of_a_camera_has_its_own_report() {
        let main = progress(StreamId::main(CAMERA), RecorderState::Recording, 20);
        let sub = progress(SUB, RecorderState::Failing, 10);
        for order in [[&main, &sub], [&sub, &main]] {
            let mut reports = Reports::default();
            reports.report(NODE, order.map(Progress::clone).to_vec());
            assert_eq!(reports.main(NODE, CAMERA), Some(&main));
            assert_eq!(reports.get(NODE, SUB), Some(&sub));
            let of_camera: Vec<_> = reports.of_camera(NODE, CAMERA).collect();
            assert_eq!(of_camera, [&main, &sub]);
        }
    }

    #[test]
    fn a_stream_that_is_no_longer_reported_keeps_its_watermark_and_the_other_its_state() {
        let main = progress(StreamId::main(CAMERA), RecorderState::Recording, 20);
        let sub = progress(SUB, RecorderState::Recording, 10);
        let mut reports = Reports::default();
        reports.report(NODE, vec![main.clone(), sub]);
        reports.report(NODE, vec![main.clone()]);
        let gone = reports.get(NODE, SUB).unwrap();
        assert_eq!(
            (gone.state, gone.exposure, gone.watermark),
            (
                RecorderState::Starting,
                Some(Exposure::Gone),
                Some(Timestamp(10))
            )
        );
        assert_eq!(reports.main(NODE, CAMERA), Some(&main));
        reports.retain(|_, camera| camera != CAMERA);
        assert_eq!(reports, Reports::default());
    }
}
