//! How much each camera sends, as measured by recorders. Pure.

use crate::observe::heartbeat::{Exposure, RecorderState};
use crate::observe::reports::Reports;
use holdfast_storage::ids::{CameraId, StreamId};
use std::collections::BTreeMap;

/// The assumed bitrate of a camera without a measurement, in bits per second.
pub const BITRATE_UNKNOWN_BPS: u64 = 4_000_000;

/// The bitrate of each camera of which a stream was measured: of all its streams together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitrates(BTreeMap<CameraId, u64>);

impl Bitrates {
    /// The highest bitrate that a present recorder, else an earlier one, reported for each stream,
    /// summed up by camera. The last reports of a dead node count as present. A main stream without
    /// a measurement counts as [`BITRATE_UNKNOWN_BPS`]; a sub stream that no node records any more
    /// does not count, because its camera may no longer have it.
    #[must_use]
    pub fn of_reports(reports: &Reports) -> Self {
        let mut best: BTreeMap<StreamId, (bool, u64)> = BTreeMap::new();
        for (_, report) in reports.iter() {
            let is_former = report.exposure == Some(Exposure::Gone);
            if let Some(bps) = report.bitrate_bps
                && (report.stream.is_main() || !is_former)
            {
                let measured = (report.state == RecorderState::Recording, bps);
                best.entry(report.stream)
                    .and_modify(|known| *known = measured.max(*known))
                    .or_insert(measured);
            }
        }
        let mut sums = BTreeMap::new();
        for (stream, (_, bps)) in &best {
            let is_main_unknown = !best.contains_key(&StreamId::main(stream.camera));
            let sum: &mut u64 = sums.entry(stream.camera).or_insert(if is_main_unknown {
                BITRATE_UNKNOWN_BPS
            } else {
                0
            });
            *sum = sum.saturating_add(*bps);
        }
        Self(sums)
    }

    /// In bits per second.
    #[must_use]
    pub fn of(&self, camera: CameraId) -> u64 {
        self.0.get(&camera).copied().unwrap_or(BITRATE_UNKNOWN_BPS)
    }
}

impl FromIterator<(CameraId, u64)> for Bitrates {
    fn from_iter<I: IntoIterator<Item = (CameraId, u64)>>(measured: I) -> Self {
        Self(measured.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::heartbeat::Progress;
    use holdfast_storage::ids::{Epoch, NodeId, Rank, StreamKind};

    fn report(node: u64, state: RecorderState, bitrate_bps: Option<u64>) -> (NodeId, Progress) {
        let report = Progress {
            stream: StreamId::main(CameraId(1)),
            epoch: Epoch(1),
            rank: Rank::Owner,
            state,
            watermark: None,
            first_keyframe: None,
            error: None,
            bitrate_bps,
            patience_ms: None,
            exposure: None,
        };
        (NodeId(node), report)
    }

    fn bps(reports: Vec<(NodeId, Progress)>) -> u64 {
        Bitrates::of_reports(&reports.into_iter().collect()).of(CameraId(1))
    }

    #[test]
    fn what_a_camera_costs_is_the_sum_of_its_streams() {
        let sub = |node, bitrate_bps, exposure| {
            let (node, report) = report(node, RecorderState::Recording, bitrate_bps);
            let stream = StreamId {
                kind: StreamKind::Sub,
                ..report.stream
            };
            let report = Progress {
                stream,
                exposure,
                ..report
            };
            (node, report)
        };
        let main = |bitrate_bps| report(1, RecorderState::Recording, bitrate_bps);
        assert_eq!(bps(vec![main(Some(5)), sub(1, Some(2), None)]), 7);
        assert_eq!(
            bps(vec![
                main(Some(5)),
                sub(1, Some(2), None),
                sub(2, Some(3), None)
            ]),
            8,
            "of two recorders of a stream, one counts"
        );
        assert_eq!(bps(vec![main(Some(5)), sub(1, None, None)]), 5);
        assert_eq!(
            bps(vec![main(None), sub(1, Some(2), None)]),
            BITRATE_UNKNOWN_BPS + 2
        );
        assert_eq!(
            bps(vec![main(Some(5)), sub(1, Some(2), Some(Exposure::Gone))]),
            5,
            "the camera may have no sub stream any more"
        );
    }

    #[test]
    fn a_present_recorder_goes_before_a_former_one() {
        let (now, before) = (RecorderState::Recording, RecorderState::Starting);
        assert_eq!(bps(vec![]), BITRATE_UNKNOWN_BPS);
        assert_eq!(bps(vec![report(1, before, Some(8))]), 8);
        assert_eq!(
            bps(vec![
                report(1, before, Some(8)),
                report(2, now, Some(5)),
                report(3, now, None)
            ]),
            5
        );
        assert_eq!(
            bps(vec![report(1, now, Some(3)), report(2, now, Some(5))]),
            5
        );
    }
}
