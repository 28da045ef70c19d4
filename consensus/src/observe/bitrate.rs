//! How much each camera sends, as measured by recorders. Pure.

use crate::observe::heartbeat::RecorderState;
use crate::observe::reports::Reports;
use holdfast_storage::ids::CameraId;
use std::collections::BTreeMap;

/// The assumed bitrate of a camera without a measurement, in bits per second.
pub const BITRATE_UNKNOWN_BPS: u64 = 4_000_000;

/// The measured bitrate of each camera that has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitrates(BTreeMap<CameraId, u64>);

impl Bitrates {
    /// The highest bitrate that a present recorder, else an earlier one, reported for each camera.
    /// The last reports of a dead node count as present.
    #[must_use]
    pub fn of_reports(reports: &Reports) -> Self {
        let mut best: BTreeMap<CameraId, (bool, u64)> = BTreeMap::new();
        for ((_, camera), report) in reports.iter() {
            if let Some(bps) = report.bitrate_bps {
                let measured = (report.state == RecorderState::Recording, bps);
                best.entry(camera)
                    .and_modify(|known| *known = measured.max(*known))
                    .or_insert(measured);
            }
        }
        Self(
            best.into_iter()
                .map(|(camera, (_, bps))| (camera, bps))
                .collect(),
        )
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
    use holdfast_storage::ids::{Epoch, NodeId, Rank};

    #[test]
    fn a_present_recorder_goes_before_a_former_one() {
        let report = |node, state, bitrate_bps| {
            let camera = CameraId(1);
            let (epoch, rank) = (Epoch(1), Rank::Owner);
            let report = Progress {
                camera,
                epoch,
                rank,
                state,
                watermark: None,
                first_keyframe: None,
                error: None,
                bitrate_bps,
                patience_ms: None,
                exposure: None,
            };
            ((NodeId(node), camera), report)
        };
        let (now, before) = (RecorderState::Recording, RecorderState::Starting);
        let bps =
            |reports: Vec<_>| Bitrates::of_reports(&reports.into_iter().collect()).of(CameraId(1));
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
